"""What is wrong with batch normalization in a Keras model: `examine`.

The kinds of trouble are in `ailments`; here stands how each is told from what is measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

from bn_tutorial.arguments import require_at_least
from bn_tutorial.doctor.architecture import Graph
from bn_tutorial.doctor.findings import Finding, Findings, finding, shortened
from bn_tutorial.doctor.layer_checks import (
    affine,
    changed_since_compile,
    constant_channels,
    dead_channels,
    distances,
    is_initial,
    is_tiny,
    not_finite,
)
from bn_tutorial.doctor.measurements import LayerStatistics, Measurements, measure
from bn_tutorial.recalibration import batch_norm_layers

__all__ = ["Finding", "Findings", "examine"]

BATCH_SIZE = 60  # of arrays, which come without batches
FAR = 0.5  # standard deviations between two means
RATIO = 2.0  # of two variances, the one over the other
REMEMBERED = 0.1  # the share of the initial values in the moving statistics
SHIFT = 1.2  # of the variance, by dropout; a rate of 0.2 gives 1.25 or more
EPSILON_SHARE = 0.5  # epsilon over the variance; outputs then have standard deviation 0.82
GAP = 0.1  # of accuracies
EXPLAIN_GAP = {"not-finite", "never-updated", "slow-momentum", "lagging", "dropout-before"}

BN = keras.layers.BatchNormalization


def examine(model: keras.Model, dataset: Iterable | tuple, batches: int = 20) -> Findings:
    """Look for what can be wrong with batch normalization in a Keras model.

    The model runs on some batches, by their own statistics and by the moving ones, and is left as
    it was: weights, statistics, flags, optimizer, states of seeds. One cause gives one finding,
    the most specific. A healthy model has none.

    Args:
        model: built, of any kind. Where its graph can't be followed (subclassed), "useless-bias"
            and "dropout-before" are not looked for, and the report says so.
        dataset: batches as in training, `inputs` or `(inputs, labels)`: a `tf.data.Dataset` or
            another iterable; or arrays, `inputs` or `(inputs, labels)`, taken in batches of 60 as
            they come. Labels are classes or one-hot; without, "mode-gap" is not looked for.
        batches: how many to use at most.

    Raises:
        ValueError: the model is not built or has no BN layer, there are no batches, or `batches`
            is below 1.
    """
    require_at_least(1, batches=batches)
    if not model.built:
        raise ValueError("examine: expected a model that is built; call it on a batch first")
    if not batch_norm_layers(model):
        raise ValueError("examine: expected a model with BatchNormalization, found none")
    used = list(itertools.islice(_batches(dataset), batches))
    if not used:
        raise ValueError("examine: expected batches, found an empty dataset")
    examination = _Examination(model, measure(model, used))
    count = f"{examination.measured.samples:,} samples in {len(used)} batches"
    layers = len(batch_norm_layers(model))
    return Findings(
        examination.findings(), f'"{model.name}", {layers} BN layers, {count}', examination.notes()
    )


class _Examination:
    """The rules, for one model."""

    def __init__(self, model: keras.Model, measured: Measurements) -> None:
        self.model, self.measured = model, measured
        self.graph = Graph(model)
        optimizer = getattr(model, "optimizer", None)
        self.iterations = int(optimizer.iterations.numpy()) if optimizer else 0

    def findings(self) -> list[Finding]:
        """All of them, layer by layer in the order of the calls."""
        found, noise = [], False
        for bn in sorted(batch_norm_layers(self.model), key=self._position):
            statistics = self.measured.training.get(bn)
            tiny = is_tiny(bn, statistics)
            noise = noise or tiny  # also what the layers behind are given
            found += self._of_state(bn, statistics)
            if tiny:
                found.append(finding("tiny-batch", bn.name, np.median(statistics.counts)))
            if statistics and not noise:
                found += self._of_data(bn, statistics)
        return found + self._gap(found, noise)

    def notes(self) -> list[str]:
        """What could not be looked for."""
        notes = []
        unknown = self.graph.unknown(self.model)
        if unknown:
            names = shortened([bn.name for bn in unknown])
            notes.append(f"dropout-before and useless-bias: no graph leads to {names}")
        unseen = [
            bn.name for bn in batch_norm_layers(self.model) if bn not in self.measured.training
        ]
        if unseen:
            notes.append(f"anything about the data: no batch could be seen in {shortened(unseen)}")
        if self.measured.by_batch is None:
            notes.append("mode-gap: it takes labels, classes or one-hot, that fit the outputs")
        return notes

    def _position(self, bn: BN) -> int:
        order = list(self.measured.training)
        return order.index(bn) if bn in self.measured.training else len(order)

    def _of_state(self, bn: BN, statistics: LayerStatistics | None) -> Iterator[Finding]:
        """What the layer's variables and the graph tell."""
        in_training = statistics is not None and statistics.in_training
        broken = not_finite(bn)
        if broken:
            yield finding("not-finite", bn.name, broken)
        elif self._never_updated(bn):
            yield finding("never-updated", bn.name, self.iterations)
        stale = changed_since_compile(self.model, bn)
        if stale:
            yield finding("frozen-after-compile", bn.name, stale)
        elif bn.trainable and affine(bn) and not any(v.trainable for v in affine(bn)):
            yield finding("frozen-affine", bn.name, len(affine(bn)))
        biased = self.graph.useless_bias(bn)
        if biased is not None and in_training:
            yield finding("useless-bias", biased.name, biased.bias.shape[0])

    def _of_data(self, bn: BN, statistics: LayerStatistics) -> Iterator[Finding]:
        """What the layer's inputs tell."""
        dead = dead_channels(bn, statistics)
        if dead.any():
            yield finding("dead-channel", bn.name, dead.sum())
        alive = statistics.variance[~constant_channels(bn, statistics)]
        share = bn.epsilon / np.median(alive) if len(alive) else 0.0
        if share > EPSILON_SHARE and self._is_trained(bn):  # new weights may be small, and grow
            yield finding("epsilon-dominates", bn.name, share)
        if not statistics.in_training or not_finite(bn):
            return
        shift = self._variance_shift(bn)
        if shift > SHIFT:
            if not self._is_adjusted(bn):
                yield finding("dropout-before", bn.name, shift)
        elif not self._never_updated(bn) and self._is_trained(bn):
            yield from self._lagging(bn, statistics)

    def _lagging(self, bn: BN, statistics: LayerStatistics) -> Iterator[Finding]:
        far, ratio = distances(bn, statistics)
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

    def _is_trained(self, bn: BN) -> bool:
        """Whether anything says so: steps of the optimizer, or a gamma or beta that has moved."""
        moved = [
            not is_initial(variable, initializer)
            for variable, initializer in (
                (bn.gamma, bn.gamma_initializer),
                (bn.beta, bn.beta_initializer),
                (bn.moving_mean, bn.moving_mean_initializer),
                (bn.moving_variance, bn.moving_variance_initializer),
            )
            if variable is not None
        ]
        return self.iterations > 0 or any(moved)

    def _never_updated(self, bn: BN) -> bool:
        statistics_are_initial = is_initial(
            bn.moving_mean, bn.moving_mean_initializer
        ) and is_initial(bn.moving_variance, bn.moving_variance_initializer)
        return statistics_are_initial and self._is_trained(bn)

    def _variance_shift(self, bn: BN) -> float:
        """The variance with dropout over that without; 1 if there is none before."""
        without = self.measured.without_dropout.get(bn)
        if without is None or self.graph.dropout_before(bn) is None:
            return 1.0
        return float(self.measured.training[bn].variance.sum() / max(without.variance.sum(), 1e-30))

    def _is_adjusted(self, bn: BN) -> bool:
        """Whether the moving variance has been set to that without dropout, by recalibration."""
        _, with_dropout = distances(bn, self.measured.training[bn])
        _, without = distances(bn, self.measured.without_dropout[bn])
        return self._is_trained(bn) and without < min(with_dropout, SHIFT)

    def _gap(self, found: list[Finding], noise: bool) -> list[Finding]:
        """Accuracies that differ, where nothing found explains it.

        If the data's own statistics close most of the gap, the moving ones are to blame, however
        near they are: a deep network can magnify that.
        """
        explained = {f.kind for f in found} & EXPLAIN_GAP
        trained = any(self._is_trained(bn) for bn in batch_norm_layers(self.model))
        measured = self.measured
        if explained or noise or not trained or measured.by_batch is None:
            return []
        gap = measured.by_batch - measured.by_moving
        if abs(gap) < max(GAP, 2 / np.sqrt(measured.labelled)):
            return []
        if abs(measured.by_batch - measured.by_data) < abs(gap) / 2:
            quantity = "accuracy lost by the moving statistics; those of the data bring it back"
            return [finding("lagging", self.model.name, gap, quantity)]
        return [finding("mode-gap", self.model.name, gap)]


def _batches(dataset: Iterable | tuple) -> Iterator[tuple]:
    """(inputs, labels) of each batch, labels None where there are none."""
    if isinstance(dataset, keras.utils.PyDataset):
        dataset = (dataset[number] for number in range(len(dataset)))
    elif isinstance(dataset, np.ndarray | tf.Tensor | tuple | dict):
        dataset = _sliced(dataset)
    for batch in dataset:
        yield keras.utils.unpack_x_y_sample_weight(batch)[:2]


def _sliced(arrays: np.ndarray | tf.Tensor | tuple | dict) -> Iterator:
    for start in range(0, len(keras.tree.flatten(arrays)[0]), BATCH_SIZE):
        yield keras.tree.map_structure(
            lambda part, at=start: None if part is None else part[at : at + BATCH_SIZE], arrays
        )
