"""Runs of a notebook or a file of tests, with what a claim must not depend on changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbclient import NotebookClient
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from tools.margins import claims, seeds

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
WATCH = f"""import sys
sys.path.insert(0, {str(ROOT)!r})
from tools.margins.claims import watch
watch(get_ipython())"""
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
CHANGES = {  # of the environment; they imitate other processors
    "one thread": dict.fromkeys(THREADS, "1"),
    "two threads": dict.fromkeys(THREADS, "2"),
    "oneDNN off": dict.fromkeys(THREADS, "1") | {"TF_ENABLE_ONEDNN_OPTS": "0"},
}


class Run(NamedTuple):
    """How a subject is run."""

    source: str  # of the digits, as in `load_mnist`
    short: bool  # in the short form that `make test` runs
    seed: int  # the notebook's; those of tests are shifted by so much
    change: str  # one of CHANGES

    @property
    def kind(self) -> str:
        """What is compared with one another."""
        return f"{self.source}, {'short' if self.short else 'full'}"


# Some two hours on two cores for everything.
RUNS = [
    Run("digits", True, 0, "one thread"),
    Run("digits", True, 1, "oneDNN off"),
    Run("digits", True, 2, "two threads"),
    Run("digits", True, 3, "one thread"),
    Run("digits", True, 4, "oneDNN off"),
    Run("mnist", True, 1, "oneDNN off"),
    Run("mnist", True, 2, "oneDNN off"),
    Run("mnist", False, 1, "one thread"),
]


class Outcome(NamedTuple):
    """What a run gave."""

    subject: str  # the notebook, such as `03_what_batch_norm_buys`, or the file of tests
    run: Run
    slacks: dict[str, float]  # by a claim's test and text; the least, if it was met several times
    errors: list[str]  # for each test that failed, or each cell that ended in an exception


def run(subject: str, how: Run) -> Outcome:
    """Run a notebook, named as `03_what…` or `solutions/08_…`, or a file `tests/…`."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder, "records")
        records.touch()
        environment = os.environ | CHANGES[how.change] | {claims.OUTPUT: str(records)}
        run_one = _run_tests if subject.startswith("tests/") else _run_notebook
        errors = run_one(subject, how, environment)
        slacks = read(records)
    seconds = time.perf_counter() - start
    title = f"{subject}, {how.kind}, seed {how.seed}, {how.change}"
    fell = [f"  fell by {-s:.2g}: {claim[:150]}" for claim, s in slacks.items() if s < 0]
    lines = [f"{title}: {len(slacks)} claims, {seconds:.0f} s", *fell, *errors]
    print("\n".join(lines), flush=True)
    return Outcome(subject, how, slacks, errors)


def read(records: Path) -> dict[str, float]:
    """The least slack of each claim."""
    slacks: dict[str, float] = {}
    for line in records.read_text(encoding="utf-8").splitlines():
        test, claim, slack = json.loads(line)
        name = f"{test.split('::', 1)[-1].removesuffix(' (call)')}: {claim}" if test else claim
        slacks[name] = min(slack, slacks.get(name, claims.HOLDS))
    return slacks


def _run_tests(subject: str, how: Run, environment: dict[str, str]) -> list[str]:
    options = ["-p", "tools.margins.seeds", "-p", "no:cacheprovider", "-q", "--tb=line"]
    options += ["-m", "not workers", f"--hypothesis-seed={how.seed}", subject]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=ROOT, env=environment | {seeds.SHIFT: str(how.seed)}, capture_output=True, text=True,
    )  # fmt: skip
    lines = (result.stdout + result.stderr).splitlines()
    return [line for line in lines if line.startswith(("FAILED", "ERROR"))]


def _run_notebook(subject: str, how: Run, environment: dict[str, str]) -> list[str]:
    notebook = load_notebook_node(str(NOTEBOOKS / f"{subject}.ipynb"))
    parameters = notebook.metadata.short if how.short else {}
    parameters = parameters | {"SEED": how.seed, "SOURCE": how.source}
    notebook = parameterize_notebook(notebook, parameters)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(WATCH))
    resources = {"metadata": {"path": NOTEBOOKS}}
    client = NotebookClient(notebook, timeout=None, allow_errors=True, resources=resources)
    client.execute(env=environment)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [f"{o.ename}: {o.evalue}" for o in outputs if o.output_type == "error"]


def subjects(asked: list[str]) -> list[str]:
    """All notebooks and files of tests, or those asked for.

    Raises:
        SystemExit: One that is asked for does not exist.
    """
    paths = [*sorted(NOTEBOOKS.glob("*.ipynb")), *sorted(NOTEBOOKS.glob("solutions/*.ipynb"))]
    known = [path.relative_to(NOTEBOOKS).with_suffix("").as_posix() for path in paths]
    files = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("tests/**/test_*.py"))]
    known += [file for file in files if "/browser/" not in file]
    found = [next((name for name in known if name.startswith(start)), "") for start in asked]
    if "" in found:
        raise SystemExit(f"expected notebooks or files of tests, some of {known}; found {asked}")
    return found or known
