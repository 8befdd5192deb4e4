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
from bn_tutorial.keras_models.graph import Graph, Node
from bn_tutorial.keras_models.measurements import Measurements, measure
from bn_tutorial.keras_models.model import (
    BatchNorm,
    Call,
    batch_norm_layers,
    layers_of,
    pooled,
    require_built,
    shortened,
    trained_by_fit,
)

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
DROPOUT = (layers.Dropout, layers.GaussianDropout, layers.AlphaDropout)  # spatial ones: subclasses
BIASED = (
    layers.Dense, layers.EinsumDense,
    layers.Conv1D, layers.Conv2D, layers.Conv3D,
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose,
    layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D,
)  # fmt: skip
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
    with, in units of what a constant answer would lose; without a loss, by the accuracy.

    Args:
        model: built, of any kind. Where its graph can't be followed (subclassed), "useless-bias"
            and "dropout-before" are not looked for, and the report says so.
        dataset: batches as in training; anything that `fit` takes, with labels or without. Arrays
            are taken in batches of 60, as they come, and may be `(inputs, labels)`. Without
            labels "mode-gap" is not looked for.
        batches: how many to use at most.

    Raises:
        TypeError: `model` is no Keras 3 model, or `dataset` is not what `fit` takes.
        RuntimeError: Keras does not run on TensorFlow.
        ValueError: the model is not built, has no BN layer or can't run on a batch; there are no
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
    """The rules, for one model."""

    def __init__(self, model: keras.Model, measured: Measurements) -> None:
        self.model, self.measured = model, measured
        self.layers = measured.training.in_order()
        self.training = {bn: pooled(measured.training[bn]) for bn in self.layers}
        self.without_dropout = {bn: pooled(measured.without_dropout[bn]) for bn in self.layers}
        self.graph = Graph(model)
        self.nodes = {bn: self.graph.calls(bn) for bn in self.layers}
        optimizer = getattr(model, "optimizer", None)
        self.iterations = int(optimizer.iterations.numpy()) if optimizer else 0
        self.fitted = trained_by_fit(model)

    def findings(self) -> list[Finding]:
        """All of them, layer by layer in the order of the calls."""
        found, noise = [], False
        for bn in self.layers:
            seen = self.training[bn]
            by_batch_alone = seen.by_batch and not getattr(bn, "renorm", False)
            tiny = by_batch_alone and seen.largest < FEW_VALUES
            noise = noise or tiny  # also what the layers after it are given
            found += self._of_state(bn, seen)
            if tiny:
                found.append(finding("tiny-batch", bn.name, seen.largest))
            elif by_batch_alone and seen.smallest == 1:
                quantity = "values a channel in the smallest batch"
                found.append(finding("tiny-batch", bn.name, 1, quantity))
            if seen.count and not noise:
                found += self._of_data(bn, seen)
        return found + self._gap({each.kind for each in found}, noise)

    def remarks(self) -> list[Finding]:
        """What costs nothing."""
        biased = [(self._useless_bias(bn), bn) for bn in self.layers if self.training[bn].by_batch]
        found = {layer.name: layer.bias.shape[0] for layer, _ in biased if layer is not None}
        return [finding("useless-bias", name, count) for name, count in found.items()]

    def notes(self) -> list[str]:
        """What could not be looked for."""
        notes = []
        unknown = [bn.name for bn in self.layers if not self.nodes[bn]]
        if unknown:
            names = shortened(unknown)
            notes.append(f"dropout-before and useless-bias: no graph leads to {names}")
        unseen = [bn.name for bn in self.layers if not self.training[bn].count]
        if unseen:
            notes.append(f"anything about the data: no batch could be seen in {shortened(unseen)}")
        if self.measured.gap is None:
            notes.append(
                "mode-gap: it takes labels, and a loss that the model was compiled with or classes "
                "that fit the outputs"
            )
        return notes

    def _of_state(self, bn: BatchNorm, seen: Call) -> Iterator[Finding]:
        """What the layer's variables and the graph tell."""
        broken = _invalid(bn)
        if broken:
            yield finding("invalid-statistics", bn.name, broken)
        elif self._never_updated(bn, seen):
            yield finding("never-updated", bn.name, self.iterations)
        if self._always_by_batch(bn) or any(node.training for node in self.nodes[bn]):
            yield finding("batch-at-inference", bn.name, seen.largest)
        stale = 0
        if self.fitted is not None:
            present = {id(variable) for variable in self.model.trainable_variables}
            stale = sum((id(v) in self.fitted) != (id(v) in present) for v in _affine(bn))
        if stale:
            yield finding("frozen-after-compile", bn.name, stale)
        elif bn.trainable and _affine(bn) and not any(v.trainable for v in _affine(bn)):
            yield finding("frozen-affine", bn.name, len(_affine(bn)))

    def _of_data(self, bn: BatchNorm, seen: Call) -> Iterator[Finding]:
        """What the layer's inputs tell."""
        dead = self._dead_channels(bn, seen)
        if dead.any():
            yield finding("dead-channel", bn.name, dead.sum())
        variance = seen.variance if seen.by_batch else bn.moving_variance.numpy()
        alive = variance[~_constant(bn, seen)]
        share = bn.epsilon / np.median(alive) if len(alive) else 0.0
        if share > EPSILON_SHARE and self._is_trained(bn):  # new weights may be small, and grow
            yield finding("epsilon-dominates", bn.name, share)
        if not seen.by_batch or _invalid(bn) or self._always_by_batch(bn):
            return
        apart = self._apart(bn)
        if apart > 1:
            yield finding("shared-between-distributions", bn.name, apart)
            return
        shift = self._variance_shift(bn)
        if shift > SHIFT:
            if not self._is_adjusted(bn):
                yield finding("dropout-before", bn.name, shift)
        elif not self._never_updated(bn, seen) and self._is_trained(bn):
            yield from self._lagging(bn, seen)

    def _always_by_batch(self, bn: BatchNorm) -> bool:
        return any(call.by_batch for call in self.measured.inference[bn])

    def _lagging(self, bn: BatchNorm, seen: Call) -> Iterator[Finding]:
        far, ratio = distances(bn, seen)
        if far <= FAR and ratio <= RATIO:
            return
        remembered = bn.momentum**self.iterations if self.iterations else 0.0
        if remembered > REMEMBERED:
            yield finding("slow-momentum", bn.name, remembered)
        elif far > FAR:
            quantity = "standard deviations from moving_mean to the mean of the data"
            yield finding("lagging", bn.name, far, quantity)
        else:
            quantity = "times is moving_variance off the variance of the data"
            yield finding("lagging", bn.name, ratio, quantity)

    def _apart(self, bn: BatchNorm) -> float:
        """How far the calls of one layer are from each other, in units of what is far."""
        calls = [call for call in self.measured.without_dropout[bn] if call.count]
        return max((_between(bn, one, other) for one in calls for other in calls), default=0.0)

    def _dead_channels(self, bn: BatchNorm, seen: Call) -> np.ndarray:
        """Channels that never vary, or that gamma has silenced: bool `[channels]`.

        A gamma of 0 that is what it started as is there on purpose, until training should have
        moved it.
        """
        silent = np.zeros(len(seen.mean), bool)
        if getattr(bn, "gamma", None) is not None:
            silent = np.abs(bn.gamma.numpy()) < NO_GAMMA
            if is_initial(bn.gamma, bn.gamma_initializer) and not self._should_have_moved(bn):
                silent[:] = False
        upstream = {node.layer for call in self.nodes[bn] for node in self.graph.upstream(call)}
        new = any(_is_zero(other) for other in upstream) and not self._should_have_moved(bn)
        return silent if new else silent | _constant(bn, seen)

    def _should_have_moved(self, bn: BatchNorm) -> bool:
        gamma = getattr(bn, "gamma", None)
        return self.iterations > 0 and gamma is not None and gamma.trainable

    def _is_trained(self, bn: BatchNorm) -> bool:
        """Whether anything says so: steps of the optimizer, or a gamma or beta that has moved."""
        return self.iterations > 0 or any(
            not is_initial(getattr(bn, name), getattr(bn, f"{name}_initializer"))
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
            if getattr(bn, name, None) is not None
        )

    def _never_updated(self, bn: BatchNorm, seen: Call) -> bool:
        """Statistics as they started, in a layer that was trained or is frozen among such ones."""
        initial = [
            is_initial(getattr(bn, name), getattr(bn, f"{name}_initializer"))
            for name in ("moving_mean", "moving_variance")
        ]
        if not all(initial):
            return False
        if seen.by_batch or not seen.count:
            return self._is_trained(bn)
        far, ratio = distances(bn, seen)
        return (far > FAR or ratio > RATIO) and self._anything_is_trained()

    def _anything_is_trained(self) -> bool:
        return any(self._is_trained(bn) for bn in self.layers) or any(
            not is_initial(layer.bias, layer.bias_initializer)
            for layer in layers_of(self.model)
            if getattr(layer, "bias", None) is not None and hasattr(layer, "bias_initializer")
        )

    def _variance_shift(self, bn: BatchNorm) -> float:
        """The variance with dropout over that without; 1 if there is none before."""
        if not any(self._dropout_before(node) for node in self.nodes[bn]):
            return 1.0
        without = self.without_dropout[bn].variance.sum()
        return float(self.training[bn].variance.sum() / max(without, 1e-30))

    def _is_adjusted(self, bn: BatchNorm) -> bool:
        """Whether the moving variance has been set to that without dropout, by recalibration."""
        _, with_dropout = distances(bn, self.training[bn])
        _, without = distances(bn, self.without_dropout[bn])
        return self._is_trained(bn) and without < min(with_dropout, SHIFT)

    def _dropout_before(self, node: Node) -> bool:
        """Whether there is a dropout layer upstream, with no BN between."""
        return any(
            isinstance(each.layer, DROPOUT) and each.layer.rate > 0
            for each in self.graph.upstream(node, until=BatchNorm)
        )

    def _useless_bias(self, bn: BatchNorm) -> keras.Layer | None:
        """The layer directly before, if BN takes its bias away and nothing else uses it."""
        for node in self.nodes[bn]:
            for maker in self.graph.makers(node.inputs[0]):
                if maker and _adds_bias_to_channels_of(maker.layer, bn):
                    users = self.graph.users(maker.outputs[0])
                    if all(user and isinstance(user.layer, BatchNorm) for user in users):
                        return maker.layer
        return None

    def _gap(self, found: set[str], noise: bool) -> list[Finding]:
        """Answers that differ between the modes, where nothing found explains it.

        If the data's own statistics close most of the gap, the moving ones are to blame, however
        near they are: a deep network can magnify that.
        """
        gap = self.measured.gap
        trained = any(self._is_trained(bn) for bn in self.layers)
        if found & EXPLAIN_GAP or noise or not trained or gap is None:
            return []
        if abs(gap.value) < gap.limit:
            return []
        if abs(gap.remaining()) < abs(gap.value) / 2:
            quantity = f"{gap.quantity}; those of the data bring it back"
            return [finding("lagging", self.model.name, gap.value, quantity)]
        return [finding("mode-gap", self.model.name, gap.value, gap.quantity)]


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


def _affine(bn: BatchNorm) -> list[keras.Variable]:
    """Those of gamma and beta that the layer has."""
    pair = (getattr(bn, name, None) for name in ("gamma", "beta"))
    return [variable for variable in pair if variable is not None]


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
