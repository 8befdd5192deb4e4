"""What a check found."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

WIDTH = 92


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


def wrap(text: str) -> str:
    """The same text in lines that a cell's output has room for."""
    return "\n".join(textwrap.fill(line, WIDTH) for line in text.split("\n"))
