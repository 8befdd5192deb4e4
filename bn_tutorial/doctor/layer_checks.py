"""Single questions asked of one BN layer; `doctor` puts the answers together."""

from __future__ import annotations

import keras
import numpy as np

from bn_tutorial.doctor.measurements import LayerStatistics

FEW_VALUES = 16  # a variance of so many normal values is off by a third (its standard deviation)
NO_GAMMA = 1e-3
NO_VARIANCE = 1e-12  # over the mean's square and epsilon: what float32 leaves of a constant

BN = keras.layers.BatchNormalization


def is_tiny(bn: BN, statistics: LayerStatistics | None) -> bool:
    """Whether the layer normalises by batches that are too small for statistics."""
    if statistics is None or not statistics.in_training or bn.renorm:
        return False
    return np.median(statistics.counts) < FEW_VALUES


def distances(bn: BN, statistics: LayerStatistics) -> tuple[float, float]:
    """From the moving statistics to the data's: of the means, and of the variances.

    Each is a root mean square over the channels: of the difference in standard deviations, and of
    the logarithm of the ratio (then raised again). Keras's moving variance tends to the mean
    variance of the batches, a recalibrated one is that of all values; the nearer one counts.
    """
    means = (bn.moving_mean.numpy() - statistics.mean) / np.sqrt(statistics.variance + bn.epsilon)
    moving = bn.moving_variance.numpy() + bn.epsilon
    ratios = [
        np.exp(_root_mean_square(np.log(moving / (variance + bn.epsilon))))
        for variance in (statistics.within, statistics.variance)
    ]
    return _root_mean_square(means), float(min(ratios))


def constant_channels(bn: BN, statistics: LayerStatistics) -> np.ndarray:
    """The channels that never vary: bool `[channels]`."""
    return statistics.variance <= NO_VARIANCE * (np.square(statistics.mean) + bn.epsilon)


def dead_channels(bn: BN, statistics: LayerStatistics) -> np.ndarray:
    """Those, and the channels that gamma has silenced since the start: bool `[channels]`."""
    dead = constant_channels(bn, statistics)
    if bn.gamma is None or is_initial(bn.gamma, bn.gamma_initializer):
        return dead
    return dead | (np.abs(bn.gamma.numpy()) < NO_GAMMA)


def not_finite(bn: BN) -> int:
    """How many of the moving statistics are NaN or infinite."""
    statistics = np.stack([bn.moving_mean.numpy(), bn.moving_variance.numpy()])
    return int(np.sum(~np.isfinite(statistics)))


def affine(bn: BN) -> list[keras.Variable]:
    """Those of gamma and beta that the layer has."""
    return [variable for variable in (bn.gamma, bn.beta) if variable is not None]


def is_initial(variable: keras.Variable, initializer: keras.initializers.Initializer) -> bool:
    """Whether a variable is still what a constant initializer made it; random ones tell nothing."""
    constants = (
        keras.initializers.Zeros,
        keras.initializers.Ones,
        keras.initializers.Constant,
    )
    if not isinstance(initializer, constants):
        return True
    return np.array_equal(variable.numpy(), np.asarray(initializer(variable.shape)))


def changed_since_compile(model: keras.Model, bn: BN) -> int:
    """How many of gamma and beta the present training step treats otherwise than it would if new.

    `fit` builds its step once; the optimizer then holds the variables that were trainable. Eager
    steps look at `trainable` each time.
    """
    optimizer = getattr(model, "optimizer", None)
    step = getattr(model, "train_function", None)
    if step is None or model.run_eagerly or not optimizer.built:
        return 0
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # with mixed precision
    trained = {id(variable) for variable in optimizer._trainable_variables}
    present = {id(variable) for variable in model.trainable_variables}
    return sum((id(v) in trained) != (id(v) in present) for v in affine(bn))


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
