"""What the BN layers of a Keras model are given while it runs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

from bn_tutorial.keras_models.data import Batch
from bn_tutorial.keras_models.model import BatchNorm, Kept, in_short, inlined


class Call:
    """One of the calls of a BN layer in a run of the model: what it was given, over all batches.

    Attributes:
        by_batch: Whether it normalised by its batch.
        count, largest, smallest: Values a channel, in all batches, the largest and the smallest.
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
        kept: What `unchanged` gives; it is told of all variables that the model uses.
        layers: Those to watch.
        by_batch: (layer, training) → whether a layer shall normalise by its batch.
        tool: Who asks, for messages.
    """

    def __init__(
        self,
        kept: Kept,
        layers: Iterable[BatchNorm],
        by_batch: Callable[[BatchNorm, bool], bool],
        tool: str,
    ) -> None:
        super().__init__({layer: [Call(layer.moving_mean.shape[0])] for layer in layers})
        self.kept, self.by_batch, self.tool = kept, by_batch, tool
        for layer in self:
            if by_batch(layer, True):  # 0 times NaN is NaN
                for variable, start in ((layer.moving_mean, 0.0), (layer.moving_variance, 1.0)):
                    if not np.isfinite(variable.numpy()).all():
                        variable.assign(np.full(variable.shape, start))
            vars(layer).update(momentum=0.0, call=self._watched_call(layer))

    def run(
        self, batches: Iterable[Batch], training: bool = False
    ) -> Iterator[tuple[Batch, object]]:
        """Run the model on the inputs of each batch: the batches, each with the outputs.

        It runs in a graph where that is possible, unless it was compiled with `run_eagerly=True`.
        What goes wrong in reading a batch is raised as it is.

        Raises:
            ValueError: The model can't run on a batch; the message is the model's, in short.
        """
        model = self.kept.model
        graphs: dict[str, Callable] = {}

        def run(inputs: object) -> object:
            self.made: dict[BatchNorm, int] = {}  # how often each was called, the first one first
            return model(inputs, training=training)

        eagerly = getattr(model, "run_eagerly", False)
        for number, batch in enumerate(batches, 1):
            try:
                inputs = keras.tree.map_structure(tf.convert_to_tensor, batch[0])
                key = str(keras.tree.map_structure(_any_size, inputs))
                if key not in graphs:
                    graphs[key] = run if eagerly else _traced(run, inputs, self.kept)
                with inlined():
                    outputs = graphs[key](inputs)
            except Exception as error:
                message = f"the model can't run on batch {number}: {in_short(error)}"
                raise ValueError(f"{self.tool}: {message}") from None
            yield batch, outputs

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


def _traced(function: Callable, inputs: object, kept: Kept) -> Callable:
    """Its graph for any batch size, or for this one; the function itself if it can't have one."""
    for spec_of in (_any_size, tf.type_spec_from_value):
        specs = keras.tree.map_structure(spec_of, inputs)
        try:
            with inlined():
                graph = tf.function(function).get_concrete_function(specs)
        except Exception:  # what is wrong with the model shows when it runs by itself
            continue
        kept.add(graph.graph.variables)
        return graph
    return function


def _any_size(tensor: tf.Tensor) -> tf.TypeSpec:
    spec = tf.type_spec_from_value(tensor)
    if not isinstance(spec, tf.TensorSpec) or not spec.shape.rank:
        return spec
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)


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
