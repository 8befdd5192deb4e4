"""Where there is no browser, the tests in it are skipped, or fail, and say how to get one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ONE = Path(__file__).parent / "browser/test_jupyter_lab.py::test_the_canvas_is_drawn_on"


@pytest.mark.slow
@pytest.mark.parametrize(("required", "outcome"), [("", "1 skipped"), ("required", "1 error")])
def test_where_no_program_is_found(required, outcome, tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", ONE],
        capture_output=True, text=True,
        env=kept | {"PATH": str(tmp_path), "BN_TUTORIAL_BROWSER": required},
    )  # fmt: skip
    assert outcome in result.stdout
    assert "apt install chromium" in result.stdout
