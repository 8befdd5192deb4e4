"""What `examine` returns, and how it reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bn_tutorial.keras_models.ailments import AILMENTS, Ailment
from bn_tutorial.keras_models.model import shortened


@dataclass(frozen=True)
class Finding(Ailment):
    """One trouble in one layer.

    Attributes:
        layer: The name of the BN layer; for "useless-bias" of the layer with the bias; of the
            model where the accuracy tells, "mode-gap" and some "lagging".
        value: The number measured, in the unit of `quantity`.
    """

    layer: str
    value: float


class Findings(list[Finding]):
    """What `examine` found; it prints as a report, and is a table in a notebook.

    Attributes:
        examined: what was looked at, in a line.
        remarks: what could be better and costs nothing; these are no findings.
        notes: what could not be looked for, and why.
    """

    def __init__(
        self,
        findings: Iterable[Finding] = (),
        examined: str = "",
        remarks: Iterable[Finding] = (),
        notes: Iterable[str] = (),
    ) -> None:
        super().__init__(findings)
        self.examined, self.remarks, self.notes = examined, list(remarks), tuple(notes)

    def __str__(self) -> str:
        """A paragraph for each kind."""
        paragraphs = [self._headline(), *map(_paragraph, _by_kind(self)), *self._below()]
        return "\n\n".join(paragraphs)

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        """A row for each kind."""
        rows = [
            f"| **{group[0].kind}** {_layers(group)} | {group[0].symptom} "
            f"| {_measured(group)} | {group[0].cause} | {group[0].remedy} "
            f"| {group[0].chapter}; {group[0].links} |"
            for group in _by_kind(self)
        ]
        header = ["| found in | symptom | measured | cause | remedy | more |", "|" + " --- |" * 6]
        table = "\n".join(header + rows) if rows else ""
        parts = [self._headline(), table, *self._below()]
        return "\n\n".join(part for part in parts if part)

    def _headline(self) -> str:
        count = {0: "Nothing found", 1: "1 finding"}.get(len(self), f"{len(self)} findings")
        return f"{count} in {self.examined}."

    def _below(self) -> list[str]:
        remarks = [
            f"Remark ({group[0].kind}): {_layers(group)}. {group[0].cause} {group[0].remedy}"
            for group in _by_kind(self.remarks)
        ]
        return remarks + [f"Not looked for: {note}." for note in self.notes]


def _by_kind(findings: list[Finding]) -> list[list[Finding]]:
    groups = ([each for each in findings if each.kind == kind] for kind in AILMENTS)
    return [group for group in groups if group]


def finding(kind: str, layer: str, value: float, quantity: str = "") -> Finding:
    """Of this kind; `quantity` stands in for the one of the kind."""
    ailment = AILMENTS[kind]
    fields = vars(ailment) | {"quantity": quantity or ailment.quantity}
    return Finding(**fields, layer=layer, value=float(value))


def _paragraph(group: list[Finding]) -> str:
    first = group[0]
    return (
        f"{first.kind}: {_layers(group)}\n"
        f"  seen      {first.symptom}\n"
        f"  measured  {_measured(group)}\n"
        f"  cause     {first.cause}\n"
        f"  remedy    {first.remedy}\n"
        f"  more      notebook {first.chapter}; {', '.join(first.threads)}"
    )


def _layers(group: list[Finding]) -> str:
    return shortened([finding.layer for finding in group])


def _measured(group: list[Finding]) -> str:
    """The smallest and the largest value, and in which unit."""
    values = sorted(finding.value for finding in group)
    numbers = " to ".join(dict.fromkeys(f"{value:.3g}" for value in (values[0], values[-1])))
    return f"{numbers}: {group[0].quantity}" if group[0].quantity else numbers
