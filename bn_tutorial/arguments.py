"""What arguments must be, asked in one place."""

from __future__ import annotations

import operator


def require_at_least(minimum: int, **counts: int) -> None:
    """Each of these counts is a whole number, `minimum` or more.

    Raises:
        ValueError: one is less; the message names it.
        TypeError: one is no whole number.
    """
    for name, count in counts.items():
        if operator.index(count) < minimum:
            raise ValueError(f"{name} must be {minimum} or more, found {count}")
