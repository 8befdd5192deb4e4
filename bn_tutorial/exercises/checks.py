"""Checks of the functions that a reader writes: which mistake is in them?

A check calls the function on small inputs of its own, and compares what it gives with what is
right, and with what the usual mistakes give. The function gets float32 tensors, by position; it may
return float32 or float64. Each check takes `hint=True`, to say where in the chapters to look, and
returns a `CheckResult`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import tensorflow as tf

from bn_tutorial.batch_norm import batch_norm_by_hand
from bn_tutorial.exercises import formulas
from bn_tutorial.exercises.comparing import Arguments, agree, in_float32, require_right, tensors
from bn_tutorial.exercises.results import Mistaken, check_function
from bn_tutorial.normalization import conv_batch_norm_by_hand

EPSILON = 0.5  # large enough for its place in the formula to be seen
DECAY = 0.8
FAR = 30_000  # how far from 0 the inputs are moved, whose standard deviations are 0.7 to 3
# The first sizes are equal, so that the wrong axis gives numbers and not an exception.
SIZES = [(4, 4), (5, 3)]
IMAGE_SIZES = [(4, 4, 4, 4), (2, 4, 5, 3)]


@check_function("01_naive_batch_norm", "The formula")
def forward(function: Callable) -> str:
    """Is this batch normalization over a batch, by the batch's own statistics?

    `function(inputs, gamma, beta, epsilon)` returns outputs `[batch, units]`. Where TensorFlow can
    follow it backwards, its gradient is looked at too.
    """
    cases = [batch(*size) for size in SIZES]
    require_right(function, cases, ["outputs"], formulas.normalize, formulas.FORWARD)
    gradient = _require_digits_and_gradient(function, batch_norm_by_hand, cases[-1])
    return f"Right for two batches of different size, and for inputs far from 0. {gradient}"


@check_function("02_fixed_batch_norm", "`batch_norm_wrapper`")
def population(function: Callable) -> str:
    """Is this batch normalization that keeps, and in evaluation uses, the population's statistics?

    `function(inputs, gamma, beta, pop_mean, pop_var, is_training, decay, epsilon)` returns outputs,
    new pop_mean, new pop_var. The variance that is kept may be the biased one, as here and in
    Keras, or the unbiased one, as in the paper and in PyTorch; the text says which.
    """
    formula, cases = formulas.normalize_and_update, population_cases()
    unbiased = partial(formula, kept=lambda v, epsilon, m: v * m / max(m - 1, 1))
    names = ["outputs", "new pop_mean", "new pop_var"]
    require_right(function, cases, names, formula, formulas.POPULATION, also_right=[unbiased])
    new_var = np.asarray(function(*tensors(cases[0]))[2])
    kept = (
        "It keeps the biased variance, as this tutorial and Keras do."
        if agree(new_var, formula(*cases[0])[2])
        else "It keeps the unbiased variance, as the paper and PyTorch do; this tutorial and Keras "
        "keep the biased one. Both are in use."
    )

    def in_training(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> object:
        pop = tensors(_population(gamma.shape[0]))
        return function(inputs, gamma, beta, *pop, True, DECAY, epsilon)[0]

    gradient = _require_digits_and_gradient(in_training, batch_norm_by_hand, batch(*SIZES[-1]))
    return (
        "Right in training (outputs and population) and in evaluation (outputs, population "
        f"untouched, one sample at a time). {gradient} {kept}"
    )


@check_function("05_real_layers", "Backwards")
def backward(function: Callable) -> str:
    """Are these the gradients of batch normalization over a batch?

    `function(inputs, gamma, upstream, epsilon)` returns those of inputs `[batch, units]`, of gamma
    `[units]` and of beta `[units]`.
    """
    names = [f"gradient of {name}" for name in ("inputs", "gamma", "beta")]
    require_right(function, backward_cases(), names, formulas.gradients, formulas.BACKWARD)
    return "The three gradients are right, for two batches of different size."


@check_function("05_real_layers", "Convolutions")
def convolution(function: Callable) -> str:
    """Is this batch normalization of images, `[batch, height, width, channels]`?

    `function(inputs, gamma, beta, epsilon)` returns outputs of the inputs' shape.
    """
    cases = [batch(*size) for size in IMAGE_SIZES]
    formula = partial(formulas.normalize, statistics=formulas.over(0, 1, 2))
    require_right(function, cases, ["outputs"], formula, formulas.CONVOLUTION)
    gradient = _require_digits_and_gradient(function, conv_batch_norm_by_hand, cases[-1])
    return f"Right for images of two sizes, and for inputs far from 0. {gradient}"


@check_function("06_your_own_model", "Too slow on the device: fold BN away")
def folding(function: Callable) -> str:
    """Does the folded layer alone give what the layer and the BN after it gave?

    `function(weights, bias, gamma, beta, pop_mean, pop_var, epsilon)` returns new weights
    `[inputs, units]` and a new bias `[units]`.
    """
    names = ["weights", "bias"]
    require_right(function, folding_cases(), names, formulas.fold, formulas.FOLDING)
    return "The folded layer gives what the layer and its BN gave, for two sizes of layer."


def batch(*shape: int) -> Arguments:
    """Inputs, gamma, beta, epsilon: means far from 0; no two samples, rows or units are alike."""
    generator, units = np.random.default_rng(shape[0]), shape[-1]
    inputs = generator.normal(10, generator.uniform(0.7, 3, units), shape)
    for axis, size in enumerate(shape):
        others = [other for other in range(len(shape)) if other != axis]
        inputs += np.expand_dims(generator.uniform(0, 4, size), others)
    gamma, beta = generator.uniform(1.2, 3, units), generator.uniform(4, 12, units)
    return [*in_float32(inputs, gamma, beta), EPSILON]


def _population(units: int) -> list[np.ndarray]:
    """Mean and variance that are far from those of every batch."""
    generator = np.random.default_rng(units)
    return in_float32(generator.uniform(28, 40, units), generator.uniform(12, 25, units))


def population_cases() -> list[Arguments]:
    """Batches in training, the same batches in evaluation, and single samples."""
    cases = []
    for size in SIZES:
        inputs, gamma, beta, epsilon = batch(*size)
        variables = gamma, beta, *_population(gamma.size)
        for chosen, is_training in ((inputs, True), (inputs, False), (inputs[:1], False)):
            cases.append([chosen, *variables, is_training, DECAY, epsilon])
    return cases


def backward_cases() -> list[Arguments]:
    """Batches, and gradients of their outputs."""
    cases = []
    for size in SIZES:
        inputs, gamma, _, epsilon = batch(*size)
        upstream = np.random.default_rng(size).normal(1.0, 1.0, size)
        cases.append([inputs, gamma, *in_float32(upstream), epsilon])
    return cases


def folding_cases() -> list[Arguments]:
    """Layers, with the BN after them."""
    cases = []
    for size in SIZES:
        generator = np.random.default_rng(size)
        least = (1, 1.2, 4, 3, 2)  # of bias, gamma, beta, pop_mean and pop_var
        vectors = [generator.uniform(low, 2.5 * low, size[1]) for low in least]
        cases.append([*in_float32(generator.uniform(0.5, 2, size), *vectors), EPSILON])
    return cases


def _require_digits_and_gradient(
    function: Callable, reference: Callable, arguments: Arguments
) -> str:
    """Outputs stay right far from 0, and so is their gradient, if there is one: what to say of it.

    Functions of NumPy leave no trace on a tape, and are right without it.
    """
    # The variance has to survive: float32 has 7 digits, of which 5 go to the mean.
    distant = [arguments[0] + FAR, *arguments[1:]]
    right = reference(*distant).numpy()
    if not agree(np.asarray(function(*tensors(distant))), right, 0.01):
        raise Mistaken(
            "cancellation",
            f"The formula is right, but the outputs for inputs near {FAR:,} are not. That happens "
            "where the variance is the difference of two large numbers, such as E[x²] − E[x]²: in "
            "float32 their digits cancel. Take the mean square of the distances from the mean.",
        )
    found, right = (_on_tape(normalize, tensors(arguments)) for normalize in (function, reference))
    if found is None:
        return "TensorFlow can't follow it backwards, so its gradient was not looked at."
    if not agree(found, right, 1e-3):
        raise Mistaken(
            "statistics as constants",
            "The outputs are right, but no gradient flows through the mean, the variance or both. "
            "NumPy in the midst of TensorFlow, `.numpy()` and `tf.stop_gradient` cut it off. Stay "
            "in TensorFlow throughout; or in NumPy, with the arguments made arrays first.",
        )
    return "The gradient is right too."


def _on_tape(function: Callable, arguments: Sequence[object]) -> np.ndarray | None:
    """The gradient of a weighted sum of the outputs for the inputs; None where there is none."""
    inputs = arguments[0]
    upstream = np.random.default_rng(4).normal(1.0, 1.0, inputs.shape)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(*arguments)
        if not isinstance(outputs, tf.Tensor):
            return None
        loss = tf.reduce_sum(outputs * tf.cast(upstream, outputs.dtype))
    gradient = tape.gradient(loss, inputs)
    return None if gradient is None else gradient.numpy()
