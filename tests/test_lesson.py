import ast
import base64
import inspect
import io
import os
import re
import subprocess
import sys
import textwrap

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from bn_tutorial import batch_norm, lesson, networks


def without_docstrings(tree):
    """The code alone, in the form in which Python itself writes it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            del node.body[0]
    return ast.unparse(tree)


@pytest.mark.parametrize("docstrings", [True, False])
def test_source_is_what_runs_with_or_without_docstrings(docstrings):
    """Of a function, a class and a method; the method starts at the margin."""
    shown = batch_norm.batch_norm_by_hand, batch_norm.BatchNormVariables, networks.Network.output
    sources = [textwrap.dedent(inspect.getsource(each)) for each in shown]
    listing = lesson.show_source(*shown, docstrings=docstrings).data
    code = listing.removeprefix("```python\n").removesuffix("\n```")
    expected = ast.parse("".join(sources))
    assert ('"""' in code) == docstrings
    assert without_docstrings(ast.parse(code)) == without_docstrings(expected)


@pytest.mark.end_to_end
def test_tensorflow_starts_without_a_word():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_CPP")}
    code = "from bn_tutorial import lesson; lesson.tf.ones(2) + 1; lesson.start(0, 'digits')"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert process.stderr == ""
    assert re.search(r"\bseed 0\b.*\bdigits\b.*\b1,317\b", process.stdout, re.DOTALL)


def test_errors_still_get_through_after_silence(capfd):
    with lesson.silent_stderr():
        os.write(2, b"dropped")
    os.write(2, b"kept")
    assert capfd.readouterr().err == "kept"


def test_start_seeds_tensorflow_and_numpy():
    drawn = []
    for _ in range(2):
        lesson.start(7, "digits")
        drawn.append((float(lesson.tf.random.normal([])), float(lesson.np.random.normal())))
    assert drawn[0] == drawn[1]


def test_spread():
    assert lesson.spread([0.25, 0.5, 0.375]) == "0.250–0.500"
    assert lesson.spread([2, None, 1000], "{:,.0f}") == "2–1,000 (1 never)"
    assert lesson.spread([0.1, 0.1]) == "0.100"
    assert lesson.spread([None, None]) == "never"
    assert lesson.mean_and_spread([0.25, 0.5, 0.3]) == ("0.350", "0.250–0.500")
    assert lesson.mean_and_spread([1000, 3000], "{:,.0f}") == ("2,000", "1,000–3,000")


def test_within_budget():
    assert lesson.within_budget(1_000, 1.0) == 1_000
    assert lesson.within_budget(1_234, 0.1) == 100
    assert lesson.within_budget(10, 0.01) == 50
    assert lesson.within_budget(1_234, 0.1, multiple=1) == 123


def test_table():
    shown = lesson.table([("a", "0.10", 1), ("b", "2", 22)], ["name", "x", "n"]).data
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines()]
    assert lines[0] == ["name", "x", "n"]
    assert lines[2:] == [["a", "0.10", "1"], ["b", "2", "22"]]


def test_description_of_a_figure():
    figure, (left, right) = plt.subplots(1, 2)
    figure.suptitle("Both\nways")
    figure.supxlabel("epochs")
    left.plot([1, 2], label="naive BN")
    left.plot([2, 1], label="fixed BN")
    left.set(title="left", xlabel="steps", ylabel="accuracy")
    right.set(xlabel="steps", ylabel="accuracy")
    said = lesson.describe(figure)
    for words in ("Both ways", "epochs", "left", "steps", "accuracy", "naive BN", "fixed BN"):
        assert said.count(words) == 1  # what both have in common, too
    figure.set_label("In words of its own.")
    assert lesson.describe(figure) == "In words of its own."
    plt.close(figure)


@pytest.mark.end_to_end
def test_each_figure_shown_is_sharp_and_has_an_alternative_text(tmp_path):
    """In a kernel, as in a notebook."""
    code = (
        "from bn_tutorial import lesson\nimport matplotlib.pyplot as plt\n"
        "lesson.start(0, 'digits')\nplt.plot([1, 2])\nplt.title('a line')\nplt.show()"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, kernel_name="python3").execute(cwd=tmp_path)
    (image,) = [o for o in notebook.cells[0].outputs if o.output_type == "display_data"]
    shown = image.metadata["image/png"]
    assert "a line" in shown["alt"]
    pixels = Image.open(io.BytesIO(base64.b64decode(image.data["image/png"])))
    assert [side // 2 for side in pixels.size] == [shown["width"], shown["height"]]
