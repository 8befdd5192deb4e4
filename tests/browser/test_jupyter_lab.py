"""Notebooks in JupyterLab, in a real browser: what a reader sees and does there."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest

from tests.browser.fragments import Part
from tests.browser.handwriting import HANDWRITING

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
FIRST = NOTEBOOKS / "01_naive_batch_norm.ipynb"
SECOND = NOTEBOOKS / "02_fixed_batch_norm.ipynb"
CHINESE = NOTEBOOKS / "zh" / "01_naive_batch_norm.ipynb"
EXERCISES = NOTEBOOKS / "08_write_it_yourself.ipynb"
# Not "auto": where MNIST can't be had, that says so on standard error.
SOURCE = "mnist" if os.environ.get("BN_TUTORIAL_DATA") else "digits"

OVER_THE_UNITS = """\
def batch_norm(inputs, gamma, beta, epsilon):
    mean, variance = tf.nn.moments(inputs, axes=[1], keepdims=True)
    return gamma * (inputs - mean) / tf.sqrt(variance + epsilon) + beta
"""
OVER_THE_BATCH = OVER_THE_UNITS.replace("axes=[1]", "axes=[0]")


def assert_nothing_went_wrong(notebook):
    assert notebook.complaints() == []
    assert notebook.console_errors() == []
    assert notebook.hosts() == {"127.0.0.1"}


def committed_images(path):
    outputs = [
        output
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.fixture
def show(screenshot, request):
    """Leave the page as it looks now, named after the test."""

    def take(notebook, what):
        return screenshot(notebook.browser, f"{request.node.name.removeprefix('test_')}-{what}")

    return take


def write_notebook(path, source):
    """A notebook of one cell."""
    cell = nbformat.v4.new_code_cell(source)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel}), path)
    return path


def test_the_kernel_is_the_python_that_runs_the_tests(open_notebook, tmp_path):
    notebook = open_notebook(
        write_notebook(tmp_path / "which.ipynb", "import sys; print(sys.executable)")
    )
    cell = notebook.cell("sys.executable")
    notebook.run(cell)
    notebook.wait_for_output(cell, f"^{re.escape(sys.executable)}$")


@pytest.mark.parametrize(
    ("path", "title"),
    [
        pytest.param(FIRST, "1 · Naive batch normalization", id="english", marks=pytest.mark.smoke),
        pytest.param(CHINESE, "1 · 朴素的批量归一化", id="chinese"),
    ],
)
def test_a_notebook_shows_all_its_figures(path, title, open_notebook, show):
    notebook = open_notebook(path, STEPS=500, SOURCE=SOURCE)
    (heading,) = notebook.browser.find_elements("css selector", ".jp-MarkdownOutput h1")
    assert heading.text == title
    assert not notebook.browser.find_elements("css selector", ".jp-OutputArea-output")
    show(notebook, "top")
    notebook.run_all()
    for number, image in enumerate(notebook.wait_for_figures(committed_images(path)), 1):
        assert image.get_property("naturalWidth") > 0
        notebook.bring_into_view(image)
        show(notebook, f"figure-{number}")
    notebook.wait_for_fragment("slide-over-steps")
    assert_nothing_went_wrong(notebook)


def test_the_canvas_is_drawn_on(open_notebook, show, tmp_path):
    """The one of notebook 2 as committed, shown by a cell: training its network takes a minute."""
    outputs = [
        output
        for cell in nbformat.read(SECOND, as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    texts = [output.get("data", {}).get("text/html", "") for output in outputs]
    (canvas,) = [text for text in texts if "data-bn-tutorial" in text]
    (tmp_path / "canvas.html").write_text(canvas, encoding="utf-8")
    source = f"from IPython.display import HTML\nHTML(filename={str(tmp_path / 'canvas.html')!r})"
    notebook = open_notebook(write_notebook(tmp_path / "canvas.ipynb", source))
    notebook.run_all()
    part = Part(notebook.browser, notebook.wait_for_fragment("draw-a-digit"))
    notebook.bring_into_view(part.one(".paper"))
    part.one(".clear").click()
    label, strokes = HANDWRITING[0]
    part.draw(strokes)
    assert part.answers() == ["8", str(label)]  # 8 whatever is drawn, as in the notebook
    show(notebook, "drawn")
    assert_nothing_went_wrong(notebook)


def test_an_interrupted_training_keeps_its_history(open_notebook, show):
    asked = 1_000_000
    notebook = open_notebook(FIRST, STEPS=asked, SOURCE=SOURCE)
    training = notebook.cell("training.train(")
    notebook.run_above(training)
    notebook.select(training)
    run = notebook.start("notebook:run-cell")
    # After a thousand steps the claims below it hold.
    notebook.wait_for_output(training, rf"\| [0-9]{{4,}}/{asked}")
    notebook.do("notebook:interrupt-kernel")
    notebook.finish(run)
    kept = notebook.wait_for_output(training, r"the history up to step ([0-9,]+) is kept")
    steps = int(kept[1].replace(",", ""))
    assert 1_000 <= steps < asked
    show(notebook, "training")
    records = notebook.add_below(training, "print({len(h.steps) for h in histories.values()})")
    notebook.run_from(records)
    notebook.wait_for_output(records, rf"^\{{{steps // 50 + 1}\}}$")
    notebook.wait_for_figures(committed_images(FIRST))
    assert_nothing_went_wrong(notebook)


def test_an_exercise_not_written_wrong_and_right(open_notebook, show):
    notebook = open_notebook(EXERCISES, SOURCE="digits")
    function = notebook.cell("def batch_norm(inputs")
    check = notebook.cell("checks.forward(")
    notebook.run_above(check)
    notebook.run(check)
    notebook.wait_for_output(check, "^forward: not written yet")
    show(notebook, "not-written")
    notebook.type_over(function, OVER_THE_UNITS)
    notebook.run(function)
    notebook.run(check)
    notebook.wait_for_output(check, "^forward: the wrong axis")
    show(notebook, "wrong")
    notebook.type_over(function, OVER_THE_BATCH)
    notebook.run(function)
    notebook.run(check)
    notebook.wait_for_output(check, "^forward: passed")
    show(notebook, "right")
    assert_nothing_went_wrong(notebook)
