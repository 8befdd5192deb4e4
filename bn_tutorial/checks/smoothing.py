"""Exponential smoothing of the population's statistics, with mistakes put in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bn_tutorial.checks.mistakes import Mistake, Place

WRAPPER = Place("02_fixed_batch_norm", "`batch_norm_wrapper`")
SMOOTHING = Place("02_fixed_batch_norm", "Exponential smoothing")
OTHER_NAMES = Place("02_fixed_batch_norm", "The same things by other names")

WRONG_START = "a population that starts wrong"


def update(old: np.ndarray, new: np.ndarray, decay: float) -> np.ndarray:
    """One step of exponential smoothing."""
    return decay * old + (1 - decay) * new


def model_of_pop_mean(
    inputs: np.ndarray, pop_mean: np.ndarray, decay: float, *, rule: Callable = update,
    **rest: object,
) -> np.ndarray:  # fmt: skip
    """The new pop_mean, with mistakes put in."""
    return rule(pop_mean, inputs.mean(axis=0), decay)


def model_of_pop_var(
    inputs: np.ndarray, pop_var: np.ndarray, decay: float, epsilon: float, *,
    rule: Callable = update, kept: Callable = lambda variance, epsilon: variance,
    root: bool = False, **rest: object,
) -> np.ndarray:  # fmt: skip
    """The new pop_var, with mistakes put in."""
    new = rule(pop_var, kept(inputs.var(axis=0), epsilon), decay)
    return np.sqrt(new) if root else new


def _rule(name: str, text: str, rule: Callable, place: Place = SMOOTHING) -> Mistake:
    return Mistake(name, text, place, {"rule": rule})


FROM_0_OR_1 = (
    "The smoothing starts anew from {} at each call: the `pop_mean` and `pop_var` that the "
    "function was given have no part in what it returns."
)
UPDATES = [
    _rule(
        "decay and 1 − decay swapped",
        "The new statistics got the share `decay`, the old ones 1 − `decay`. It should be the "
        "other way round: a decay of 0.999 keeps nearly all of the old. (PyTorch's `momentum` is "
        "1 − decay.)",
        lambda old, new, decay: update(old, new, 1 - decay),
        OTHER_NAMES,
    ),
    _rule(
        "the population does not move",
        "In training the population came back as it was. Each batch should move it a little.",
        lambda old, new, decay: old,
    ),
    _rule(
        "the batch replaces the population",
        "The batch's statistics came back as the population's. The old ones should be kept for the "
        "share `decay`.",
        lambda old, new, decay: new,
    ),
    _rule(WRONG_START, FROM_0_OR_1.format("0"), lambda old, new, decay: update(0, new, decay)),
    _rule(WRONG_START, FROM_0_OR_1.format("1"), lambda old, new, decay: update(1, new, decay)),
    _rule(
        "1 − decay is missing",
        "The batch's statistics were added whole, not with the share 1 − `decay`.",
        lambda old, new, decay: decay * old + new,
    ),
    _rule(
        "decay is missing",
        "The old statistics were kept whole, not with the share `decay`. The estimate grows and "
        "grows.",
        lambda old, new, decay: old + (1 - decay) * new,
    ),
    _rule(
        "decay is not used",
        "Old and new were averaged, or smoothed with a fixed decay. `decay` was another.",
        lambda old, new, decay: (old + new) / 2,
    ),
    *(
        _rule(
            "decay is not used",
            f"The smoothing was done with a decay of {fixed}, not with the one given.",
            lambda old, new, decay, fixed=fixed: update(old, new, fixed),
        )
        for fixed in (0.9, 0.99, 0.999)
    ),
]
STANDARD_DEVIATION = (
    "the standard deviation kept in pop_var",
    "The new pop_var fits a standard deviation, not a variance.",
    WRAPPER,
)
KEPT = [
    Mistake(*STANDARD_DEVIATION, {"kept": lambda variance, epsilon: np.sqrt(variance)}),
    Mistake(*STANDARD_DEVIATION, {"kept": lambda variance, epsilon: np.sqrt(variance + epsilon)}),
    Mistake(*STANDARD_DEVIATION, {"root": True}),
    Mistake(
        "epsilon kept in pop_var",
        "Epsilon is in the new pop_var. It is added when the inputs are normalised, not before.",
        WRAPPER,
        {"kept": lambda variance, epsilon: variance + epsilon},
    ),
]


def smoothing_in_numbers(
    name: str, found: np.ndarray, right: np.ndarray, exact: dict[str, np.ndarray]
) -> str:
    """The unit that is off most, in words: what it was, what its batch's is, expected and found."""
    unit = int(np.argmax(np.abs(found - right)))
    what, old = ("mean", "pop_mean") if name == "new pop_mean" else ("variance", "pop_var")
    batch_value = getattr(np, what[:4].replace("vari", "var"))(exact["inputs"], axis=0)[unit]
    return (
        f"Unit {unit}, decay {exact['decay']}: {old} was {exact[old][unit]:.4g}, the batch's "
        f"{what} is {batch_value:.4g}. Expected: {right[unit]:.4g}. Found: {found[unit]:.4g}."
    )
