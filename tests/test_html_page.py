import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output


@pytest.fixture
def page_of(monkeypatch):
    """A function: cells, or texts of Markdown cells → the page of a notebook that has them."""
    monkeypatch.syspath_prepend("tools")
    from html_page import html_page

    def export(*cells, pages=()):
        cells = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
        return html_page(new_notebook(cells=cells), pages)

    return export


def test_title_and_language(page_of):
    english = page_of("Before.", "# 3 · Third & last\n\ntext", "# More")
    assert '<html lang="en">' in english
    assert "<title>3 · Third &amp; last</title>" in english
    assert '<html lang="zh">' in page_of("# 3 · 批量归一化")


def test_answers_are_folded_and_the_list_goes_on(page_of):
    text = "1. One?\n\n   <details><summary>Answer</summary>\n\n   **Bold**, $x$.\n\n"
    text += "   | a |\n   | --- |\n   | 5 |\n\n   </details>\n\n2. Two?\n"
    (body,) = re.findall(r"<ol>.*</ol>", page_of(text), re.DOTALL)
    folded = re.search(r"<details><summary>Answer</summary>(.*?)</details>", body, re.DOTALL)[1]
    assert "<strong>Bold</strong>" in folded
    assert "<math" in folded
    assert "<td>5</td>" in folded
    assert body.count("<li>") == 2


def test_links_lead_to_pages_that_are_there_or_will_be(page_of):
    page = page_of(
        "[one](01_first.ipynb), [four](04_fourth.ipynb), "
        "[there](https://example.org/05_fifth.ipynb)",
        pages=["01_first"],
    )
    assert '<a href="01_first.html">one</a>' in page
    assert "four" in page
    assert "04_fourth" not in page
    assert '<a href="https://example.org/05_fifth.ipynb">there</a>' in page


def test_what_readers_need_not_see_is_left_out(page_of):
    output = new_output("stream", text="an output")
    page = page_of(
        new_code_cell("plumbing()", outputs=[output], metadata={"tags": ["remove-cell"]}),
        new_code_cell("plotting()", outputs=[output], metadata={"tags": ["hide-input"]}),
        new_code_cell("teaching()", outputs=[output]),
    )
    assert [name for name in ("plumbing", "plotting", "teaching") if name in page] == ["teaching"]
    assert page.count("an output") == 2
