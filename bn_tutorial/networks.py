"""The article's network, 784-100-100-10 with sigmoids: without BN, naive BN, fixed BN.

And the same at any depth, with other activation functions, and with residual blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow.types.experimental import ConcreteFunction

from bn_tutorial.batch_norm import (
    DECAY,
    BatchNormVariables,
    CorrectedBatchNormVariables,
    batch_norm_builtin,
    batch_norm_by_hand,
    batch_norm_wrapper,
)

LAYER_SIZES = (784, 100, 100, 10)
BatchNorm = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]  # inputs, gamma, beta
Activation = Callable[[tf.Tensor], tf.Tensor]


def initial_weights(
    seed: int = 0,
    scheme: str = "normal",
    layer_sizes: Sequence[int] = LAYER_SIZES,
    deviation: float = 1.0,
) -> list[np.ndarray]:
    """The matrices a network starts from; give the same ones to networks you compare.

    Args:
        seed: of NumPy's generator.
        scheme: "normal" draws from N(0, `deviation²`), as the article does with 1; "glorot" from
            the uniform distribution on ±√(6 / (inputs + outputs)), as Keras does (Glorot and
            Bengio, 2010); "he" from N(0, 2 / inputs), for ReLU (He et al., 2015).
        layer_sizes: units a layer, the images' 784 first, the 10 classes last.
        deviation: standard deviation of the scheme "normal".

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


class HiddenLayer(tf.Module):
    """One hidden layer: `layer(inputs, is_training)` is what its sigmoid is fed.

    A subclass says what that is. To normalise in another way, give a network other layers.
    """

    def __init__(self, weights: np.ndarray, name: str | None = None) -> None:
        super().__init__(name=name)
        self.weights = tf.Variable(weights, name="weights")
        self.units = np.shape(weights)[1]

    def __call__(self, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`[batch, inputs]` → `[batch, units]`."""
        raise NotImplementedError

    def add_noise(self, outputs: tf.Tensor) -> tf.Tensor:
        """What training does to `outputs` at random; most layers do nothing."""
        return outputs


class PlainLayer(HiddenLayer):
    """Without batch normalization. `is_training` makes no difference."""

    def __init__(self, weights: np.ndarray, name: str | None = None) -> None:
        super().__init__(weights, name)
        self.biases = tf.Variable(tf.zeros([self.units]), name="biases")

    def __call__(self, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`Wx + b`."""
        return inputs @ self.weights + self.biases


class NaiveBatchNormLayer(HiddenLayer):
    """BN on batch statistics always. `is_training` makes no difference, and that is the bug.

    There is no bias before BN: subtracting the mean would take it away again, and `beta` does its
    work (the paper, section 3.2).
    """

    def __init__(
        self,
        weights: np.ndarray,
        batch_norm: BatchNorm = batch_norm_builtin,
        name: str | None = None,
    ) -> None:
        super().__init__(weights, name)
        self.gamma = tf.Variable(tf.ones([self.units]), name="gamma")
        self.beta = tf.Variable(tf.zeros([self.units]), name="beta")
        self.batch_norm = batch_norm

    def __call__(self, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`BN(Wx)`, with the statistics of the batch at hand."""
        return self.batch_norm(inputs @ self.weights, self.gamma, self.beta)


class NoisyBatchNormLayer(NaiveBatchNormLayer):
    """Naive BN whose outputs are shifted and scaled at random, anew at each training step.

    The activation inputs are unstable again, although BN is there: after an experiment of Santurkar
    et al. (2018, section 2.1). Each unit's shift is drawn from N(0, `noise`²), its scale from
    [1, 1 + `noise`]. Both are the same for all samples of a step; theirs differ from sample to
    sample too.
    """

    def __init__(
        self,
        weights: np.ndarray,
        noise: float,
        seed: int,
        batch_norm: BatchNorm = batch_norm_builtin,
        name: str | None = None,
    ) -> None:
        super().__init__(weights, batch_norm, name)
        self.noise = noise
        self.seed = seed
        self.step = tf.Variable(0, trainable=False, name="step")

    def __call__(self, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`scale · BN(Wx) + shift` in training, and `BN(Wx)` otherwise."""
        outputs = super().__call__(inputs, is_training)
        if not is_training:
            return outputs
        self.step.assign_add(1)
        return self.add_noise(outputs)

    def add_noise(self, outputs: tf.Tensor) -> tf.Tensor:
        """The present step's noise, on what BN returns."""
        for_shift, for_scale = tf.unstack(tf.random.split([self.seed, self.step], 2))
        shift = self.noise * tf.random.stateless_normal([self.units], for_shift)
        scale = 1 + self.noise * tf.random.stateless_uniform([self.units], for_scale)
        return scale * outputs + shift


class DropoutLayer(PlainLayer):
    """Without BN; in training each input is dropped with probability `rate` (Srivastava, 2014).

    Those that stay are divided by 1 − `rate`, so that prediction needs no other weights.
    """

    def __init__(
        self, weights: np.ndarray, rate: float, seed: int, name: str | None = None
    ) -> None:
        super().__init__(weights, name)
        self.rate = rate
        self.seed = seed
        self.step = tf.Variable(0, trainable=False, name="step")

    def __call__(self, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`Wx + b`, of what is left of x in training."""
        if is_training:
            seed = [self.seed, self.step.assign_add(1)]
            inputs = tf.nn.experimental.stateless_dropout(inputs, self.rate, seed)
        return super().__call__(inputs, is_training)


class BatchNormLayer(HiddenLayer):
    """BN as it should be: batch statistics in training, the population's otherwise."""

    def __init__(
        self,
        weights: np.ndarray,
        decay: float = DECAY,
        kind: type[BatchNormVariables] = BatchNormVariables,
        name: str | None = None,
    ) -> None:
        super().__init__(weights, name)
        self.decay = decay
        self.batch_norm = kind(self.units)

    def __call__(self, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`BN(Wx)`, with the statistics that `is_training` chooses."""
        return batch_norm_wrapper(inputs @ self.weights, self.batch_norm, is_training, self.decay)


class Network(tf.Module):
    """Hidden layers with an activation function, then logits.

    Args:
        layers: what the activation function is fed, the first layer first.
        output_weights: float `[units, classes]`, from the last hidden layer to the logits.
        name: of the module.
        activation: the activation function; the article's is the sigmoid.
    """

    def __init__(
        self,
        layers: Sequence[HiddenLayer],
        output_weights: np.ndarray,
        name: str | None = None,
        activation: Activation = tf.sigmoid,
    ) -> None:
        super().__init__(name=name)
        self.layers = list(layers)
        self.activation = activation
        self.output_weights = tf.Variable(output_weights, name="output_weights")
        self.output_biases = tf.Variable(
            tf.zeros([np.shape(output_weights)[1]]), name="output_biases"
        )

    @property
    def units(self) -> int:
        """Of the last hidden layer."""
        return self.layers[-1].units

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

    def __init__(
        self,
        weights: Sequence[np.ndarray],
        name: str | None = None,
        activation: Activation = tf.sigmoid,
    ) -> None:
        hidden, output = split_weights(weights)
        super().__init__([PlainLayer(matrix) for matrix in hidden], output, name, activation)


class NaiveBatchNormNetwork(Network):
    """Naive BN in each layer: trains well, and cannot predict a single sample.

    The first layer normalises by hand, the others with TensorFlow's functions.
    """

    def __init__(self, weights: Sequence[np.ndarray], name: str | None = None) -> None:
        (first, *others), output = split_weights(weights)
        layers = [NaiveBatchNormLayer(matrix) for matrix in others]
        super().__init__([NaiveBatchNormLayer(first, batch_norm_by_hand), *layers], output, name)


class NoisyBatchNormNetwork(Network):
    """Noisy BN in each layer; each has noise of its own."""

    def __init__(
        self, weights: Sequence[np.ndarray], noise: float, seed: int = 0, name: str | None = None
    ) -> None:
        hidden, output = split_weights(weights)
        seeds = np.random.SeedSequence(seed).generate_state(len(hidden)) >> 1  # fits into int32
        layers = [
            NoisyBatchNormLayer(matrix, noise, int(layer_seed))
            for matrix, layer_seed in zip(hidden, seeds, strict=True)
        ]
        layers[0].batch_norm = batch_norm_by_hand  # as in `NaiveBatchNormNetwork`
        super().__init__(layers, output, name)


class BatchNormNetwork(Network):
    """BN with population statistics in each layer.

    With `correct_start` the estimate of the population forgets at once what it started from.
    """

    def __init__(
        self,
        weights: Sequence[np.ndarray],
        decay: float = DECAY,
        correct_start: bool = False,
        name: str | None = None,
        activation: Activation = tf.sigmoid,
    ) -> None:
        hidden, output = split_weights(weights)
        kind = CorrectedBatchNormVariables if correct_start else BatchNormVariables
        layers = [BatchNormLayer(matrix, decay, kind) for matrix in hidden]
        super().__init__(layers, output, name, activation)


# --- Residual networks ----------------------------------------------------------------------------


class PreActivation(tf.Module):
    """What an activation function is fed of a stream `x`: `BN(x)`, or `x + b` without BN."""

    def __init__(
        self, units: int, batch_norm: bool = True, decay: float = DECAY, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.units = units
        self.decay = decay
        self.batch_norm = BatchNormVariables(units) if batch_norm else None
        self.biases = None if batch_norm else tf.Variable(tf.zeros([units]), name="biases")

    def __call__(self, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`[batch, units]` → `[batch, units]`."""
        if self.batch_norm is None:
            return inputs + self.biases
        return batch_norm_wrapper(inputs, self.batch_norm, is_training, self.decay)


class ResidualBlock(PreActivation):
    """A block `x + a·W·φ(BN(x))`: a branch beside a stream that passes unchanged (He et al., 2016).

    The scale `a` is 1. With `skip_init` it is trained, and starts from 0 (De and Smith, 2020).
    """

    def __init__(
        self, weights: np.ndarray, batch_norm: bool, skip_init: bool, decay: float = DECAY
    ) -> None:
        super().__init__(np.shape(weights)[0], batch_norm, decay)
        self.weights = tf.Variable(weights, name="weights")
        self.scale = tf.Variable(0.0, name="scale") if skip_init else 1.0

    def branch(self, activations: tf.Tensor) -> tf.Tensor:
        """What the block adds to the stream: `[batch, units]` → `[batch, units]`."""
        return self.scale * (activations @ self.weights)


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
        name: str | None = None,
    ) -> None:
        (first, *hidden), output = split_weights(weights)
        blocks = [ResidualBlock(matrix, batch_norm, skip_init, decay) for matrix in hidden]
        last = PreActivation(np.shape(output)[0], batch_norm, decay)
        super().__init__([*blocks, last], output, name, activation)
        self.first_weights = tf.Variable(first, name="first_weights")

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

    It has no hidden layers of ours; what is recorded as activation inputs are the model's logits.

    Args:
        model: built, from one batch of images in whatever shape, to logits `[batch, classes]`.
    """

    def __init__(self, model: keras.Model, name: str | None = None) -> None:
        super().__init__(name=name)
        self.model = model
        self.units = model.output_shape[-1]

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        """The model's; `tf.Module` does not look into Keras."""
        return [variable.value for variable in self.model.trainable_variables]

    def activation_inputs(self, images: tf.Tensor, is_training: bool) -> tf.Tensor:
        """The logits: `[batch, 784]` → `[batch, classes]`."""
        images = tf.reshape(images, [-1, *self.model.input_shape[1:]])
        return self.model(images, training=is_training)

    def output(self, activation_inputs: tf.Tensor) -> tf.Tensor:
        """The logits are what they are."""
        return activation_inputs

    def __call__(self, images: tf.Tensor, is_training: bool) -> tf.Tensor:
        """Images `[batch, 784]` → logits `[batch, classes]`."""
        return self.activation_inputs(images, is_training)


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
    images = tf.TensorSpec([None, network.layers[0].weights.shape[0]], tf.float32, name="images")
    return tf.function(lambda images: network(images, is_training)).get_concrete_function(images)
