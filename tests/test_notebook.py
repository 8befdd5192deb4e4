import os
import subprocess
import sys

from bn_tutorial import batch_norm, networks, notebook


def test_source_is_the_functions_own():
    listing = notebook.show_source(batch_norm.batch_norm_by_hand).data
    assert listing.startswith("```python\ndef batch_norm_by_hand(")
    assert "normalized = (inputs - mean) / tf.sqrt(variance + epsilon)\n" in listing
    assert listing.endswith("return gamma * normalized + beta\n```")


def test_methods_start_at_the_margin():
    listing = notebook.show_source(networks.Network.output, networks.Network.activation_inputs).data
    assert "\ndef output(self" in listing
    assert "\n\n\ndef activation_inputs(self" in listing


def test_tensorflow_starts_without_a_word():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_CPP")}
    code = "from bn_tutorial import notebook; notebook.tf.ones(2) + 1; notebook.start(0)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert process.stderr == ""
    assert process.stdout.startswith("Python 3.")
    assert process.stdout.endswith("; seed 0\n")


def test_errors_still_get_through_after_silence(capfd):
    with notebook.silent_stderr():
        os.write(2, b"dropped")
    os.write(2, b"kept")
    assert capfd.readouterr().err == "kept"


def test_start_seeds_tensorflow_and_numpy():
    drawn = []
    for _ in range(2):
        notebook.start(7)
        drawn.append((float(notebook.tf.random.normal([])), float(notebook.np.random.normal())))
    assert drawn[0] == drawn[1]
