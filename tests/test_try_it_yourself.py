"""The answers of *Try it yourself*: their form, and where their numbers come from."""

import re

import nbformat
import pytest

from tools.try_it_yourself.__main__ import main
from tools.try_it_yourself.answers import (
    NOTEBOOKS,
    Answer,
    numbers_in,
    read_answers,
    without_a_source,
)
from tools.try_it_yourself.questions import CHAPTERS, load_questions
from tools.try_it_yourself.results import differences, read_results

QUESTIONS, RESULTS = load_questions(), read_results()
PATHS = {path.name[:2]: path for path in NOTEBOOKS.glob("*.ipynb")}


# --- The answers as they stand in the notebooks ---


@pytest.fixture(params=CHAPTERS)
def answers(request):
    """By number."""
    return read_answers(PATHS[request.param])


def test_each_question_has_an_answer_in_order(answers):
    chapter = next(iter(answers))[:2]
    assert list(answers) == [f"{chapter}.{n}" for n in range(1, len(answers) + 1)]
    of_scripts = {number for number in QUESTIONS if number.startswith(chapter)}
    assert of_scripts == {number for number in RESULTS if number.startswith(chapter)}
    assert of_scripts <= set(answers)


def test_each_number_in_an_answer_comes_from_its_script_or_its_question(answers):
    for number, answer in answers.items():
        assert not without_a_source(answer, RESULTS.get(number, {})), number
        assert number not in QUESTIONS or list(numbers_in(answer.text)), number


def test_answers_on_the_page_are_folded_and_the_list_goes_on(monkeypatch):
    monkeypatch.syspath_prepend(str(NOTEBOOKS.parent / "tools"))
    from html_page import HtmlPage

    text = "1. One?\n\n   <details><summary>Answer</summary>\n\n   **Bold**, $x$.\n\n"
    text += "   | a |\n   | --- |\n   | 5 |\n\n   </details>\n\n2. Two?\n"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    page, _ = HtmlPage().from_notebook_node(notebook)
    (body,) = re.findall(r"<ol>.*</ol>", page, re.DOTALL)
    folded = re.search(r"<details><summary>Answer</summary>(.*?)</details>", body, re.DOTALL)[1]
    assert "<strong>Bold</strong>" in folded
    assert "<math" in folded
    assert "<td>5</td>" in folded
    assert body.count("<li>") == 2


# --- The pieces ---


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("0.97, or 97.2 %, from 1,500 steps", []),
        ("about 97%, with `DECAY = 5`, see [notebook 7](07.ipynb)", []),
        ("2·10⁻⁵ and 2.4·10⁻⁵", []),
        ("0.973 and 0.96", ["0.973", "0.96"]),
        ("7·10⁻⁵ after 1,501 steps", ["7·10⁻⁵", "1,501"]),
    ],
)
def test_numbers_without_a_source(text, unknown):
    results = {"accuracy after 1,500 steps": [0.5, 0.972], "error": 2.4e-5, "says": "40 layers"}
    assert without_a_source(Answer("?", text, (0.1,)), results) == unknown


def test_what_differs_from_a_kept_result():
    kept = {"accuracies": [0.5, 0.4], "steps": 900, "says": "no"}
    assert not differences({"accuracies": [0.4, 0.51], "steps": 910, "says": "no"}, kept)
    assert len(differences({"accuracies": [0.4, 0.4], "steps": 1000, "says": "yes"}, kept)) == 3
    assert "expected ['accuracies'" in differences({"steps": 900}, kept)[0]


def test_an_answer_that_is_not_folded_is_an_error(tmp_path):
    path = tmp_path / "09_x.ipynb"
    cell = nbformat.v4.new_markdown_cell("## Try it yourself\n\n1. Why?\n\n   Because.\n\n## More")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    with pytest.raises(ValueError, match="09_x.ipynb: expected questions with folded answers"):
        read_answers(path)


def test_command(capsys):
    assert main(["03.4", "--check"]) == 0
    assert "--- 03.4: Weights divided by a hundred" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["03.9"])
    assert "expected one of 01.1, 01.2" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["03.4", "--save", "--budget", "0.1"])
    assert "what is kept is of full runs" in capsys.readouterr().err
