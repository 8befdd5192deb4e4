"""What is wrong with batch normalization in a Keras model: `examine`.

The kinds of trouble are in `ailments`; here is how each is told from what is measured.
"""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
from keras import layers

from bn_tutorial.arguments import require_at_least
from bn_tutorial.keras_models.data import batches_of, size_of
from bn_tutorial.keras_models.findings import Finding, Findings, finding
from bn_tutorial.keras_models.folded_weights import WITH_OUTPUTS_RESCALED
from bn_tutorial.keras_models.graph import Graph
from bn_tutorial.keras_models.measurements import Measurements, measure
from bn_tutorial.keras_models.model import (
    BatchNorm,
    batch_norm_layers,
    changed_since_fit,
    layers_of,
    require_built,
    shortened,
)
from bn_tutorial.keras_models.watching import Call, pooled

TOOL = "examine"
FAR = 0.5  # standard deviations between two means
RATIO = 2.0  # of two variances, the one over the other
REMEMBERED = 0.1  # the share of the initial values in the moving statistics
SHIFT = 1.2  # of the variance, by dropout; a rate of 0.2 gives 1.25 or more
EPSILON_SHARE = 2.0  # epsilon over the variance; outputs then have standard deviation 0.58
FEW_VALUES = 16  # a variance of so many normal values is off by a third (its standard deviation)
NO_GAMMA = 1e-3
# Over the mean's square and epsilon: what rounding leaves of a constant.
NO_VARIANCE = {"float32": 1e-12, "float64": 1e-30}
AFFINE, MOVING = ("gamma", "beta"), ("moving_mean", "moving_variance")
CONSTANT = (keras.initializers.Zeros, keras.initializers.Ones, keras.initializers.Constant)
DROPOUT = (layers.Dropout, layers.GaussianDropout, layers.AlphaDropout)  # spatial ones: subclasses
BIASED = (layers.EinsumDense, *WITH_OUTPUTS_RESCALED)
EXPLAIN_GAP = {
    "invalid-statistics", "never-updated", "slow-momentum", "lagging", "dropout-before",
    "batch-at-inference", "shared-between-distributions",
}  # fmt: skip


def examine(model: keras.Model, dataset: object, batches: int = 20) -> Findings:
    """Look for what can be wrong with batch normalization in a Keras model.

    The model runs on some batches, by their own statistics and by the moving ones, and is left as
    it was: weights, statistics, flags, optimizer, states of seeds. One cause gives one finding,
    the most specific. A healthy model has none; what costs nothing is a remark.

    Whether both ways of normalising answer alike is judged by the loss that the model was compiled
    with, in units of what a constant answer would lose; without a loss, by the accuracy. Where
    they do not, the finding also has the metrics that the model was compiled with, in both modes.

    Args:
        model: A built model of any kind. Where its graph can't be followed (subclassed),
            "useless-bias" and "dropout-before" are not looked for, and the report says so.
        dataset: Batches as in training; anything that `fit` takes, with labels or without. Arrays
            are taken in batches of 60, as they come, and may be `(inputs, labels)`. Without
            labels "mode-gap" is not looked for.
        batches: How many to use at most.

    Raises:
        TypeError: `model` is no Keras 3 model, or `dataset` is not what `fit` takes.
        RuntimeError: Keras does not run on TensorFlow.
        ValueError: The model is not built, has no BN layer or can't run on a batch; there are no
            batches, or they don't fit the model; or `batches` is below 1.
    """
    require_at_least(1, batches=batches)
    count = len(batch_norm_layers(require_built(model, TOOL)))
    if not count:
        raise ValueError(f"{TOOL}: expected a model with BatchNormalization, found none")
    used = list(batches_of(model, dataset, TOOL, batches)[0])
    examination = _Examination(model, measure(model, used, TOOL))
    samples = sum(map(size_of, used))
    examined = f'"{model.name}", {count} BN layers, {samples:,} samples in {len(used)} batches'
    return Findings(examination.findings(), examined, examination.remarks(), examination.notes())


class _Examination:
    """The rules for a model as a whole."""

    def __init__(self, model: keras.Model, measured: Measurements) -> None:
        self.model, self.gap, self.graph = model, measured.gap, Graph(model)
        optimizer = getattr(model, "optimizer", None)
        self.steps = int(optimizer.iterations.numpy()) if optimizer else 0
        self.changed = changed_since_fit(model)
        self.layers = [_Layer(bn, measured, self) for bn in measured.training.in_order()]

    def findings(self) -> list[Finding]:
        """All of them, layer by layer in the order of the calls."""
        found, noise = [], False
        for layer in self.layers:
            noise = noise or layer.is_noise()  # also what the layers after it are given
            found += layer.findings(noise)
        return found if noise else found + self._gap({each.kind for each in found})

    def remarks(self) -> list[Finding]:
        """What costs nothing."""
        biased = [layer.useless_bias() for layer in self.layers if layer.seen.by_batch]
        found = {each.name: each.bias.shape[0] for each in biased if each is not None}
        return [finding("useless-bias", name, count) for name, count in found.items()]

    def notes(self) -> list[str]:
        """What could not be looked for."""
        notes = []
        unknown = [layer.bn.name for layer in self.layers if not layer.nodes]
        if unknown:
            names = shortened(unknown)
            notes.append(f"dropout-before and useless-bias: no graph leads to {names}")
        unseen = [layer.bn.name for layer in self.layers if not layer.seen.count]
        if unseen:
            notes.append(f"anything about the data: no batch could be seen in {shortened(unseen)}")
        if self.gap is None:
            notes.append(
                "mode-gap: it takes labels, and a loss that the model was compiled with or classes "
                "that fit the outputs"
            )
        return notes

    def has_trained_layers(self) -> bool:
        """Whether anything says that some layer was trained: a BN layer, or a bias that moved."""
        return any(layer.is_trained() for layer in self.layers) or not all(
            is_initial(layer, "bias") for layer in layers_of(self.model)
        )

    def _gap(self, found: set[str]) -> list[Finding]:
        """Answers that differ between the modes, where nothing found explains it.

        If the data's own statistics close most of the gap, the moving ones are to blame, however
        near they are: a deep network can magnify that.
        """
        gap = self.gap
        if gap is None or abs(gap.value) < gap.limit or found & EXPLAIN_GAP:
            return []
        if not any(layer.is_trained() for layer in self.layers):
            return []
        if abs(gap.remaining()) < abs(gap.value) / 2:
            quantity = f"{gap.quantity}; those of the data bring it back"
            return [finding("lagging", self.model.name, gap.value, quantity)]
        return [finding("mode-gap", self.model.name, gap.value, gap.quantity)]


class _Layer:
    """The rules for one BN layer."""

    def __init__(self, bn: BatchNorm, measured: Measurements, whole: _Examination) -> None:
        self.bn, self.whole = bn, whole
        self.nodes = whole.graph.calls(bn)  # as far as the graph can be followed
        self.seen = pooled(measured.training[bn])  # what all calls were given, with dropout
        self.calls = measured.without_dropout[bn]
        self.undropped = pooled(self.calls)
        self.always_by_batch = any(call.by_batch for call in measured.inference[bn])

    def is_noise(self) -> bool:
        """Whether it is normalised by so few values that the data can't be told from chance."""
        return self._is_by_batch_alone() and self.seen.largest < FEW_VALUES

    def findings(self, noise: bool) -> list[Finding]:
        """All of them; of what it is given only if that is no noise."""
        found = list(self._of_state())
        if self.is_noise():
            found.append(self._finding("tiny-batch", self.seen.largest))
        elif self._is_by_batch_alone() and self.seen.smallest == 1:
            found.append(self._finding("tiny-batch", 1, "values a channel in the smallest batch"))
        return found if noise or not self.seen.count else [*found, *self._of_data()]

    def is_trained(self) -> bool:
        """Whether anything says so: steps of the optimizer, or a variable that has moved."""
        return self.whole.steps > 0 or not all(
            is_initial(self.bn, name) for name in AFFINE + MOVING
        )

    def useless_bias(self) -> keras.Layer | None:
        """The layer directly before, if BN takes its bias away and nothing else uses it."""
        graph = self.whole.graph
        for node in self.nodes:
            for maker in graph.makers(node.inputs[0]):
                if maker and _adds_bias_to_channels_of(maker.layer, self.bn):
                    users = graph.users(maker.outputs[0])
                    if all(user and isinstance(user.layer, BatchNorm) for user in users):
                        return maker.layer
        return None

    def _finding(self, kind: str, value: float, quantity: str = "") -> Finding:
        return finding(kind, self.bn.name, value, quantity)

    def _is_by_batch_alone(self) -> bool:
        return self.seen.by_batch and not getattr(self.bn, "renorm", False)

    def _of_state(self) -> Iterator[Finding]:
        """What the layer's variables and the graph tell."""
        broken = _invalid(self.bn)
        if broken:
            yield self._finding("invalid-statistics", broken)
        elif self._never_updated():
            yield self._finding("never-updated", self.whole.steps)
        if self.always_by_batch or any(node.training for node in self.nodes):
            yield self._finding("batch-at-inference", self.seen.largest)
        affine = [v for v in (getattr(self.bn, name, None) for name in AFFINE) if v is not None]
        changed = sum(id(variable) in self.whole.changed for variable in affine)
        if changed:
            yield self._finding("frozen-after-compile", changed)
        elif self.bn.trainable and affine and not any(v.trainable for v in affine):
            yield self._finding("frozen-affine", len(affine))

    def _of_data(self) -> Iterator[Finding]:
        """What the layer's inputs tell."""
        bn, seen = self.bn, self.seen
        dead = self._dead_channels()
        if dead.any():
            yield self._finding("dead-channel", dead.sum())
        variance = seen.variance if seen.by_batch else bn.moving_variance.numpy()
        alive = variance[~_constant(bn, seen)]
        share = bn.epsilon / np.median(alive) if len(alive) else 0.0
        if share > EPSILON_SHARE and self.is_trained():  # new weights may be small, and grow
            yield self._finding("epsilon-dominates", share)
        if not seen.by_batch or self.always_by_batch or _invalid(bn):
            return
        apart = self._apart()
        shift = self._variance_shift()
        if apart > 1:
            yield self._finding("shared-between-distributions", apart)
        elif shift > SHIFT:
            if not self._is_adjusted():
                yield self._finding("dropout-before", shift)
        elif self.is_trained() and not self._never_updated():
            yield from self._lagging()

    def _lagging(self) -> Iterator[Finding]:
        far, ratio = distances(self.bn, self.seen)
        remembered = self.bn.momentum**self.whole.steps if self.whole.steps else 0.0
        if far <= FAR and ratio <= RATIO:
            return
        if remembered > REMEMBERED:
            yield self._finding("slow-momentum", remembered)
        elif far > FAR:
            quantity = "standard deviations from moving_mean to the mean of the data"
            yield self._finding("lagging", far, quantity)
        else:
            quantity = "times is moving_variance off the variance of the data"
            yield self._finding("lagging", ratio, quantity)

    def _apart(self) -> float:
        """How far the calls of the layer are from each other, in units of what is far."""
        calls = [call for call in self.calls if call.count]
        return max((_between(self.bn, one, other) for one in calls for other in calls), default=0.0)

    def _dead_channels(self) -> np.ndarray:
        """Channels that never vary, or that gamma has silenced: bool `[channels]`.

        A gamma of 0 that is what it started as is there on purpose, until training should have
        moved it.
        """
        gamma, silent = getattr(self.bn, "gamma", None), np.zeros(len(self.seen.mean), bool)
        should_have_moved = gamma is not None and gamma.trainable and self.whole.steps > 0
        if gamma is not None and (should_have_moved or not is_initial(self.bn, "gamma")):
            silent = np.abs(gamma.numpy()) < NO_GAMMA
        if not should_have_moved and any(map(_is_zero, self._upstream())):
            return silent  # what is constant here is what that gamma makes of it
        return silent | _constant(self.bn, self.seen)

    def _never_updated(self) -> bool:
        """Statistics as they started, in a layer that was trained or is frozen among such ones."""
        if not all(is_initial(self.bn, name) for name in MOVING):
            return False
        if self.seen.by_batch or not self.seen.count:
            return self.is_trained()
        far, ratio = distances(self.bn, self.seen)
        return (far > FAR or ratio > RATIO) and self.whole.has_trained_layers()

    def _variance_shift(self) -> float:
        """The variance with dropout over that without; 1 if none is before, or BN between."""
        upstream = self._upstream(until=BatchNorm)
        if not any(isinstance(layer, DROPOUT) and layer.rate > 0 for layer in upstream):
            return 1.0
        return float(self.seen.variance.sum() / max(self.undropped.variance.sum(), 1e-30))

    def _is_adjusted(self) -> bool:
        """Whether the moving variance has been set to that without dropout, by recalibration."""
        _, with_dropout = distances(self.bn, self.seen)
        _, without = distances(self.bn, self.undropped)
        return self.is_trained() and without < min(with_dropout, SHIFT)

    def _upstream(self, until: type | tuple[()] = ()) -> list[keras.Operation]:
        """What any of its calls depends on; not what is behind an `until`."""
        graph = self.whole.graph
        return [node.layer for call in self.nodes for node in graph.upstream(call, until)]


def distances(bn: BatchNorm, seen: Call) -> tuple[float, float]:
    """From the moving statistics to the data's: of the means, and of the variances.

    Each is a root mean square over the channels: of the difference in standard deviations, and of
    the logarithm of the ratio (then raised again). Keras's moving variance tends to the mean
    variance of the batches, a recalibrated one is that of all values; the nearer one counts.
    Channels that never vary are left out, for their variance is still on its way to 0.
    """
    alive = ~_constant(bn, seen)
    if not alive.any():
        return 0.0, 1.0
    means = (bn.moving_mean.numpy() - seen.mean) / np.sqrt(seen.variance + bn.epsilon)
    moving = np.maximum(bn.moving_variance.numpy(), 0) + bn.epsilon
    ratios = [
        _ratio(moving[alive], variance[alive] + bn.epsilon)
        for variance in (seen.within, seen.variance)
    ]
    return _root_mean_square(means[alive]), min(ratios)


def is_initial(layer: keras.Layer, name: str) -> bool:
    """Whether a variable is what a constant initializer made it; others, and none, tell nothing."""
    variable, initializer = getattr(layer, name, None), getattr(layer, f"{name}_initializer", None)
    if variable is None or not isinstance(initializer, CONSTANT):
        return True
    return np.array_equal(variable.numpy(), np.asarray(initializer(variable.shape)))


def _between(bn: BatchNorm, one: Call, other: Call) -> float:
    """How far two calls' values are from each other; 1 is far."""
    within = one.within + other.within + 2 * bn.epsilon
    means = _root_mean_square((one.mean - other.mean) / np.sqrt(within / 2))
    ratio = _ratio(one.within + bn.epsilon, other.within + bn.epsilon)
    return max(means / FAR, np.log(ratio) / np.log(RATIO))


def _ratio(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.exp(_root_mean_square(np.log(one / other))))


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _invalid(bn: BatchNorm) -> int:
    """How many of the moving statistics can't be: NaN, infinite, a variance below 0."""
    statistics = np.stack([bn.moving_mean.numpy(), bn.moving_variance.numpy()])
    return int(np.sum(~np.isfinite(statistics)) + np.sum(statistics[1] < 0))


def _constant(bn: BatchNorm, seen: Call) -> np.ndarray:
    """The channels that never vary: bool `[channels]`."""
    rounding = NO_VARIANCE.get(bn.variable_dtype, NO_VARIANCE["float32"])
    return seen.variance <= rounding * (np.square(seen.mean) + bn.epsilon)


def _is_zero(layer: object) -> bool:
    """Whether this is BN whose gamma is 0, so that nothing of its inputs leaves it."""
    gamma = getattr(layer, "gamma", None) if isinstance(layer, BatchNorm) else None
    return gamma is not None and not gamma.numpy().any()


def _adds_bias_to_channels_of(layer: object, bn: BatchNorm) -> bool:
    if not isinstance(layer, BIASED) or getattr(layer, "bias", None) is None:
        return False
    if layer.activation is not keras.activations.linear:
        return False
    rank = bn.input_spec.ndim
    channels = 1 if getattr(layer, "data_format", None) == "channels_first" else rank - 1
    return bn.axis % rank == channels and layer.bias.shape == bn.moving_mean.shape
