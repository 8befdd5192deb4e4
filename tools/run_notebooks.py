"""Run notebooks, two at a time, and leave each with its outputs and as a web page.

    python tools/run_notebooks.py notebooks/01_naive_batch_norm.ipynb … --pages build

A bar shows how far each notebook is. If a cell fails, the notebook is left up to that cell, the
error is printed, the other notebooks go on, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path

import nbformat
from html_page import html_page
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from tqdm import tqdm

AT_ONCE = 2
THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")


def run(path: Path, row: int, pages: Path, linked: set[str], threads: int) -> str | None:
    """Run one, and write it and its page; returns the error that ended it, if one did."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=None, record_timing=False, resources={"metadata": {"path": path.parent}}
    )
    environment = dict.fromkeys(THREADS, str(threads)) | os.environ
    with tqdm(total=len(notebook.cells), desc=path.stem, unit=" cells", position=row) as bar:
        client.on_cell_complete = lambda cell, cell_index: bar.update(cell_index + 1 - bar.n)
        try:
            client.execute(env=environment)
            bar.update(bar.total - bar.n)  # the text after the last code cell
        except CellExecutionError as error:
            return str(error)
        finally:
            # Of a progress bar that was redrawn in place, this keeps what it showed last.
            notebook, _ = CoalesceStreamsPreprocessor(enabled=True).preprocess(notebook, {})
            nbformat.write(notebook, pages / path.name)
            page = pages.resolve() / f"{path.stem}.html"
            page.write_text(html_page(notebook, linked), encoding="utf-8")
            tqdm.write(f"  its page: {page}")
    return None


def main() -> int:
    """Run all that are named; returns the exit code."""
    options = argparse.ArgumentParser()
    options.add_argument("notebooks", nargs="+", type=Path)
    options.add_argument("--pages", type=Path, required=True, help="the folder for what is made")
    chosen = options.parse_args()
    chosen.pages.mkdir(parents=True, exist_ok=True)
    at_once = min(AT_ONCE, len(chosen.notebooks))
    run_one = partial(
        run,
        pages=chosen.pages,
        linked={path.stem for path in [*chosen.notebooks, *chosen.pages.glob("*.html")]},
        threads=max(1, (os.cpu_count() or 1) // at_once),
    )
    try:
        found = ThreadPoolExecutor(at_once).map(run_one, chosen.notebooks, count())
        errors = [error for error in found if error]
    except KeyboardInterrupt:
        os._exit(130)  # the kernels end with their parent; the pool would wait for all notebooks
    print("\n".join(errors), end="", file=sys.stderr)
    if not errors:
        print("Done. Open a page in a browser, or the notebook beside it in JupyterLab:")
    for path in chosen.notebooks:
        print(f"  {(chosen.pages / path.stem).resolve()}.html")
    return int(bool(errors))


if __name__ == "__main__":
    sys.exit(main())
