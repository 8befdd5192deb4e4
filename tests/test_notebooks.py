"""How the committed notebooks are written; that they run is nbval's to test."""

import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
CHAPTERS = sorted(FOLDER.glob("*.ipynb"))
SOLUTIONS = sorted(FOLDER.glob("solutions/*.ipynb"))
EXERCISES = "10_write_it_yourself.ipynb"  # its solutions are of exercises, with checks


def name(path):
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def read(path):
    node = nbformat.read(path, as_version=4)
    nbformat.validate(node)
    return node


@pytest.fixture(params=[*CHAPTERS, *SOLUTIONS], ids=name)
def notebook(request):
    return read(request.param)


@pytest.fixture(params=CHAPTERS, ids=name)
def chapter(request):
    return read(request.param)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_a_chapter_has_one_title(chapter):
    assert chapter.cells[0].source.startswith("# ")
    assert len(re.findall(r"^# ", prose(chapter), re.MULTILINE)) == 1


def test_each_chapter_has_solutions_that_lead_back():
    assert [path.name for path in SOLUTIONS] == [path.name for path in CHAPTERS]
    for path in SOLUTIONS:
        assert f"](../{path.name})" in read(path).cells[0].source


# A question, and its answer in a form that is folded on code-hosting pages, in JupyterLab and in
# nbconvert's HTML: blank lines around the Markdown, and all of it indented into the list's item.
QUESTION = re.compile(
    r"(\d+)\. ([^\n]+)\n\n"
    r"   <details><summary>Answer</summary>\n\n((?:   [^\n]+\n|\n)+?)\n   </details>\n"
)


def questions_of(chapter):
    """Number, question and answer, in order; there is nothing else in *Try it yourself*."""
    section = prose(chapter).split("## Try it yourself\n")[1].split("\n## ")[0]
    assert not QUESTION.sub("", section).strip()
    return QUESTION.findall(section)


def test_each_question_has_an_answer(chapter):
    numbers = [int(number) for number, _, _ in questions_of(chapter)]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("path", [path for path in SOLUTIONS if path.name != EXERCISES], ids=name)
def test_each_question_is_worked_out_in_the_solutions(path):
    headings = re.findall(r"^## (\d+)\. .+\n\n(.+)$", prose(read(path)), re.MULTILINE)
    plain = [(number, text.replace("*", "")) for number, text in headings]
    questions = questions_of(read(FOLDER / path.name))
    assert plain == [(number, text.replace("*", "")) for number, text, _ in questions]


def test_the_short_form_changes_parameters_that_exist(notebook):
    """papermill adds a name that is not there without a word, and nothing would be shorter."""
    parameters = re.findall(r"^([A-Z_]+) = ", code_cells(notebook)[0].source, re.MULTILINE)
    assert notebook.metadata.short
    assert set(notebook.metadata.short) <= set(parameters)


def test_one_run_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_parameters_are_names_in_one_tagged_cell(notebook):
    (cell,) = [c for c in code_cells(notebook) if "parameters" in c.metadata.get("tags", [])]
    assert cell is code_cells(notebook)[0]
    for line in cell.source.splitlines():
        assert re.match(r"[A-Z_]+ = ", line)
    assert 'SOURCE = "auto"' in cell.source


def test_cells_are_short(notebook):
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= 25, cell.source


def test_outputs_are_clean(notebook):
    for cell in code_cells(notebook):
        assert "execution" not in cell.metadata  # time stamps
        for output in cell.outputs:
            assert output.output_type in ("stream", "display_data", "execute_result"), output
            text = output.get("text", "") + output.get("data", {}).get("text/plain", "")
            assert output.get("name") != "stderr", text
            # "\r\n" is how the terminal of a `!` command ends its lines.
            assert not re.search(r"0x[0-9a-f]{6}|Warning|Traceback|\r(?!\n)", text), text


def test_progress_bars_are_finished(notebook):
    bars = re.findall(r"training: +(\d+)%", str([cell.outputs for cell in code_cells(notebook)]))
    trains = any("train(" in cell.source for cell in code_cells(notebook))
    assert bars or not trains
    assert set(bars) <= {"100"}


def test_made_on_real_mnist(notebook):
    set_up = next(cell for cell in code_cells(notebook) if "= start(" in cell.source)
    assert "data: mnist; 55,000 training" in set_up.outputs[0].text


def test_figures_are_shown(notebook):
    for cell in code_cells(notebook):
        assert ("figures.plot" in cell.source) <= ("plt.show()" in cell.source)
        if "plt.show()" in cell.source:
            (image,) = [o for o in cell.outputs if "image/png" in o.get("data", {})]
            assert len(image.metadata["image/png"]["alt"]) > 20  # for who can't see it


def test_checked_outputs_exist(notebook):
    checked = [
        c for c in code_cells(notebook) if "nbval-check-output" in c.metadata.get("tags", [])
    ]
    assert all(cell.outputs for cell in checked)
    assert any("assert " in cell.source for cell in code_cells(notebook))


CHECK = re.compile(r"\b(checks\.\w+|museum\.check_\w+)\(")


def checks_of(notebook):
    """The cells that call a check, by its name and in order."""
    return {call[1]: cell for cell in code_cells(notebook) if (call := CHECK.search(cell.source))}


def test_exercises_are_not_filled_in():
    for check, cell in checks_of(read(FOLDER / EXERCISES)).items():
        unwritten = check.startswith("checks.")
        expected = ": not written yet\n" if unwritten else "Not mended (as it was)."
        assert expected in cell.outputs[0].data["text/plain"]


def test_each_check_passes_on_its_solution():
    solved = checks_of(read(FOLDER / "solutions" / EXERCISES))
    assert [*solved] == [*checks_of(read(FOLDER / EXERCISES))]
    assert len(solved) == 5 + 10
    assert all("assert result.passed" in cell.source for cell in solved.values())
