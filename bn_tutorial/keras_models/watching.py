"""What the BN layers of a Keras model are given while it runs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

from bn_tutorial.keras_models.data import Batch
from bn_tutorial.keras_models.model import BatchNorm, Kept, run_each


class Call:
    """One of the calls of a BN layer in a run of the model: what it was given, over all batches.

    Attributes:
        by_batch: Whether it normalised by its batch.
        count: Values a channel, of all batches.
        largest, smallest: Values a channel, in the largest and the smallest batch.
        mean, variance: `[channels]` each, of all values.
        within: `[channels]`, the mean of the batches' variances, which Keras's moving variance
            tends to.
    """

    def __init__(self, channels: int) -> None:
        self.by_batch, self.count, self.largest, self.smallest = False, 0, 0, np.inf
        self.mean, self.variance, self.within = np.zeros([3, channels])

    def add_batch(self, count: int, moments: np.ndarray, by_batch: bool) -> None:
        """Count a batch of so many values with this mean and variance: `[2, channels]`."""
        batch = Call(moments.shape[1])
        batch.by_batch, batch.count = bool(by_batch), int(count)
        batch.largest = batch.smallest = batch.count
        batch.mean, batch.variance = moments
        batch.within = batch.variance
        self.add(batch)

    @np.errstate(invalid="ignore", over="ignore")  # values may be infinite
    def add(self, other: Call) -> None:
        """Count all values of another call, too (Chan et al., 1979)."""
        self.by_batch |= other.by_batch
        if not other.count:  # a batch may be masked altogether
            return
        self.count += other.count
        share, apart = other.count / self.count, other.mean - self.mean
        between = share * (1 - share) * np.square(apart)
        self.mean += share * apart
        self.variance += share * (other.variance - self.variance) + between
        self.within += share * (other.within - self.within)
        self.largest = max(self.largest, other.largest)
        self.smallest = min(self.smallest, other.smallest)


def pooled(calls: list[Call]) -> Call:
    """All calls as one."""
    total = Call(len(calls[0].mean))
    for call in calls:
        total.add(call)
    return total


class Watched(dict[BatchNorm, list[Call]]):
    """The calls of each BN layer, in their order, from now on; to be made inside `unchanged`.

    A layer that normalises by its batch tells the batch's statistics itself: with a momentum of 0
    its moving ones are these. So a subclass is measured as it normalises.

    Args:
        layers: Those to watch, of a model that is inside `unchanged`.
        by_batch: (layer, training) → whether a layer shall normalise by its batch.
    """

    def __init__(
        self, layers: Iterable[BatchNorm], by_batch: Callable[[BatchNorm, bool], bool]
    ) -> None:
        super().__init__({layer: [Call(layer.moving_mean.shape[0])] for layer in layers})
        self.by_batch = by_batch
        for layer in self:
            if by_batch(layer, True):  # 0 times NaN is NaN
                for variable, start in ((layer.moving_mean, 0.0), (layer.moving_variance, 1.0)):
                    if not np.isfinite(variable.numpy()).all():
                        variable.assign(np.full(variable.shape, start))
            vars(layer).update(momentum=0.0, call=self._watched_call(layer))

    def run(
        self, model: keras.Model, batches: Iterable[Batch], training: bool, kept: Kept, tool: str
    ) -> Iterator[tuple[Batch, object]]:
        """Run the model on the inputs of each batch: the batches, each with the outputs.

        Args:
            model: Built, with the layers that are watched.
            batches: As `batches_of` gives them.
            training: What the model is called with.
            kept: Is told of all variables that the model uses.
            tool: Who asks, for messages.

        Raises:
            ValueError: The model can't run on a batch.
        """

        def run(inputs: object) -> object:
            self.made: dict[BatchNorm, int] = {}  # how often each was called, the first one first
            return model(inputs, training=training)

        return run_each(run, batches, model, kept, tool)

    def in_order(self) -> list[BatchNorm]:
        """The layers, in the order of their first calls; those without one come last."""
        return list(self.made | dict.fromkeys(self))

    def _watched_call(self, layer: BatchNorm) -> Callable:
        """What stands in for `layer.call` meanwhile."""
        call, plain = layer.call, is_plain(layer)

        def watched_call(inputs: tf.Tensor, *others: object, **options: object) -> tf.Tensor:
            record, mask = self._next_call(layer), options.get("mask")
            by_batch = self.by_batch(layer, bool(options.get("training")))
            if "training" in options:
                options["training"] = by_batch
            before = _moving(layer)
            outputs = call(inputs, *others, **options)
            moments = _moving(layer)
            if not plain:  # it may do otherwise than it is told
                by_batch = tf.reduce_any(before != moments)
            if by_batch is not True:
                moments = tf.where(by_batch, moments, _moments(layer, inputs, mask))
            count = _count(layer, inputs, mask)
            tf.numpy_function(_weakly(record.add_batch), [count, moments, by_batch], [])
            return outputs

        return watched_call

    def _next_call(self, layer: BatchNorm) -> Call:
        """The record of the call that is made now."""
        calls, number = self[layer], self.made.get(layer, 0)
        self.made[layer] = number + 1
        if number == len(calls):
            calls.append(Call(layer.moving_mean.shape[0]))
        return calls[number]


def is_plain(layer: BatchNorm) -> bool:
    """Whether a layer does what Keras's own BN does, and not something of somebody's own."""
    return type(layer).call is BatchNorm.call and "call" not in vars(layer)


def _weakly(method: Callable) -> Callable:
    """The same; TensorFlow never forgets a NumPy function, and would keep what it belongs to."""
    reference = weakref.WeakMethod(method)
    return lambda *values: reference()(*values)


def _moving(layer: BatchNorm) -> tf.Tensor:
    """Moving mean and variance: float64 `[2, channels]`."""
    return tf.stack([tf.cast(v, tf.float64) for v in (layer.moving_mean, layer.moving_variance)])


def _count(layer: BatchNorm, values: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Values a channel; a mask has no axis for the channels."""
    if mask is None:
        return tf.size(values) // layer.moving_mean.shape[0]
    return tf.math.count_nonzero(mask, dtype=tf.int32)


def _moments(layer: BatchNorm, values: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Mean and variance of each channel: float64 `[2, channels]`; what is masked does not count."""
    rank = layer.input_spec.ndim
    axes = [axis for axis in range(rank) if axis != layer.axis % rank]
    values = values if values.dtype == tf.float64 else tf.cast(values, tf.float32)
    weights = 1.0 if mask is None else tf.cast(mask, values.dtype)[..., tf.newaxis]
    return tf.cast(tf.stack(tf.nn.weighted_moments(values, axes, weights)), tf.float64)
