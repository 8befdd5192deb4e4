"""The reader's function is called, and its results are compared with right ones and wrong ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from bn_tutorial.exercises.formulas import EXPLANATIONS, Mistakes
from bn_tutorial.exercises.results import Mistaken

# In the order of the parameters; arrays are float64, of numbers that float32 has too.
Arguments = Sequence[np.ndarray | float | bool]

# As a share of the largest right number. In float32 right functions differ by a hundredth of that,
# and mistakes by ten times as much or more.
TOLERANCE = 1e-4


def in_float32(*arrays: np.ndarray) -> list[np.ndarray]:
    """The same, each number rounded to one that float32 has."""
    return [values.astype(np.float32).astype(np.float64) for values in arrays]


def tensors(arguments: Arguments) -> list[object]:
    """What the reader's function is given, by position: arrays as float32 tensors."""
    return [tf.constant(a, tf.float32) if isinstance(a, np.ndarray) else a for a in arguments]


def agree(found: np.ndarray, right: np.ndarray, tolerance: float = TOLERANCE) -> bool:
    """Whether no number is off by more than a share `tolerance` of the largest right one."""
    if np.shape(found) != np.shape(right):
        return False
    return bool(np.max(np.abs(found - right)) <= tolerance * np.max(np.abs(right)) < np.inf)


def require_right(
    function: Callable,
    cases: Sequence[Arguments],
    names: Sequence[str],
    formula: Callable,
    mistakes: Mistakes,
    also_right: Sequence[Callable] = (),
) -> None:
    """Raise `Mistaken` unless the reader's function is right in all cases.

    Its results, `names`, are held against the formula's, or those of another that is right; then
    against the formula's with each of the mistakes, to name the one that gives the same values.
    """
    for arguments in cases:
        mode = [" in training" if a else " in evaluation" for a in arguments if isinstance(a, bool)]
        named = [name + "".join(mode) for name in names]
        right, *others = (_arrays(f(*arguments)) for f in (formula, *also_right))
        found = _call(function, arguments, named, right)
        if any(all(map(agree, found, each)) for each in (right, *others)):
            continue
        numbers = _largest_difference(named, found, right)
        for mistake, wrong in wrong_results(formula, mistakes, arguments):
            if all(agree(a, b) or agree(a, c) for a, b, c in zip(found, right, wrong, strict=True)):
                raise Mistaken(mistake, f"{EXPLANATIONS.get(mistake, '')}\n{numbers}".strip())
        raise Mistaken("a wrong value", numbers)


def wrong_results(
    formula: Callable, mistakes: Mistakes, arguments: Arguments
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The name of each mistake, and what the formula gives with it."""
    for option, named in mistakes.items():
        for mistake, part in ((name, part) for name, parts in named.items() for part in parts):
            # It may divide by zero; and where its shapes don't fit, the reader's was another one.
            with np.errstate(all="ignore"), contextlib.suppress(ValueError):
                yield mistake, _arrays(formula(*arguments, **{option: part}))


def _arrays(result: object) -> list[np.ndarray]:
    return [np.asarray(value) for value in (result if isinstance(result, tuple) else [result])]


def _largest_difference(
    names: Sequence[str], found: Sequence[np.ndarray], right: Sequence[np.ndarray]
) -> str:
    """Say where the first wrong result is off most, and by what."""
    first = [agree(*both) for both in zip(found, right, strict=True)].index(False)
    seen, expected = found[first], right[first]
    where = np.unravel_index(np.argmax(np.abs(seen - expected)), expected.shape)
    return (
        f"The largest difference in {names[first]} is at [{', '.join(map(str, where))}]: "
        f"expected {expected[where]:.4g}, found {seen[where]:.4g}."
    )


def _call(
    function: Callable, arguments: Arguments, names: Sequence[str], right: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """What the function returns for these arguments, as float64 arrays of the right shapes."""
    try:
        result = function(*tensors(arguments))
    except NotImplementedError:
        text = "The function still raises NotImplementedError. Write its body, then run both cells."
        raise Mistaken("not written yet", text) from None
    if result is None:
        raise Mistaken("not written yet", "The function returns nothing.")
    results = [result] if len(names) == 1 else result
    if not isinstance(results, tuple | list) or len(results) != len(names):
        found = len(results) if isinstance(results, tuple | list) else type(results).__name__
        raise Mistaken("number of results", f"Expected {', '.join(names)}; found {found}.")
    return [_as_array(*each) for each in zip(results, names, right, strict=True)]


def _as_array(value: object, name: str, right: np.ndarray) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype not in (np.float32, np.float64):
        found = type(value).__name__ if array.dtype.kind in "OU" else array.dtype.name
        raise Mistaken("dtype", f"Expected {name} of float32 or float64, found {found}.")
    if array.shape != right.shape:
        shapes = f"{list(right.shape)}, found {list(array.shape)}"
        raise Mistaken("shape", f"Expected {name} of shape {shapes}.")
    if not np.all(np.isfinite(array)):
        raise Mistaken("NaN", f"There is NaN or infinity in {name}: is something divided by 0?")
    return array.astype(np.float64)
