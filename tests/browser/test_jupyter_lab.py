"""Notebooks in JupyterLab, in a real browser: what a reader sees and does there."""

import os
from pathlib import Path

import nbformat
import pytest

from tests.browser.fragments import Part
from tests.browser.handwriting import HANDWRITING

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
FIRST = NOTEBOOKS / "01_naive_batch_norm.ipynb"
SECOND = NOTEBOOKS / "02_fixed_batch_norm.ipynb"
CHINESE = NOTEBOOKS / "zh" / "01_naive_batch_norm.ipynb"
EXERCISES = NOTEBOOKS / "10_write_it_yourself.ipynb"
# Not "auto": where MNIST can't be had, that says so on standard error.
SOURCE = "mnist" if os.environ.get("BN_TUTORIAL_DATA") else "digits"

OVER_THE_UNITS = """\
def batch_norm(inputs, gamma, beta, epsilon):
    mean, variance = tf.nn.moments(inputs, axes=[1], keepdims=True)
    return gamma * (inputs - mean) / tf.sqrt(variance + epsilon) + beta
"""
OVER_THE_BATCH = OVER_THE_UNITS.replace("axes=[1]", "axes=[0]")


def committed(path, kind):
    """The outputs of this kind that a notebook has."""
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return [data[kind] for data in outputs if kind in data]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(FIRST, id="english", marks=pytest.mark.smoke),
        pytest.param(CHINESE, id="chinese"),
    ],
)
def test_a_notebook_shows_all_its_figures(path, open_notebook):
    notebook = open_notebook(path, STEPS=500, SOURCE=SOURCE)
    (heading,) = notebook.browser.find_elements("css selector", ".jp-MarkdownOutput h1")
    title = nbformat.read(path, as_version=4).cells[0].source
    assert title.startswith(f"# {heading.text}\n")
    assert not notebook.browser.find_elements("css selector", ".jp-OutputArea-output")
    notebook.do("notebook:run-all-cells")
    for image in notebook.wait_for_figures(len(committed(path, "image/png"))):
        assert image.get_property("naturalWidth") > 0
    experiment = Part(notebook.browser, notebook.wait_for_fragment("train-here"))
    notebook.wait_until(lambda: experiment.all('[data-control="step"]'), "there is a button")
    press = "arguments[0].shadowRoot.querySelector('[data-control=step]').click()"
    experiment.script(press)  # JupyterLab's toolbar may be above it
    steps = experiment.one('[data-value="steps"]')
    notebook.wait_until(lambda: steps.text == "1", "the experiment has trained a step")
    notebook.assert_nothing_went_wrong()


def test_the_canvas_is_drawn_on(open_notebook, tmp_path):
    """The one of chapter 2 as committed, shown by a cell: training its network takes a minute."""
    (canvas,) = [html for html in committed(SECOND, "text/html") if "data-bn-tutorial" in html]
    (tmp_path / "canvas.html").write_text(canvas, encoding="utf-8")
    source = f"from IPython.display import HTML\nHTML(filename={str(tmp_path / 'canvas.html')!r})"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    shown = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    shown.cells.append(nbformat.v4.new_code_cell(source))
    nbformat.write(shown, tmp_path / "canvas.ipynb")
    notebook = open_notebook(tmp_path / "canvas.ipynb")
    notebook.do("notebook:run-all-cells")
    part = Part(notebook.browser, notebook.wait_for_fragment("draw-a-digit"))
    part.one(".clear").click()
    label, strokes = HANDWRITING[0]
    part.draw(strokes)
    assert part.answers()[1] == str(label)
    notebook.assert_nothing_went_wrong()


def test_an_interrupted_training_keeps_its_history(open_notebook):
    asked = 1_000_000
    notebook = open_notebook(FIRST, STEPS=asked, SOURCE=SOURCE)
    training = notebook.cell("training.train(")
    notebook.run(training, "run-all-above")
    notebook.select(training)
    notebook.script("lab.commands.execute('notebook:run-cell')")
    # After a thousand steps the claims below it hold.
    notebook.wait_for_output(training, rf"\| [0-9]{{4,}}/{asked}")
    notebook.do("notebook:interrupt-kernel")
    kept = notebook.wait_for_output(training, r"the history up to step ([0-9,]+) is kept")
    steps = int(kept[1].replace(",", ""))
    assert 1_000 <= steps < asked
    notebook.write(training, "print({len(h.steps) for h in histories.values()})")
    notebook.run(training, "run-all-below")
    notebook.wait_for_output(training, rf"^\{{{steps // 50 + 1}\}}$")
    notebook.wait_for_figures(len(committed(FIRST, "image/png")))
    notebook.assert_nothing_went_wrong()


def test_an_exercise_not_written_wrong_and_right(open_notebook):
    notebook = open_notebook(EXERCISES, SOURCE="digits")
    function = notebook.cell("def batch_norm(inputs")
    check = notebook.cell("checks.forward(")
    notebook.run(check, "run-all-above")
    notebook.run(check)
    notebook.wait_for_output(check, "^forward: not written yet")
    for source, expected in ((OVER_THE_UNITS, "the wrong axis"), (OVER_THE_BATCH, "passed")):
        notebook.write(function, source)
        notebook.run(function)
        notebook.run(check)
        notebook.wait_for_output(check, f"^forward: {expected}")
    notebook.assert_nothing_went_wrong()
