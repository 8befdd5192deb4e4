"""What a full run gave, kept in `results.json`, and how another run compares with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tools.try_it_yourself.questions import Result, Results

FILE = Path(__file__).with_name("results.json")
SHARE, DIFFERENCE = 0.05, 0.02  # from one processor to another; accuracies change by less


def read_results() -> dict[str, Results]:
    """By question."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}


def write_results(results: dict[str, Results]) -> None:
    """Six digits of each number, the questions in order."""
    rounded = {
        number: {name: _rounded(result) for name, result in results[number].items()}
        for number in sorted(results)
    }
    FILE.write_text(json.dumps(rounded, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def differences(found: Results, kept: Results) -> list[str]:
    """A line for each result that is not what it was; of several seeds the mean is compared."""
    if list(found) != list(kept):
        return [f"  expected {list(kept)}, found {list(found)}"]
    return [
        f"  {name}: expected {kept[name]}, found {_rounded(result)}"
        for name, result in found.items()
        if not _agree(result, kept[name])
    ]


def _agree(found: Result, kept: Result) -> bool:
    if isinstance(found, str):
        return found == kept
    return bool(np.isclose(np.mean(found), np.mean(kept), rtol=SHARE, atol=DIFFERENCE))


def _rounded(result: Result) -> Result:
    if isinstance(result, str):
        return result
    if isinstance(result, list):
        return [_rounded(value) for value in result]
    return float(f"{result:.6g}")
