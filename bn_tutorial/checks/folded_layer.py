"""The check of `fold(weights, bias, gamma, beta, pop_mean, pop_var, epsilon)`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf

from bn_tutorial.checks.calls import Arguments, call
from bn_tutorial.checks.forward_pass import in_float64
from bn_tutorial.checks.mistakes import Mistake, Mistaken, Place, conclude, recognise, require
from bn_tutorial.checks.normalizing import INVERSES, inverse_deviation
from bn_tutorial.checks.results import CheckResult

FOLDING = Place("05_real_layers", "Folding")
EPSILON = 0.5


def folding(function: Callable, *, hint: bool = False) -> CheckResult:
    """Does the folded layer alone give what the layer and the BN behind it gave?

    Args:
        function: `fold(weights, bias, gamma, beta, pop_mean, pop_var, epsilon)` → weights, bias.
            `weights` are `[inputs, units]`, the others `[units]`. It is called with float32
            tensors; float32 or float64 will do.
        hint: whether to say where in the chapters to look.
    """
    return conclude("folding", FOLDING, partial(_check, function), hint)


def _check(function: Callable) -> str:
    for inputs, units in [(4, 3), (2, 5)]:
        arguments = _arguments(inputs, units)
        shapes = {"weights": (inputs, units), "bias": (units,)}
        try:
            found = call(function, arguments, shapes)
        except Mistaken as mistaken:
            if mistaken.name in ("an exception", "shape"):
                _try_a_square(function)
            raise
        _require(found, arguments)
    return "The folded layer gives what the layer and its BN gave, for two sizes of layer."


def _arguments(inputs: int, units: int) -> dict[str, object]:
    generator = np.random.default_rng(units)
    arrays = {
        "weights": generator.uniform(0.5, 2, (inputs, units)),
        "bias": generator.uniform(1, 3, units),
        "gamma": generator.uniform(1.2, 3, units),
        "beta": generator.uniform(4, 8, units),
        "pop_mean": generator.uniform(3, 6, units),
        "pop_var": generator.uniform(2, 9, units),
    }
    return {k: tf.constant(v, tf.float32) for k, v in arrays.items()} | {"epsilon": EPSILON}


def right_layer(arguments: Arguments) -> dict[str, np.ndarray]:
    """Weights and bias: what layer and BN make of each unit vector, and of the zero vector."""
    exact = in_float64(arguments)
    statistics = [exact[name] for name in ("pop_mean", "pop_var", "beta", "gamma", "epsilon")]
    of_zero = tf.nn.batch_normalization(exact["bias"], *statistics).numpy()
    of_units = tf.nn.batch_normalization(exact["weights"] + exact["bias"], *statistics).numpy()
    return {"weights": of_units - of_zero, "bias": of_zero}


def _require(found: dict[str, np.ndarray], arguments: Arguments) -> None:
    right, exact = right_layer(arguments), in_float64(arguments)
    images = np.random.default_rng(6).normal(size=(3, exact["weights"].shape[0]))
    wanted, given = (images @ layer["weights"] + layer["bias"] for layer in (right, found))
    unit = int(np.argmax(np.max(np.abs(wanted - given), axis=0)))
    numbers = (
        f"For one input, the layer and its BN give unit {unit} the output {wanted[0, unit]:.4g}. "
        f"The folded layer gives {given[0, unit]:.4g}."
    )
    for name, model, mistakes, otherwise in PARTS:
        numbers_of = f"{_first(name, found, right, unit)}\n{numbers}"
        require(found[name], right[name], partial(model, **exact), mistakes, numbers_of, otherwise)


def _first(name: str, found: dict[str, np.ndarray], right: dict[str, np.ndarray], unit: int) -> str:
    expected, seen = (np.atleast_2d(layer[name])[0, unit] for layer in (right, found))
    return f"`{name}`, its first number for unit {unit}: expected {expected:.4g}, found {seen:.4g}."


def model_of_weights(
    weights: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    pop_mean: np.ndarray,
    pop_var: np.ndarray,
    epsilon: float,
    *,
    factor: Callable = lambda gamma, beta, over: gamma * over,
    rows: bool = False,
    plus: Callable = lambda scale, mean, beta: 0.0,
    inverse: Callable = inverse_deviation,
    **rest: object,
) -> np.ndarray:
    """The folded weights, with mistakes put in."""
    scale = factor(gamma, beta, inverse(pop_var, epsilon))
    scaled = weights * (scale[:, np.newaxis] if rows else scale)
    return scaled + plus(scale, pop_mean, beta)


def model_of_bias(
    bias: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    pop_mean: np.ndarray,
    pop_var: np.ndarray,
    epsilon: float,
    *,
    parts: Callable = lambda c, a, mean, beta, over: a * c + beta - a * mean,
    factor: Callable = lambda gamma, beta, over: gamma * over,
    inverse: Callable = inverse_deviation,
    **rest: object,
) -> np.ndarray:
    """The folded bias, with mistakes put in."""
    over = inverse(pop_var, epsilon)
    return parts(bias, factor(gamma, beta, over), pop_mean, beta, over)


def _mistake(name: str, text: str, **changes: object) -> Mistake:
    return Mistake(name, text, FOLDING, changes)


ROWS = _mistake(
    "the wrong axis",
    "The rows of the weights were scaled: the inputs. BN scales units, and those are the columns.",
    rows=True,
)
SHIFTS = [
    _mistake(
        "the shift added to the weights",
        "The shift was added to the weights too. It belongs to the bias alone.",
        plus=lambda scale, mean, beta: beta - scale * mean,
    ),
    _mistake(
        "the shift added to the weights",
        "Beta was added to the weights. It belongs to the bias alone.",
        plus=lambda scale, mean, beta: beta,
    ),
]
FACTORS = [
    _mistake(
        "gamma is not used",
        "The scale is without gamma.",
        factor=lambda gamma, beta, over: over,
    ),
    _mistake(
        "gamma and beta swapped",
        "Beta was taken for the scale.",
        factor=lambda gamma, beta, over: beta * over,
    ),
    _mistake(
        "not scaled",
        "They come back as they were. BN divides by the standard deviation and multiplies by "
        "gamma, and the folded layer has to do that now.",
        factor=lambda gamma, beta, over: np.ones_like(gamma),
    ),
    _mistake(
        "the division is missing",
        "They were multiplied by gamma alone, and not divided by the standard deviation.",
        factor=lambda gamma, beta, over: gamma,
    ),
    _mistake(
        "beta added to the weights",
        "Beta was added to the scale. It shifts the outputs, so it belongs to the bias.",
        factor=lambda gamma, beta, over: gamma * over + beta,
    ),
]


def _bias(name: str, text: str, parts: Callable) -> Mistake:
    return _mistake(name, "The weights are right. " + text, parts=parts)


BIASES = [
    _bias("the bias is not used", "The layer's old bias has no part in the new one.",
          lambda c, a, mean, beta, over: beta - a * mean),
    _bias("the bias is not scaled",
          "The old bias was added as it was. BN scales it, as it scales all the layer gives.",
          lambda c, a, mean, beta, over: c + beta - a * mean),
    _bias("the bias is unchanged", "The bias comes back as it was: the mean, beta and the scale "
          "have no part in it.",
          lambda c, a, mean, beta, over: c),
    _bias("the bias is unchanged", "The bias was scaled, but the mean and beta have no part in it.",
          lambda c, a, mean, beta, over: a * c),
    _bias("the sign of the mean", "The mean was added. BN subtracts it.",
          lambda c, a, mean, beta, over: a * c + beta + a * mean),
    _bias("the mean is not scaled",
          "The mean was subtracted as it was. BN subtracts it before the scaling.",
          lambda c, a, mean, beta, over: a * c + beta - mean),
    _bias("the mean is not subtracted", "The population's mean has no part in the new bias.",
          lambda c, a, mean, beta, over: a * c + beta),
    _bias("beta is not used", "Beta has no part in the new bias.",
          lambda c, a, mean, beta, over: a * c - a * mean),
    _bias("beta is scaled", "Beta was scaled with the rest. BN adds it after the scaling.",
          lambda c, a, mean, beta, over: a * (c - mean + beta)),
    _bias("the sign of beta", "Beta was subtracted.",
          lambda c, a, mean, beta, over: a * (c - mean) - beta),
    _bias("gamma is not used", "In the bias, gamma is missing from the scale of the mean.",
          lambda c, a, mean, beta, over: a * c + beta - over * mean),
    _bias("gamma is not used", "In the bias, gamma is missing from the scale of the old bias.",
          lambda c, a, mean, beta, over: over * c + beta - a * mean),
    _bias("gamma and beta swapped", "In the bias, gamma was added.",
          lambda c, a, mean, beta, over: a * (c - mean) + a / over),
]  # fmt: skip
PARTS = (
    (
        "weights",
        model_of_weights,
        [*FACTORS, *INVERSES, ROWS, *SHIFTS],
        "The folded weights are wrong.",
    ),
    (
        "bias",
        model_of_bias,
        [*BIASES, *FACTORS, *INVERSES],
        "The folded weights are right, the bias is not.",
    ),
)


def _try_a_square(function: Callable) -> None:
    """Where there are as many inputs as units, the wrong axis does not fail."""
    arguments = _arguments(4, 4)
    try:
        found = call(function, arguments, {"weights": (4, 4), "bias": (4,)})["weights"]
    except Mistaken:
        return
    model = partial(model_of_weights, **in_float64(arguments))
    if ROWS in recognise(found, model, PARTS[0][2]):
        raise Mistaken(
            ROWS.name,
            f"{ROWS.text}\nIt fails for weights [4, 3], and for [4, 4] it gives wrong numbers.",
        )
