"""What goes on inside a network: how saturated its units are, how large its gradients."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from bn_tutorial.hidden_layers import NoisyBatchNormLayer
from bn_tutorial.networks import Network
from bn_tutorial.training import loss_and_gradients

SATURATED = 4.0  # beyond ±4 the sigmoid's slope is below 0.018; at 0 it is 0.25


@dataclass(frozen=True)
class LayerDiagnosis:
    """One hidden layer on one batch.

    Attributes:
        saturated: Share of activation inputs beyond ±`SATURATED`, in [0, 1].
        deviation: Standard deviation of the activation inputs, over samples and units.
        gradient: Root mean square of the loss's gradient for the layer's weights.
    """

    saturated: float
    deviation: float
    gradient: float


def diagnose(network: Network, images: tf.Tensor, labels: tf.Tensor) -> list[LayerDiagnosis]:
    """Look at each hidden layer as it is in training, and leave the network as it was.

    Args:
        network: One of the networks of `networks`.
        images: Pixels in [0, 1], float32 `[batch, 784]`; the loss is summed over them.
        labels: Classes, int32 `[batch]`.

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
            gradient=float(tf.sqrt(tf.reduce_mean(tf.square(gradient_of[weights.ref()])))),
        )
        for inputs, weights in zip(fed, copied.layer_weights, strict=True)
    ]


def measure_gradient_norms(network: Network, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The loss's gradient for what each activation function is fed: its norm, layer by layer.

    In float64, on a copy: fifty layers shrink or enlarge a gradient beyond what float32 holds. It
    ends at 1e-45, so the square of a norm below 1e-23 is 0 there. A Keras model keeps its own
    precision.

    Args:
        network: One of the networks of `networks`; it is left as it was.
        images: Pixels in [0, 1], float `[batch, 784]`; the loss is summed over them.
        labels: Classes, int `[batch]`.

    Returns:
        float64 `[layers]`, the first layer first.
    """
    copied = in_float64(network)
    with tf.GradientTape() as tape:
        fed = copied.all_activation_inputs(tf.cast(images, tf.float64), is_training=True)
        logits = copied.output(fed[-1])
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss = tf.reduce_sum(losses)
    return np.array([np.linalg.norm(gradient) for gradient in tape.gradient(loss, fed)])


def look_along_gradient(
    network: Network, images: tf.Tensor, labels: tf.Tensor, distances: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """The loss, and how much its gradient has changed, some way down the present gradient.

    Args:
        network: One of the networks of `networks`; it is left as it was.
        images: Pixels in [0, 1], float32 `[batch, 784]`; the loss is summed over them.
        labels: Classes, int32 `[batch]`.
        distances: Numbers that the gradient is multiplied by, as by a learning rate.

    Returns:
        float32 `[distances]` each: the losses, and the L2 norms of the gradient's change.
    """
    copied = copy.deepcopy(network)
    trained = copied.trainable_variables
    start = [variable.numpy() for variable in trained]
    others = [(v, v.numpy()) for v in copied.variables if not v.trainable]
    _, here = loss_and_gradients(copied, images, labels)
    losses, changes = [], []
    for distance in distances:
        for variable, value in others:  # so that noise is the same at each distance
            variable.assign(value)
        for variable, value, gradient in zip(trained, start, here, strict=True):
            variable.assign(value - distance * gradient)
        loss, there = loss_and_gradients(copied, images, labels)
        losses.append(loss.numpy())
        changes.append(tf.linalg.global_norm([a - b for a, b in zip(there, here, strict=True)]))
    return np.array(losses), np.array(changes)


def in_float64(network: Network) -> Network:
    """A copy whose variables are float64, so that it takes float64 images."""
    copied = copy.deepcopy(network)
    for module in (copied, *copied.submodules):
        for name, value in list(vars(module).items()):
            if isinstance(value, tf.Variable) and value.dtype.is_floating:
                wide = tf.cast(value, tf.float64)
                setattr(module, name, tf.Variable(wide, trainable=value.trainable))
    return copied


def observe_percentiles(network: Network, images: tf.Tensor) -> tf.Tensor:
    """For `train`: the {15, 50, 85}th percentiles of what each last hidden unit is fed.

    The layer's own noise is in them, if it has any; the layers below are without theirs.

    Returns:
        float32 `[3, units]`.
    """
    inputs = network.activation_inputs(images, is_training=False)
    if network.layers and isinstance(network.layers[-1], NoisyBatchNormLayer):
        inputs = network.layers[-1].add_noise(inputs)
    return percentiles(inputs)


def percentiles(values: tf.Tensor, ranks: Sequence[float] = (15, 50, 85)) -> tf.Tensor:
    """The percentiles of each column, by the nearest rank: `[n, columns]` → `[ranks, columns]`."""
    ordered = tf.sort(values, axis=0)
    last = tf.cast(tf.shape(values)[0] - 1, tf.float32)
    positions = tf.round(tf.constant(ranks, tf.float32) / 100 * last)
    return tf.gather(ordered, tf.cast(positions, tf.int32))
