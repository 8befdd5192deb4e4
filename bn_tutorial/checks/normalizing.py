"""Normalisation with mistakes put in, which the checks of functions that normalise share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bn_tutorial.checks.mistakes import Mistake, Place

FORMULA = Place("01_naive_batch_norm", "The formula")
TINY = Place("01_naive_batch_norm", "A tiny example")
WHICH_VARIANCE = Place("04_statistics_at_test_time", "Which variance?")


def inverse_deviation(variance: np.ndarray, epsilon: float) -> np.ndarray:
    """What the centred inputs are multiplied by."""
    return 1 / np.sqrt(variance + epsilon)


def normalize_wrongly(
    inputs: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    epsilon: float,
    statistics: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    count: int,
    *,
    join: Callable[..., np.ndarray] = lambda inputs, mean, over: (inputs - mean) * over,
    spread: Callable[[np.ndarray, int], np.ndarray] = lambda variance, count: variance,
    inverse: Callable[[np.ndarray, float], np.ndarray] = inverse_deviation,
    affine: Callable[..., np.ndarray] = lambda normalized, gamma, beta: gamma * normalized + beta,
) -> np.ndarray:
    """Normalise by the statistics, then scale and shift, each in whatever wrong way is given.

    Args:
        inputs: `[..., units]`.
        gamma: `[units]`.
        beta: `[units]`.
        epsilon: added to the variance.
        statistics: inputs → mean and variance.
        count: how many numbers share a mean.
        join: of the inputs, the mean and what is multiplied by, the normalised inputs.
        spread: of the variance and the count, what is taken for the variance.
        inverse: of that and epsilon, what the centred inputs are multiplied by.
        affine: of the normalised inputs, gamma and beta, the outputs.
    """
    mean, variance = statistics(inputs)
    over = inverse(spread(variance, count), epsilon)
    return affine(join(inputs, mean, over), gamma, beta)


def _mistakes(aspect: str, rows: Sequence[tuple[str, str, Place, object]]) -> list[Mistake]:
    return [Mistake(name, text, place, {aspect: change}) for name, text, place, change in rows]


CENTERS = _mistakes(
    "join",
    [("the mean is not subtracted",
      "The outputs are those of inputs whose mean was not subtracted before the division.",
      FORMULA, lambda inputs, mean, over: inputs * over),
     ("brackets are missing",
      "Only the mean was divided by the standard deviation, not the difference between inputs and "
      "mean.",
      FORMULA, lambda inputs, mean, over: inputs - mean * over)],
)  # fmt: skip

TWO_ROOTS = (
    "the standard deviation where the variance belongs",
    "The numbers fit a division by the root of the standard deviation: the root was taken twice. "
    "What stands under the root should be the variance.",
    FORMULA,
)
OUTSIDE = (
    "epsilon outside the root",
    "Epsilon was added to the standard deviation, after the root. It belongs to the variance, "
    "under the root.",
    FORMULA,
)
FORGOTTEN = (
    "epsilon forgotten",
    "The numbers are those without the epsilon that was given (or with a fixed one instead of the "
    "argument). A unit that is constant would be divided by 0.",
    FORMULA,
)
NO_ROOT = (
    "the variance where the standard deviation belongs",
    "The division is by the variance. No root was taken.",
    FORMULA,
)
NOT_DIVIDED = (
    "the division is missing",
    "Nothing was divided by the standard deviation.",
    FORMULA,
)
MULTIPLIED = (
    "multiplied by the standard deviation",
    "There is a multiplication by the standard deviation, where a division belongs.",
    FORMULA,
)
TWICE = (
    "epsilon added twice",
    "Epsilon was added twice: once to the variance, and then by what takes its root as well.",
    FORMULA,
)
INVERSES = _mistakes(
    "inverse",
    [
        (*OUTSIDE, lambda v, e: 1 / (np.sqrt(v) + e)),
        (*FORGOTTEN, lambda v, e: 1 / np.sqrt(v)),
        (*FORGOTTEN, lambda v, e: 1 / np.sqrt(v + 1e-3)),
        (*NO_ROOT, lambda v, e: 1 / (v + e)),
        (*NO_ROOT, lambda v, e: 1 / v),
        (*TWO_ROOTS, lambda v, e: 1 / np.sqrt(np.sqrt(v) + e)),
        (*TWO_ROOTS, lambda v, e: 1 / np.sqrt(np.sqrt(v))),
        (*TWO_ROOTS, lambda v, e: 1 / np.sqrt(np.sqrt(v + e))),
        (*TWO_ROOTS, lambda v, e: 1 / np.sqrt(np.sqrt(v + e) + e)),
        (*TWICE, lambda v, e: 1 / np.sqrt(v + 2 * e)),
        (*TWICE, lambda v, e: 1 / (np.sqrt(v + e) + e)),
        (*MULTIPLIED, lambda v, e: np.sqrt(v + e)),
        (*MULTIPLIED, lambda v, e: np.sqrt(v)),
        (*NOT_DIVIDED, lambda v, e: 1.0),
    ],
)

SPREADS = _mistakes(
    "spread",
    [
        ("the unbiased variance",
         "The variance was divided by m − 1, of m numbers. BN normalises by the biased variance, "
         "divided by m. (Statistics packages and PyTorch's `var` divide by m − 1 by default.)",
         WHICH_VARIANCE, lambda v, m: v * m / (m - 1)),
        ("a sum where a mean belongs",
         "The squared distances were added up, but not divided by their number.",
         FORMULA, lambda v, m: v * m),
    ],
)  # fmt: skip

AFFINES = _mistakes(
    "affine",
    [
        ("gamma and beta swapped",
         "The outputs were scaled by beta and shifted by gamma.",
         FORMULA, lambda n, g, b: b * n + g),
        ("gamma is not used", "The outputs do not depend on gamma, the scale.",
         FORMULA, lambda n, g, b: n + b),
        ("beta is not used", "The outputs do not depend on beta, the shift.",
         FORMULA, lambda n, g, b: g * n),
        ("gamma and beta are not used", "The inputs were normalised, but not scaled and shifted.",
         FORMULA, lambda n, g, b: n),
        ("beta is scaled", "Beta was added before the scaling, so gamma scaled it too.",
         FORMULA, lambda n, g, b: g * (n + b)),
        ("the sign of beta", "Beta was subtracted.", FORMULA, lambda n, g, b: g * n - b),
    ],
)  # fmt: skip

SHARED = [*CENTERS, *INVERSES, *SPREADS, *AFFINES]


def unit_in_numbers(
    found: np.ndarray, right: np.ndarray, gamma: np.ndarray, beta: np.ndarray
) -> str:
    """Mean and standard deviation of the unit that is most wrong, expected and found."""
    units = right.shape[-1]
    found, right = found.reshape(-1, units), right.reshape(-1, units)
    unit = int(np.argmax(np.max(np.abs(found - right), axis=0)))
    (m_right, s_right), (m_found, s_found) = (
        (values[:, unit].mean(), values[:, unit].std()) for values in (right, found)
    )
    return (
        f"Unit {unit} has gamma {gamma[unit]:.3g} and beta {beta[unit]:.3g}. Expected: outputs "
        f"with mean {m_right:.4g} and standard deviation {s_right:.4g}. Found: mean {m_found:.4g} "
        f"and standard deviation {s_found:.4g}."
    )


def what_holds(found: np.ndarray, right: np.ndarray) -> str:
    """Of mean and standard deviation over all but the last axis: which are right."""
    axes = tuple(range(right.ndim - 1))
    mean = np.allclose(found.mean(axes), right.mean(axes), rtol=1e-3)
    deviation = np.allclose(found.std(axes), right.std(axes), rtol=1e-3)
    if mean and deviation:
        return (
            "Each unit's mean and standard deviation are right, but single numbers are not. "
            "Are they in their old order?"
        )
    if mean:
        return "Each unit's mean is right, its standard deviation is not: look at the division."
    if deviation:
        return "Each unit's standard deviation is right, its mean is not: look at what is added."
    return "Neither the mean nor the standard deviation of the units is right."
