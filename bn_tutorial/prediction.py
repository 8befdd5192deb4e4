"""Predictions, one sample at a time and in batches of any size."""

from __future__ import annotations

import copy

import numpy as np
import tensorflow as tf

from bn_tutorial.arguments import require_at_least
from bn_tutorial.mnist import Dataset
from bn_tutorial.networks import Network


def predict_one_by_one(
    network: Network, images: np.ndarray, labels: np.ndarray, is_training: bool = False
) -> tuple[np.ndarray, float]:
    """Predict each image by itself, in a batch of one, as a served model would.

    Args, returns and errors are those of `predict_in_batches`.
    """
    return predict_in_batches(network, images, labels, 1, is_training)


def predict_in_batches(
    network: Network,
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    is_training: bool = False,
) -> tuple[np.ndarray, float]:
    """Predict the images `batch_size` at a time, in their order; the last batch may be smaller.

    Args:
        network: One of the networks of `networks`.
        images: Pixels in [0, 1], float32 `[n, 784]`.
        labels: Labels as one-hot vectors `[n, 10]` or as classes `[n]`.
        batch_size: Number of images that are in the network together.
        is_training: Whether a network that knows both uses the statistics of the batch.

    Returns:
        The predicted classes, int64 `[n]`, and their accuracy, in [0, 1].

    Raises:
        ValueError: no images, not as many labels as images, or a `batch_size` below 1.
    """
    classes = np.argmax(labels, axis=1) if np.ndim(labels) == 2 else np.asarray(labels)
    if len(images) == 0 or len(images) != len(classes):
        raise ValueError(
            f"expected as many labels as images, and one at least; found {len(classes)} labels "
            f"and {len(images)} images"
        )
    require_at_least(1, batch_size=batch_size)
    whole = len(images) - len(images) % batch_size
    parts = [images[:whole].reshape(-1, batch_size, images.shape[1]), images[np.newaxis, whole:]]
    predictions = [_predict(network, batches, is_training) for batches in parts if batches.size]
    predictions = np.concatenate(predictions)
    return predictions, float(np.mean(predictions == classes))


def measure_accuracy(network: Network, dataset: Dataset, batch_size: int | None = None) -> float:
    """The accuracy on a data set, in [0, 1], by population or by batch statistics.

    Args:
        network: One of the networks of `networks`; it is left as it was.
        dataset: Samples, which are taken in their order.
        batch_size: Number of samples whose batch statistics are used, or of the whole set if that
            is smaller. With None the population statistics are used.
    """
    if batch_size is None:
        size, is_training = len(dataset), False
    else:  # on a copy: batch statistics would move its population
        network, size, is_training = copy.deepcopy(network), min(batch_size, len(dataset)), True
    return predict_in_batches(network, dataset.images, dataset.labels, size, is_training)[1]


def _predict(network: Network, batches: np.ndarray, is_training: bool) -> np.ndarray:
    """Images `[batches, batch_size, 784]` → classes `[batches · batch_size]`, in one graph."""

    def predict(batches: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda batch: tf.argmax(network(batch, is_training), axis=1),
            batches,
            fn_output_signature=tf.int64,
        )

    # Tracing outright, since a tf.function called in a loop would warn that it is traced again.
    graph = tf.function(predict).get_concrete_function(tf.TensorSpec(batches.shape, tf.float32))
    return graph(tf.constant(batches)).numpy().ravel()
