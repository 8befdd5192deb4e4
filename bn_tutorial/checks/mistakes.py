"""Mistakes, and how one is recognised: by the wrong numbers that it would give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bn_tutorial.checks.results import CheckResult, wrap

# Of the largest right number. Right functions differ by a hundredth of that in float32, mistakes by
# ten times as much or more.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Place:
    """Where a chapter speaks of something.

    Attributes:
        notebook: its file, without the suffix.
        heading: of the section, as it is written there.
    """

    notebook: str
    heading: str

    def __str__(self) -> str:
        return f"notebook {int(self.notebook[:2])} ({self.notebook}.ipynb), “{self.heading}”"


@dataclass(frozen=True)
class Mistake:
    """What can be wrong in a function.

    Attributes:
        name: short, as `CheckResult.mistake` has it.
        text: what one sees, in a sentence or two.
        place: where the chapters speak of it.
        changes: arguments of a model of the function, with which it makes this mistake.
    """

    name: str
    text: str
    place: Place
    changes: Mapping[str, object]


class Mistaken(Exception):  # noqa: N818  # what it tells of is no error of the program
    """Ends a check: a mistake was found.

    Attributes:
        name: of the mistake.
        text: what was expected and what was found.
        place: where the chapters speak of it; None: where they speak of the whole exercise.
    """

    def __init__(self, name: str, text: str, place: Place | None = None) -> None:
        super().__init__(name)
        self.name, self.text, self.place = name, text, place


def agree(found: np.ndarray, right: np.ndarray, tolerance: float = TOLERANCE) -> bool:
    """Whether no number is off by more than a share `tolerance` of the largest right one."""
    if np.shape(found) != np.shape(right):
        return False
    return bool(np.max(np.abs(found - right)) <= tolerance * np.max(np.abs(right)))


def recognise(
    found: np.ndarray, model: Callable[..., np.ndarray], mistakes: Sequence[Mistake]
) -> tuple[Mistake, ...]:
    """The one mistake, or the two, with which `model` gives what was found; or none."""
    with np.errstate(all="ignore"):  # a wrong formula may divide by zero
        for made in _one_or_two(mistakes):
            changes = {name: value for mistake in made for name, value in mistake.changes.items()}
            try:
                given = model(**changes)
            except ValueError:  # its shapes do not fit, so the reader's did not do this
                continue
            if agree(found, given):
                return made
    return ()


def _one_or_two(mistakes: Sequence[Mistake]) -> Iterator[tuple[Mistake, ...]]:
    yield from ((mistake,) for mistake in mistakes)
    for first, second in combinations(mistakes, 2):
        if first.changes.keys().isdisjoint(second.changes):
            yield first, second


def require(
    found: np.ndarray,
    right: np.ndarray,
    model: Callable[..., np.ndarray],
    mistakes: Sequence[Mistake],
    numbers: str,
    otherwise: str,
) -> None:
    """The values are right; else the mistake they show is raised.

    Args:
        found: the reader's numbers.
        right: what they should be.
        model: gives them with mistakes put in, by the names in `Mistake.changes`.
        mistakes: those to look for, the likelier ones first.
        numbers: what to say of one unit, expected and found.
        otherwise: what to say where no mistake is recognised: what still holds.

    Raises:
        Mistaken: they are not right.
    """
    if agree(found, right):
        return
    made = recognise(found, model, mistakes)
    if made:
        texts = [mistake.text for mistake in made]
        if len(texts) == 2:
            texts.insert(1, f"And there is a second mistake, {made[1].name}:")
        raise Mistaken(made[0].name, " ".join(texts) + "\n" + numbers, made[0].place)
    raise Mistaken("a wrong value", f"{otherwise}\n{numbers}\n{difference(found, right)}")


def difference(found: np.ndarray, right: np.ndarray) -> str:
    """The largest difference, and where it is."""
    where = np.unravel_index(np.argmax(np.abs(found - right)), right.shape)
    index = ", ".join(map(str, where))
    return (
        f"The largest difference is at [{index}]: "
        f"expected {right[where]:.4g}, found {found[where]:.4g}."
    )


def conclude(
    subject: str,
    place: Place,
    steps: Callable[[], str],
    hint: bool,
) -> CheckResult:
    """Take the steps of a check, and say how they ended.

    Args:
        subject: what the check is called.
        place: where the chapters speak of the exercise.
        steps: raises `Mistaken`, or returns what was tried.
        hint: whether to say where to look.
    """
    try:
        return CheckResult(True, None, wrap(f"{subject}: passed\n{steps()}"))
    except Mistaken as mistaken:
        text = f"{subject}: {mistaken.name}\n{mistaken.text}"
        if hint:
            text += f"\nWhere to look: {mistaken.place or place}."
        elif mistaken.name != "not written yet":
            text += "\n(hint=True says where in the chapters to look.)"
        return CheckResult(False, mistaken.name, wrap(text))
