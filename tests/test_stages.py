"""All stages are run, and the last lines say what became of each."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STAGES = Path(__file__).parents[1] / "tools/stages.py"
MAKEFILE = "good:\n\t@echo ran good\nbad:\n\t@false\nbrowser:\n\t@echo ran browser\n"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def run_stages(tmp_path):
    (tmp_path / "Makefile").write_text(MAKEFILE)

    def run(*stages, **environment):
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        inherited.pop("BN_TUTORIAL_BROWSER", None)
        command, environment = [sys.executable, STAGES, *stages], inherited | environment
        options = {"cwd": tmp_path, "env": environment}
        return subprocess.run(command, capture_output=True, text=True, **options)

    return run


def outcomes(result):
    """Stage → what became of it, from the lines at the end."""
    pattern = r"^(passed|failed|skipped) +(\S+)"
    return {stage: outcome for outcome, stage in re.findall(pattern, result.stdout, re.MULTILINE)}


def test_a_stage_that_fails_stops_no_other(run_stages):
    result = run_stages("bad", "good")
    assert result.returncode == 1
    assert "ran good" in result.stdout
    assert outcomes(result) == {"bad": "failed", "good": "passed"}


def test_without_a_browser_its_stage_is_skipped_unless_it_is_required(run_stages, tmp_path):
    for name in ("make", "echo", "sh"):  # nothing else is found
        (tmp_path / name).symlink_to(shutil.which(name))
    skipped = run_stages("browser", PATH=str(tmp_path))
    assert skipped.returncode == 0
    assert outcomes(skipped) == {"browser": "skipped"}
    required = run_stages("browser", PATH=str(tmp_path), BN_TUTORIAL_BROWSER="required")
    assert required.returncode == 0
    assert outcomes(required) == {"browser": "passed"}
