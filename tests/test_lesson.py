import os
import subprocess
import sys

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbclient import NotebookClient

from bn_tutorial import batch_norm, lesson, networks


def test_source_is_the_functions_own():
    listing = lesson.show_source(batch_norm.batch_norm_by_hand).data
    assert listing.startswith("```python\ndef batch_norm_by_hand(")
    assert "normalized = (inputs - mean) / tf.sqrt(variance + epsilon)\n" in listing
    assert listing.endswith("return gamma * normalized + beta\n```")


def test_methods_start_at_the_margin():
    listing = lesson.show_source(networks.Network.output, networks.Network.activation_inputs).data
    assert "\ndef output(self" in listing
    assert "\n\n\ndef activation_inputs(self" in listing


@pytest.mark.end_to_end
def test_tensorflow_starts_without_a_word():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_CPP")}
    code = "from bn_tutorial import lesson; lesson.tf.ones(2) + 1; lesson.start(0, 'digits')"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert process.stderr == ""
    assert process.stdout.startswith("Python 3.")
    assert "; seed 0\n" in process.stdout
    assert process.stdout.endswith("data: digits; 1,317 training, 120 validation, 360 test\n")


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


def test_source_without_docstrings():
    listing = lesson.show_source(batch_norm.BatchNormVariables, docstrings=False).data
    assert listing.startswith("```python\nclass BatchNormVariables(tf.Module):\n    def __init__(")
    assert '"""' not in listing
    assert "self.pop_var.assign(decay * self.pop_var + (1 - decay) * variance)" in listing
    wrapper = lesson.show_source(batch_norm.batch_norm_wrapper, docstrings=False).data
    assert len(wrapper.splitlines()) <= 20  # it fits on a screen


def test_mean_and_spread():
    assert lesson.mean_and_spread([0.25, 0.5, 0.3]) == ("0.350", "0.250–0.500")
    assert lesson.mean_and_spread([1000, 3000], "{:,.0f}") == ("2,000", "1,000–3,000")


def test_spread():
    assert lesson.spread([0.25, 0.5, 0.375]) == "0.250–0.500"
    assert lesson.spread([2, None, 1000], "{:,.0f}") == "2–1,000 (1 never)"
    assert lesson.spread([0.1, 0.1]) == "0.100"
    assert lesson.spread([None, None]) == "never"


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
    left.plot([1, 2], label="naive BN")
    left.plot([2, 1], label="fixed BN")
    left.set(title="left", xlabel="steps", ylabel="accuracy")
    right.set(xlabel="steps", ylabel="accuracy")
    expected = "Both ways. left. accuracy against steps. naive BN, fixed BN."
    assert lesson.describe(figure) == expected
    figure.set_label("In words of its own.")
    assert lesson.describe(figure) == "In words of its own."
    plt.close(figure)


@pytest.mark.end_to_end
def test_each_figure_shown_has_an_alternative_text(tmp_path):
    """In a kernel, as in a notebook."""
    code = (
        "from bn_tutorial import lesson\nimport matplotlib.pyplot as plt\n"
        "lesson.start(0, 'digits')\nplt.plot([1, 2])\nplt.title('a line')\nplt.show()"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, kernel_name="python3").execute(cwd=tmp_path)
    (image,) = [o for o in notebook.cells[0].outputs if o.output_type == "display_data"]
    assert image.metadata["image/png"]["alt"] == "a line."
