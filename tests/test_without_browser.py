"""Where there is no browser, the tests in it are skipped, or fail, and say how to get one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ONE = "test_jupyter_lab.py::test_the_kernel_is_the_python_that_runs_the_tests"
FOLDER = Path(__file__).parent / "browser"

pytestmark = pytest.mark.slow


def run_one(path, **environment):
    """Run one such test where programs are found in this folder alone."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTEST_") and name != "BN_TUTORIAL_BROWSER"
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", FOLDER / ONE],
        capture_output=True,
        text=True,
        env=kept | {"PATH": str(path)} | environment,
    )


def test_they_are_skipped(tmp_path):
    result = run_one(tmp_path)
    assert result.returncode == 0, result.stdout
    assert "1 skipped" in result.stdout
    assert "no browser to test with: on Debian and Ubuntu, apt install" in result.stdout


def test_they_fail_where_a_browser_is_required(tmp_path):
    result = run_one(tmp_path, BN_TUTORIAL_BROWSER="required")
    assert result.returncode == 1, result.stdout
    assert "1 error" in result.stdout
    assert "no browser to test with: on Debian and Ubuntu, apt install" in result.stdout
