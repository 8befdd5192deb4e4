"""`checks.backward`: wrong gradients by name, and right ones written differently."""

import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial import batch_norm, checks
from bn_tutorial.checks import backward_pass
from bn_tutorial.checks.mistakes import agree


def tape(inputs, gamma, upstream, epsilon):
    beta = tf.zeros_like(gamma)
    with tf.GradientTape() as recorder:
        recorder.watch([inputs, gamma, beta])
        outputs = batch_norm.batch_norm_builtin(inputs, gamma, beta, epsilon)
    return recorder.gradient(outputs, [inputs, gamma, beta], output_gradients=upstream)


def six_formulas(inputs, gamma, upstream, epsilon):
    """As the paper writes it."""
    m = inputs.shape[0]
    mean, variance = tf.nn.moments(inputs, [0])
    of_normalized = upstream * gamma
    of_variance = tf.reduce_sum(
        of_normalized * (inputs - mean) * -0.5 * (variance + epsilon) ** -1.5, 0
    )
    of_mean = tf.reduce_sum(-of_normalized / tf.sqrt(variance + epsilon), 0)
    of_mean += of_variance * tf.reduce_sum(-2 * (inputs - mean), 0) / m
    of_inputs = (
        of_normalized / tf.sqrt(variance + epsilon)
        + of_variance * 2 * (inputs - mean) / m
        + of_mean / m
    )
    normalized = (inputs - mean) / tf.sqrt(variance + epsilon)
    return of_inputs, tf.reduce_sum(upstream * normalized, 0), tf.reduce_sum(upstream, 0)


def jacobian(inputs, gamma, upstream, epsilon):
    """In NumPy, a unit at a time, with the whole matrix of derivatives."""
    inputs, gamma, upstream = (np.asarray(v, np.float64) for v in (inputs, gamma, upstream))
    m, columns = len(inputs), []
    normalized = (inputs - inputs.mean(0)) / np.sqrt(inputs.var(0) + epsilon)
    for unit in range(inputs.shape[1]):
        n = normalized[:, unit]
        over = gamma[unit] / np.sqrt(inputs[:, unit].var() + epsilon)
        columns.append(over * (np.eye(m) - 1 / m - np.outer(n, n) / m) @ upstream[:, unit])
    return [np.stack(columns, 1), np.einsum("nu,nu->u", upstream, normalized), upstream.sum(0)]


def differences(inputs, gamma, upstream, epsilon, step=1e-5):
    inputs, gamma, upstream = (np.array(v, np.float64) for v in (inputs, gamma, upstream))
    beta = np.zeros_like(gamma)

    def loss(inputs, gamma, beta):
        outputs = gamma * (inputs - inputs.mean(0)) / np.sqrt(inputs.var(0) + epsilon) + beta
        return np.sum(outputs * upstream)

    gradients, values = [], [inputs, gamma, beta]
    for which, value in enumerate(values):
        gradient = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            moved = [[np.copy(v) for v in values] for _ in range(2)]
            moved[0][which][index] += step
            moved[1][which][index] -= step
            gradient[index] = (loss(*moved[0]) - loss(*moved[1])) / (2 * step)
        gradients.append(gradient)
    return tuple(gradients)


RIGHT = [
    batch_norm.batch_norm_gradients,
    tf.function(batch_norm.batch_norm_gradients),
    tape,
    six_formulas,
    jacobian,
    differences,
]


@pytest.mark.parametrize("function", RIGHT, ids=lambda f: getattr(f, "__name__", "function"))
def test_right_ones_pass(function):
    result = checks.backward(function)
    assert result.passed, result


def build(
    terms=lambda g, n: g - np.mean(g, 0) - n * np.mean(g * n, 0),
    of_gamma=lambda g, n, centered, inputs: np.sum(g * n, 0),
    of_beta=lambda g: np.sum(g, 0),
    deviation=lambda v, e: np.sqrt(v + e),
    scale=lambda gamma: gamma,
):
    def function(inputs, gamma, upstream, epsilon):
        inputs, gamma, upstream = map(np.array, (inputs, gamma, upstream))
        over = 1 / deviation(inputs.var(0), epsilon)
        centered = inputs - inputs.mean(0)
        n = centered * over
        of_inputs = scale(gamma) * over * terms(upstream, n)
        return of_inputs, of_gamma(upstream, n, centered, inputs), of_beta(upstream)

    return function


def on_tape(normalize):
    """The gradients of a function whose own gradient is wrong."""

    def function(inputs, gamma, upstream, epsilon):
        beta = tf.zeros_like(gamma)
        with tf.GradientTape() as recorder:
            recorder.watch([inputs, gamma, beta])
            mean, variance = tf.nn.moments(inputs, [0])
            outputs = normalize(inputs, mean, variance, gamma, beta, epsilon)
        return recorder.gradient(outputs, [inputs, gamma, beta], output_gradients=upstream)

    return function


def normalization_of(change_mean=tf.identity, change_variance=tf.identity):
    return on_tape(
        lambda x, m, v, g, b, e: tf.nn.batch_normalization(
            x, change_mean(m), change_variance(v), b, g, e
        )
    )


def changed(change):
    """The right gradients, changed."""
    return lambda *arguments: change(arguments, *batch_norm.batch_norm_gradients(*arguments))


BESTIARY = {
    "statistics as constants": [
        build(lambda g, n: g),
        normalization_of(tf.stop_gradient, tf.stop_gradient),
    ],
    "the mean as a constant": [
        build(lambda g, n: g - n * np.mean(g * n, 0)),
        changed(
            lambda a, x, g, b: (
                x + a[1] / tf.sqrt(np.var(a[0], 0) + a[3]) * tf.reduce_mean(a[2], 0),
                g,
                b,
            )
        ),
    ],
    "the variance as a constant": [
        build(lambda g, n: g - np.mean(g, 0)),
        normalization_of(change_variance=tf.stop_gradient),
    ],
    "a sum where a mean belongs": [
        build(lambda g, n: g - np.sum(g, 0) - n * np.sum(g * n, 0)),
        build(lambda g, n: g - np.mean(g, 0) - n * np.sum(g * n, 0)),
        build(lambda g, n: g - np.sum(g, 0) - n * np.mean(g * n, 0)),
    ],
    "the sign of a term": [
        build(lambda g, n: g + np.mean(g, 0) + n * np.mean(g * n, 0)),
        build(lambda g, n: g + np.mean(g, 0) - n * np.mean(g * n, 0)),
        build(lambda g, n: g - np.mean(g, 0) + n * np.mean(g * n, 0)),
    ],
    "the wrong axis": [
        build(lambda g, n: g - np.mean(g) - n * np.mean(g * n)),
        build(lambda g, n: g - g.sum() / g.size - n * (g * n).sum() / g.size),
    ],
    "the wrong count": [
        build(lambda g, n: g - (np.sum(g, 0) + n * np.sum(g * n, 0)) / g.shape[1]),
        build(lambda g, n: g - np.sum(g, 0) / len(g[0]) - n * np.sum(g * n, 0) / len(g[0])),
    ],
    "a factor is missing": [
        build(lambda g, n: g - np.mean(g, 0) - np.mean(g * n, 0)),
        build(lambda g, n: g - (np.sum(g, 0) + np.sum(g * n, 0)) / len(g)),
    ],
    "gamma is not used": [
        build(scale=lambda gamma: 1.0),
        changed(lambda a, x, g, b: (x / a[1], g, b)),
    ],
    "epsilon forgotten": [
        build(deviation=lambda v, e: np.sqrt(v)),
        lambda x, g, u, e: batch_norm.batch_norm_gradients(x, g, u, 1e-5),
    ],
    "epsilon outside the root": [
        build(deviation=lambda v, e: np.sqrt(v) + e),
        build(deviation=lambda v, e: e + np.power(v, 0.5)),
    ],
    "the variance where the standard deviation belongs": [
        build(deviation=lambda v, e: v + e),
        build(deviation=lambda v, e: v),
    ],
    "the unbiased variance": [
        build(deviation=lambda v, e: np.sqrt(v * 5 / 4 + e)),
        build(deviation=lambda v, e: np.sqrt(v / (1 - 1 / 5) + e)),
    ],
    "a mean where a sum belongs": [
        build(of_beta=lambda g: np.mean(g, 0)),
        build(of_gamma=lambda g, n, centered, inputs: np.mean(g * n, 0)),
        changed(lambda a, x, g, b: (x, g / 5, b / 5)),
    ],
    "the inputs are not normalised": [
        build(of_gamma=lambda g, n, centered, inputs: np.sum(g * inputs, 0)),
        build(of_gamma=lambda g, n, centered, inputs: np.sum(g * centered, 0)),
    ],
    "gamma in its own gradient": [
        changed(lambda a, x, g, b: (x, a[1] * g, b)),
        changed(lambda a, x, g, b: [x, np.multiply(g, a[1]), b]),
    ],
    "gamma in the gradient of beta": [
        changed(lambda a, x, g, b: (x, g, a[1] * b)),
        changed(lambda a, x, g, b: [x, g, np.multiply(b, a[1])]),
    ],
    "gamma and beta swapped": [
        changed(lambda a, x, g, b: (x, b, g)),
        lambda *arguments: [tape(*arguments)[i] for i in (0, 2, 1)],
    ],
    "a wrong value": [
        changed(lambda a, x, g, b: (3.0 * x, g, b)),
        changed(lambda a, x, g, b: (x, 3.0 * g, b)),
        changed(lambda a, x, g, b: (x, g, 3.0 * b)),
    ],
    "shape": [
        changed(lambda a, x, g, b: (x, a[2], b)),
        changed(lambda a, x, g, b: (x, g, tf.reduce_sum(a[2], 1))),
        changed(lambda a, x, g, b: (g, x, b)),
    ],
    "number of results": [
        changed(lambda a, x, g, b: (x, g)),
        changed(lambda a, x, g, b: x),
        lambda *arguments: "gradients",
    ],
    "NaN": [
        changed(lambda a, x, g, b: (x / 0.0, g, b)),
        changed(lambda a, x, g, b: (x, g, b * np.nan)),
    ],
    "a result is missing": [
        changed(lambda a, x, g, b: (x, g, None)),
        changed(lambda a, x, g, b: (None, g, b)),
    ],
    "an exception": [lambda *arguments: 1 / 0, lambda inputs: inputs],
    "not written yet": [lambda *arguments: None, lambda *arguments: (None, None, None)],
}


@pytest.mark.parametrize(
    ("mistake", "function"),
    [(mistake, function) for mistake, functions in BESTIARY.items() for function in functions],
)
def test_it_names_the_mistake(mistake, function):
    result = checks.backward(function)
    assert not result.passed
    assert result.mistake == mistake, result


def test_each_mistake_has_two_beasts():
    assert min(map(len, BESTIARY.values())) >= 2


def test_it_says_what_holds():
    result = checks.backward(changed(lambda a, x, g, b: (x + 1.0, g, b)))
    text = " ".join(str(result).split())
    assert "The gradients of gamma and beta are right" in text
    assert "adds up to 0. Yours does not: 5, 5, 5." in text


def test_two_mistakes_at_once():
    wrong = build(lambda g, n: g - np.mean(g, 0), scale=lambda gamma: 1.0)
    text = " ".join(str(checks.backward(wrong)).split())
    assert text.startswith("backward: the variance as a constant")
    assert "a second mistake, gamma is not used" in text


@pytest.mark.parametrize("name", backward_pass.MODELS)
def test_no_two_mistakes_look_alike(name):
    arguments = backward_pass._arguments(5, 3)
    exact = [np.array(value, np.float64) for value in arguments.values()]
    model, mistakes = backward_pass.MODELS[name]
    values = [(mistake.name, model(*exact, **mistake.changes)) for mistake in mistakes]
    right = dict(zip(backward_pass.MODELS, batch_norm.batch_norm_gradients(*exact), strict=True))
    np.testing.assert_allclose(model(*exact), right[name], rtol=1e-12)
    for mistake, value in values:
        assert not agree(value, model(*exact), 1e-3), mistake
        for other, its_value in values:
            assert mistake == other or not agree(value, its_value, 1e-3), (mistake, other)
