"""Copy the README's figure out of notebook 1, so that it is the one the notebook shows."""

import base64
from pathlib import Path

import nbformat

FOLDER = Path(__file__).parents[1] / "notebooks"


def accuracy_figure() -> bytes:
    """The PNG that the cell calling `plot_accuracy` has as its output."""
    notebook = nbformat.read(FOLDER / "01_naive_batch_norm.ipynb", as_version=4)
    (cell,) = [cell for cell in notebook.cells if "figures.plot_accuracy(" in cell.source]
    (output,) = cell.outputs
    return base64.b64decode(output.data["image/png"])


if __name__ == "__main__":
    (FOLDER / "accuracy.png").write_bytes(accuracy_figure())
