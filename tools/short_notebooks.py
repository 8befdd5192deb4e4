"""Copies of the notebooks in their short form: as many steps as their claims need, and no more.

    python tools/short_notebooks.py build/short                     on MNIST, or what can be had
    python tools/short_notebooks.py build/digits --source digits    on the embedded digits

What the short form of a notebook changes is in its metadata, under `short`: parameters and their
values. With `--without-slow` cells with the tag `slow` are left out, too. Prints the paths of the
copies; later chapters take longer and come first, so that two processes that share the work end at
about the same time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

ROOT = Path(__file__).parents[1]


def short_form(
    path: Path, with_slow_cells: bool = True, **parameters: object
) -> nbformat.NotebookNode:
    """A notebook in its short form, with other parameters besides."""
    notebook = load_notebook_node(str(path))
    if not with_slow_cells:
        notebook.cells = [cell for cell in notebook.cells if "slow" not in cell.metadata.tags]
    return parameterize_notebook(notebook, notebook.metadata.get("short", {}) | parameters)


def main() -> None:
    """Write the copies of all chapters and solutions, and print their paths."""
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path, help="where the copies go")
    options.add_argument("--source", help="of the digits, as in `load_mnist`")
    options.add_argument("--notebooks", type=Path, default=ROOT / "notebooks")
    options.add_argument("--part", choices=["chapters", "solutions"], default="chapters")
    options.add_argument("--without-slow", action="store_true")
    chosen = options.parse_args()
    parameters = {"SOURCE": chosen.source} if chosen.source else {}
    pattern = "*.ipynb" if chosen.part == "chapters" else "solutions/*.ipynb"
    for path in sorted(chosen.notebooks.glob(pattern), reverse=True):
        copy = chosen.folder / path.relative_to(chosen.notebooks)
        copy.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(short_form(path, not chosen.without_slow, **parameters), copy)
        print(copy)


if __name__ == "__main__":
    main()
