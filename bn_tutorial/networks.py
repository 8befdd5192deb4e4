"""The article's network, 784-100-100-10 with sigmoids: without BN, naive BN, fixed BN.

And the same at any depth, with other activation functions, and with residual blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow.types.experimental import ConcreteFunction

from bn_tutorial.batch_norm import (
    DECAY,
    BatchNormVariables,
    CorrectedBatchNormVariables,
    batch_norm_by_hand,
)
from bn_tutorial.hidden_layers import (
    Activation,
    BatchNormLayer,
    HiddenLayer,
    NaiveBatchNormLayer,
    NoisyBatchNormLayer,
    PlainLayer,
    PreActivation,
    ResidualBlock,
)

LAYER_SIZES = (784, 100, 100, 10)


def initial_weights(
    seed: int = 0,
    scheme: str = "normal",
    layer_sizes: Sequence[int] = LAYER_SIZES,
    deviation: float = 1.0,
) -> list[np.ndarray]:
    """The matrices a network starts from; give the same ones to networks you compare.

    Args:
        seed: Seed of NumPy's generator.
        scheme: "normal" draws from N(0, `deviation²`), as the article does with 1; "glorot" from
            the uniform distribution on ±√(6 / (inputs + outputs)), as Keras does (Glorot and
            Bengio, 2010); "he" from N(0, 2 / inputs), for ReLU (He et al., 2015).
        layer_sizes: Number of units of each layer; the images' 784 come first, the 10 classes last.
        deviation: Standard deviation of the scheme "normal".

    Returns:
        One float32 matrix `[inputs, outputs]` a layer.

    Raises:
        ValueError: an unknown `scheme`.
    """
    generator = np.random.default_rng(seed)
    weights = []
    for shape in zip(layer_sizes[:-1], layer_sizes[1:], strict=True):
        if scheme == "normal":
            matrix = deviation * generator.normal(size=shape)
        elif scheme == "glorot":
            limit = np.sqrt(6 / sum(shape))
            matrix = generator.uniform(-limit, limit, size=shape)
        elif scheme == "he":
            matrix = np.sqrt(2 / shape[0]) * generator.normal(size=shape)
        else:
            raise ValueError(f'scheme must be "normal", "glorot" or "he", found {scheme!r}')
        weights.append(matrix.astype(np.float32))
    return weights


class Network(tf.Module):
    """Hidden layers with an activation function, then logits.

    Args:
        layers: The hidden layers, the first one first.
        output_weights: Float matrix `[units, classes]` from the last hidden layer to the logits.
        activation: The activation function; the article's is the sigmoid.
    """

    regularization = 0.0  # what is added to the cross entropy of each sample

    def __init__(
        self,
        layers: Sequence[HiddenLayer],
        output_weights: np.ndarray,
        activation: Activation = tf.sigmoid,
    ) -> None:
        super().__init__()
        self.layers = list(layers)
        self.activation = activation
        self.output_weights = tf.Variable(output_weights, name="output_weights")
        self.output_biases = tf.Variable(
            tf.zeros([np.shape(output_weights)[1]]), name="output_biases"
        )

    @property
    def units(self) -> int:
        """Number of units of the last hidden layer."""
        return self.layers[-1].units

    @property
    def layer_weights(self) -> list[tf.Variable]:
        """The matrix behind each hidden layer's activation inputs: `[inputs, units]` each."""
        return [layer.weights for layer in self.layers]

    @property
    def image_size(self) -> int:
        """Number of values of an image."""
        return self.layer_weights[0].shape[0]

    def all_activation_inputs(self, images: tf.Tensor, is_training: bool) -> list[tf.Tensor]:
        """What the activations are fed, hidden layer by hidden layer: each `[batch, units]`."""
        fed, inputs = [], images
        for layer in self.layers:
            fed.append(layer(inputs, is_training))
            inputs = self.activation(fed[-1])
        return fed

    def activation_inputs(self, images: tf.Tensor, is_training: bool) -> tf.Tensor:
        """What the last hidden layer's activation is fed: `[batch, 784]` → `[batch, units]`."""
        return self.all_activation_inputs(images, is_training)[-1]

    def output(self, activation_inputs: tf.Tensor) -> tf.Tensor:
        """From the last hidden layer's activation inputs to the logits: → `[batch, 10]`."""
        return self.activation(activation_inputs) @ self.output_weights + self.output_biases

    def __call__(self, images: tf.Tensor, is_training: bool) -> tf.Tensor:
        """Images `[batch, 784]` → logits `[batch, 10]`."""
        return self.output(self.activation_inputs(images, is_training))


def split_weights(weights: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The matrices of the hidden layers, and that of the output.

    Raises:
        ValueError: `weights` are not two or more matrices, each taking what the last one gives.
    """
    shapes = [np.shape(matrix) for matrix in weights]
    chained = len(shapes) > 1 and all(len(shape) == 2 for shape in shapes)
    if not chained or any(a[1] != b[0] for a, b in zip(shapes, shapes[1:], strict=False)):
        raise ValueError(
            "weights must be two or more matrices [inputs, outputs], each with as many inputs "
            f"as the one before has outputs; found shapes {shapes}"
        )
    *hidden, output = weights
    return hidden, output


# --- The networks of the notebooks: one hidden layer less than there are matrices in `weights` ----


class PlainNetwork(Network):
    """Without batch normalization."""

    def __init__(self, weights: Sequence[np.ndarray], activation: Activation = tf.sigmoid) -> None:
        hidden, output = split_weights(weights)
        super().__init__([PlainLayer(matrix) for matrix in hidden], output, activation)


class NaiveBatchNormNetwork(Network):
    """Naive BN in each layer: trains well, and cannot predict a single sample.

    The first layer normalises by hand, the others with TensorFlow's functions.
    """

    def __init__(self, weights: Sequence[np.ndarray]) -> None:
        (first, *others), output = split_weights(weights)
        layers = [NaiveBatchNormLayer(matrix) for matrix in others]
        super().__init__([NaiveBatchNormLayer(first, batch_norm_by_hand), *layers], output)


class NoisyBatchNormNetwork(Network):
    """Noisy BN in each layer; each has noise of its own."""

    def __init__(self, weights: Sequence[np.ndarray], noise: float, seed: int = 0) -> None:
        hidden, output = split_weights(weights)
        seeds = np.random.SeedSequence(seed).generate_state(len(hidden)) >> 1  # fits into int32
        layers = [
            NoisyBatchNormLayer(matrix, noise, int(layer_seed))
            for matrix, layer_seed in zip(hidden, seeds, strict=True)
        ]
        layers[0].batch_norm = batch_norm_by_hand  # as in `NaiveBatchNormNetwork`
        super().__init__(layers, output)


class BatchNormNetwork(Network):
    """BN with population statistics in each layer.

    With `correct_start` the estimate of the population forgets at once what it started from.
    """

    def __init__(
        self,
        weights: Sequence[np.ndarray],
        decay: float = DECAY,
        correct_start: bool = False,
        activation: Activation = tf.sigmoid,
    ) -> None:
        hidden, output = split_weights(weights)
        kind = CorrectedBatchNormVariables if correct_start else BatchNormVariables
        layers = [BatchNormLayer(matrix, decay, kind) for matrix in hidden]
        super().__init__(layers, output, activation)


# --- Residual networks ----------------------------------------------------------------------------


class ResidualNetwork(Network):
    """A first matrix, residual blocks, a last BN, and the output.

    `layers` are the blocks, and the `PreActivation` before the output.
    """

    def __init__(
        self,
        weights: Sequence[np.ndarray],
        batch_norm: bool = True,
        skip_init: bool = False,
        decay: float = DECAY,
        activation: Activation = tf.nn.relu,
    ) -> None:
        (first, *hidden), output = split_weights(weights)
        blocks = [ResidualBlock(matrix, batch_norm, skip_init, decay) for matrix in hidden]
        last = PreActivation(np.shape(output)[0], batch_norm, decay)
        super().__init__([*blocks, last], output, activation)
        self.first_weights = tf.Variable(first, name="first_weights")

    @property
    def layer_weights(self) -> list[tf.Variable]:
        """The first matrix, then each block's, which the activation inputs after it depend on."""
        return [self.first_weights, *(block.weights for block in self.layers[:-1])]

    def all_activation_inputs(self, images: tf.Tensor, is_training: bool) -> list[tf.Tensor]:
        """What the activations are fed, block by block, and before the output."""
        *blocks, last = self.layers
        fed, stream = [], images @ self.first_weights
        for block in blocks:
            fed.append(block(stream, is_training))
            stream += block.branch(self.activation(fed[-1]))
        return [*fed, last(stream, is_training)]


class KerasNetwork(tf.Module):
    """A Keras model as a network of this module, so that `training.train` can train it.

    It has no hidden layers of ours; what counts as its activation inputs are the model's logits.

    Args:
        model: A built model, from a batch of images of any shape to logits `[batch, classes]`.
    """

    layers: tuple[HiddenLayer, ...] = ()

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.model = model
        self.units = model.output_shape[-1]
        self.image_size = int(np.prod(model.input_shape[1:]))

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        """Those of the model; `tf.Module` does not look into Keras."""
        return [variable.value for variable in self.model.trainable_variables]

    @property
    def layer_weights(self) -> list[tf.Variable]:
        """The last matrix or kernel that is trained."""
        return [v for v in self.trainable_variables if v.shape.rank >= 2][-1:]

    @property
    def regularization(self) -> float | tf.Tensor:
        """The model's own losses, which Keras too adds to the mean over the samples."""
        return sum(self.model.losses)

    def all_activation_inputs(self, images: tf.Tensor, is_training: bool) -> list[tf.Tensor]:
        """The logits alone: `[batch, image_size]` → `[batch, classes]`."""
        images = tf.reshape(images, [-1, *self.model.input_shape[1:]])
        return [self.model(images, training=is_training)]

    def activation_inputs(self, images: tf.Tensor, is_training: bool) -> tf.Tensor:
        """The logits."""
        return self.all_activation_inputs(images, is_training)[-1]

    def output(self, activation_inputs: tf.Tensor) -> tf.Tensor:
        """The logits are what they are."""
        return activation_inputs

    def __call__(self, images: tf.Tensor, is_training: bool) -> tf.Tensor:
        """Images `[batch, image_size]` → logits `[batch, classes]`."""
        return self.activation_inputs(images, is_training)


def build_graph(network: Network, is_training: bool) -> ConcreteFunction:
    """Trace the network, for training or for prediction: a graph, images → logits.

    The name is the article's. There it built the variables as well; here the network owns them, so
    that both graphs share them.

    Args:
        network: One of this module's networks.
        is_training: Whether to trace training; it becomes part of the graph, which no longer asks.

    Returns:
        A concrete `tf.function`: float32 `[batch, 784]` → float32 `[batch, 10]`, any batch.
    """
    images = tf.TensorSpec([None, network.image_size], tf.float32, name="images")
    return tf.function(lambda images: network(images, is_training)).get_concrete_function(images)
