"""The check of `batch_norm(inputs, gamma, beta, epsilon)`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import tensorflow as tf

from bn_tutorial.batch_norm import batch_norm_by_hand
from bn_tutorial.checks.backward_pass import require_gradient
from bn_tutorial.checks.calls import Arguments, call
from bn_tutorial.checks.mistakes import (
    Mistake,
    Mistaken,
    Place,
    agree,
    conclude,
    recognise,
    require,
)
from bn_tutorial.checks.normalizing import (
    FORMULA,
    SHARED,
    TINY,
    normalize_wrongly,
    unit_in_numbers,
    what_holds,
)
from bn_tutorial.checks.results import CheckResult

Statistics = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

EPSILON = 0.5  # large enough to be seen
FAR = 30_000  # from 0; the standard deviations are 0.7 to 3
CANCELS = Place("06_across_machines", "2. Synchronized, by hand")


def forward(function: Callable, *, hint: bool = False) -> CheckResult:
    """Is this batch normalization over a batch, by the batch's own statistics?

    It is called with float32 tensors and has to return `[batch, units]`, float32 or float64. Where
    TensorFlow can follow it backwards, its gradient is looked at too.

    Args:
        function: `batch_norm(inputs, gamma, beta, epsilon)` → outputs.
        hint: whether to say where in the chapters to look.
    """
    return conclude("forward", TINY, partial(_check, function), hint)


def _check(function: Callable) -> str:
    arguments = batch(5, 3)
    try:
        require_outputs(call(function, arguments, {"outputs": (5, 3)})["outputs"], arguments)
    except Mistaken as mistaken:
        if mistaken.name in ("an exception", "shape"):
            _try_a_square(function)
        raise
    other = batch(8, 2, seed=1)
    require_outputs(call(function, other, {"outputs": (8, 2)})["outputs"], other)
    require_far_from_zero(function, batch(8, 2, seed=2), (8, 2), right_outputs)
    gradient = require_gradient(function, arguments)
    return f"Right for two batches of different size, and for inputs far from 0. {gradient}"


def batch(samples: int, units: int, seed: int = 0) -> dict[str, object]:
    """Arguments: float32, means far from 0, no two units alike."""
    generator = np.random.default_rng(seed)
    means, deviations = generator.uniform(5, 25, units), generator.uniform(0.7, 3, units)
    arrays = {
        "inputs": generator.normal(means, deviations, (samples, units)),
        "gamma": generator.uniform(1.2, 3, units),
        "beta": generator.uniform(4, 12, units),
    }
    return {k: tf.constant(v, tf.float32) for k, v in arrays.items()} | {"epsilon": EPSILON}


def right_outputs(arguments: Arguments) -> np.ndarray:
    """What they should become, in float64."""
    return batch_norm_by_hand(*in_float64(arguments).values()).numpy()


def in_float64(arguments: Arguments) -> dict[str, object]:
    """The same, tensors as float64 arrays."""
    return {
        name: value.numpy().astype(np.float64) if isinstance(value, tf.Tensor) else value
        for name, value in arguments.items()
    }


def require_outputs(
    found: np.ndarray, arguments: Arguments, more: list[Mistake] | None = None
) -> None:
    """The outputs are right, or the mistake is named; `more` are looked for first."""
    right, exact = right_outputs(arguments), in_float64(arguments)
    model = partial(model_of_outputs, **exact)
    numbers = unit_in_numbers(found, right, exact["gamma"], exact["beta"])
    mistakes = [*(more or []), *SHARED, *STATISTICS]
    require(found, right, model, mistakes, numbers, what_holds(found, right))


def model_of_outputs(
    inputs: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    epsilon: float,
    *,
    statistics: Statistics | None = None,
    **changes: object,
) -> np.ndarray:
    """The outputs for `[batch, units]`, with mistakes put in."""
    statistics = statistics or partial(moments, mean_axis=0, variance_axis=0)
    return normalize_wrongly(inputs, gamma, beta, epsilon, statistics, inputs.shape[0], **changes)


def moments(
    inputs: np.ndarray,
    mean_axis: int | tuple[int, ...] | None,
    variance_axis: int | tuple[int, ...] | None,
    *,
    about_own: bool = True,
    keepdims: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance over these axes; the variance about its own mean, or about that one."""
    mean = inputs.mean(mean_axis, keepdims=keepdims)
    if about_own:
        return mean, inputs.var(variance_axis, keepdims=keepdims)
    return mean, np.square(inputs - mean).mean(variance_axis, keepdims=keepdims)


def _axis_mistakes() -> list[Mistake]:
    said = {0: "over the batch", 1: "over the units of a sample", None: "over all numbers at once"}
    mistakes = []
    for mean_axis, variance_axis, own, kept in product(said, said, (True, False), (True, False)):
        if mean_axis == variance_axis == 0:
            continue
        taken = f"The mean was taken {said[mean_axis]}, the variance {said[variance_axis]}."
        if mean_axis == variance_axis:
            taken = f"Mean and variance were taken {said[mean_axis]}."
        text = (
            f"{taken} Each unit should get statistics of its own, over the batch: down "
            "a column, where a row is a sample."
        )
        function = partial(
            moments, mean_axis=mean_axis, variance_axis=variance_axis, about_own=own, keepdims=kept
        )
        mistakes.append(Mistake("the wrong axis", text, TINY, {"statistics": function}))
    return mistakes


def _mean_square(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return inputs.mean(axis=0), np.square(inputs).mean(axis=0)


STATISTICS = [
    *_axis_mistakes(),
    Mistake(
        "the mean square where the variance belongs",
        "The inputs themselves were squared. The variance is the mean square of their distances "
        "from the mean.",
        FORMULA,
        {"statistics": _mean_square},
    ),
]


def _try_a_square(function: Callable) -> None:
    """Where there are as many samples as units, the wrong axis neither fails nor shows."""
    arguments = batch(4, 4, seed=3)
    try:
        found = call(function, arguments, {"outputs": (4, 4)})["outputs"]
    except Mistaken:
        return
    made = recognise(
        found, partial(model_of_outputs, **in_float64(arguments)), [*STATISTICS, *SHARED]
    )
    for mistake in made:
        if mistake.name == "the wrong axis":
            raise Mistaken(
                mistake.name,
                f"{mistake.text}\nIt fails for inputs [5, 3]; for [4, 4] it gives wrong numbers.",
                mistake.place,
            )


def require_far_from_zero(
    function: Callable,
    arguments: dict[str, object],
    shape: tuple[int, ...],
    right: Callable[[Arguments], np.ndarray],
) -> None:
    """The variance survives a large mean; float32 has 7 digits, of which 5 go to the mean."""
    arguments = arguments | {"inputs": arguments["inputs"] + FAR}
    expected = right(arguments)
    try:
        found = call(function, arguments, {"outputs": shape})["outputs"]
        if agree(found, expected, 0.01):
            return
        seen = f"the outputs are off by up to {np.max(np.abs(found - expected)):.2g}"
    except Mistaken as mistaken:
        if mistaken.name != "NaN":
            raise
        seen = "the outputs hold NaN"
    raise Mistaken(
        "cancellation",
        "The formula is right, but not its arithmetic. With inputs near "
        f"{FAR:,}, whose standard deviation is about 2, {seen}. That happens where the variance is "
        "the difference of two large numbers, such as E[x²] − E[x]²: in float32 nearly all their "
        "digits cancel. Take the mean square of the distances from the mean.",
        CANCELS,
    )
