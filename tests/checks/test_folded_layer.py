"""`checks.folding`: wrong functions by name, and right ones written differently."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial import checks
from bn_tutorial import keras_models as package
from bn_tutorial.checks import folded_layer
from bn_tutorial.checks.mistakes import agree


def right(weights, bias, gamma, beta, pop_mean, pop_var, epsilon):
    scale = gamma / tf.sqrt(pop_var + epsilon)
    return weights * scale, scale * (bias - pop_mean) + beta


def numpy(weights, bias, gamma, beta, pop_mean, pop_var, epsilon):
    weights, bias, gamma, beta, pop_mean, pop_var = (
        np.array(value, np.float64) for value in (weights, bias, gamma, beta, pop_mean, pop_var)
    )
    scale = np.diag(gamma / np.sqrt(pop_var + epsilon))
    return [weights @ scale, (bias - pop_mean) @ scale + beta]


def loop(weights, bias, gamma, beta, pop_mean, pop_var, epsilon):
    columns, biases = [], []
    for unit in range(weights.shape[1]):
        scale = gamma[unit] * (pop_var[unit] + epsilon) ** -0.5
        columns.append(weights[:, unit] * scale)
        biases.append(beta[unit] - pop_mean[unit] * scale + bias[unit] * scale)
    return tf.stack(columns, axis=1), tf.stack(biases)


def with_the_package(weights, bias, gamma, beta, pop_mean, pop_var, epsilon):
    inputs, units = weights.shape
    dense = keras.layers.Dense(units)
    norm = keras.layers.BatchNormalization(epsilon=epsilon)
    model = keras.Sequential([keras.Input([inputs]), dense, norm])
    dense.set_weights([weights, bias])
    norm.set_weights([gamma, beta, pop_mean, pop_var])
    return package.fold_batch_norm(model, verbose=0).layers[-1].get_weights()


def by_probing(weights, bias, *statistics):
    gamma, beta, pop_mean, pop_var, epsilon = statistics
    images = tf.concat([tf.zeros([1, weights.shape[0]]), tf.eye(weights.shape[0])], 0)
    outputs = tf.nn.batch_normalization(
        images @ weights + bias, pop_mean, pop_var, beta, gamma, epsilon
    )
    return outputs[1:] - outputs[0], outputs[0]


RIGHT = [right, tf.function(right), numpy, loop, with_the_package, by_probing]


@pytest.mark.parametrize("function", RIGHT, ids=lambda f: getattr(f, "__name__", "function"))
def test_right_ones_pass(function):
    result = checks.folding(function)
    assert result.passed, result


def build(
    scale=lambda g, b, v, e: g / tf.sqrt(v + e),
    weigh=lambda w, a: w * a,
    shift=lambda c, a, g, b, m: a * (c - m) + b,
):
    def function(weights, bias, gamma, beta, pop_mean, pop_var, epsilon):
        a = scale(gamma, beta, pop_var, epsilon)
        return weigh(weights, a), shift(bias, a, gamma, beta, pop_mean)

    return function


def bias(shift):
    """The right weights, and this bias, in NumPy."""

    def function(*arguments):
        weights, _ = numpy(*arguments)
        _, c, g, b, m, v, e = (np.array(value, np.float64) for value in arguments)
        return weights, shift(c, g / np.sqrt(v + e), g, b, m)

    return function


BESTIARY = {
    "the wrong axis": [
        build(weigh=lambda w, a: tf.transpose(tf.transpose(w) * a)),
        build(weigh=lambda w, a: w * a[:, tf.newaxis]),
        build(weigh=lambda w, a: tf.linalg.diag(a) @ w),
    ],
    "epsilon forgotten": [
        build(scale=lambda g, b, v, e: g / tf.sqrt(v)),
        lambda *a: right(*a[:6], 1e-5),
    ],
    "the variance where the standard deviation belongs": [
        build(scale=lambda g, b, v, e: g / (v + e)),
        build(scale=lambda g, b, v, e: g / v),
    ],
    "epsilon outside the root": [
        build(scale=lambda g, b, v, e: g / (tf.sqrt(v) + e)),
        build(scale=lambda g, b, v, e: g / (e + v**0.5)),
    ],
    "multiplied by the standard deviation": [
        build(scale=lambda g, b, v, e: g * tf.sqrt(v + e)),
        build(scale=lambda g, b, v, e: g * tf.sqrt(v)),
    ],
    "gamma is not used": [
        build(scale=lambda g, b, v, e: 1 / tf.sqrt(v + e)),
        lambda *a: right(*a[:2], tf.ones_like(a[2]), *a[3:]),
        build(shift=lambda c, a, g, b, m: a * c - a / g * m + b),
    ],
    "gamma and beta swapped": [
        build(scale=lambda g, b, v, e: b / tf.sqrt(v + e), shift=lambda c, a, g, b, m: a * c + g),
        lambda w, c, g, b, *rest: right(w, c, b, g, *rest),
        build(shift=lambda c, a, g, b, m: a * (c - m) + g),
    ],
    "not scaled": [
        build(weigh=lambda w, a: w),
        lambda w, *rest: (w, right(w, *rest)[1]),
    ],
    "the division is missing": [
        build(scale=lambda g, b, v, e: g),
        lambda w, c, g, *rest: (w * g, right(w, c, g, *rest)[1]),
    ],
    "beta added to the weights": [
        build(scale=lambda g, b, v, e: g / tf.sqrt(v + e) + b),
        lambda w, c, g, b, m, v, e: (w * (g / tf.sqrt(v + e) + b), c),
    ],
    "the shift added to the weights": [
        lambda *a: (right(*a)[0] + right(a[0], 0 * a[1], *a[2:])[1], right(*a)[1]),
        lambda *a: (right(*a)[0] + a[3], right(*a)[1]),
    ],
    "the bias is not used": [
        build(shift=lambda c, a, g, b, m: b - a * m),
        bias(lambda c, a, g, b, m: b - m * a),
    ],
    "the bias is not scaled": [
        build(shift=lambda c, a, g, b, m: c + b - a * m),
        bias(lambda c, a, g, b, m: c - a * m + b),
    ],
    "the bias is unchanged": [
        build(shift=lambda c, a, g, b, m: c),
        build(shift=lambda c, a, g, b, m: a * c),
    ],
    "the sign of the mean": [
        build(shift=lambda c, a, g, b, m: a * (c + m) + b),
        bias(lambda c, a, g, b, m: a * c + b + a * m),
    ],
    "the mean is not scaled": [
        build(shift=lambda c, a, g, b, m: a * c - m + b),
        bias(lambda c, a, g, b, m: b - m + c * a),
    ],
    "the mean is not subtracted": [
        build(shift=lambda c, a, g, b, m: a * c + b),
        bias(lambda c, a, g, b, m: b + a * c),
    ],
    "beta is not used": [
        build(shift=lambda c, a, g, b, m: a * (c - m)),
        bias(lambda c, a, g, b, m: a * c - a * m),
    ],
    "beta is scaled": [
        build(shift=lambda c, a, g, b, m: a * (c - m + b)),
        bias(lambda c, a, g, b, m: a * (c + b) - a * m),
    ],
    "the sign of beta": [
        build(shift=lambda c, a, g, b, m: a * (c - m) - b),
        bias(lambda c, a, g, b, m: a * c - (a * m + b)),
    ],
    "a wrong value": [
        build(weigh=lambda w, a: 3.0 * w * a),
        build(shift=lambda c, a, g, b, m: tf.sin(c)),
    ],
    "shape": [
        build(weigh=lambda w, a: tf.transpose(w * a)),
        build(shift=lambda c, a, g, b, m: tf.reduce_sum(c)),
    ],
    "number of results": [lambda *a: right(*a)[0], lambda *a: [*right(*a), 1]],
    "NaN": [
        build(shift=lambda c, a, g, b, m: c / 0.0),
        build(scale=lambda g, b, v, e: g * tf.sqrt(-v)),
    ],
    "an exception": [lambda *a: a[0].dot(a[1]), lambda *a: 1 / 0],
    "not written yet": [lambda *a: None, lambda *a: (None, None)],
}


@pytest.mark.parametrize(
    ("mistake", "function"),
    [(mistake, function) for mistake, functions in BESTIARY.items() for function in functions],
)
def test_it_names_the_mistake(mistake, function):
    result = checks.folding(function)
    assert not result.passed
    assert result.mistake == mistake, result


def test_each_mistake_has_two_beasts():
    assert min(map(len, BESTIARY.values())) >= 2


def test_it_shows_what_the_two_layers_give():
    text = " ".join(str(checks.folding(build(weigh=lambda w, a: w))).split())
    assert "the layer and its BN give unit" in text


@pytest.mark.parametrize("part", range(2))
def test_no_two_mistakes_look_alike(part):
    arguments = folded_layer._arguments(4, 4)
    exact = folded_layer.in_float64(arguments)
    name, model, mistakes, _ = folded_layer.PARTS[part]
    values = [(mistake, model(**exact, **mistake.changes)) for mistake in mistakes]
    expected = folded_layer.right_layer(arguments)[name]
    assert agree(model(**exact), expected, 1e-12)
    for mistake, value in values:
        assert not agree(value, expected, 1e-3), mistake
        for other, its_value in values:
            assert mistake.name == other.name or not agree(value, its_value, 1e-3), (mistake, other)
