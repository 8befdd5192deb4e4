"""What `make` does, seen from outside: in a home folder that is empty, or can't be there."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(
        shutil.which("make") is None or not (ROOT / ".venv/installed").exists(),
        reason="needs make, and what it has set up",
    ),
]


def make(*arguments, **environment):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    # Never set up anew: other tests run in that environment.
    options = ["--no-print-directory", "--old-file=.venv/installed"]
    command, environment = ["make", *options, *map(str, arguments)], inherited | environment
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


@pytest.fixture
def chapter(tmp_path):
    """A folder with a short notebook that uses what the real ones use."""
    cell = nbformat.v4.new_code_cell(
        "from bn_tutorial.lesson import start\n"
        "from bn_tutorial import figures\n"
        "import matplotlib.pyplot as plt\n"
        "data = start(0, 'digits')\n"
        "figures.plot_digits(data.test.images, data.test.classes, 'digits')\n"
        "plt.show()"
    )
    folder = tmp_path / "chapters"
    folder.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "07_tiny.ipynb")
    return folder


def run_chapters(folder, home, only="07"):
    where = f"FOLDER={folder}", f"PAGES={folder.parent}"
    return make("run", f"ONLY={only}", *where, HOME=str(home))


def test_run_leaves_the_home_folder_as_it_was_and_names_the_page(chapter, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine").touch()
    result = run_chapters(chapter, home)
    assert result.returncode == 0, result.stderr
    assert [str(path.relative_to(home)) for path in home.rglob("*")] == ["mine"]
    page = tmp_path / "07_tiny.html"
    assert str(page) in result.stdout
    html = page.read_text(encoding="utf-8")
    assert "data:image/png" in html
    assert re.search(r'alt="digits: 2, 3, [^"]*"', html)


@pytest.mark.slow
def test_run_where_there_can_be_no_home(chapter, tmp_path):
    """Below a file no folder can be made, not even by root."""
    (tmp_path / "file").touch()
    result = run_chapters(chapter, tmp_path / "file/home")
    assert result.returncode == 0, result.stderr


def test_a_cell_that_fails_is_shown_and_the_other_notebooks_go_on(chapter, tmp_path):
    failing = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(failing, chapter / "08_failing.ipynb")
    result = run_chapters(chapter, tmp_path / "home", "08 07")
    assert result.returncode != 0
    assert "ZeroDivisionError" in result.stderr
    assert (tmp_path / "07_tiny.html").exists()
    assert "ZeroDivisionError" in (tmp_path / "08_failing.html").read_text(encoding="utf-8")


def test_a_number_that_no_notebook_has():
    result = make("run", "ONLY=03 77")
    assert result.returncode != 0
    assert "found: 77" in result.stderr


def test_a_python_that_will_not_do_is_named(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/requirements.lock").touch()
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\necho Python 3.9.1\n")
    old.chmod(0o755)
    python = f"PYTHON={tmp_path / 'none'} {old}"
    result = make(
        "-C", tmp_path, "-f", ROOT / "Makefile", "build/site-environment/installed", python
    )
    assert result.returncode != 0
    assert re.search(rf"3\.13 .*found: .*{re.escape(str(old))} .*3\.9\.1", result.stderr)
