"""Batch normalization folded into the layers around it, for Keras models that only predict.

At inference BN is `a·z + b` with fixed `a` and `b`, and a layer with weights beside it can do that
by itself (the paper, Algorithm 2, line 11). What folds is decided here, pair by pair, and each pair
is run to see whether it does the same. `folded_weights` has the arithmetic, and `rebuilding` makes
the new model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from bn_tutorial.keras_models import folded_weights, rebuilding
from bn_tutorial.keras_models.graph import Graph, Node, functional_of
from bn_tutorial.keras_models.model import (
    BatchNorm,
    batch_norm_layers,
    layers_of,
    require_built,
    shortened,
    unchanged,
)
from bn_tutorial.keras_models.rebuilding import TOOL

# At inference these do nothing, or only put values into another place.
MOVING = (layers.Flatten, layers.Reshape, layers.Permute)
NOISE = (layers.Dropout, layers.GaussianDropout, layers.GaussianNoise, layers.AlphaDropout)
SPATIAL = (layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D)
PASSING = (*MOVING, *NOISE, *SPATIAL, layers.Identity, layers.ActivityRegularization)
HALF = ("float16", "bfloat16")


class Unfoldable(Exception):  # noqa: N818
    """Why a BN layer stays."""


@dataclass(frozen=True)
class Folding:
    """What becomes of the BN layers of a model; it prints as a report.

    Attributes:
        folded: By name of the BN layer, the name of the layer that takes it over.
        kept: By name of the BN layer, why it stays.

    The name of a layer in a model inside the model is "model/layer".
    """

    folded: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """How many fold, and a line for each reason why others stay."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.kept.items():
            by_reason.setdefault(reason, []).append(name)
        stay = [f"  {shortened(names)}: {reason}" for reason, names in by_reason.items()]
        count = f"{len(self.folded)} of {len(self.folded) + len(self.kept)} BN layers folded"
        return "\n".join([count, "not folded:", *stay] if stay else [count])

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
        verbose: 0 is silent; otherwise it is printed how many fold, and which stay and why.
            `plan_folding` has the same as a value.

    Returns:
        A model of the same kind, inputs, outputs and names, but without the folded layers. Where
        one of these was an output, a layer of its name that does nothing takes its place. Instead
        of a subclass with a constructor of its own, it is a plain Sequential or functional model.

    Raises:
        TypeError: `model` is no Keras 3 model, or a subclassed one, whose graph can't be seen.
        RuntimeError: Keras does not run on TensorFlow, or the new model does not predict the same.
        ValueError: `model` is not built, or Keras can't make one of its layers anew.
    """
    plan = _Plan(model)
    new = rebuilding.rebuilt(model, plan.copies, plan.removed)
    rebuilding.require_same_predictions(model, new)
    if verbose:
        print(plan.folding)
    return new


def plan_folding(model: keras.Model) -> Folding:
    """What `fold_batch_norm` would do. The argument and the errors are the same."""
    return _Plan(model).folding


class _Plan:
    """The layers that take BN over, the calls of BN that go, and what becomes of each BN."""

    def __init__(self, model: keras.Model) -> None:
        require_built(model, TOOL)
        if functional_of(model) is None:
            raise TypeError(
                f"{TOOL}: expected a Sequential or functional model, whose graph can be seen; "
                f'"{model.name}" is a {type(model).__name__}'
            )
        self.folding, self.graph = Folding(), Graph(model)
        self.copies: dict[keras.Layer, keras.Layer] = {}
        self.removed: dict[keras.Operation, Node] = {}
        calls: dict[BatchNorm, Node] = {}
        for node in self.graph.nodes:
            if isinstance(node.layer, BatchNorm):
                calls.setdefault(node.layer, node)
        with unchanged(model), rebuilding.custom_objects(model):
            for norm in calls.values():
                self._fold(norm)
        for layer in batch_norm_layers(model):
            if layer not in calls:
                self._name_within(layer)

    def _fold(self, norm: Node) -> None:
        """Fold one BN layer, or note why not."""
        name, reasons = "/".join(norm.path), []
        for step in (self._before, self._after):
            try:
                _require_known(norm.layer)
                self._require_one_call(norm, "it")
                chain = self._chain(norm, step)
                self.copies[chain[-1].layer] = self._folded(chain, backward=step == self._before)
            except Unfoldable as reason:
                reasons.append(str(reason))
            else:
                self.removed[norm.operation] = norm
                self.folding.folded[name] = "/".join(chain[-1].path)
                return
        self.folding.kept[name] = "; ".join(dict.fromkeys(reasons))

    def _name_within(self, layer: BatchNorm) -> None:
        """Note BN in a layer whose graph can't be followed."""
        for node in self.graph.nodes:
            if isinstance(node.operation, keras.Layer) and layer in layers_of(node.operation):
                name = "/".join((*node.path, layer.name))
                self.folding.kept[name] = f"it is inside a {type(node.operation).__name__}"
                return
        self.folding.kept[layer.name] = "it is not called in the model's graph"

    def _chain(self, norm: Node, step: Callable[[Node], Node]) -> list[Node]:
        """From BN to the layer that may take it over, past what does nothing at inference."""
        chain, here = [norm], step(norm)
        while self._passes(here):
            if here.operation not in self.removed:
                chain.append(here)
            here = step(here)
        return [*chain, here]

    def _passes(self, node: Node) -> bool:
        layer = node.operation
        linear = type(layer) is layers.Activation and layer.activation is keras.activations.linear
        nothing = (type(layer) in PASSING or linear) and not node.training
        return nothing or layer in self.removed

    def _before(self, node: Node) -> Node:
        """What a node takes its inputs from, if BN after that can be folded into it."""
        maker, *others = self.graph.makers(node.inputs[0])
        if maker is None:
            raise Unfoldable("before it is an input")
        if others:
            raise Unfoldable("what is before it differs from call to call")
        passes = self._passes(maker)
        if not passes:
            self._require_plain(maker, "before", folded_weights.WITH_OUTPUTS_RESCALED)
        if self.graph.users(maker.outputs[0]) != [node]:
            raise Unfoldable(f"the outputs of {maker.kind} before it are used elsewhere too")
        if not passes and maker.layer.activation is not keras.activations.linear:
            raise Unfoldable(f"{maker.kind} before it has an activation function")
        return maker

    def _after(self, node: Node) -> Node:
        """What takes the outputs of a node, if BN before that can be folded into it."""
        users = self.graph.users(node.outputs[0])
        if len(users) != 1 or users[0] is None:
            raise Unfoldable("its outputs are used more than once, or are the model's")
        (user,) = users
        if len(user.inputs) != 1 or len(self.graph.makers(user.inputs[0])) != 1:
            raise Unfoldable(f"after it is {user.kind} with other inputs too")
        if not self._passes(user):
            self._require_plain(user, "after", folded_weights.WITH_INPUTS_RESCALED)
            if getattr(user.layer, "groups", 1) != 1:
                raise Unfoldable(f"{user.kind} after it has groups")
        return user

    def _require_plain(self, node: Node, where: str, kinds: tuple[type, ...]) -> None:
        layer, name = node.layer, f"{node.kind} {where} it"
        if type(layer) not in kinds:
            raise Unfoldable(f"{where} it is {node.kind}")
        self._require_one_call(node, name)
        if {v.name for v in layer.variables} - folded_weights.NAMES or "call" in vars(layer):
            raise Unfoldable(f"{name} is not a plain one (quantized, adapted)")

    def _require_one_call(self, node: Node, name: str) -> None:
        calls = len(self.graph.calls(node.layer))
        if calls != 1:
            raise Unfoldable(f"{name} is called {calls} times")
        if node.training:
            raise Unfoldable(f"{name} is called with training=True")

    def _folded(self, chain: list[Node], backward: bool) -> keras.Layer:
        """A copy of the last of a chain that does what BN did too, as running both shows."""
        norm, target = chain[0], chain[-1]
        old = self.copies.get(target.layer, target.layer)
        in_order = chain[::-1] if backward else chain
        sample = _sample(in_order, old)
        scale, shift = _per_channel(in_order, norm, _run(in_order[:1], sample, {}).shape)
        if np.any(shift) and not backward and getattr(old, "padding", "valid") != "valid":
            raise Unfoldable(f"{target.kind} after it pads with zeros that BN would shift")
        rescale = folded_weights.rescale_outputs if backward else folded_weights.rescale_inputs
        weights = rescale(old, scale, shift)
        new = rebuilding.copy_of(old, use_bias=True)
        for variable in new.variables:
            variable.assign(weights[variable.name])
        expected = _run(in_order, sample, {target: old})
        found = _run([node for node in in_order if node is not norm], sample, {target: new})
        with np.errstate(invalid="ignore"):  # infinity less infinity
            size, apart = np.abs(expected).max(), np.abs(expected - found).max()
        if not apart <= (1e-2 if new.compute_dtype in HALF else 1e-5) * size:
            raise Unfoldable(f"the folded pair would differ by {apart / size:.0e} of its outputs")
        return new


def _require_known(norm: BatchNorm) -> None:
    """BN of Keras's own class, with statistics that can be."""
    if type(norm) is not BatchNorm or "call" in vars(norm):
        raise Unfoldable(f"it is a {type(norm).__name__}, which may do something of its own")
    if not all(np.isfinite(variable.numpy()).all() for variable in norm.variables):
        raise Unfoldable("its statistics or weights are not finite")
    if np.any(norm.moving_variance.numpy() < 0):
        raise Unfoldable("its moving variance is negative")


def _channel_axis(node: Node) -> int:
    """The axis of the channels in the inputs and outputs of BN, or of a layer with weights."""
    rank, timed = len(node.inputs[0].shape), node.layer is not node.operation
    if isinstance(node.layer, BatchNorm):
        return node.layer.axis % (rank - timed) + timed
    channels_first = getattr(node.layer, "data_format", None) == "channels_first"
    return 1 + timed if channels_first else rank - 1


def _sample(chain: list[Node], target: keras.Layer) -> tf.Tensor:
    """Random inputs of a chain, of small sizes where these do not matter."""
    shape = chain[0].inputs[0].shape[1:]
    axes = {_channel_axis(chain[0]), _channel_axis(chain[-1])}
    if any(isinstance(node.layer, MOVING) for node in chain):
        axes = set(range(1 + len(shape)))
        if None in shape:
            raise Unfoldable("the sizes of what is flattened are not known")
    steps = getattr(target, "dilation_rate", 1)
    small = 3 + np.max(np.multiply(getattr(target, "kernel_size", 1), steps))
    sizes = [s if axis in axes else min(s or small, small) for axis, s in enumerate(shape, 1)]
    return tf.constant(np.random.default_rng(0).normal(size=[2, *sizes]), tf.float32)


def _per_channel(chain: list[Node], norm: Node, shape: tuple[int, ...]) -> np.ndarray:
    """BN's `a` and `b` for the layer with weights at the other end of a chain: `[2, channels]`.

    Each value that the first layer puts out, in this shape, is marked with its channel. Running the
    layers that move values on these marks shows in which channel of the last layer it ends up.
    """
    marks = tf.constant(_channels(shape, _channel_axis(chain[0])), tf.int32)
    moving = [node for node in chain[1:-1] if isinstance(node.layer, MOVING)]
    of_first = _run(moving, marks, {}).astype(int)
    of_last = _channels(of_first.shape, _channel_axis(chain[-1]))
    of_norm, of_target = (of_first, of_last) if norm is chain[0] else (of_last, of_first)
    values = np.stack(folded_weights.affine(norm.layer))[:, of_norm]
    per_channel = np.zeros([2, 1 + of_target.max()])
    per_channel[:, of_target] = values
    if np.any(per_channel[:, of_target] != values):
        raise Unfoldable(f"its axis {norm.layer.axis} is not that of the channels")
    return per_channel


def _channels(shape: tuple[int, ...], axis: int) -> np.ndarray:
    """The number of the channel that each value is in."""
    return np.broadcast_to(np.indices(shape, sparse=True)[axis], shape)


def _run(chain: list[Node], values: tf.Tensor, instead: dict[Node, keras.Layer]) -> np.ndarray:
    """What the layers of a chain, or others instead, make of values one after another; float64."""
    for node in chain:
        layer = instead.get(node, node.layer)
        if node.layer is not node.operation:
            layer = layers.TimeDistributed(layer, name=node.operation.name)
        values = layer(values)
    return tf.cast(values, tf.float64).numpy()
