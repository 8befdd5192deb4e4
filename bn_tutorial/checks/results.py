"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckResult:
    """What a check found; printed, it is a text to read.

    Attributes:
        passed: whether the function or the program does what it should.
        mistake: a short name of what is wrong; None if it passed.
        text: what was expected, what was found, and what the mistake looks like.
    """

    passed: bool
    mistake: str | None
    text: str

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__  # what a cell shows
