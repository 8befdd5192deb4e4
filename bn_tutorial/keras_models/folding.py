"""Batch normalization folded into the layers around it, for Keras models that only predict.

At inference BN is `a·z + b` with fixed `a` and `b`, and a layer with weights beside it can do that
by itself (the paper, Algorithm 2, line 11). What folds is decided here, pair by pair, each checked
by running it; `rebuilding` makes the new model, and `folded_weights` has the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from bn_tutorial.keras_models.folded_weights import (
    FORWARD_KINDS,
    KINDS,
    affine,
    rescale_inputs,
    rescale_outputs,
)
from bn_tutorial.keras_models.graph import Graph, Node, Path, functional_of
from bn_tutorial.keras_models.model import (
    BatchNorm,
    batch_norm_layers,
    layers_of,
    require_built,
    shortened,
)
from bn_tutorial.keras_models.rebuilding import copy_of, rebuilt, require_same_predictions

TOOL = "fold_batch_norm"
# At inference these do nothing, or only put values into another place.
PASSING = (
    layers.Flatten, layers.Reshape, layers.Permute, layers.Identity, layers.ActivityRegularization,
    layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D,
    layers.GaussianDropout, layers.GaussianNoise, layers.AlphaDropout,
)  # fmt: skip
MOVING = (layers.Flatten, layers.Reshape, layers.Permute)
STATE = {"gamma", "beta", "moving_mean", "moving_variance", "moving_stddev", "renorm_mean",
         "renorm_stddev"}  # fmt: skip
HALF = ("float16", "bfloat16")


class Unfoldable(Exception):  # noqa: N818
    """Why a BN layer stays."""


@dataclass(frozen=True)
class Folding:
    """What becomes of the BN layers of a model; it prints as a report.

    Attributes:
        folded: by name of the BN layer, the name of the layer that takes it over.
        kept: by name of the BN layer, why it stays.

    The name of a layer in a model inside the model is "model/layer".
    """

    folded: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """How many fold, and a line for each reason why others stay."""
        count = len(self.folded) + len(self.kept)
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.kept.items():
            by_reason.setdefault(reason, []).append(name)
        stay = [f"  {shortened(names)}: {reason}" for reason, names in by_reason.items()]
        there = ["not folded:", *stay] if stay else []
        return "\n".join([f"{len(self.folded)} of {count} BN layers folded", *there])

    __repr__ = __str__


def fold_batch_norm(model: keras.Model, verbose: int | str = "auto") -> keras.Model:
    """A new model that predicts the same, without each BN layer that can be folded.

    A BN layer folds backward, into the layer before it, or forward, into the one after it; layers
    between them that do nothing at inference may stay there. Only layers of Keras's own classes
    fold, and each pair is run on random inputs before and after: if the outputs differ by more
    than 1e-5 of their size (1e-2 in half precision), BN stays. The new model is not compiled;
    training it further trains it without BN.

    Args:
        model: Sequential or functional, with models inside it or not. It is left as it is.
        verbose: 0 is silent; else it is printed how many fold, and which stay and why.
            `plan_folding` has the same as a value.

    Returns:
        A model of the same kind, inputs, outputs and names, but without the folded layers. Where
        one of these was an output, a layer of its name that does nothing takes its place.

    Raises:
        TypeError: `model` is no Keras 3 model, or a subclassed one, whose graph can't be seen.
        RuntimeError: Keras does not run on TensorFlow, or the new model does not predict the same.
        ValueError: `model` is not built, or Keras can't make one of its layers anew.
    """
    work = _Work(model)
    new = rebuilt(model, work.copies, work.removed, TOOL)
    require_same_predictions(model, new, TOOL)
    if verbose:
        print(work.folding)
    return new


def plan_folding(model: keras.Model) -> Folding:
    """What `fold_batch_norm` would do. Args and errors are its own."""
    return _Work(model).folding


class _Work:
    """The layers that take BN over, those that go, and what becomes of each BN."""

    def __init__(self, model: keras.Model) -> None:
        require_built(model, TOOL)
        if functional_of(model) is None or "layers" not in model.get_config():
            raise TypeError(
                f"{TOOL}: expected a Sequential or functional model, whose graph can be seen; "
                f'"{model.name}" is a {type(model).__name__}'
            )
        self.model, self.folding = model, Folding()
        self.graph = Graph(model)
        self.copies: dict[Path, keras.Layer] = {}
        self.removed: dict[Path, Node] = {}
        done = set()
        for node in self.graph.nodes:
            if isinstance(node.layer, BatchNorm) and node.layer not in done:
                done.add(node.layer)
                self._fold(node)
        for layer in batch_norm_layers(model):
            if layer not in done:
                self._name_within(layer)

    def _fold(self, node: Node) -> None:
        """Fold one BN layer, or note why not."""
        name, reasons = "/".join(node.path), []
        try:
            _require_known_state(node.layer)
            self._require_one_call(node, "it")
            for pair in (self._backward, self._forward):
                try:
                    target, between = pair(node)
                    copy = self._folded(node, target, between, backward=pair == self._backward)
                except Unfoldable as reason:
                    reasons.append(str(reason))
                    continue
                self.copies[target.path] = copy
                self.removed[node.path] = node
                self.folding.folded[name] = "/".join(target.path)
                return
        except Unfoldable as reason:
            reasons.append(str(reason))
        self.folding.kept[name] = "; ".join(dict.fromkeys(reasons))

    def _name_within(self, layer: BatchNorm) -> None:
        """BN in a layer whose graph can't be followed."""
        for node in self.graph.nodes:
            if isinstance(node.operation, keras.Layer) and layer in layers_of(node.operation):
                name = "/".join((*node.path, layer.name))
                self.folding.kept[name] = f"it is inside a {type(node.operation).__name__}"
                return
        self.folding.kept[layer.name] = "it is not called in the model's graph"

    def _require_one_call(self, node: Node, name: str) -> None:
        calls = len(self.graph.calls(node.operation))
        if calls != 1:
            raise Unfoldable(f"{name} is called {calls} times")
        if node.training:
            raise Unfoldable(f"{name} is called with training=True")

    def _backward(self, node: Node) -> tuple[Node, list[Node]]:
        """The layer before that can take a BN over, and what is between."""
        between, here = [], node
        while True:
            makers = self.graph.makers(here.inputs[0])
            if makers[0] is None:
                raise Unfoldable("before it is an input")
            if len(makers) > 1:
                raise Unfoldable("what is before it differs from call to call")
            before, here = here, makers[0]
            if not self._passes(here):
                self._require_target(here, "before", KINDS)
            if self.graph.users(here.outputs[0]) != [before]:
                raise Unfoldable(f"the outputs of {_kind(here)} before it are used elsewhere too")
            if self._passes(here):
                between.insert(0, here)
                continue
            if here.layer.activation is not keras.activations.linear:
                raise Unfoldable(f"{_kind(here)} before it has an activation function")
            return here, between

    def _forward(self, node: Node) -> tuple[Node, list[Node]]:
        """The layer after that can take a BN over, and what is between."""
        between, here = [], node
        while True:
            users = self.graph.users(here.outputs[0])
            if len(users) != 1 or users[0] is None:
                raise Unfoldable("its outputs are used more than once, or are the model's")
            here = users[0]
            if len(here.inputs) != 1 or len(self.graph.makers(here.inputs[0])) != 1:
                raise Unfoldable(f"after it is {_kind(here)} with other inputs too")
            if self._passes(here):
                between.append(here)
                continue
            self._require_target(here, "after", FORWARD_KINDS)
            padded = getattr(here.layer, "padding", "valid") != "valid"
            if padded and np.any(affine(node.layer)[1]):
                raise Unfoldable(f"{_kind(here)} after it pads with zeros that BN would shift")
            if getattr(here.layer, "groups", 1) != 1:
                raise Unfoldable(f"{_kind(here)} after it has groups")
            return here, between

    def _passes(self, node: Node) -> bool:
        if node.path in self.removed:
            return True
        layer = node.operation
        linear = type(layer) is layers.Activation and layer.activation is keras.activations.linear
        one_call = len(self.graph.calls(layer)) == 1 and not node.training
        return one_call and (type(layer) in PASSING or linear)

    def _require_target(self, node: Node, where: str, kinds: dict) -> None:
        layer = node.layer
        if type(layer) not in kinds:
            raise Unfoldable(f"{where} it is {_kind(node)}")
        self._require_one_call(node, f"{_kind(node)} {where} it")
        known = {kinds[type(layer)], "kernel", "depthwise_kernel", "pointwise_kernel", "bias"}
        other = {v.name for v in layer.variables} - known
        floats = all("float" in keras.backend.standardize_dtype(v.dtype) for v in layer.variables)
        if other or not floats or "call" in vars(layer):
            raise Unfoldable(f"{_kind(node)} {where} it is not a plain one (quantized, adapted)")

    def _folded(self, node: Node, target: Node, between: list[Node], backward: bool) -> keras.Layer:
        """A copy of the target that does what both did; the pair is run to see whether it does."""
        between = [each for each in between if each.path not in self.removed]
        passed = [(each, copy_of(each.layer)) for each in between]
        moving = [layer for _, layer in passed if isinstance(layer, MOVING)]
        scale, shift = _per_channel(node, target, moving, backward)
        old = self.copies.get(target.path, target.layer)
        weights = {variable.name: variable.numpy() for variable in old.variables}
        rescale = rescale_outputs if backward else rescale_inputs
        changed = rescale(target.layer, weights, scale, shift)
        new = copy_of(old, use_bias=True)
        for variable in new.variables:
            variable.assign(changed[variable.name])
        first, last = (target, copy_of(old)), (node, copy_of(node.layer))
        if not backward:
            first, last = last, first
        now = [(target, new), *passed] if backward else [*passed, (target, new)]
        sample = _sample(first[0], target, whole=bool(moving))
        _require_equal(_run([first, *passed, last], sample), _run(now, sample), new)
        return new


def _require_known_state(layer: BatchNorm) -> None:
    """A layer of Keras's own class, with statistics that can be."""
    if type(layer) is not BatchNorm or "call" in vars(layer):
        raise Unfoldable(f"it is a {type(layer).__name__}, which may do something of its own")
    if {variable.name for variable in layer.variables} - STATE:
        raise Unfoldable("it has variables that a plain BN layer does not have")
    variance = layer.moving_variance.numpy()
    if not all(np.isfinite(variable.numpy()).all() for variable in layer.variables):
        raise Unfoldable("its statistics or weights are not finite")
    if np.any(variance < 0):
        raise Unfoldable("its moving variance is negative")


def _channel_axis(node: Node, layer: keras.Layer) -> int:
    """Of the tensors of a node, time steps included; of a layer with weights, or of a BN layer."""
    rank, timed = len(node.inputs[0].shape), node.layer is not node.operation
    if isinstance(layer, BatchNorm):
        return layer.axis % (rank - timed) + timed
    first = getattr(layer, "data_format", None) == "channels_first"
    return 1 + timed if first else rank - 1


def _per_channel(
    node: Node, target: Node, moving: list[keras.Layer], backward: bool
) -> tuple[np.ndarray, np.ndarray]:
    """BN's `a` and `b` for each channel of the target, found through layers that move values."""
    axis = _channel_axis(node, node.layer)
    shape = [1, *node.inputs[0].shape[1:]]
    if moving and None in shape:
        raise Unfoldable("the sizes of what is flattened are not known")
    channels = shape[axis]
    if not moving:
        shape = [1] * len(shape)
    shape[axis] = channels
    along = [channels if number == axis else 1 for number in range(len(shape))]
    pair = [np.broadcast_to(v.reshape(along), shape) for v in affine(node.layer)]
    if moving:
        tensor = target.outputs[0] if backward else node.outputs[0]
        places = np.arange(np.prod(tensor.shape[1:])).reshape(1, *tensor.shape[1:])
        moved = tf.constant(places, tf.int32)
        for layer in moving:
            moved = layer(moved)
        moved = moved.numpy()
        pair = [_back(v, moved, places.shape) if backward else v.ravel()[moved] for v in pair]
    outer = _channel_axis(target, target.layer)
    if backward:
        outer -= len(target.inputs[0].shape) - pair[0].ndim
    flat = [np.moveaxis(v, outer, -1).reshape(-1, v.shape[outer]) for v in pair]
    if any(np.any(v != v[:1]) for v in flat):
        raise Unfoldable(f"its axis {node.layer.axis} is not that of the channels")
    return flat[0][0], flat[1][0]


def _back(values: np.ndarray, moved: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Where the values were before they were moved."""
    before = np.empty(np.prod(shape))
    before[moved.ravel()] = values.ravel()
    return before.reshape(shape)


def _sample(first: Node, target: Node, whole: bool) -> tf.Tensor:
    """Random inputs of the first of a pair, of small sizes where these do not matter."""
    layer = target.layer
    sizes, steps = getattr(layer, "kernel_size", (1,)), getattr(layer, "dilation_rate", (1,))
    small = 3 + max((size - 1) * step + 1 for size, step in zip(sizes, steps, strict=True))
    shape = [2, *first.inputs[0].shape[1:]]
    axes = {_channel_axis(first, first.layer), len(shape) - 1}
    for axis, size in enumerate(shape):
        if axis and axis not in axes and not whole:
            shape[axis] = min(size or small, small)
    return tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)


def _run(steps: list[tuple[Node, keras.Layer]], values: tf.Tensor) -> np.ndarray:
    for node, layer in steps:
        if node.layer is node.operation:
            values = layer(values)
        else:  # at each time step
            steps_apart = layer(tf.reshape(values, [-1, *values.shape[2:]]))
            values = tf.reshape(steps_apart, [*values.shape[:2], *steps_apart.shape[1:]])
    return tf.cast(values, tf.float64).numpy()


def _require_equal(expected: np.ndarray, found: np.ndarray, layer: keras.Layer) -> None:
    tolerance = 1e-2 if layer.compute_dtype in HALF else 1e-5
    with np.errstate(invalid="ignore"):  # infinity less infinity
        size, apart = np.abs(expected).max(), np.abs(expected - found).max()
    if not apart <= tolerance * size:
        raise Unfoldable(f"the folded pair would differ by {apart / size:.0e} of its outputs")


def _kind(node: Node) -> str:
    return type(node.layer).__name__
