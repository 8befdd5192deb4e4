"""What `make` does, seen from outside: in a home folder that is empty, or can't be there."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(
        shutil.which("make") is None or not (ROOT / ".venv/installed").exists(),
        reason="needs make, and what it has set up",
    ),
]


def make(*arguments, **environment):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    for name in ("IPYTHONDIR", "KERAS_HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        inherited.pop(name, None)
    return subprocess.run(
        # Never set up anew: other tests run in that environment.
        ["make", "--no-print-directory", "--old-file=.venv/installed", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, env=inherited | environment,
    )  # fmt: skip


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
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    folder = tmp_path / "chapters"
    folder.mkdir()
    nbformat.write(
        nbformat.v4.new_notebook(cells=[cell], metadata=kernel), folder / "07_tiny.ipynb"
    )
    return folder


def run_chapter(chapter, home):
    return make("run", "ONLY=07", f"FOLDER={chapter}", f"PAGES={chapter.parent}", HOME=str(home))


def test_run_leaves_the_home_folder_as_it_was_and_names_the_page(chapter, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine").touch()
    result = run_chapter(chapter, home)
    assert result.returncode == 0, result.stderr
    assert [str(path.relative_to(home)) for path in home.rglob("*")] == ["mine"]
    page = tmp_path / "07_tiny.html"
    assert f"its page: {page}\n" in result.stdout
    html = page.read_text(encoding="utf-8")
    assert "data:image/png" in html
    assert re.search(r'alt="digits: 2, 3, [^"]*"', html)


def test_run_where_there_can_be_no_home(chapter, tmp_path):
    """Below a file no folder can be made, not even by root."""
    (tmp_path / "file").touch()
    result = run_chapter(chapter, tmp_path / "file/home")
    assert result.returncode == 0, result.stderr


def planned(*arguments):
    """The notebooks that a command would run."""
    result = make("--dry-run", *arguments)
    assert result.returncode == 0, result.stderr
    names = re.search(r"^for name in ([^;]*);", result.stdout, re.MULTILINE)[1]
    return [name[:2] for name in names.split()]


def test_which_notebooks_are_run():
    every = sorted(path.name[:2] for path in ROOT.glob("notebooks/*.ipynb"))
    assert planned("run") == ["01", "02"]
    assert planned("run", "ONLY=03") == ["03"]
    assert planned("run", "ONLY=04 02") == ["02", "04"]
    assert planned("run-all") == every


def test_a_number_that_no_notebook_has():
    result = make("run", "ONLY=03 77")
    assert result.returncode != 0
    assert "ONLY: expected numbers of notebooks, some of: 01 02 03 04" in result.stderr
    assert "found: 77" in result.stderr


def test_each_notebook_is_tested_on_mnist_and_on_digits():
    commands = make("--dry-run", "notebooks").stdout
    for path in [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("notebooks/solutions/*.ipynb")]:
        for folder in ("quick", "digits"):
            assert f" build/{folder}/{path.relative_to(ROOT / 'notebooks').as_posix()}" in commands


def test_solutions_are_tested_and_refreshed_with_their_notebook(tmp_path):
    (tmp_path / "solutions").mkdir()
    for name in ("07_other", "08_exercises", "solutions/08_exercises"):
        (tmp_path / f"{name}.ipynb").touch()
    folder = f"FOLDER={tmp_path}"
    commands = make("--dry-run", "notebooks", folder, "QUICK_08=-p BUDGET 0.5").stdout
    for short in ("quick", "digits"):
        assert (
            f"-p BUDGET 0.5 {tmp_path}/solutions/08_exercises.ipynb "
            f"build/{short}/solutions/08_exercises.ipynb"
        ) in commands
        assert commands.count(f" build/{short}/solutions/08_exercises.ipynb") == 2
    assert f"{tmp_path}/solutions/08_exercises.ipynb" in make("-n", "test-full", folder).stdout
    refreshed = make("-n", "refresh", folder, "ONLY=08").stdout
    assert f"{tmp_path}/08_exercises.ipynb {tmp_path}/solutions/08_exercises.ipynb" in refreshed
    assert "07_other" not in refreshed


def test_lock_is_made_by_the_command_in_its_header():
    (header,) = re.findall(r"^#    uv (.*)$", LOCK, re.MULTILINE)
    command = re.sub(r"\s*\\\n\s*", " ", make("--dry-run", "lock").stdout)
    assert f"uv {header}\n" in command.replace(" --upgrade", "")
