"""Precise population statistics for any Keras model; `population` offers it."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from bn_tutorial.arguments import require_at_least

BATCH_SIZE = 60  # of arrays, which come without batches


def recalibrate(
    model: keras.Model, dataset: Iterable | np.ndarray | tuple, batches: int | None = None
) -> None:
    """Replace the moving statistics of each BN layer by those of the data (Algorithm 2).

    The weights are held still. All BN layers are measured in one pass, each behind layers that
    normalise by batch statistics, as in training; everything else runs as at inference, so dropout
    is off. The variance is that of all values together: E[σ²] + Var[μ], weighted by the sizes of
    the batches. Nothing but `moving_mean` and `moving_variance` changes; if anything goes wrong,
    or the run is interrupted, nothing does.

    A BN layer with `trainable = False` is frozen: it normalises by its own statistics and keeps
    them. A layer that the model always calls with `training=False` is measured like the others.

    Args:
        model: built, of any kind: Sequential, functional, nested, subclassed.
        dataset: batches, with or without labels: a `tf.data.Dataset`, a `keras.utils.PyDataset` or
            another iterable; or arrays: `inputs`, `(inputs, labels)`, or a dict of inputs. Arrays
            are taken in batches of 60.
        batches: how many to use; None is all of them.

    Raises:
        ValueError: the model is not built or has no BN layer to measure, `batches` is below 1, the
            data are empty, or a statistic is not a finite number.
    """
    layers = _layers_to_measure(model)
    if batches is not None:
        require_at_least(1, batches=batches)
    totals = {layer: _Totals(layer.moving_mean.shape) for layer in layers}
    with _everything_else_unchanged(model), _measuring(totals):
        seen = _run(model, itertools.islice(_inputs(dataset), batches), _length(dataset, batches))
        if not seen:
            raise ValueError("recalibrate: expected batches, found an empty dataset")
        statistics = {layer: total.statistics(layer.name) for layer, total in totals.items()}
    _assign(statistics)


def batch_norm_layers(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The BN layers of a model, those of models and layers inside it too, each once."""
    found = (layer for layer in model._flatten_layers())  # the only list that looks inside
    return [layer for layer in found if isinstance(layer, keras.layers.BatchNormalization)]


def normalised_axes(layer: keras.layers.BatchNormalization) -> list[int]:
    """The axes over which a layer takes its statistics: all but its channels'."""
    rank = layer.input_spec.ndim
    return [axis for axis in range(rank) if axis != layer.axis % rank]


class _Totals:
    """The mean and the variance of all values a layer has seen, batch by batch (Chan, 1979)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        self.mean = tf.Variable(tf.zeros(shape, tf.float64), trainable=False)
        self.squares = tf.Variable(tf.zeros(shape, tf.float64), trainable=False)

    def add(self, count: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """`count` values with this mean and variance, each `[channels]`."""
        count, mean, variance = (tf.cast(v, tf.float64) for v in (count, mean, variance))
        mean, variance = (tf.where(count > 0, v, 0.0) for v in (mean, variance))  # all masked
        difference = mean - self.mean
        share = tf.math.divide_no_nan(count, self.count + count)
        self.squares.assign_add(variance * count + tf.square(difference) * self.count * share)
        self.mean.assign_add(difference * share)
        self.count.assign_add(count)

    def statistics(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The mean and the biased variance."""
        if self.count < 2:
            raise ValueError(
                f'layer "{name}": expected 2 values a channel or more, found {int(self.count)}'
            )
        mean, variance = self.mean.numpy(), self.squares.numpy() / self.count.numpy()
        if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
            raise ValueError(f'layer "{name}": expected finite statistics, found NaN or infinity')
        return mean, variance


def _layers_to_measure(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    if not model.built:
        raise ValueError("recalibrate: expected a model that is built; call it on a batch first")
    layers = batch_norm_layers(model)
    frozen = [layer.name for layer in layers if not layer.trainable]
    if len(frozen) == len(layers):
        found = f"only frozen ones: {', '.join(frozen)}" if frozen else "none"
        raise ValueError(f"recalibrate: expected a model with BatchNormalization, found {found}")
    if frozen:
        print(f"frozen, and left as they are: {', '.join(frozen)}")
    return [layer for layer in layers if layer.trainable]


def _assign(
    statistics: dict[keras.layers.BatchNormalization, tuple[np.ndarray, np.ndarray]],
) -> None:
    """All of them or, if interrupted, none."""
    pairs = [
        (variable, value)
        for layer, values in statistics.items()
        for variable, value in zip((layer.moving_mean, layer.moving_variance), values, strict=True)
    ]
    before = [(variable, variable.numpy()) for variable, _ in pairs]
    try:
        for variable, value in pairs:
            variable.assign(value)
    except BaseException:
        for variable, value in before:
            variable.assign(value)
        raise


def _run(model: keras.Model, inputs: Iterator, length: int | None) -> int:
    """Run the model on each batch, as at inference but for the layers that are measured."""
    graphs, seen = {}, 0  # of our own: the model's compiled functions stay as they are
    try:
        for batch in tqdm(
            inputs, total=length, unit=" batches", desc="recalibrating", file=sys.stdout
        ):
            batch = keras.tree.map_structure(tf.convert_to_tensor, batch)
            specs = keras.tree.map_structure(_any_batch_size, batch)
            key = str(specs)
            if key not in graphs:
                run = tf.function(lambda batch: model(batch, training=False))
                graphs[key] = run.get_concrete_function(specs)
            graphs[key](batch)
            seen += 1
    except Exception as error:
        error.add_note(f"recalibrate: at batch {seen + 1}; the model is as it was")
        raise
    return seen


def _any_batch_size(tensor: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)


@contextlib.contextmanager
def _measuring(
    totals: dict[keras.layers.BatchNormalization, _Totals],
) -> Iterator[None]:
    """These layers normalise by the batch, and what they see is added to their totals."""
    with contextlib.ExitStack() as stack:
        for layer, total in totals.items():
            layer.call = _measured_call(layer, total)  # hides the method of the class
            stack.callback(layer.__dict__.pop, "call")
        yield


def _measured_call(layer: keras.layers.BatchNormalization, total: _Totals) -> Callable:
    """What stands in for `layer.call` meanwhile."""
    axes, rank = normalised_axes(layer), layer.input_spec.ndim
    shape = [-1 if axis == layer.axis % rank else 1 for axis in range(rank)]

    def call(
        inputs: tf.Tensor,
        training: bool | None = None,  # noqa: ARG001
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        values = inputs if inputs.dtype == tf.float64 else tf.cast(inputs, tf.float32)
        mean, variance, count = _moments(values, axes, mask)
        total.add(count, mean, variance)
        gamma, beta = (
            None if variable is None else tf.reshape(tf.cast(variable, values.dtype), shape)
            for variable in (layer.gamma, layer.beta)
        )
        mean, variance = tf.reshape(mean, shape), tf.reshape(variance, shape)
        outputs = tf.nn.batch_normalization(values, mean, variance, beta, gamma, layer.epsilon)
        return tf.cast(outputs, inputs.dtype)

    return call


def _moments(
    values: tf.Tensor, axes: list[int], mask: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mean and variance of each channel, `[channels]`, and of how many values they are.

    A mask has no axis for the channels, which are the last; what it hides does not count.
    """
    if mask is None:
        count = tf.reduce_prod(tf.gather(tf.shape(values), axes))
        return *tf.nn.moments(values, axes), count
    weights = tf.broadcast_to(tf.cast(mask, values.dtype)[..., tf.newaxis], tf.shape(values))
    return *tf.nn.weighted_moments(values, axes, weights), tf.reduce_sum(weights[..., 0])


@contextlib.contextmanager
def _everything_else_unchanged(model: keras.Model) -> Iterator[None]:
    """Put back what running the model may move: states of seeds, counters of layers."""
    trained = {id(variable) for variable in model.trainable_variables}
    others = [variable for variable in model.variables if id(variable) not in trained]
    before = [variable.numpy() for variable in others]
    try:
        yield
    finally:
        for variable, value in zip(others, before, strict=True):
            variable.assign(value)


def _inputs(dataset: Iterable | np.ndarray | tuple) -> Iterator:
    """The inputs of each batch, without labels."""
    for batch in _batches(dataset):
        yield keras.utils.unpack_x_y_sample_weight(batch)[0]


def _batches(dataset: Iterable | np.ndarray | tuple) -> Iterable:
    if isinstance(dataset, keras.utils.PyDataset):
        return (dataset[number] for number in range(len(dataset)))
    if isinstance(dataset, tf.data.Dataset) or not _is_arrays(dataset):
        return dataset
    inputs = keras.utils.unpack_x_y_sample_weight(dataset)[0]
    size = len(keras.tree.flatten(inputs)[0])
    starts = range(0, size, BATCH_SIZE)
    return (
        keras.tree.map_structure(lambda part, at=start: part[at : at + BATCH_SIZE], inputs)
        for start in starts
    )


def _is_arrays(dataset: object) -> bool:
    return isinstance(dataset, np.ndarray | tf.Tensor | tuple | dict)


def _length(dataset: object, batches: int | None) -> int | None:
    """How many batches there will be, if that can be known; for the progress bar."""
    try:
        count = len(keras.tree.flatten(dataset)[0]) if _is_arrays(dataset) else len(dataset)
    except TypeError:
        return batches
    count = -(-count // BATCH_SIZE) if _is_arrays(dataset) else count
    return count if batches is None else min(count, batches)
