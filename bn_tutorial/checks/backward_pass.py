"""The check of `backward(inputs, gamma, upstream, epsilon)`; and of gradients on a tape."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf

from bn_tutorial.batch_norm import batch_norm_gradients
from bn_tutorial.checks.calls import Arguments, call, run
from bn_tutorial.checks.mistakes import (
    Mistake,
    Mistaken,
    Place,
    agree,
    conclude,
    difference,
    recognise,
    require,
)
from bn_tutorial.checks.normalizing import INVERSES, NOT_DIVIDED, SPREADS, inverse_deviation
from bn_tutorial.checks.results import CheckResult

BACKWARDS = Place("05_real_layers", "Backwards")
CONSTANTS = Place("05_real_layers", "What if the statistics are taken for constants?")
EPSILON = 0.5


def backward(function: Callable, *, hint: bool = False) -> CheckResult:
    """Are these the gradients of batch normalization over a batch?

    Args:
        function: `backward(inputs, gamma, upstream, epsilon)` → the gradients of inputs, of gamma
            and of beta. It is called with float32 tensors; float32 or float64 will do.
        hint: whether to say where in the chapters to look.
    """
    return conclude("backward", BACKWARDS, partial(_check, function), hint)


def _check(function: Callable) -> str:
    for samples, units in [(5, 3), (8, 2)]:
        arguments = _arguments(samples, units)
        shapes = {
            "gradient of inputs": (samples, units),
            "gradient of gamma": (units,),
            "gradient of beta": (units,),
        }
        found = call(function, arguments, shapes)
        exact = [np.array(value, np.float64) for value in arguments.values()]
        rights = [value.numpy() for value in batch_norm_gradients(*exact)]
        _require_order(found, rights)
        for (name, value), right in reversed([*zip(found.items(), rights, strict=True)]):
            model, mistakes = MODELS[name]
            require(
                value, right, partial(model, *exact), mistakes,
                _numbers(name, value, right), _otherwise(name, value),
            )  # fmt: skip
    return "The three gradients are right, for two batches of different size."


def _arguments(samples: int, units: int) -> dict[str, object]:
    generator = np.random.default_rng(samples)
    means, deviations = generator.uniform(5, 25, units), generator.uniform(0.7, 3, units)
    arrays = {
        "inputs": generator.normal(means, deviations, (samples, units)),
        "gamma": generator.uniform(1.2, 3, units),
        "upstream": generator.normal(1.0, 1.0, (samples, units)),
    }
    return {k: tf.constant(v, tf.float32) for k, v in arrays.items()} | {"epsilon": EPSILON}


def _require_order(found: dict[str, np.ndarray], rights: list[np.ndarray]) -> None:
    if agree(found["gradient of gamma"], rights[2]) and agree(found["gradient of beta"], rights[1]):
        raise Mistaken(
            "gamma and beta swapped",
            "The gradients of gamma and beta are right, in the wrong order: expected are those of "
            "inputs, gamma, beta.",
        )


def _numbers(name: str, found: np.ndarray, right: np.ndarray) -> str:
    unit = int(np.argmax(np.abs(found - right).reshape(-1, right.shape[-1]).max(axis=0)))
    expected, seen = (
        ", ".join(f"{number:.3g}" for number in np.atleast_1d(values[..., unit]))
        for values in (right, found)
    )
    over = " over the batch" if right.ndim == 2 else ""
    return f"The {name} of unit {unit}{over}: expected {expected}; found {seen}."


def _otherwise(name: str, found: np.ndarray) -> str:
    if name == "gradient of beta":
        return "The gradient of beta is wrong; it depends on `upstream` alone."
    if name == "gradient of gamma":
        return "The gradient of beta is right, that of gamma is not."
    sums = found.sum(axis=0)
    zero = np.allclose(sums, 0, atol=1e-4 * np.abs(found).max())
    return (
        "The gradients of gamma and beta are right, that of the inputs is not. Adding a constant "
        "to a unit's inputs changes no output, so over the batch its gradient adds up to 0. Yours "
        + (
            "does: look at the last term."
            if zero
            else f"does not: {', '.join(f'{value:.3g}' for value in sums)}."
        )
    )


def model_of_inputs(
    inputs: np.ndarray,
    gamma: np.ndarray,
    upstream: np.ndarray,
    epsilon: float,
    *,
    terms: Callable = lambda g, n: g - g.mean(axis=0) - n * (g * n).mean(axis=0),
    inverse: Callable = inverse_deviation,
    spread: Callable = lambda variance, count: variance,
    scale: bool = True,
) -> np.ndarray:
    """The gradient of the inputs, with mistakes put in."""
    over = inverse(spread(inputs.var(axis=0), len(inputs)), epsilon)
    normalized = (inputs - inputs.mean(axis=0)) * over
    return (gamma if scale else 1.0) * over * terms(upstream, normalized)


def model_of_gamma(
    inputs: np.ndarray,
    gamma: np.ndarray,
    upstream: np.ndarray,
    epsilon: float,
    *,
    sums: Callable = lambda g, c, n, gamma: (g * n).sum(axis=0),
    inverse: Callable = inverse_deviation,
    spread: Callable = lambda variance, count: variance,
) -> np.ndarray:
    """The gradient of gamma, with mistakes put in."""
    over = inverse(spread(inputs.var(axis=0), len(inputs)), epsilon)
    centered = inputs - inputs.mean(axis=0)
    return sums(upstream, (inputs, centered), centered * over, gamma)


def model_of_beta(
    inputs: np.ndarray,
    gamma: np.ndarray,
    upstream: np.ndarray,
    epsilon: float,
    *,
    sums: Callable = lambda g, gamma: g.sum(axis=0),
) -> np.ndarray:
    """The gradient of beta, with mistakes put in."""
    return sums(upstream, gamma)


def _terms(name: str, text: str, terms: Callable, place: Place = BACKWARDS) -> Mistake:
    return Mistake(name, text, place, {"terms": terms})


ALL_CONSTANT = "statistics as constants"
TERMS = [
    _terms(
        ALL_CONSTANT,
        "Only the direct path was followed. The mean and the variance depend on the inputs too, "
        "and two terms come from that.",
        lambda g, n: g,
        CONSTANTS,
    ),
    _terms(
        "the mean as a constant",
        "The path through the mean is missing: that the mean moves with each input. The path "
        "through the variance is there.",
        lambda g, n: g - n * (g * n).mean(axis=0),
        CONSTANTS,
    ),
    _terms(
        "the variance as a constant",
        "The path through the variance is missing: that the variance moves with each input. The "
        "path through the mean is there.",
        lambda g, n: g - g.mean(axis=0),
        CONSTANTS,
    ),
    _terms(
        "a sum where a mean belongs",
        "The two sums over the batch were not divided by the number of samples.",
        lambda g, n: g - g.sum(axis=0) - n * (g * n).sum(axis=0),
    ),
    _terms(
        "a sum where a mean belongs",
        "One of the two sums over the batch, that of `upstream`, was not divided by the number of "
        "samples.",
        lambda g, n: g - g.sum(axis=0) - n * (g * n).mean(axis=0),
    ),
    _terms(
        "a sum where a mean belongs",
        "One of the two sums over the batch, that with the normalised inputs, was not divided by "
        "the number of samples.",
        lambda g, n: g - g.mean(axis=0) - n * (g * n).sum(axis=0),
    ),
    _terms(
        "the sign of a term",
        "The two terms from the mean and the variance were added. They take something away.",
        lambda g, n: g + g.mean(axis=0) + n * (g * n).mean(axis=0),
    ),
    _terms(
        "the sign of a term",
        "The term from the mean was added. It takes something away.",
        lambda g, n: g + g.mean(axis=0) - n * (g * n).mean(axis=0),
    ),
    _terms(
        "the sign of a term",
        "The term from the variance was added. It takes something away.",
        lambda g, n: g - g.mean(axis=0) + n * (g * n).mean(axis=0),
    ),
    _terms(
        "the wrong axis",
        "The two means were taken over all numbers at once. Each unit has its own, over the batch.",
        lambda g, n: g - g.mean() - n * (g * n).mean(),
    ),
    _terms(
        "the wrong count",
        "The two sums were divided by the number of units, not by the number of samples.",
        lambda g, n: g - (g.sum(axis=0) + n * (g * n).sum(axis=0)) / g.shape[1],
    ),
    _terms(
        "a factor is missing",
        "In the term from the variance, the sample's own normalised input is missing.",
        lambda g, n: g - g.mean(axis=0) - (g * n).mean(axis=0),
    ),
]
UNSCALED = Mistake(
    "gamma is not used",
    "The gradient of the inputs does not depend on gamma. Upstream of the normalisation it is "
    "gamma times as large.",
    BACKWARDS,
    {"scale": False},
)


def _sums(name: str, text: str, sums: Callable) -> Mistake:
    return Mistake(name, text, BACKWARDS, {"sums": sums})


A_MEAN = "a mean where a sum belongs"
OF_GAMMA = [
    _sums(
        A_MEAN,
        "The gradient of gamma was averaged over the batch. Each sample adds to it.",
        lambda g, c, n, gamma: (g * n).mean(axis=0),
    ),
    _sums(
        "the inputs are not normalised",
        "The gradient of gamma was taken with the inputs themselves. Gamma multiplies the "
        "normalised ones.",
        lambda g, c, n, gamma: (g * c[0]).sum(axis=0),
    ),
    _sums(
        "the inputs are not normalised",
        "The gradient of gamma was taken with inputs whose mean was subtracted, but that were not "
        "divided by the standard deviation.",
        lambda g, c, n, gamma: (g * c[1]).sum(axis=0),
    ),
    _sums(
        "gamma in its own gradient",
        "The gradient of gamma was multiplied by gamma.",
        lambda g, c, n, gamma: gamma * (g * n).sum(axis=0),
    ),
]
OF_BETA = [
    _sums(
        A_MEAN,
        "The gradient of beta was averaged over the batch. Each sample adds to it.",
        lambda g, gamma: g.mean(axis=0),
    ),
    _sums(
        "gamma in the gradient of beta",
        "The gradient of beta was multiplied by gamma. Beta is added after the scaling.",
        lambda g, gamma: gamma * g.sum(axis=0),
    ),
]
# For gamma a division that is missing is the same as inputs that are not normalised.
DIVIDED = [mistake for mistake in INVERSES if mistake.name != NOT_DIVIDED[0]]
MODELS = {
    "gradient of inputs": (model_of_inputs, [*TERMS, UNSCALED, *INVERSES, *SPREADS]),
    "gradient of gamma": (model_of_gamma, [*OF_GAMMA, *DIVIDED, *SPREADS]),
    "gradient of beta": (model_of_beta, OF_BETA),
}


def require_gradient(function: Callable, arguments: Arguments) -> str:
    """The gradient that TensorFlow's tape finds is right, if it finds one: what to say of it.

    Functions of NumPy leave no trace on a tape. They are right without it.

    Args:
        function: of inputs `[batch, ..., units]`, gamma, beta and perhaps more → outputs, or a
            tuple that begins with them. Its outputs are right.
        arguments: what it is called with.

    Returns:
        A sentence.

    Raises:
        Mistaken: the tape takes the mean or the variance for constants.
    """
    inputs, gamma = arguments["inputs"], arguments["gamma"]
    upstream = tf.constant(np.random.default_rng(4).normal(1.0, 1.0, inputs.shape), tf.float32)
    found = _on_tape(function, arguments, upstream)
    if found is None:
        return "TensorFlow can't follow it backwards, so its gradient was not looked at."
    exact = [
        np.array(value, np.float64).reshape(shape)
        for value, shape in [(inputs, (-1, gamma.shape[0])), (gamma, (-1,)),
                             (upstream, (-1, gamma.shape[0]))]
    ]  # fmt: skip
    right = batch_norm_gradients(*exact, arguments["epsilon"])[0].numpy()
    found = found.reshape(right.shape)
    if not agree(found, right, 1e-3):
        _name_the_gradient(found, right, partial(model_of_inputs, *exact, arguments["epsilon"]))
    return "The gradient is right too."


def _on_tape(function: Callable, arguments: Arguments, upstream: tf.Tensor) -> np.ndarray | None:
    """The gradient of Σ upstream · outputs for the inputs; None where there is none."""
    watched = arguments["inputs"]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        result = run(function, arguments)
        outputs = result[0] if isinstance(result, tuple | list) else result
        if not isinstance(outputs, tf.Tensor):
            return None
        loss = tf.reduce_sum(outputs * tf.cast(upstream, outputs.dtype))
    try:
        gradient = tape.gradient(loss, watched)
    except (LookupError, ValueError, TypeError):  # an operation without a gradient
        return None
    return None if gradient is None else np.array(gradient, np.float64)


def _name_the_gradient(found: np.ndarray, right: np.ndarray, model: Callable) -> None:
    numbers = _numbers("gradient of inputs", found, right)
    (mistake,) = recognise(found, model, TERMS[:3])[:1] or (None,)
    if mistake is None:
        raise Mistaken(
            "a wrong gradient",
            "The outputs are right, but their gradient for the inputs is not.\n"
            f"{numbers}\n{difference(found, right)}",
            CONSTANTS,
        )
    lost = {"the mean as a constant": "mean", "the variance as a constant": "variance"}
    what = lost.get(mistake.name, "mean and the variance")
    raise Mistaken(
        ALL_CONSTANT,
        f"The outputs are right, but no gradient flows through the {what}. In training, the "
        "network would learn as if they did not depend on the weights. NumPy in the midst of "
        "TensorFlow, `.numpy()` and `tf.stop_gradient` cut a gradient off. Stay in TensorFlow "
        "throughout; or in NumPy, with the arguments made arrays first.\n" + numbers,
        CONSTANTS,
    )
