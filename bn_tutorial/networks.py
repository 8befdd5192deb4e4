"""The article's network, 784-100-100-10 with sigmoids: without BN, naive BN, fixed BN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow.types.experimental import ConcreteFunction

from bn_tutorial.batch_norm import (
    DECAY,
    BatchNormVariables,
    batch_norm_builtin,
    batch_norm_by_hand,
    batch_norm_wrapper,
)

LAYER_SIZES = (784, 100, 100, 10)


def initial_weights(
    seed: int = 0, scheme: str = "normal", layer_sizes: Sequence[int] = LAYER_SIZES
) -> list[np.ndarray]:
    """The matrices a network starts from; give the same ones to networks you compare.

    Args:
        seed: of NumPy's generator.
        scheme: "normal" draws from N(0, 1), as the article does; "glorot" from the uniform
            distribution on ±√(6 / (inputs + outputs)), as Keras does (Glorot and Bengio, 2010).
        layer_sizes: units a layer, the images' 784 first, the 10 classes last.

    Returns:
        One float32 matrix `[inputs, outputs]` a layer.

    Raises:
        ValueError: an unknown `scheme`.
    """
    generator = np.random.default_rng(seed)
    weights = []
    for shape in zip(layer_sizes[:-1], layer_sizes[1:], strict=True):
        if scheme == "normal":
            matrix = generator.normal(size=shape)
        elif scheme == "glorot":
            limit = np.sqrt(6 / sum(shape))
            matrix = generator.uniform(-limit, limit, size=shape)
        else:
            raise ValueError(f'scheme must be "normal" or "glorot", found {scheme!r}')
        weights.append(matrix.astype(np.float32))
    return weights


class Network(tf.Module):
    """Layers of sigmoids, then logits. A subclass says what a sigmoid is fed: `activation_input`.

    Any number of hidden layers: one less than there are matrices in `weights`.

    Raises:
        ValueError: `weights` are not two or more matrices, each taking what the last one gives.
    """

    def __init__(self, weights: Sequence[np.ndarray], name: str | None = None) -> None:
        super().__init__(name=name)
        shapes = [np.shape(matrix) for matrix in weights]
        chained = len(shapes) > 1 and all(len(shape) == 2 for shape in shapes)
        if not chained or any(a[1] != b[0] for a, b in zip(shapes, shapes[1:], strict=False)):
            raise ValueError(
                "weights must be two or more matrices [inputs, outputs], each with as many inputs "
                f"as the one before has outputs; found shapes {shapes}"
            )
        *hidden, output = weights
        self.hidden_weights = [tf.Variable(matrix, name="weights") for matrix in hidden]
        self.hidden_units = [shape[1] for shape in shapes[:-1]]
        self.output_weights = tf.Variable(output, name="output_weights")
        self.output_biases = tf.Variable(tf.zeros([shapes[-1][1]]), name="output_biases")

    def activation_input(self, layer: int, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """What the sigmoid of hidden layer `layer` (from 0) is fed: `[batch, units]`."""
        raise NotImplementedError

    def activation_inputs(self, images: tf.Tensor, is_training: bool) -> tf.Tensor:
        """What the last hidden layer's sigmoid is fed: `[batch, 784]` → `[batch, units]`."""
        return self.all_activation_inputs(images, is_training)[-1]

    def all_activation_inputs(self, images: tf.Tensor, is_training: bool) -> list[tf.Tensor]:
        """What the sigmoids are fed, hidden layer by hidden layer: each `[batch, units]`."""
        fed = [self.activation_input(0, images, is_training)]
        for layer in range(1, len(self.hidden_weights)):
            fed.append(self.activation_input(layer, tf.sigmoid(fed[-1]), is_training))
        return fed

    def output(self, activation_inputs: tf.Tensor) -> tf.Tensor:
        """From the last hidden layer's activation inputs to the logits: → `[batch, 10]`."""
        return tf.sigmoid(activation_inputs) @ self.output_weights + self.output_biases

    def __call__(self, images: tf.Tensor, is_training: bool) -> tf.Tensor:
        """Images `[batch, 784]` → logits `[batch, 10]`."""
        return self.output(self.activation_inputs(images, is_training))


class PlainNetwork(Network):
    """Without batch normalization. `is_training` makes no difference."""

    def __init__(self, weights: Sequence[np.ndarray], name: str | None = None) -> None:
        super().__init__(weights, name)
        self.biases = [tf.Variable(tf.zeros([units]), name="biases") for units in self.hidden_units]

    def activation_input(self, layer: int, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`Wx + b`."""
        return inputs @ self.hidden_weights[layer] + self.biases[layer]


class NaiveBatchNormNetwork(Network):
    """BN on batch statistics always: trains well, and cannot predict a single sample.

    The first layer normalises by hand, the others with TensorFlow's functions. `is_training` makes
    no difference, and that is the bug. There is no bias before BN: subtracting the mean would take
    it away again, and `beta` does its work (the paper, section 3.2).
    """

    def __init__(self, weights: Sequence[np.ndarray], name: str | None = None) -> None:
        super().__init__(weights, name)
        self.gammas = [tf.Variable(tf.ones([units]), name="gamma") for units in self.hidden_units]
        self.betas = [tf.Variable(tf.zeros([units]), name="beta") for units in self.hidden_units]

    def activation_input(self, layer: int, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`BN(Wx)`, with the statistics of the batch at hand."""
        z = inputs @ self.hidden_weights[layer]
        batch_norm = batch_norm_by_hand if layer == 0 else batch_norm_builtin
        return batch_norm(z, self.gammas[layer], self.betas[layer])


class NoisyBatchNormNetwork(NaiveBatchNormNetwork):
    """Naive BN whose outputs are shifted and scaled at random, anew at each training step.

    The activation inputs are unstable again, although BN is there: after an experiment of Santurkar
    et al. (2018, section 2.1). Each unit's shift is drawn from N(0, `noise`²), its scale from
    [1, 1 + `noise`]. Both are the same for all samples of a step; theirs differ from sample to
    sample too.
    """

    def __init__(
        self, weights: Sequence[np.ndarray], noise: float, seed: int = 0, name: str | None = None
    ) -> None:
        super().__init__(weights, name)
        self.noise = noise
        self.seed = seed
        self.step = tf.Variable(0, trainable=False, name="step")

    def activation_input(self, layer: int, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`scale · BN(Wx) + shift` in training, and `BN(Wx)` otherwise."""
        z = super().activation_input(layer, inputs, is_training)
        if not is_training:
            return z
        if layer == 0:
            self.step.assign_add(1)
        return self.add_noise(layer, z)

    def add_noise(self, layer: int, z: tf.Tensor) -> tf.Tensor:
        """The present step's noise, on what BN returns in hidden layer `layer`."""
        units = [self.hidden_units[layer]]
        seeds = tf.random.split([self.seed, self.step], 2 * len(self.hidden_units))
        shift = self.noise * tf.random.stateless_normal(units, seeds[2 * layer])
        scale = 1 + self.noise * tf.random.stateless_uniform(units, seeds[2 * layer + 1])
        return scale * z + shift


class BatchNormNetwork(Network):
    """BN as it should be: batch statistics in training, the population's otherwise.

    With `correct_start` the estimate of the population forgets at once what it started from.
    """

    def __init__(
        self,
        weights: Sequence[np.ndarray],
        decay: float = DECAY,
        correct_start: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(weights, name)
        self.decay = decay
        self.batch_norms = [BatchNormVariables(units, correct_start) for units in self.hidden_units]

    def activation_input(self, layer: int, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`BN(Wx)`, with the statistics that `is_training` chooses."""
        z = inputs @ self.hidden_weights[layer]
        return batch_norm_wrapper(z, self.batch_norms[layer], is_training, self.decay)


def build_graph(network: Network, is_training: bool) -> ConcreteFunction:
    """Trace the network, for training or for prediction: a graph, images → logits.

    The name is the article's. There it built the variables as well; here the network owns them, so
    that both graphs share them.

    Args:
        network: one of this module's.
        is_training: becomes part of the graph; the graph no longer asks.

    Returns:
        A concrete `tf.function`: float32 `[batch, 784]` → float32 `[batch, 10]`, any batch.
    """
    images = tf.TensorSpec([None, network.hidden_weights[0].shape[0]], tf.float32, name="images")
    return tf.function(lambda images: network(images, is_training)).get_concrete_function(images)
