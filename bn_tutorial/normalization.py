"""Convolutional batch normalization, and its neighbours: layer, group, instance and RMS.

They differ in one thing: which numbers share a mean and a variance. Each function names these axes.
Inputs are `[batch, ..., channels]`: `[batch, units]`, or images `[batch, height, width, channels]`.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from bn_tutorial.batch_norm import EPSILON, require_floats


def conv_batch_norm_by_hand(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = EPSILON
) -> tf.Tensor:
    """Normalise each channel over the batch and all positions (the paper, section 3.2).

    The statistics are taken over every axis but the last: of `batch · height · width` numbers, one
    mean and one variance for each channel.

    Args:
        inputs: Images, float `[batch, height, width, channels]`, or any `[batch, ..., channels]`.
        gamma: The trained scale, float `[channels]`.
        beta: The trained shift, float `[channels]`.
        epsilon: Number added to the variance.

    Returns:
        Float, of the shape of `inputs`.

    Raises:
        ValueError: `inputs` are no floats of that shape.
    """
    inputs = require_floats(inputs, "[batch, ..., channels]")
    return gamma * normalize(inputs, range(inputs.shape.rank - 1), epsilon) + beta


def layer_norm_by_hand(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = EPSILON
) -> tf.Tensor:
    """Normalise each sample over its channels (Ba et al., 2016).

    The statistics are taken over the last axis, as Keras does by default: one mean and one variance
    for each sample and position. Over positions too it is `group_norm_by_hand` with one group.

    Args, returns and errors are those of `conv_batch_norm_by_hand`.
    """
    inputs = require_floats(inputs, "[batch, ..., channels]")
    return gamma * normalize(inputs, [-1], epsilon) + beta


def instance_norm_by_hand(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = EPSILON
) -> tf.Tensor:
    """Normalise each channel of each sample over its positions (Ulyanov et al., 2016).

    The statistics are taken over every axis but the first and the last.

    Args, returns and errors are those of `conv_batch_norm_by_hand`; there must be a position.
    """
    inputs = require_floats(inputs, "[batch, positions, ..., channels]")
    return gamma * normalize(inputs, range(1, inputs.shape.rank - 1), epsilon) + beta


def group_norm_by_hand(
    inputs: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    groups: int,
    epsilon: float = EPSILON,
) -> tf.Tensor:
    """Normalise groups of channels of each sample, positions included (Wu and He, 2018).

    The channels are split into `groups` of neighbours. The statistics are taken over a group's
    channels and over every axis between the first and the last.

    Args, returns and errors are those of `conv_batch_norm_by_hand`; and `groups`, which must divide
    the number of channels.
    """
    inputs = require_floats(inputs, "[batch, ..., channels]")
    channels = inputs.shape[-1]
    if groups < 1 or channels % groups:
        raise ValueError(f"groups must divide the {channels} channels, found {groups}")
    shape = tf.shape(inputs)
    split = tf.reshape(inputs, tf.concat([shape[:-1], [groups, channels // groups]], axis=0))
    last = inputs.shape.rank
    normalized = normalize(split, [*range(1, last - 1), last], epsilon)
    return gamma * tf.reshape(normalized, shape) + beta


def rms_norm_by_hand(inputs: tf.Tensor, gamma: tf.Tensor, epsilon: float = EPSILON) -> tf.Tensor:
    """Divide each sample by the root mean square of its channels (Zhang and Sennrich, 2019).

    The mean square is taken over the last axis. No mean is subtracted, and there is no shift.

    Args, returns and errors are those of `conv_batch_norm_by_hand`, without `beta`.
    """
    inputs = require_floats(inputs, "[batch, ..., channels]")
    mean_square = tf.reduce_mean(tf.square(inputs), axis=-1, keepdims=True)
    return gamma * inputs / tf.sqrt(mean_square + epsilon)


def normalize(inputs: tf.Tensor, axes: Sequence[int], epsilon: float = EPSILON) -> tf.Tensor:
    """Subtract the mean over these axes, and divide by the standard deviation."""
    mean = tf.reduce_mean(inputs, list(axes), keepdims=True)
    variance = tf.reduce_mean(tf.square(inputs - mean), list(axes), keepdims=True)
    return (inputs - mean) / tf.sqrt(variance + epsilon)
