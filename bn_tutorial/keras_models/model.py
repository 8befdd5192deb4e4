"""A Keras model that is run, its BN layers watched, and left exactly as it was.

Keras has no public name for some of what this needs. The private ones stand here and in `graph`
alone: `Layer._flatten_layers`, `Optimizer._trainable_variables` and the state that `shared_seed`
finds; there the class `Functional`, its `_nodes_by_depth`, and `Sequential._functional`. The tests
of these tools run with the oldest and the newest Keras 3 that README names.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

if tuple(map(int, keras.__version__.split(".")[:2])) < (3, 8):
    raise ImportError(f"{__package__}: expected Keras 3.8 or newer, found {keras.__version__}")

BatchNorm = keras.layers.BatchNormalization
OURS = "what_a_batch_norm_layer_was_given"  # the name of our own variables


def layers_of(layer: keras.Layer) -> list[keras.Layer]:
    """The layers inside a model or a layer, at any depth, each once."""
    return layer._flatten_layers(include_self=False)


def batch_norm_layers(model: keras.Model) -> list[BatchNorm]:
    """The BN layers of a model, those of models and layers inside it too, each once."""
    return [layer for layer in layers_of(model) if isinstance(layer, BatchNorm)]


def require_built(model: object, tool: str) -> keras.Model:
    """The model, if it is one of Keras 3 on TensorFlow that has seen its inputs.

    Raises:
        TypeError: it is no such model.
        RuntimeError: Keras computes with something else.
        ValueError: the model, or a BN layer of it, has not been built.
    """
    if not isinstance(model, keras.Model):
        found = f"{type(model).__module__}.{type(model).__name__}".removeprefix("builtins.")
        raise TypeError(f"{tool}: expected a Keras 3 model, found {found}")
    if keras.backend.backend() != "tensorflow":
        found = keras.backend.backend()
        raise RuntimeError(f"{tool}: expected Keras on TensorFlow, found Keras on {found}")
    if not model.built:
        raise ValueError(f"{tool}: expected a model that is built; call it on a batch first")
    for layer in batch_norm_layers(model):
        if not layer.built:
            raise ValueError(f'{tool}: expected layers that are built; "{layer.name}" is not')
    return model


def trained_by_fit(model: keras.Model) -> set[int] | None:
    """The ids of the variables that `fit` trains since it built its step; None if it has not."""
    optimizer = getattr(model, "optimizer", None)
    step = getattr(model, "train_function", None)
    if step is None or model.run_eagerly or not optimizer.built:
        return None
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # mixed precision, Keras 3.8
    return {id(variable) for variable in optimizer._trainable_variables}


def normalised_axes(layer: BatchNorm) -> list[int]:
    """The axes over which a layer takes its statistics: all but its channels'."""
    rank = layer.input_spec.ndim
    return [axis for axis in range(rank) if axis != layer.axis % rank]


class Kept:
    """What running a model may move: its variables, and the attributes of its layers.

    Layers keep losses, counters and the like in plain attributes, so these are kept too.
    """

    def __init__(self, model: keras.Model) -> None:
        self.variables: dict[int, tuple] = {}
        self.add([*model.variables, *model.metrics_variables, *shared_seed()])
        self.attributes = [
            (vars(each), {name: (value, _contents(value)) for name, value in vars(each).items()})
            for each in [model, *layers_of(model)]
        ]

    def add(self, variables: Iterable) -> None:
        """Keep these as well, as they are now."""
        for variable in variables:
            if id(variable) not in self.variables:
                self.variables[id(variable)] = variable, variable.numpy()

    def restore(self) -> None:
        """Put everything back."""
        for variable, value in self.variables.values():
            variable.assign(value)
        for attributes, before in self.attributes:
            for name in attributes.keys() - before.keys():
                del attributes[name]
            for name, (value, contents) in before.items():
                attributes[name] = value
                _put_back(value, contents)


@contextlib.contextmanager
def unchanged(model: keras.Model) -> Iterator[Kept]:
    """Whatever happens to the model meanwhile is undone, also when interrupted."""
    kept = Kept(model)
    try:
        yield kept
    finally:
        kept.restore()


@contextlib.contextmanager
def inlined() -> Iterator[None]:
    """A `tf.function` inside a model runs as plain Python, so that it remembers nothing of this."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def run_each(
    function: Callable[[tuple], object],
    batches: Iterable[tuple],
    model: keras.Model,
    kept: Kept,
    tool: str,
) -> Iterator[object]:
    """`function(batch)` for each batch, in a graph of its own where that is possible.

    Args:
        function: calls the model; takes and returns nested tensors.
        batches: tuples of nested arrays. What goes wrong in reading one is raised as it is.
        model: is run without a graph if it was compiled with `run_eagerly=True`.
        kept: is told of all variables that the graph uses, before it runs.
        tool: who asks, for messages.

    Raises:
        ValueError: the model can't run on a batch; the message is the model's, in short.
    """
    graphs: dict[str, Callable] = {}
    eagerly = getattr(model, "run_eagerly", False)
    for number, batch in enumerate(batches, 1):
        try:
            tensors = keras.tree.map_structure(tf.convert_to_tensor, batch)
            key = str(keras.tree.map_structure(_any_size, tensors))
            if key not in graphs:
                graphs[key] = _Eager(function) if eagerly else _compiled(function, tensors, kept)
            result = graphs[key](tensors)
        except Exception as error:
            message = f"{tool}: the model can't run on batch {number}: {in_short(error)}"
            raise ValueError(message) from None
        yield result


def in_short(error: Exception) -> str:
    """What an error says, without Keras's colours, frames and lists of arguments."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split("Arguments received by")[0]
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    parts = [part for part in parts if part and not part.startswith("Exception encountered")]
    said = parts[-1] if "in user code" in text else parts[0] if parts else type(error).__name__
    return said if len(said) < 300 else said[:300] + " …"


class _Eager:
    def __init__(self, function: Callable) -> None:
        self.function = function

    def __call__(self, batch: tuple) -> object:
        with inlined():
            return self.function(batch)


def _compiled(function: Callable, batch: tuple, kept: Kept) -> Callable:
    """Traced for any batch size, or for this one, or not at all."""
    for spec_of in (_any_size, tf.type_spec_from_value):
        specs = keras.tree.map_structure(spec_of, batch)
        try:
            with inlined():
                graph = tf.function(function).get_concrete_function(specs)
        except Exception:  # what is wrong with the model shows when it runs by itself
            continue
        kept.add(v for v in graph.graph.variables if OURS not in v.name)
        return graph
    return _Eager(function)


def _any_size(tensor: tf.Tensor) -> tf.TypeSpec:
    spec = tf.type_spec_from_value(tensor)
    if not isinstance(spec, tf.TensorSpec) or not spec.shape.rank:
        return spec
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)


class Call:
    """One of the calls of a BN layer in a run of the model: what it was given, over all batches.

    Attributes:
        by_batch: whether it normalised by its batch.
        count: values a channel, of all batches.
        largest, smallest: values a channel, in the largest and the smallest batch.
        mean: `[channels]`, of all values.
        variance: `[channels]`, of all values.
        within: `[channels]`, the mean of the batches' variances, which Keras's moving variance
            tends to.
    """

    def __init__(self, channels: int) -> None:
        start = np.zeros([6, channels])
        start[2] = np.inf
        # count, largest, smallest, mean, squares (count times the variance), count times within
        self._state = tf.Variable(start, trainable=False, name=OURS)
        self._by_batch = tf.Variable(False, trainable=False, name=OURS)

    by_batch = property(lambda self: bool(self._by_batch.numpy()))
    count = property(lambda self: int(self._state[0, 0]))
    largest = property(lambda self: int(self._state[1, 0]))
    smallest = property(lambda self: int(self._state[2, 0]) if self.count else 0)
    mean = property(lambda self: self._state[3].numpy())
    variance = property(lambda self: self._state[4].numpy() / max(self.count, 1))
    within = property(lambda self: self._state[5].numpy() / max(self.count, 1))

    def add(self, count: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, by_batch: object) -> None:
        """A batch of `count` values with this mean and variance, normalised by itself or not."""
        values = (tf.cast(value, tf.float64) for value in (count, mean, variance))
        self._state.assign(_accumulation()(self._state, *values))
        if by_batch is not False:
            self._by_batch.assign(tf.logical_or(self._by_batch, by_batch))


@functools.cache
def _accumulation() -> Callable:
    """Traced once, so that a graph with many BN layers has one operation for each."""
    scalar, channels = tf.TensorSpec([], tf.float64), tf.TensorSpec([None], tf.float64)
    state = tf.TensorSpec([6, None], tf.float64)
    function = tf.function(_accumulated, autograph=False)
    return function.get_concrete_function(state, scalar, channels, channels)


def _accumulated(
    state: tf.Tensor, count: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
) -> tf.Tensor:
    """The state of a `Call` after another batch (Chan et al., 1979)."""
    seen, largest, smallest, old, squares, within = tf.unstack(state)
    difference = mean - old
    share = tf.math.divide_no_nan(count, seen + count)
    between = tf.square(difference) * seen * share
    values = [
        seen + count,
        tf.maximum(largest, count),
        tf.minimum(smallest, count),
        old + difference * share,
        squares + variance * count + between,
        within + variance * count,
    ]
    return tf.where(count > 0, tf.stack(values), state)  # a batch may be masked altogether


def pooled(calls: list[Call]) -> Call:
    """All calls as one."""
    total = Call(len(calls[0].mean))
    for call in calls:
        total.add(call.count, call.mean, call.variance, call.by_batch)
    states = np.stack([call._state for call in calls])
    total._state[1].assign(states[:, 1].max(axis=0))
    total._state[2].assign(states[:, 2].min(axis=0))
    total._state[5].assign(states[:, 5].sum(axis=0))
    return total


class Watched(dict[BatchNorm, list[Call]]):
    """The calls of each BN layer, in their order; `begin` says that a run of the model begins."""

    def in_order(self) -> list[BatchNorm]:
        """The layers, in the order of their first calls; those without one come last."""
        return list(self.made | dict.fromkeys(self))

    def begin(self) -> None:
        """The next call of each layer is its first again."""
        self.made: dict[BatchNorm, int] = {}  # how often each has been called, the first one first

    def next_call(self, layer: BatchNorm) -> Call:
        """The record of the call that is made now."""
        calls, number = self[layer], self.made.get(layer, 0)
        self.made[layer] = number + 1
        if number == len(calls):
            with tf.init_scope():  # out of the graph that is being traced
                calls.append(Call(layer.moving_mean.shape[0]))
        return calls[number]


def watch(
    layers: Iterable[BatchNorm],
    by_batch: Callable[[BatchNorm, bool], bool],
    only_by_batch: bool = False,
) -> Watched:
    """Record what BN layers are given from now on; to be used inside `unchanged`.

    A layer that normalises by its batch tells the batch's statistics itself: with a momentum of 0
    its moving ones are these. So a subclass is measured as it normalises.

    Args:
        layers: of a model that is inside `unchanged`.
        by_batch: (layer, training) → whether a layer shall normalise by its batch.
        only_by_batch: whether to leave out calls that don't.
    """
    watched = Watched({layer: [Call(layer.moving_mean.shape[0])] for layer in layers})
    for layer in watched:
        vars(layer)["momentum"] = 0.0
        if by_batch(layer, True):  # 0 times NaN is NaN
            for variable, start in ((layer.moving_mean, 0.0), (layer.moving_variance, 1.0)):
                if not np.isfinite(variable.numpy()).all():
                    variable.assign(np.full(variable.shape, start))
        vars(layer)["call"] = _watched_call(layer, layer.call, watched, by_batch, only_by_batch)
    return watched


def _watched_call(
    layer: BatchNorm,
    call: Callable,
    watched: Watched,
    by_batch: Callable[[BatchNorm, bool], bool],
    only_by_batch: bool,
) -> Callable:
    """What stands in for `layer.call` meanwhile."""
    axes, plain = normalised_axes(layer), is_plain(layer)

    def watched_call(inputs: tf.Tensor, *others: object, **options: object) -> tf.Tensor:
        record, mask = watched.next_call(layer), options.get("mask")
        training = by_batch(layer, bool(options.get("training")))
        if "training" in options:
            options["training"] = training
        if only_by_batch and plain and not training:
            return call(inputs, *others, **options)
        before = _moving(layer)
        outputs = call(inputs, *others, **options)
        statistics = _moving(layer)
        if not plain:  # it may do otherwise than it is told
            pairs = zip(before, statistics, strict=True)
            training = tf.reduce_any([tf.reduce_any(a != b) for a, b in pairs])
        if training is False:
            statistics = _moments(inputs, axes, mask)
        elif not plain:
            statistics = tf.where(training, statistics, _moments(inputs, axes, mask))
        record.add(_count(inputs, axes, mask), *statistics, training)
        return outputs

    return watched_call


def _moving(layer: BatchNorm) -> list[tf.Tensor]:
    return [tf.identity(tf.cast(v, tf.float64)) for v in (layer.moving_mean, layer.moving_variance)]


def is_plain(layer: BatchNorm) -> bool:
    """Whether a layer does what Keras's own BN does, and not something of somebody's own."""
    return type(layer).call is BatchNorm.call and "call" not in vars(layer)


def shortened(names: list[str]) -> str:
    """All names, or the first, the last and how many."""
    return (
        ", ".join(names) if len(names) < 4 else f"{names[0]}, …, {names[-1]} ({len(names)} layers)"
    )


def _count(values: tf.Tensor, axes: list[int], mask: tf.Tensor | None) -> tf.Tensor:
    """Values a channel; a mask has no axis for the channels, which are the last."""
    if mask is None:
        return tf.reduce_prod(tf.gather(tf.shape(values), axes))
    return tf.reduce_sum(tf.cast(mask, tf.int32))


def _moments(values: tf.Tensor, axes: list[int], mask: tf.Tensor | None) -> list[tf.Tensor]:
    """Mean and variance of each channel, `[channels]`; what a mask hides does not count."""
    values = values if values.dtype == tf.float64 else tf.cast(values, tf.float32)
    if mask is None:
        moments = tf.nn.moments(values, axes)
    else:
        weights = tf.broadcast_to(tf.cast(mask, values.dtype)[..., tf.newaxis], tf.shape(values))
        moments = tf.nn.weighted_moments(values, axes, weights)
    return [tf.cast(moment, tf.float64) for moment in moments]


def shared_seed() -> list:
    """The state that all random operations without a seed of their own share."""
    from keras.src.backend.common import global_state

    seed = global_state.get_global_attribute("global_seed_generator")
    return [seed.state] if seed is not None else []


def _contents(value: object) -> list | dict | set | None:
    for kind in (list, dict, set):
        if isinstance(value, kind):
            return kind(value)
    return None


def _put_back(value: object, contents: list | dict | set | None) -> None:
    """Past the methods of Keras's own lists, which follow what is put in."""
    if contents is None or _identities(value) == _identities(contents):
        return
    if isinstance(contents, list):
        list.__setitem__(value, slice(None), contents)
    else:
        type(contents).clear(value)
        type(contents).update(value, contents)


def _identities(contents: list | dict | set) -> list:
    if isinstance(contents, dict):
        return [(key, id(value)) for key, value in contents.items()]
    return [*map(id, contents)]
