"""What goes on inside a network: how saturated its units are, how large its gradients."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from bn_tutorial.networks import Network
from bn_tutorial.training import loss_and_gradients

SATURATED = 4.0  # beyond ±4 the sigmoid's slope is below 0.018; at 0 it is 0.25


@dataclass(frozen=True)
class LayerDiagnosis:
    """One hidden layer on one batch.

    Attributes:
        saturated: the share of activation inputs beyond ±`SATURATED`, in [0, 1].
        deviation: the standard deviation of the activation inputs, over samples and units.
        gradient: the root mean square of the loss's gradient for the layer's weights.
    """

    saturated: float
    deviation: float
    gradient: float


def diagnose(network: Network, images: tf.Tensor, labels: tf.Tensor) -> list[LayerDiagnosis]:
    """Look at each hidden layer as it is in training, and leave the network as it was.

    Args:
        network: one of `networks`.
        images: float32 `[batch, 784]`; the loss is summed over them.
        labels: int32 `[batch]`.

    Returns:
        A diagnosis for each hidden layer, the first one first.
    """
    fed = copy.deepcopy(network).all_activation_inputs(images, is_training=True)
    copied = copy.deepcopy(network)  # another, since looking has moved the first
    _, gradients = loss_and_gradients(copied, images, labels)
    by_variable = zip(copied.trainable_variables, gradients, strict=True)
    gradient_of = {variable.ref(): gradient for variable, gradient in by_variable}
    return [
        LayerDiagnosis(
            saturated=float(np.mean(np.abs(inputs) > SATURATED)),
            deviation=float(np.std(inputs)),
            gradient=float(tf.sqrt(tf.reduce_mean(tf.square(gradient_of[layer.weights.ref()])))),
        )
        for inputs, layer in zip(fed, copied.layers, strict=True)
    ]


def observe_percentiles(network: Network, images: tf.Tensor) -> tf.Tensor:
    """For `train`: the {15, 50, 85}th percentiles of what each last hidden unit is fed.

    The layer's own noise is in them, if it has any; the layers below are without theirs.

    Returns:
        float32 `[3, units]`.
    """
    inputs = network.activation_inputs(images, is_training=False)
    return percentiles(network.layers[-1].add_noise(inputs))


def percentiles(values: tf.Tensor, ranks: Sequence[float] = (15, 50, 85)) -> tf.Tensor:
    """The percentiles of each column, by the nearest rank: `[n, columns]` → `[ranks, columns]`."""
    ordered = tf.sort(values, axis=0)
    last = tf.cast(tf.shape(values)[0] - 1, tf.float32)
    positions = tf.round(tf.constant(ranks, tf.float32) / 100 * last)
    return tf.gather(ordered, tf.cast(positions, tf.int32))
