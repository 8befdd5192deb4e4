"""Which claims are closest to failing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from tools.margins.runs import Outcome

ENOUGH = 3.0  # standard deviations
HEADERS = ["where", "claim", "closest in", "mean slack", "spread", "deviations", "fell"]


class Margin(NamedTuple):
    """How far a claim is from failing, in the kind of runs in which it was closest to that."""

    subject: str  # the notebook or the file of tests that has the claim
    claim: str
    kind: str
    slacks: list[float]  # in these runs
    spread: float  # the standard deviation of the slack, pooled over all kinds of runs

    @property
    def fell(self) -> int:
        """In how many of these runs the claim did not hold."""
        return sum(slack < 0 for slack in self.slacks)

    @property
    def deviations(self) -> float:
        """The mean slack, in standard deviations; infinite for a fact that always held."""
        if not (self.spread and np.isfinite(self.slacks).all()):
            return -np.inf if self.fell else np.inf
        deviations = np.mean(self.slacks) / self.spread
        return min(deviations, 0.0) if self.fell else deviations


def margins(outcomes: Iterable[Outcome]) -> list[Margin]:
    """One for each claim, the closest first."""
    slacks: dict = defaultdict(lambda: defaultdict(list))  # of a claim, by the kind of run
    for outcome in outcomes:
        for claim, slack in outcome.slacks.items():
            slacks[outcome.subject, claim][outcome.run.kind].append(slack)
    found = []
    for (subject, claim), kinds in slacks.items():
        spread = _pooled_spread(kinds.values())
        of_kinds = (Margin(subject, claim, kind, values, spread) for kind, values in kinds.items())
        found.append(min(of_kinds, key=lambda margin: margin.deviations))
    return sorted(found, key=lambda margin: margin.deviations)


def _pooled_spread(groups: Iterable[list[float]]) -> float:
    """The standard deviation around each group's own mean; 0 if no group has two finite values."""
    groups = [values for values in groups if len(values) > 1 and np.isfinite(values).all()]
    squares = sum(len(values) * np.var(values) for values in groups)
    freedom = sum(len(values) - 1 for values in groups)
    return float(np.sqrt(squares / freedom)) if freedom else 0.0


def text(found: list[Margin], outcomes: list[Outcome], closest: int) -> str:
    """The closest claims as a table, the errors above it, and how many claims there are."""
    rows = [
        (m.subject, m.claim[:110], m.kind, f"{np.mean(m.slacks):.2g}", f"{m.spread:.2g}",
         f"{m.deviations:.1f}", m.fell)
        for m in found[:closest]
    ]  # fmt: skip
    errors = [f"{o.subject} ({o.run}): {error}" for o in outcomes for error in o.errors]
    table = tabulate(rows, HEADERS, disable_numparse=True, maxcolwidths=[24, 60, *[None] * 5])
    counts = (
        f"{len(found)} claims in {len(outcomes)} runs; "
        f"{sum(margin.spread > 0 for margin in found)} differ from run to run; "
        f"{sum(margin.deviations < ENOUGH for margin in found)} are closer than "
        f"{ENOUGH:g} standard deviations"
    )
    return "\n".join([*errors, table, counts])
