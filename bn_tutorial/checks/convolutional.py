"""The check of `conv_batch_norm(inputs, gamma, beta, epsilon)`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import tensorflow as tf

from bn_tutorial.checks.backward_pass import require_gradient
from bn_tutorial.checks.calls import Arguments, call
from bn_tutorial.checks.forward_pass import (
    EPSILON,
    Statistics,
    in_float64,
    moments,
    require_far_from_zero,
)
from bn_tutorial.checks.mistakes import Mistake, Mistaken, Place, conclude, recognise, require
from bn_tutorial.checks.normalizing import SHARED, normalize_wrongly, unit_in_numbers, what_holds
from bn_tutorial.checks.results import CheckResult
from bn_tutorial.normalization import conv_batch_norm_by_hand

CONVOLUTIONS = Place("05_real_layers", "Convolutions")
NEIGHBOURS = Place("05_real_layers", "Its neighbours")

ALL_BUT_LAST = (0, 1, 2)
# The axes that share a mean, by what that would be.
AXES = {
    (0,): ("statistics over the batch only",
           "Each position has statistics of its own, over the batch.", CONVOLUTIONS),
    (1, 2): ("statistics over the positions only",
             "Each image has statistics of its own, over its positions. That is instance "
             "normalization.", NEIGHBOURS),
    (3,): ("statistics over the channels",
           "Each position of each image has statistics of its own, over the channels. That is "
           "layer normalization.", NEIGHBOURS),
    (1, 2, 3): ("statistics over the channels",
                "Each image has statistics of its own, over positions and channels. That is layer "
                "normalization.", NEIGHBOURS),
    (0, 1, 2, 3): ("one mean for all channels",
                   "One mean and one variance were taken over all numbers.", CONVOLUTIONS),
    (0, 2, 3): ("channels first",
                "The second axis, the height, was taken for the channels. In TensorFlow they come "
                "last.", CONVOLUTIONS),
    (2, 3): ("channels first",
             "Statistics were taken over the last two axes, as if they were the positions. In "
             "TensorFlow the channels come last, and the positions before them.", CONVOLUTIONS),
    (0, 1): ("an axis is missing", "The width is left out of the mean.", CONVOLUTIONS),
    (0, 2): ("an axis is missing", "The height is left out of the mean.", CONVOLUTIONS),
    (0, 3): ("the wrong axis", "The mean was taken over batch and channels.", CONVOLUTIONS),
    (0, 1, 3): ("the wrong axis", "The mean was taken over the channels too.", CONVOLUTIONS),
    (1,): ("the wrong axis", "The mean was taken over the height alone.", CONVOLUTIONS),
    (2,): ("the wrong axis", "The mean was taken over the width alone.", CONVOLUTIONS),
}  # fmt: skip
ASKED = (
    "Each channel should have one mean and one variance, over the batch and all positions together."
)


def convolution(function: Callable, *, hint: bool = False) -> CheckResult:
    """Is this batch normalization of images, `[batch, height, width, channels]`?

    Args:
        function: `conv_batch_norm(inputs, gamma, beta, epsilon)` → outputs. It is called with
            float32 tensors; float32 or float64 will do.
        hint: whether to say where in the chapters to look.
    """
    return conclude("convolution", CONVOLUTIONS, partial(_check, function), hint)


def _check(function: Callable) -> str:
    shape = (2, 4, 5, 3)
    arguments = _images(*shape)
    try:
        _require_outputs(call(function, arguments, {"outputs": shape})["outputs"], arguments)
    except Mistaken as mistaken:
        if mistaken.name in ("an exception", "shape"):
            _try_a_cube(function)
        raise
    other = (6, 3, 2, 4)
    arguments = _images(*other, seed=1)
    _require_outputs(call(function, arguments, {"outputs": other})["outputs"], arguments)
    require_far_from_zero(function, _images(*shape, seed=2), shape, _right)
    gradient = require_gradient(function, arguments)
    return f"Right for images of two sizes, and for inputs far from 0. {gradient}"


def _images(batch: int, height: int, width: int, channels: int, seed: int = 0) -> dict[str, object]:
    """Arguments: float32; no two images, rows, columns or channels are alike in their means."""
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(batch, height, width, channels))
    for axis, size in enumerate(inputs.shape):
        offsets = generator.uniform(0, 4, size) + (8 if axis == 3 else 0)
        inputs = inputs + offsets.reshape([-1 if i == axis else 1 for i in range(4)])
    affine = generator.uniform(1.2, 3, channels), generator.uniform(4, 12, channels)
    arrays = dict(zip(("inputs", "gamma", "beta"), (inputs, *affine), strict=True))
    return {k: tf.constant(v, tf.float32) for k, v in arrays.items()} | {"epsilon": EPSILON}


def _right(arguments: Arguments) -> np.ndarray:
    return conv_batch_norm_by_hand(*in_float64(arguments).values()).numpy()


def _require_outputs(found: np.ndarray, arguments: Arguments) -> None:
    right, exact = _right(arguments), in_float64(arguments)
    numbers = unit_in_numbers(found, right, exact["gamma"], exact["beta"])
    require(
        found, right, partial(model_of_outputs, **exact), [*STATISTICS, *ONE_WRONG, *SHARED],
        numbers.replace("Unit", "Channel"), what_holds(found, right).replace("unit", "channel"),
    )  # fmt: skip


def model_of_outputs(
    inputs: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    epsilon: float,
    *,
    statistics: Statistics | None = None,
    axes: tuple[int, ...] = ALL_BUT_LAST,
    channels_axis: int = 3,
    **changes: object,
) -> np.ndarray:
    """The outputs for images, with mistakes put in."""
    statistics = statistics or partial(moments, mean_axis=axes, variance_axis=axes)
    count = int(np.prod([inputs.shape[axis] for axis in axes]))
    shape = [-1 if axis == channels_axis else 1 for axis in range(4)]
    return normalize_wrongly(
        inputs, gamma.reshape(shape), beta.reshape(shape), epsilon, statistics, count, **changes
    )


STATISTICS = [
    Mistake(name, f"{text} {ASKED}", place, {"axes": axes})
    for axes, (name, text, place) in AXES.items()
]
ONE_WRONG = [  # the mean or the variance is right, the other is not
    Mistake(name, f"Of the {which}: {text} {ASKED}", place, {
        "statistics": partial(moments, mean_axis=of_mean, variance_axis=of_variance, about_own=own)
    })
    for axes, (name, text, place) in AXES.items()
    for which, of_mean, of_variance in (
        ("variance", ALL_BUT_LAST, axes), ("mean", axes, ALL_BUT_LAST)
    )
    for own in (True, False)
]  # fmt: skip
# Only where all sides are equal: one mean for each of something else, laid along the wrong axes.
MISPLACED = [
    Mistake(name, f"{text} {ASKED}", place, {
        "axes": axes, "statistics": partial(
            moments, mean_axis=axes, variance_axis=axes, about_own=own, keepdims=kept
        ), "channels_axis": channels_axis,
    })
    for (axes, (name, text, place)), own, kept, channels_axis in product(
        AXES.items(), (True, False), (True, False), (3, 1)
    )
]  # fmt: skip
FIRST = Mistake(
    "channels first",
    "Gamma and beta were laid along the second axis. In TensorFlow the channels come last.",
    CONVOLUTIONS,
    {"channels_axis": 1},
)


def _try_a_cube(function: Callable) -> None:
    """Where all sides are equal, the wrong axes do not fail."""
    shape = (4, 4, 4, 4)
    arguments = _images(*shape, seed=3)
    try:
        found = call(function, arguments, {"outputs": shape})["outputs"]
    except Mistaken:
        return
    model = partial(model_of_outputs, **in_float64(arguments))
    for mistake in recognise(found, model, [*MISPLACED, FIRST, *SHARED]):
        if "axes" in mistake.changes or mistake is FIRST:
            raise Mistaken(
                mistake.name,
                f"{mistake.text}\nIt fails for inputs [2, 4, 5, 3], and gives wrong numbers where "
                "all sides are equal.",
                mistake.place,
            )
