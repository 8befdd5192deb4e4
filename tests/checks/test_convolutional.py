"""`checks.convolution`: wrong functions by name, and right ones written differently."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial import batch_norm, checks, normalization
from bn_tutorial.checks import convolutional
from bn_tutorial.checks.mistakes import agree


def flattened(inputs, gamma, beta, epsilon):
    rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
    return tf.reshape(batch_norm.batch_norm_by_hand(rows, gamma, beta, epsilon), tf.shape(inputs))


def numpy(inputs, gamma, beta, epsilon):
    inputs = np.asarray(inputs, np.float64)
    mean, variance = inputs.mean(axis=(0, 1, 2)), inputs.var(axis=(0, 1, 2))
    return np.array(gamma) * (inputs - mean) / np.sqrt(variance + epsilon) + np.array(beta)


def with_keras(inputs, gamma, beta, epsilon):
    layer = keras.layers.BatchNormalization(epsilon=epsilon)
    layer.build(inputs.shape)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    return layer(inputs, training=True)


def mean_of_means(inputs, gamma, beta, epsilon):
    """One axis after the other; all of a kind have the same size."""

    def mean(values):
        return tf.reduce_mean(tf.reduce_mean(tf.reduce_mean(values, 0), 0), 0)

    centered = inputs - mean(inputs)
    return gamma * centered * tf.math.rsqrt(mean(centered**2) + epsilon) + beta


def a_channel_at_a_time(inputs, gamma, beta, epsilon):
    channels = []
    for scale, shift, channel in zip(gamma, beta, tf.unstack(inputs, axis=3), strict=True):
        mean, variance = tf.nn.moments(channel, [0, 1, 2])
        channels.append(scale * (channel - mean) / tf.sqrt(variance + epsilon) + shift)
    return tf.stack(channels, axis=3)


RIGHT = [
    normalization.conv_batch_norm_by_hand,
    tf.function(normalization.conv_batch_norm_by_hand),
    flattened,
    numpy,
    with_keras,
    mean_of_means,
    a_channel_at_a_time,
]


@pytest.mark.parametrize("function", RIGHT, ids=lambda f: getattr(f, "__name__", "function"))
def test_right_ones_pass(function):
    result = checks.convolution(function)
    assert result.passed, result


def over(*axes, keepdims=True):
    def function(inputs, gamma, beta, epsilon):
        mean, variance = tf.nn.moments(inputs, list(axes), keepdims=keepdims)
        return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, epsilon)

    return function


def mixed(of_mean, of_variance, keepdims=True):
    def function(inputs, gamma, beta, epsilon):
        centered = inputs - tf.reduce_mean(inputs, of_mean, keepdims)
        variance = tf.reduce_mean(centered**2, of_variance, keepdims)
        return gamma * centered / tf.sqrt(variance + epsilon) + beta

    return function


def in_numpy(*axes, keepdims=True):
    def function(inputs, gamma, beta, epsilon):
        inputs, gamma, beta = map(np.array, (inputs, gamma, beta))
        mean, variance = (f(inputs, axis=axes, keepdims=keepdims) for f in (np.mean, np.var))
        return gamma * (inputs - mean) / np.sqrt(variance + epsilon) + beta

    return function


def channels_first(inputs, gamma, beta, epsilon, axes=(0, 2, 3)):
    mean, variance = tf.nn.moments(inputs, list(axes), keepdims=True)
    gamma, beta = (tf.reshape(value, [1, -1, 1, 1]) for value in (gamma, beta))
    return gamma * (inputs - mean) / tf.sqrt(variance + epsilon) + beta


def flattened_to_units(inputs, gamma, beta, epsilon):
    shape = tf.shape(inputs)
    rows = tf.reshape(inputs, [shape[0], -1])
    tiles = shape[1] * shape[2]
    outputs = batch_norm.batch_norm_by_hand(
        rows, tf.tile(gamma, [tiles]), tf.tile(beta, [tiles]), epsilon
    )
    return tf.reshape(outputs, shape)


def changed(**changes):
    """The right function with a mistake in the division or the affine part."""

    def function(inputs, gamma, beta, epsilon):
        centered = inputs - tf.reduce_mean(inputs, [0, 1, 2])
        variance = tf.reduce_mean(centered**2, [0, 1, 2])
        n = centered / changes.get("deviation", lambda v, e: tf.sqrt(v + e))(variance, epsilon)
        return changes.get("end", lambda n, g, b: g * n + b)(n, gamma, beta)

    return function


def one_pass(inputs, gamma, beta, epsilon):
    mean = tf.reduce_mean(inputs, [0, 1, 2])
    variance = tf.reduce_mean(inputs**2, [0, 1, 2]) - mean**2
    return gamma * (inputs - mean) / tf.sqrt(variance + epsilon) + beta


BESTIARY = {
    "statistics over the batch only": [
        over(0),
        over(0, keepdims=False),
        flattened_to_units,
        mixed((0, 1, 2), (0,)),
        mixed((0,), (0, 1, 2)),
    ],
    "statistics over the positions only": [
        over(1, 2),
        over(1, 2, keepdims=False),
        normalization.instance_norm_by_hand,
        in_numpy(1, 2, keepdims=False),
    ],
    "statistics over the channels": [
        over(3),
        over(1, 2, 3),
        normalization.layer_norm_by_hand,
        over(-1, keepdims=False),
        mixed((3,), (3,), keepdims=False),
    ],
    "one mean for all channels": [over(0, 1, 2, 3), in_numpy(0, 1, 2, 3, keepdims=False)],
    "channels first": [
        over(0, 2, 3),
        over(2, 3, keepdims=False),
        channels_first,
        lambda *a: channels_first(*a, axes=(0, 1, 2)),
        in_numpy(0, 2, 3, keepdims=False),
    ],
    "an axis is missing": [over(0, 1), over(0, 2), in_numpy(0, 1, keepdims=False)],
    "the wrong axis": [over(1), over(2), over(0, 1, 3)],
    "epsilon outside the root": [
        changed(deviation=lambda v, e: tf.sqrt(v) + e),
        changed(deviation=lambda v, e: e + v**0.5),
    ],
    "the unbiased variance": [
        changed(deviation=lambda v, e: tf.sqrt(v * 40 / 39 + e)),
        lambda x, g, b, e: (
            g
            * (x - np.mean(x, (0, 1, 2)))
            / np.sqrt(np.float32(np.var(x, (0, 1, 2)) * 40 / 39) + e)
            + b
        ),
    ],
    "gamma and beta swapped": [
        changed(end=lambda n, g, b: b * n + g),
        lambda x, g, b, e: numpy(x, b, g, e),
    ],
    "cancellation": [one_pass, tf.function(one_pass)],
    "statistics as constants": [
        changed(deviation=lambda v, e: tf.stop_gradient(tf.sqrt(v + e))),
        lambda x, g, b, e: tf.nn.batch_normalization(
            x, np.mean(x, (0, 1, 2)), np.var(x, (0, 1, 2)), b, g, e
        ),
    ],
    "a wrong value": [
        lambda *a: numpy(*a)[:, ::-1],
        lambda *a: normalization.group_norm_by_hand(*a[:3], groups=a[1].shape[0], epsilon=7.0),
    ],
    "shape": [lambda *a: numpy(*a)[0], lambda *a: numpy(*a).reshape(-1, 3)],
    "an exception": [batch_norm.batch_norm_by_hand, lambda x, *a: x.mean()],
    "not written yet": [lambda *a: None, lambda *a: NotImplemented],
}


@pytest.mark.parametrize(
    ("mistake", "function"),
    [(mistake, function) for mistake, functions in BESTIARY.items() for function in functions],
)
def test_it_names_the_mistake(mistake, function):
    result = checks.convolution(function)
    assert not result.passed
    assert result.mistake == mistake, result


def test_each_mistake_has_two_beasts():
    assert min(map(len, BESTIARY.values())) >= 2


def test_it_speaks_of_channels():
    text = str(checks.convolution(changed(end=lambda n, g, b: g * n)))
    assert "Channel" in text
    assert "Unit" not in text


def test_no_two_axes_look_alike():
    exact = convolutional.in_float64(convolutional._images(2, 4, 5, 3))
    mistakes = [*convolutional.STATISTICS, *convolutional.SHARED]
    with np.errstate(all="ignore"):
        values = [
            (mistake, convolutional.model_of_outputs(**exact, **mistake.changes))
            for mistake in mistakes
        ]
    right = convolutional.model_of_outputs(**exact)
    for mistake, value in values:
        assert not agree(value, right, 1e-3), mistake
        for other, its_value in values:
            assert mistake.name == other.name or not agree(value, its_value, 1e-3), (mistake, other)
