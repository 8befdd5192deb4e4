"""The command; see the package's docstring."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from tools.margins import report, runs


def main() -> int:
    """Run what is asked for, and print the closest claims; 1 if one is too close."""
    options = argparse.ArgumentParser(prog="python -m tools.margins")
    options.add_argument("subjects", nargs="*", help="03, solutions/08, tests/test_networks.py, …")
    options.add_argument("--closest", type=int, default=10, help="print so many (%(default)s)")
    options.add_argument("--jobs", type=int, default=2, help="at the same time (%(default)s)")
    options.add_argument("--no-full", action="store_true", help="without the run with all steps")
    chosen = options.parse_args()
    work = [
        (subject, how)
        for how in runs.RUNS
        for subject in runs.subjects(chosen.subjects)
        if (how.short or not chosen.no_full)
        and (how.source == "digits" or not subject.endswith(".py"))
    ]
    with ThreadPoolExecutor(chosen.jobs) as pool:
        outcomes = list(pool.map(runs.run, *zip(*work, strict=True)))
    found = report.margins(outcomes)
    print(report.text(found, outcomes, chosen.closest))
    return int(any(margin.deviations < report.ENOUGH for margin in found))


if __name__ == "__main__":
    sys.exit(main())
