"""Which claims are closest to failing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from tools.margins.runs import Outcome

ENOUGH = 3.0  # standard deviations


@dataclass(frozen=True)
class Margin:
    """How far a claim is from failing.

    Attributes:
        subject: where the claim stands.
        claim: its text.
        kind: of the runs in which it was closest.
        slacks: in these runs.
        spread: the standard deviation of the slack, pooled over all kinds of runs.
    """

    subject: str
    claim: str
    kind: str
    slacks: list[float]
    spread: float

    @property
    def deviations(self) -> float:
        """The mean slack, in standard deviations; infinite for a fact that always held."""
        if not np.isfinite(self.slacks).all():
            return -np.inf if min(self.slacks) < 0 else np.inf
        if min(self.slacks) < 0:
            return min(np.mean(self.slacks) / self.spread, 0.0) if self.spread else -np.inf
        return np.mean(self.slacks) / self.spread if self.spread else np.inf


def margins(outcomes: Iterable[Outcome]) -> list[Margin]:
    """One for each claim, the closest first."""
    slacks: dict[tuple[str, str], dict[str, list[float]]] = {}
    for outcome in outcomes:
        for claim, slack in outcome.slacks.items():
            kinds = slacks.setdefault((outcome.subject, claim), {})
            kinds.setdefault(outcome.run.kind, []).append(slack)
    found = []
    for (subject, claim), kinds in slacks.items():
        spread = _pooled_spread(kinds.values())
        of_kinds = (Margin(subject, claim, kind, values, spread) for kind, values in kinds.items())
        found.append(min(of_kinds, key=lambda margin: margin.deviations))
    return sorted(found, key=lambda margin: margin.deviations)


def _pooled_spread(groups: Iterable[list[float]]) -> float:
    """The standard deviation around each group's own mean; 0 if no group has two finite values."""
    squares = freedom = 0.0
    for values in groups:
        if len(values) > 1 and np.isfinite(values).all():
            squares += np.sum((values - np.mean(values)) ** 2)
            freedom += len(values) - 1
    return float(np.sqrt(squares / freedom)) if freedom else 0.0


def text(outcomes: list[Outcome], closest: int) -> str:
    """The closest claims as a table, what fell, and how many there are."""
    found = margins(outcomes)
    measured = [margin for margin in found if margin.spread > 0]
    rows = [
        (m.subject, m.claim[:110], m.kind, f"{np.mean(m.slacks):.2g}", f"{m.spread:.2g}",
         f"{m.deviations:.1f}", sum(slack < 0 for slack in m.slacks))
        for m in found[:closest]
    ]  # fmt: skip
    headers = ["where", "claim", "closest in", "mean slack", "spread", "deviations", "fell"]
    close = sum(margin.deviations < ENOUGH for margin in found)
    errors = [f"{o.subject} ({o.run}): {error}" for o in outcomes for error in o.errors]
    return "\n".join([
        *errors,
        tabulate(rows, headers, disable_numparse=True, maxcolwidths=[24, 60, *[None] * 5]),
        f"{len(found)} claims in {len(outcomes)} runs; {len(measured)} differ from run to run; "
        f"{close} are closer than {ENOUGH:g} standard deviations",
    ])  # fmt: skip
