"""The command; see the package's docstring."""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.margins import report, runs


def main() -> int:
    """Run what is asked for, and print the closest claims; 1 if one is too close."""
    options = argparse.ArgumentParser(prog="python -m tools.margins")
    options.add_argument(
        "subjects", nargs="*", help="such as 03, solutions/08, tests/test_networks.py"
    )
    options.add_argument("--closest", type=int, default=10, help="print so many (%(default)s)")
    options.add_argument("--jobs", type=int, default=2, help="at the same time (%(default)s)")
    options.add_argument("--no-full", action="store_true", help="without the run with all steps")
    options.add_argument(
        "--results",
        type=Path,
        help="keep each run in this folder, and do not repeat those that are there; after a change "
        "of code or claims take an empty one",
    )
    chosen = options.parse_args()
    if chosen.results:
        chosen.results.mkdir(parents=True, exist_ok=True)
    work = [
        (subject, how)
        for how in runs.RUNS
        for subject in runs.subjects(chosen.subjects)
        if (how.short or not chosen.no_full)
        and (how.source == "digits" or not subject.endswith(".py"))
    ]
    with ThreadPoolExecutor(chosen.jobs) as pool:
        outcomes = list(pool.map(lambda item: kept_run(*item, chosen.results), work))
    found = report.margins(outcomes)
    print(report.text(found, outcomes, chosen.closest))
    return int(any(margin.deviations < report.ENOUGH for margin in found))


def kept_run(subject: str, how: runs.Run, folder: Path | None) -> runs.Outcome:
    """The outcome of a run that is kept in the folder, or else of one that is done now."""
    file = folder and folder / f"{subject} {how.kind} {how.seed}.json".replace("/", "-")
    if file and file.exists():
        _, _, *kept = json.loads(file.read_text(encoding="utf-8"))
        return runs.Outcome(subject, how, *kept)
    outcome = runs.run(subject, how)
    fell = [f"  fell by {-s:.2g}: {claim[:150]}" for claim, s in outcome.slacks.items() if s < 0]
    print(f"{subject}, {how.kind}, seed {how.seed}, {how.change}: "
          f"{len(outcome.slacks)} claims, {outcome.seconds:.0f} s",
          *fell, *outcome.errors, sep="\n", flush=True)  # fmt: skip
    if file:
        file.write_text(json.dumps(outcome), encoding="utf-8")
    return outcome


if __name__ == "__main__":
    sys.exit(main())
