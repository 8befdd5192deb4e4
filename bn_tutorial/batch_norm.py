"""Batch normalization of ``[batch, units]``: by hand, built in, and with population statistics.

Source: S. Ioffe and C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by
Reducing Internal Covariate Shift" (2015), called "the paper" below.
"""

from __future__ import annotations

import tensorflow as tf

EPSILON = 1e-3
DECAY = 0.999


def batch_norm_by_hand(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = EPSILON
) -> tf.Tensor:
    """Normalise each unit over the batch, then scale and shift it (the paper's Algorithm 1).

    Args:
        inputs: What the activation function would be fed without BN, float `[batch, units]`.
        gamma: The trained scale, float `[units]`.
        beta: The trained shift, float `[units]`.
        epsilon: Number added to the variance, so that a constant unit is not divided by zero.

    Returns:
        Float `[batch, units]`: over the batch each unit has mean `beta` and, but for `epsilon`,
        standard deviation `gamma`. Gradients flow through the mean and the variance too.

    Raises:
        ValueError: `inputs` is not `[batch, units]`.
    """
    inputs = require_floats(inputs, "[batch, units]")
    mean = tf.reduce_mean(inputs, axis=0)
    variance = tf.reduce_mean(tf.square(inputs - mean), axis=0)
    normalized = (inputs - mean) / tf.sqrt(variance + epsilon)
    return gamma * normalized + beta


def batch_norm_builtin(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = EPSILON
) -> tf.Tensor:
    """The same as `batch_norm_by_hand`, with the functions TensorFlow has for it.

    Args, returns and errors are those of `batch_norm_by_hand`.
    """
    inputs = require_floats(inputs, "[batch, units]")
    mean, variance = tf.nn.moments(inputs, axes=[0])
    return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, epsilon)


def batch_norm_gradients(
    inputs: tf.Tensor, gamma: tf.Tensor, upstream: tf.Tensor, epsilon: float = EPSILON
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The gradients of `batch_norm_by_hand` (the paper's section 3, in its short form).

    Args:
        inputs: What BN was given, float `[batch, units]`.
        gamma: The scale, float `[units]`.
        upstream: Gradient of the loss for BN's outputs, float `[batch, units]`.
        epsilon: Number added to the variance.

    Returns:
        The gradients of `inputs` `[batch, units]`, of `gamma` `[units]` and of `beta` `[units]`.

    Raises:
        ValueError: `inputs` or `upstream` is not `[batch, units]`.
    """
    inputs = require_floats(inputs, "[batch, units]")
    upstream = require_floats(upstream, "[batch, units]")
    mean = tf.reduce_mean(inputs, axis=0)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(inputs - mean), axis=0) + epsilon)
    normalized = (inputs - mean) / deviation
    of_gamma = tf.reduce_sum(upstream * normalized, axis=0)
    of_beta = tf.reduce_sum(upstream, axis=0)
    batch = tf.cast(tf.shape(inputs)[0], inputs.dtype)
    of_inputs = gamma / deviation * (upstream - of_beta / batch - normalized * of_gamma / batch)
    return of_inputs, of_gamma, of_beta


class BatchNormVariables(tf.Module):
    """What one batch normalization layer remembers, each float32 `[units]`.

    `gamma` (ones) and `beta` (zeros) are trained. `pop_mean` (zeros) and `pop_var` (ones) estimate
    the population; `batch_norm_wrapper` updates them, gradient descent leaves them alone.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.gamma = tf.Variable(tf.ones([units]), name="gamma")
        self.beta = tf.Variable(tf.zeros([units]), name="beta")
        self.pop_mean = tf.Variable(tf.zeros([units]), trainable=False, name="pop_mean")
        self.pop_var = tf.Variable(tf.ones([units]), trainable=False, name="pop_var")

    def update_population(self, mean: tf.Tensor, variance: tf.Tensor, decay: float) -> None:
        """Move the estimate towards a batch's `mean` and `variance`, each `[units]`.

        Raises:
            ValueError: `decay` is outside [0, 1], where the estimate would not be an average.
        """
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be in [0, 1], found {decay}")
        decay = self.next_decay(decay)
        self.pop_mean.assign(decay * self.pop_mean + (1 - decay) * mean)
        self.pop_var.assign(decay * self.pop_var + (1 - decay) * variance)

    def next_decay(self, decay: float) -> float | tf.Tensor:
        """The decay of the next update; here it is the same for all of them."""
        return decay


class CorrectedBatchNormVariables(BatchNormVariables):
    """The same, but the values that the population starts from have no share in its estimate.

    `steps` is the number of batches seen.
    """

    def __init__(self, units: int) -> None:
        super().__init__(units)
        self.steps = tf.Variable(0.0, trainable=False, name="steps")

    def next_decay(self, decay: float) -> tf.Tensor:
        """A decay that grows from 0 to `decay`."""
        return corrected_decay(decay, self.steps.assign_add(1))


def batch_norm_wrapper(
    inputs: tf.Tensor,
    variables: BatchNormVariables,
    is_training: bool,
    decay: float = DECAY,
    epsilon: float = EPSILON,
) -> tf.Tensor:
    """Batch normalization that can predict: batch statistics in training, the population's after.

    In training the population statistics follow the batch's by exponential smoothing, as in the
    article, Keras and PyTorch: `pop ← decay·pop + (1 − decay)·batch`. Otherwise nothing is changed.
    (The paper's Algorithm 2 averages over batches when training is over.)

    Args:
        inputs: What the activation function would be fed without BN, float `[batch, units]`.
        variables: The layer's `gamma`, `beta`, `pop_mean` and `pop_var`, each `[units]`.
        is_training: Whether to use the batch's statistics, or else the population's.
        decay: Share of the old estimate that is kept at each step, in [0, 1].
        epsilon: Number added to the variance.

    Returns:
        Float `[batch, units]`.

    Raises:
        ValueError: `inputs` is not `[batch, units]`, `decay` is outside [0, 1], or a batch of one
            in training: its variance is 0, its mean is itself, and both would spoil the population.
        tf.errors.InvalidArgumentError: the same batch of one, where a graph traced for any batch
            size meets it only when it runs.
    """
    inputs = require_floats(inputs, "[batch, units]")
    if is_training:
        inputs = require_two(inputs, samples_in(inputs))
        mean, variance = tf.nn.moments(inputs, axes=[0])
        variables.update_population(mean, variance, decay)
    else:
        mean, variance = variables.pop_mean, variables.pop_var
    return tf.nn.batch_normalization(
        inputs, mean, variance, variables.beta, variables.gamma, epsilon
    )


def corrected_decay(decay: float, step: tf.Tensor) -> tf.Tensor:
    """The decay for batch number `step`, from 1, with which smoothing forgets its start at once.

    After t batches plain smoothing from 0 holds 1 − decay^t of what it should; Adam (Kingma and Ba,
    2015) divides by that. Smoothing with `decay · (1 − decay^(t−1)) / (1 − decay^t)` gives the same
    estimate from whatever start, with nothing to divide by afterwards: 0 for the first batch, about
    (t − 1) / t, a plain average, for the next ones, and `decay` in the end.
    """
    if decay == 1:
        return (step - 1) / step
    return decay * (1 - decay ** (step - 1)) / (1 - decay**step)


def require_floats(inputs: tf.Tensor, shape: str) -> tf.Tensor:
    """The inputs as a tensor, if they are floats of this shape.

    Args:
        inputs: What is to be normalised.
        shape: Names of the axes, such as "[batch, ..., channels]"; "..." is any number of axes.

    Raises:
        ValueError: `inputs` are no floats of that shape.
    """
    inputs = tf.convert_to_tensor(inputs)
    rank, axes = inputs.shape.rank or 0, shape.split(", ")
    fits = rank >= len(axes) - 1 if "..." in axes else rank == len(axes)
    if not fits or not inputs.dtype.is_floating:
        raise ValueError(
            f"normalization takes floats of shape {shape}, "
            f"found {inputs.dtype.name} of shape {inputs.shape}"
        )
    return inputs


def samples_in(inputs: tf.Tensor) -> int | tf.Tensor:
    """The size of a batch: a number, or a tensor where only the run of a graph will tell."""
    return tf.shape(inputs)[0] if inputs.shape[0] is None else inputs.shape[0]


def require_two(values: tf.Tensor, samples: int | tf.Tensor) -> tf.Tensor:
    """The same values, if their statistics are those of two samples or more.

    Raises:
        ValueError: There are fewer `samples`.
        tf.errors.InvalidArgumentError: The same, where it shows only when a graph runs.
    """
    message = "batch normalization in training needs statistics of 2 samples or more"
    if tf.is_tensor(samples):
        check = tf.debugging.assert_greater(samples, tf.ones_like(samples), message)
        with tf.control_dependencies([check]):  # else the population would be spoilt before it
            return tf.identity(values)
    if samples < 2:
        raise ValueError(f"{message}, found {samples}")
    return values
