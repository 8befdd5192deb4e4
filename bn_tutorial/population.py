"""Precise population statistics: averaged over many batches, with the weights held still.

For the networks of this package; `keras_models.recalibrate` does it for any Keras model.
"""

from __future__ import annotations

import copy

import numpy as np
import tensorflow as tf

from bn_tutorial.arguments import require_at_least
from bn_tutorial.batch_norm import BatchNormVariables
from bn_tutorial.mnist import Dataset
from bn_tutorial.networks import BatchNormNetwork
from bn_tutorial.training import floats

VARIANCES = ("biased", "unbiased", "pooled")


def estimate_population(
    network: BatchNormNetwork,
    dataset: Dataset,
    batch_size: int = 60,
    batches: int = 200,
    variance: str = "unbiased",
) -> None:
    """Replace the population statistics by averages over batches (the paper's Algorithm 2).

    Smoothing looks back at batches that older weights have seen, and remembers where it started.
    Here all batches see the present weights, and count the same. Nothing but the population
    changes. Labels are not needed.

    Args:
        network: Network with BN, of any depth; it is left with the new statistics.
        dataset: Samples of which the next `batches` batches are taken.
        batch_size: Number of samples in a batch, 2 or more; m below.
        batches: Number of batches, 1 or more.
        variance: How the population's variance comes from the batches' own, σ². "biased": E[σ²],
            as Keras counts; "unbiased": m / (m − 1) · E[σ²], as in the paper; "pooled":
            E[σ²] + Var[μ], the variance of all the samples taken together, which holds too where
            batches differ in their mean.

    Raises:
        ValueError: `batch_size`, `batches` or `variance` is out of range.
        TypeError: A layer of the network has no population statistics.
    """
    require_at_least(2, batch_size=batch_size)
    require_at_least(1, batches=batches)
    if variance not in VARIANCES:
        raise ValueError(f"variance must be one of {VARIANCES}, found {variance!r}")
    kinds = [type(getattr(layer, "batch_norm", None)) for layer in network.layers]
    if not kinds or not all(issubclass(kind, BatchNormVariables) for kind in kinds):
        found = type(network).__name__
        raise TypeError(
            f"expected a network with population statistics in each layer, found {found}"
        )
    indices = dataset.next_indices(batches * batch_size).reshape(batches, batch_size)
    statistics = _batch_statistics(network, dataset, indices)
    for layer, (means, variances) in zip(network.layers, statistics, strict=True):
        pop_var = variances.mean(axis=0)
        if variance == "unbiased":
            pop_var = pop_var * batch_size / (batch_size - 1)
        elif variance == "pooled":
            pop_var = pop_var + means.var(axis=0)
        layer.batch_norm.pop_mean.assign(means.mean(axis=0))
        layer.batch_norm.pop_var.assign(pop_var)


def _batch_statistics(
    network: BatchNormNetwork, dataset: Dataset, indices: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each layer's means and variances, float64 `[batches, units]`, batch by batch.

    They are taken off a copy: with a decay of 0 its population is its last batch's.
    """
    copied = copy.deepcopy(network)
    for layer in copied.layers:
        layer.decay = 0.0
    layers = [layer.batch_norm for layer in copied.layers]
    variables = [v for layer in layers for v in (layer.pop_mean, layer.pop_var)]
    pixels = tf.constant(dataset.pixels)

    @tf.function
    def statistics(batch: tf.Tensor) -> list[tf.Tensor]:
        copied(floats(tf.gather(pixels, batch)), is_training=True)
        return [variable.read_value() for variable in variables]

    graph = statistics.get_concrete_function(tf.TensorSpec(indices.shape[1:], tf.int32))
    seen = [[value.numpy() for value in graph(tf.constant(batch))] for batch in indices]
    by_variable = [np.array(values, np.float64) for values in zip(*seen, strict=True)]
    return list(zip(by_variable[::2], by_variable[1::2], strict=True))
