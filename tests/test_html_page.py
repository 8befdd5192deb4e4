import re

import nbformat
import pytest


@pytest.fixture
def page_of(monkeypatch, tmp_path):
    """A function: Markdown → the page, in a folder that has the page 01_first.html already."""
    monkeypatch.syspath_prepend("tools")
    from html_page import HtmlPage

    (tmp_path / "01_first.html").touch()
    resources = {"metadata": {"name": "03_third", "path": str(tmp_path)}}

    def export(*texts):
        cells = [nbformat.v4.new_markdown_cell(text) for text in texts]
        notebook = nbformat.v4.new_notebook(cells=cells)
        page, _ = HtmlPage().from_notebook_node(notebook, resources)
        return page

    return export


def test_title_and_language(page_of):
    english = page_of("Before.", "# 3 · Third & last\n\ntext", "# More")
    assert '<html lang="en">' in english
    assert "<title>3 · Third &amp; last</title>" in english
    assert '<html lang="zh">' in page_of("# 3 · 批量归一化")
    assert "<title>notebook</title>" in page_of("no heading")


def test_answers_are_folded_and_the_list_goes_on(page_of):
    text = "1. One?\n\n   <details><summary>Answer</summary>\n\n   **Bold**, $x$.\n\n"
    text += "   | a |\n   | --- |\n   | 5 |\n\n   </details>\n\n2. Two?\n"
    (body,) = re.findall(r"<ol>.*</ol>", page_of(text), re.DOTALL)
    folded = re.search(r"<details><summary>Answer</summary>(.*?)</details>", body, re.DOTALL)[1]
    assert "<strong>Bold</strong>" in folded
    assert "<math" in folded
    assert "<td>5</td>" in folded
    assert body.count("<li>") == 2


def test_links_lead_to_pages_that_are_there_or_will_be(page_of, monkeypatch):
    monkeypatch.setenv("BN_TUTORIAL_PAGES", "02_second 03_third")
    page = page_of(
        "[one](01_first.ipynb), [two](02_second.ipynb), [four](04_fourth.ipynb), "
        "[there](https://example.org/05_fifth.ipynb)"
    )
    assert '<a href="01_first.html">one</a>' in page
    assert '<a href="02_second.html">two</a>' in page
    assert "four" in page
    assert "04_fourth" not in page
    assert '<a href="https://example.org/05_fifth.ipynb">there</a>' in page
