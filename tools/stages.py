"""Run stages of the Makefile one after the other, all of them even if one fails.

    python tools/stages.py lint unit browser

At the end there is a line for each: passed, failed or skipped and why, and its seconds. The exit
code is 1 if any failed. A stage that needs what this machine does not have is skipped; browser
tests are not, where BN_TUTORIAL_BROWSER is "required".
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter

# Chrome first: where a machine has both, as GitHub's runners do, chromedriver is Chrome's.
BROWSERS = ("google-chrome", "chrome", "chromium", "chromium-browser")


def reason_to_skip(stage: str) -> str:
    """Why a stage can't be run here; empty if it can."""
    if not stage.startswith("browser") or os.environ.get("BN_TUTORIAL_BROWSER") == "required":
        return ""
    if shutil.which("chromedriver") and any(map(shutil.which, BROWSERS)):
        return ""
    return "no Chromium or Chrome with its chromedriver; on Debian, apt install chromium-driver"


def run(stage: str) -> tuple[str, str]:
    """Run one; returns what became of it, and the reason if it was skipped."""
    if reason := reason_to_skip(stage):
        return "skipped", reason
    print(f"== {stage}", flush=True)
    make = os.environ.get("MAKE", "make")
    code = subprocess.run([make, "--no-print-directory", stage]).returncode
    return "failed" if code else "passed", ""


def main(stages: list[str]) -> int:
    """Run the stages; returns the exit code."""
    lines, outcomes = [], Counter(passed=0, failed=0, skipped=0)
    for stage in stages:
        start = time.monotonic()
        outcome, reason = run(stage)
        outcomes[outcome] += 1
        lines.append(f"{outcome:8} {stage:16} {reason or f'{time.monotonic() - start:.0f} s'}")
    print("", *lines, sep="\n")
    print("stages:", ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    return int(outcomes["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
