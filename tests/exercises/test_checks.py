"""`checks`: right functions in whatever style pass, wrong ones never do, and mistakes are named."""

import inspect
import re
from functools import partial

import keras
import nbformat
import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial import batch_norm, normalization
from bn_tutorial.exercises import checks, formulas, museum
from tests.exercises.programs import EXHIBITS, NOTEBOOKS, SOLVED, UNSOLVED

WRITTEN = {
    "forward": "batch_norm",
    "population": "batch_norm_wrapper",
    "backward": "backward",
    "convolution": "conv_batch_norm",
    "folding": "fold",
}
of_images = partial(formulas.normalize, statistics=formulas.over(0, 1, 2))
FORMULAS = {
    "forward": (formulas.normalize, formulas.FORWARD),
    "population": (formulas.normalize_and_update, formulas.POPULATION),
    "backward": (formulas.gradients, formulas.BACKWARD),
    "convolution": (of_images, formulas.CONVOLUTION),
    "folding": (formulas.fold, formulas.FOLDING),
}
forward, wrapper, backward, convolution, fold = (SOLVED[name] for name in WRITTEN.values())
mean_of, square, sqrt, sum_of = tf.reduce_mean, tf.square, tf.sqrt, tf.reduce_sum
for_one_batch = partial(tf.nn.moments, axes=[0])


def axes_of(inputs):
    return list(range(len(inputs.shape) - 1))


def one_pass_with_shift(inputs, gamma, beta, epsilon):
    shifted = inputs - inputs[0]
    mean = mean_of(shifted, 0)
    variance = mean_of(square(shifted), 0) - square(mean)
    return gamma * (shifted - mean) / sqrt(variance + epsilon) + beta


def numpy_alone(inputs, gamma, beta, epsilon):
    inputs, gamma, beta = map(np.array, (inputs, gamma, beta))
    axes = tuple(axes_of(inputs))
    return gamma * (inputs - inputs.mean(axes)) / np.sqrt(inputs.var(axes) + epsilon) + beta


def in_float64(inputs, gamma, beta, epsilon):
    inputs, gamma, beta = (tf.cast(value, tf.float64) for value in (inputs, gamma, beta))
    mean, variance = tf.nn.moments(inputs, axes_of(inputs), keepdims=True)
    return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, epsilon)


def keras_ops(inputs, gamma, beta, epsilon):
    mean, variance = keras.ops.moments(inputs, axes_of(inputs), keepdims=True)
    return gamma * (inputs - mean) * keras.ops.rsqrt(variance + epsilon) + beta


def keras_layer(inputs, gamma, beta, epsilon):
    layer = keras.layers.BatchNormalization(epsilon=epsilon)
    layer.build(inputs.shape)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    return layer(inputs, training=True)


def wrapper_in_numpy(*arguments):
    *arrays, is_training, decay, epsilon = arguments
    inputs, gamma, beta, pop_mean, pop_var = (np.asarray(value, np.float64) for value in arrays)
    mean, variance = pop_mean, pop_var
    if is_training:
        mean, variance = inputs.mean(axis=0), inputs.var(axis=0)
        pop_mean = pop_mean - (1 - decay) * (pop_mean - mean)
        pop_var = pop_var - (1 - decay) * (pop_var - variance)
    return [gamma * (inputs - mean) / np.sqrt(variance + epsilon) + beta, pop_mean, pop_var]


def wrapper_of_the_package(inputs, *arguments):
    *weights, is_training, decay, epsilon = arguments
    variables = batch_norm.BatchNormVariables(inputs.shape[1])
    for name, value in zip(("gamma", "beta", "pop_mean", "pop_var"), weights, strict=True):
        getattr(variables, name).assign(value)
    outputs = batch_norm.batch_norm_wrapper(inputs, variables, is_training, decay, epsilon)
    return outputs, variables.pop_mean, variables.pop_var


def tape(inputs, gamma, upstream, epsilon, statistics=for_one_batch):
    beta = tf.zeros_like(gamma)
    with tf.GradientTape() as recorder:
        recorder.watch([inputs, gamma, beta])
        mean, variance = statistics(inputs)
        outputs = tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, epsilon)
    return recorder.gradient(outputs, [inputs, gamma, beta], output_gradients=upstream)


def six_formulas(inputs, gamma, upstream, epsilon):
    """As the paper writes it."""
    m, total = inputs.shape[0], partial(sum_of, axis=0)
    mean, variance = for_one_batch(inputs)
    of_normalized = upstream * gamma
    of_variance = total(of_normalized * (inputs - mean) * -0.5 * (variance + epsilon) ** -1.5)
    of_mean = total(-of_normalized / sqrt(variance + epsilon))
    of_mean += of_variance * total(-2 * (inputs - mean)) / m
    of_inputs = of_normalized / sqrt(variance + epsilon)
    of_inputs += of_variance * 2 * (inputs - mean) / m + of_mean / m
    return of_inputs, total(upstream * (inputs - mean) / sqrt(variance + epsilon)), total(upstream)


def fold_in_numpy(*arguments):
    weights, bias, gamma, beta, pop_mean, pop_var, epsilon = (np.array(a, float) for a in arguments)
    scale = np.diag(gamma / np.sqrt(pop_var + epsilon))
    return [weights @ scale, (bias - pop_mean) @ scale + beta]


def keeps_unbiased(inputs, gamma, beta, pop_mean, pop_var, is_training, decay, epsilon):
    given = gamma, beta, pop_mean, pop_var, is_training, decay, epsilon
    outputs, pop_mean, new_var = wrapper(inputs, *given)
    if is_training:
        new_var += (1 - decay) * for_one_batch(inputs)[1] / (len(inputs) - 1)
    return outputs, pop_mean, new_var


by_hand, by_hand_of_images = batch_norm.batch_norm_by_hand, normalization.conv_batch_norm_by_hand
builtin, gradients = batch_norm.batch_norm_builtin, batch_norm.batch_norm_gradients
ANY = [numpy_alone, in_float64, keras_ops, keras_layer]
WRAPPERS = [wrapper_in_numpy, wrapper_of_the_package, keeps_unbiased]
RIGHT = {
    "forward": [forward, by_hand, builtin, tf.function(forward), *ANY, one_pass_with_shift],
    "convolution": [convolution, by_hand_of_images, tf.function(convolution), *ANY],
    "population": [wrapper, tf.function(wrapper), *WRAPPERS],
    "backward": [backward, gradients, tf.function(backward), tape, six_formulas],
    "folding": [fold, tf.function(fold), fold_in_numpy],
}


def by(statistics, deviation=lambda v, e: sqrt(v + e), end=lambda n, g, b: g * n + b):
    def function(inputs, gamma, beta, epsilon):
        mean, variance = statistics(inputs)
        return end((inputs - mean) / deviation(variance, epsilon), gamma, beta)

    return function


def right(x):
    return tf.nn.moments(x, axes_of(x))


def one_pass(inputs, gamma, beta, epsilon):
    mean, mean_square = (mean_of(values, axes_of(inputs)) for values in (inputs, inputs**2))
    return gamma * (inputs - mean) / sqrt(mean_square - mean**2 + epsilon) + beta


def numpy_in_the_midst(inputs, gamma, beta, epsilon):
    mean, variance = (f(inputs, axis=tuple(axes_of(inputs))) for f in (np.mean, np.var))
    return gamma * (inputs - mean) / np.sqrt(variance + epsilon) + beta


def stopped(x):
    mean, variance = right(x)
    return mean, tf.stop_gradient(variance)


def changed(right, change):
    """The right results, changed by `change(arguments, *results)`."""

    def function(*arguments):
        results = right(*arguments)
        return change(arguments, *(results if isinstance(results, tuple) else [results]))

    return function


def raises(error):
    def function(*arguments):
        raise error

    return function


def for_one_size(inputs, gamma, beta, epsilon):
    mean = sum_of(inputs, 0) / 4
    return gamma * (inputs - mean) / sqrt(mean_of(square(inputs - mean), 0) + epsilon) + beta


def channels_first(inputs, gamma, beta, epsilon):
    mean, variance = tf.nn.moments(inputs, [0, 2, 3], keepdims=True)
    gamma, beta = (tf.reshape(value, [1, -1, 1, 1]) for value in (gamma, beta))
    return gamma * (inputs - mean) / sqrt(variance + epsilon) + beta


# Of the mistakes with names those are here that are no part of a formula, or are made in another
# way; all others are tried with the formulas themselves.
NORMALIZING = {
    "epsilon forgotten": [by(right, lambda v, e: sqrt(v + 1e-5))],
    "gamma and beta swapped": [by(right, end=lambda n, g, b: b * n + g)],
    "cancellation": [one_pass, tf.function(one_pass)],
    "statistics as constants": [by(stopped), numpy_in_the_midst],
}
FORWARD = NORMALIZING | {
    "a wrong value": [
        for_one_size,
        changed(forward, lambda a, outputs: outputs[::-1]),
        changed(forward, lambda a, outputs: tf.transpose(outputs)),
        by(right, lambda v, e: sqrt(v) + e, lambda n, g, b: b * n + g),  # two mistakes
    ],
    "shape": [changed(forward, lambda a, outputs: mean_of(outputs)), lambda *a: []],
    "dtype": [
        changed(forward, lambda a, outputs: tf.cast(outputs, tf.int32)),
        changed(forward, lambda a, outputs: tf.cast(outputs, tf.float16)),
        lambda *a: "batch normalization",
        lambda *a: by_hand,
    ],
    "NaN": [changed(forward, lambda a, outputs: outputs / 0.0)],
    "an exception": [
        raises(SystemExit(1)),
        lambda inputs: inputs,
        lambda inputs, gamma, beta, epsilon: inputs.mean(axis=0),
        lambda inputs, *others: tf.constant(1.0, tf.float64) * inputs,
        None,
    ],
    "not written yet": [lambda *a: None],
}
CONVOLUTION = NORMALIZING | {
    "statistics over the positions only": [normalization.instance_norm_by_hand],
    "statistics over the channels": [normalization.layer_norm_by_hand],
    "channels first": [channels_first],
    "a wrong value": [
        by(lambda x: tf.nn.moments(x, [1])),
        changed(convolution, lambda a, outputs: outputs[:, ::-1]),
    ],
    "shape": [changed(convolution, lambda a, outputs: outputs[0])],
    "an exception": [by_hand],
}


def trained_by(statistics):
    """What `statistics` gives for the batch is used throughout."""

    def function(inputs, gamma, beta, pop_mean, pop_var, is_training, decay, epsilon):
        mean, variance = pop = pop_mean, pop_var
        if is_training:
            mean, variance = own = statistics(inputs)
            pop = [decay * old + (1 - decay) * new for old, new in zip(pop, own, strict=True)]
        outputs = tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, epsilon)
        return outputs, *pop

    return function


def with_memory():
    """A population of its own, whatever it is given."""
    kept = {}

    def function(inputs, gamma, beta, pop_mean, pop_var, *settings):
        pop = kept.setdefault(inputs.shape[1], (pop_mean, pop_var))
        outputs, *kept[inputs.shape[1]] = wrapper(inputs, gamma, beta, *pop, *settings)
        return outputs, *kept[inputs.shape[1]]

    return function


def right_but_for(which):
    """A tenth is added to the outputs where `which(arguments)`."""
    return changed(wrapper, lambda a, outputs, *new: (outputs * (1.1 if which(a) else 1), *new))


POPULATION = {
    "the population moved in evaluation": [
        with_memory(),
        lambda *a: (wrapper(*a)[0], *wrapper(*a[:5], True, *a[6:])[1:]),
    ],
    "normalising by the population in training": [
        lambda *a: (wrapper(*a[:5], False, *a[6:])[0], *wrapper(*a)[1:])
    ],
    "normalising by the batch in evaluation": [lambda *a: wrapper(*a[:5], True, *a[6:])],
    "pop_mean and pop_var swapped": [
        changed(wrapper, lambda a, outputs, pop_mean, pop_var: (outputs, pop_var, pop_mean)),
    ],
    "statistics as constants": [trained_by(stopped)],
    "cancellation": [trained_by(lambda x: (mean_of(x, 0), mean_of(x**2, 0) - mean_of(x, 0) ** 2))],
    "a wrong value": [
        changed(wrapper, lambda a, outputs, *new: (outputs, *(-value for value in new))),
        right_but_for(lambda a: not a[5]),
        right_but_for(lambda a: len(a[0]) == 1),
    ],
    "shape": [changed(wrapper, lambda a, outputs, pop_mean, pop_var: (pop_mean, pop_var, outputs))],
    "number of results": [lambda *a: wrapper(*a)[0], lambda *a: wrapper(*a)[:2]],
    "dtype": [changed(wrapper, lambda a, outputs, pop_mean, pop_var: (outputs, None, None))],
    "an exception": [lambda *a: a[3].assign(a[3])],
    "NaN": [changed(wrapper, lambda a, outputs, *new: (outputs, *(v / 0.0 for v in new)))],
    "not written yet": [lambda *a: None, lambda *a: wrapper(*a) if a[5] else None],
}
BACKWARD = {
    "statistics as constants": [
        partial(tape, statistics=lambda x: map(np.array, for_one_batch(x)))
    ],
    "the variance as a constant": [partial(tape, statistics=stopped)],
    "a mean where a sum belongs": [  # in one of two places
        changed(backward, lambda a, x, g, b: (x, g / len(x), b)),
        changed(backward, lambda a, x, g, b: (x, g, b / len(x))),
    ],
    "a wrong value": [
        changed(backward, lambda a, x, g, b: (3.0 * x, g, b)),
        changed(backward, lambda a, x, g, b: (x, 3.0 * g, b)),
        changed(backward, lambda a, x, g, b: (x, g, 3.0 * b)),
    ],
    "shape": [changed(backward, lambda a, x, g, b: (x, a[2], b))],
    "number of results": [lambda *a: "gradients"],
}
FOLDING = {
    "epsilon forgotten": [lambda *a: fold(*a[:6], 1e-5)],
    "gamma and beta swapped": [lambda w, c, g, b, *rest: fold(w, c, b, g, *rest)],
    "a wrong value": [
        changed(fold, lambda a, weights, bias: (3.0 * weights, bias)),
        changed(fold, lambda a, weights, bias: (weights, tf.sin(bias))),
    ],
    "shape": [changed(fold, lambda a, weights, bias: (weights, sum_of(bias)))],
    "number of results": [lambda *a: [*fold(*a), 1]],
}
WRONG = dict(zip(WRITTEN, (FORWARD, POPULATION, BACKWARD, CONVOLUTION, FOLDING), strict=True))


def checked(check, function, **hint):
    with np.errstate(all="ignore"):
        return getattr(checks, check)(function, **hint)


def said(check, function):
    return " ".join(str(checked(check, function)).split())


@pytest.mark.parametrize(
    ("check", "function"), [(c, f) for c, right in RIGHT.items() for f in right]
)
def test_right_ones_pass(check, function):
    result = checked(check, function, hint=True)
    assert result.passed, result
    assert result.mistake is None
    assert str(result).startswith(f"{check}: passed\n")
    assert "Where to look" not in str(result)


@pytest.mark.parametrize(
    ("check", "mistake", "function"),
    [(c, m, f) for c, mistakes in WRONG.items() for m, wrong in mistakes.items() for f in wrong],
)
def test_wrong_ones_are_named(check, mistake, function):
    result = checked(check, function)
    assert not result.passed
    assert result.mistake == mistake, result
    assert str(result).startswith(f"{check}: {mistake}\n")


@pytest.mark.parametrize("check", FORMULAS)
def test_each_mistake_is_told_from_all_others(check):
    """By the wrong numbers alone; where these have another shape, by that."""
    formula, mistakes = FORMULAS[check]
    assert checked(check, lambda *a: formula(*map(np.asarray, a))).passed
    for option, parts in mistakes.items():
        for mistake, part in ((name, part) for name, some in parts.items() for part in some):
            wrong = partial(formula, **{option: part})
            result = checked(check, lambda *a, wrong=wrong: wrong(*map(np.asarray, a)))
            assert result.mistake in (mistake, "shape"), (option, result)


@pytest.mark.parametrize("check", WRITTEN)
def test_an_exercise_as_it_stands_in_the_notebook(check):
    assert checked(check, UNSOLVED[WRITTEN[check]]).mistake == "not written yet"


@pytest.mark.parametrize(
    "check", [*(getattr(checks, name) for name in WRITTEN), *(getattr(museum, n) for n in EXHIBITS)]
)
def test_hints_lead_to_sections_that_exist(check):
    *given, hint = inspect.signature(check).parameters
    assert hint == "hint"
    text = " ".join(str(check(*[None] * len(given), hint=True)).split())
    pattern = r".*Where to look: notebook (\d+) \((.*)\), “(.*)”\."
    number, file, heading = re.fullmatch(pattern, text).groups()
    assert file.startswith(f"{int(number):02}_")
    cells = nbformat.read(NOTEBOOKS / file, as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert heading in re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    assert "Where to look" not in str(check(*[None] * len(given)))


def test_the_numbers_are_those_of_the_largest_difference():
    def wrong(inputs, *rest):
        difference = np.zeros(inputs.shape, np.float32)
        difference[:, -1], difference[1, 0] = 0.5, -7.0
        return forward(inputs, *rest) + difference

    right = by_hand(*checks.batch(*checks.SIZES[0]))[1, 0].numpy()
    numbers = rf"outputs .*\[1, 0\].* expected {right:.4g}, found {right - 7:.4g}\b"
    assert re.search(numbers, said("forward", wrong))


def test_the_text_says_what_the_reader_needs():
    in_training, in_evaluation = right_but_for(lambda a: a[5]), right_but_for(lambda a: not a[5])
    assert "outputs in training" in said("population", in_training)
    assert "outputs in evaluation" in said("population", in_evaluation)
    assert "keeps the biased" in said("population", wrapper)
    assert "keeps the unbiased" in said("population", keeps_unbiased)
    assert "gradient is right" in said("forward", forward)
    assert "not looked at" in said("forward", numpy_alone)


def test_an_exception_is_told_without_the_names_of_tensorflow_s_nodes():
    text = said("forward", lambda inputs, *rest: inputs @ inputs[:2])
    assert "InvalidArgumentError: Matrix" in text
    assert "{{" not in text
    assert "[Op:" not in text


def test_interruptions_pass():
    with pytest.raises(KeyboardInterrupt):
        checks.forward(raises(KeyboardInterrupt))
