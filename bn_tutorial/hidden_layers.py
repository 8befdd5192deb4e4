"""Hidden layers: what an activation function is fed, `layer(inputs, is_training)`.

Without BN, with naive BN, with BN that has population statistics, with noise, with dropout, and the
blocks of a residual network.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from bn_tutorial.batch_norm import (
    DECAY,
    BatchNormVariables,
    batch_norm_builtin,
    batch_norm_wrapper,
)

BatchNorm = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]  # inputs, gamma, beta
Activation = Callable[[tf.Tensor], tf.Tensor]


class HiddenLayer(tf.Module):
    """One hidden layer: `layer(inputs, is_training)` is what its sigmoid is fed.

    A subclass says what that is. To normalise in another way, give a network other layers.
    """

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.weights = tf.Variable(weights, name="weights")
        self.units = np.shape(weights)[1]

    def __call__(self, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`[batch, inputs]` → `[batch, units]`."""
        raise NotImplementedError


class PlainLayer(HiddenLayer):
    """Without batch normalization. `is_training` makes no difference."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__(weights)
        self.biases = tf.Variable(tf.zeros([self.units]), name="biases")

    def __call__(self, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`Wx + b`."""
        return inputs @ self.weights + self.biases


class NaiveBatchNormLayer(HiddenLayer):
    """BN on batch statistics always. `is_training` makes no difference, and that is the bug.

    There is no bias before BN: subtracting the mean would take it away again, and `beta` does its
    work (the paper, section 3.2).
    """

    def __init__(self, weights: np.ndarray, batch_norm: BatchNorm = batch_norm_builtin) -> None:
        super().__init__(weights)
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

    def __init__(self, weights: np.ndarray, noise: float, seed: int) -> None:
        super().__init__(weights)
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
        kind = outputs.dtype
        shift = self.noise * tf.random.stateless_normal([self.units], for_shift, dtype=kind)
        scale = 1 + self.noise * tf.random.stateless_uniform([self.units], for_scale, dtype=kind)
        return scale * outputs + shift


class DropoutLayer(PlainLayer):
    """Without BN; in training each input is dropped with probability `rate` (Srivastava, 2014).

    Those that stay are divided by 1 − `rate`, so that prediction needs no other weights.
    """

    def __init__(self, weights: np.ndarray, rate: float, seed: int) -> None:
        super().__init__(weights)
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
    ) -> None:
        super().__init__(weights)
        self.decay = decay
        self.batch_norm = kind(self.units)

    def __call__(self, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`BN(Wx)`, with the statistics that `is_training` chooses."""
        return batch_norm_wrapper(inputs @ self.weights, self.batch_norm, is_training, self.decay)


class PreActivation(tf.Module):
    """What an activation function is fed of a stream `x`: `BN(x)`, or `x + b` without BN."""

    def __init__(self, units: int, batch_norm: bool, decay: float) -> None:
        super().__init__()
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
        self, weights: np.ndarray, batch_norm: bool, skip_init: bool, decay: float
    ) -> None:
        super().__init__(np.shape(weights)[0], batch_norm, decay)
        self.weights = tf.Variable(weights, name="weights")
        self.scale = tf.Variable(0.0, name="scale") if skip_init else 1.0

    def branch(self, activations: tf.Tensor) -> tf.Tensor:
        """What the block adds to the stream: `[batch, units]` → `[batch, units]`."""
        return self.scale * (activations @ self.weights)
