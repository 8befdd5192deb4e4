"""What the BN layers of a Keras model are given, and how it answers in both modes."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from bn_tutorial.keras_models.data import Batch, size_of
from bn_tutorial.keras_models.graph import functional_of
from bn_tutorial.keras_models.model import (
    BatchNorm,
    batch_norm_layers,
    compile_options,
    layers_of,
    unchanged,
)
from bn_tutorial.keras_models.watching import Watched, pooled

ACCURACY, LOSS = "accuracy", "loss"


@dataclass
class Gap:
    """How much worse a model answers by the moving statistics than by those of each batch."""

    value: float  # of accuracies, or of losses in units of what a constant answer loses
    limit: float  # from where on it is a difference
    quantity: str  # what `value` is, and the model's own metrics in both modes
    # What is left if the moving statistics are those of the data. It takes another run.
    remaining: Callable[[], float]


@dataclass
class Measurements:
    """Everything that running a model on some batches tells."""

    training: Watched  # dropout and augmentation included
    without_dropout: Watched  # as in training, with everything but BN as at inference
    inference: Watched
    gap: Gap | None  # None if the answers can't be judged


def measure(model: keras.Model, batches: list[Batch], tool: str) -> Measurements:
    """Run a built model on batches in both modes; it is left as it was, also when interrupted."""
    judge = Judge(model, batches)

    def run(
        by_batch: Callable[[BatchNorm, bool], bool], training: bool = False
    ) -> tuple[Watched, Score | None]:
        with unchanged(model) as kept:
            watched = Watched(kept, batch_norm_layers(model), by_batch, tool)
            return watched, judge.score(outputs for _, outputs in watched.run(batches, training))

    def by_data() -> Score | None:
        with unchanged(model):
            for layer, calls in without_dropout.items():
                total = pooled(calls)
                if total.by_batch:
                    layer.moving_mean.assign(total.mean)
                    layer.moving_variance.assign(total.variance)
            return run(_as_told)[1]

    training, by_batch = run(_as_told, training=True)
    without_dropout = training
    if _differs_in_training(model):
        normalising = {bn for bn, calls in training.items() if pooled(calls).by_batch}
        without_dropout, by_batch = run(lambda layer, _: layer in normalising)
    inference, by_moving = run(_as_told)
    gap = judge.gap(by_batch, by_moving, by_data)
    return Measurements(training, without_dropout, inference, gap)


def _as_told(layer: BatchNorm, training: bool) -> bool:
    return training and layer.trainable


def _differs_in_training(model: keras.Model) -> bool:
    """Whether anything but BN may: a layer that asks, or a graph that can't be followed."""
    same = (BatchNorm, keras.layers.Dense, keras.layers.EinsumDense)  # the last two ask in vain
    return any(
        "training" in inspect.signature(type(layer).call).parameters
        and getattr(layer, "rate", 1) != 0
        for layer in [model, *layers_of(model)]
        if not isinstance(layer, same) and functional_of(layer) is None
    )


@dataclass
class Score:
    """How well a model answers: on one batch, or on all together."""

    kind: str  # `ACCURACY` or `LOSS`
    value: float  # the loss, or the share of wrong answers
    answers: int  # how many were judged
    mean: object  # the outputs'
    metrics: dict[str, float]  # of the model; of all together also `value` as people name it


class Judge:
    """How well outputs answer: by the loss that the model was compiled with, or the accuracy.

    The loss and copies of the metrics belong to a model of their own, the scorer, so that nothing
    moves in the one that is examined.
    """

    def __init__(self, model: keras.Model, batches: list[Batch]) -> None:
        self.batches, self.scorer = batches, None
        if getattr(model, "loss", None) is not None:
            self.scorer = keras.Model()
            self.scorer.output_names = getattr(model, "output_names", None)
            self.scorer.compile(loss=model.loss, **compile_options(model))

    def score(self, outputs: Iterable) -> Score | None:
        """Of the outputs for each batch; None if they can't be judged."""
        if self.scorer is not None:
            self.scorer.reset_metrics()
        scores = [self._of_batch(*pair) for pair in zip(self.batches, outputs, strict=True)]
        kinds = {getattr(score, "kind", None) for score in scores}
        if kinds not in ({ACCURACY}, {LOSS}):
            return None
        answers = [score.answers for score in scores]
        average = partial(np.average, axis=0, weights=answers)
        value = float(average([score.value for score in scores]))
        mean = keras.tree.map_structure(lambda *m: average(m), *(score.mean for score in scores))
        metrics = {LOSS: value} if kinds == {LOSS} else {ACCURACY: 1 - value}
        if all(score.metrics for score in scores):
            metrics |= scores[-1].metrics
        return Score(*kinds, value, sum(answers), mean, metrics)

    def gap(
        self,
        by_batch: Score | None,
        by_moving: Score | None,
        by_data: Callable[[], Score | None],
    ) -> Gap | None:
        """Between the two ways of normalising; `by_data` tells what the data's statistics give."""
        if by_batch is None or by_moving is None or by_batch.kind != by_moving.kind:
            return None
        unit, limit, what = 1.0, 0.1, "difference of the accuracies"
        if by_batch.kind == LOSS:
            limit, what = 0.2, "difference of the losses, in units of what a constant answer loses"
            unit = self._of_constant(by_moving.mean).value
            if min(by_batch.value, by_moving.value) >= unit:
                unit = np.inf  # a model that has learnt nothing yet
        value = (by_moving.value - by_batch.value) / unit
        if not np.isfinite(value):
            return None
        both = [
            f"{name} {number:.3g} by batch statistics, {by_moving.metrics[name]:.3g} by moving"
            for name, number in by_batch.metrics.items()
            if name in by_moving.metrics
        ]
        limit = max(limit, 2 / np.sqrt(by_batch.answers))
        quantity = f"{what}: {'; '.join(both)}"
        return Gap(value, limit, quantity, lambda: (by_data().value - by_batch.value) / unit)

    def _of_constant(self, answer: object) -> Score | None:
        """Of one answer, `[1, ...]`, given to each sample."""
        repeats = (partial(np.repeat, repeats=size_of(batch), axis=0) for batch in self.batches)
        return self.score(keras.tree.map_structure(repeat, answer) for repeat in repeats)

    def _of_batch(self, batch: Batch, outputs: object) -> Score | None:
        if len(batch) < 2:
            return None
        mean = keras.tree.map_structure(_mean, outputs)
        if self.scorer is not None:
            with contextlib.suppress(Exception):  # labels of another kind than the loss takes
                parts = keras.tree.map_structure(tf.convert_to_tensor, (batch[1], outputs))
                judged = (*parts, batch[2] if len(batch) > 2 else None)
                value = float(self.scorer.compute_loss(None, *judged))
                return Score(LOSS, value, size_of(batch), mean, self._metrics(*judged))
        right = _correct(outputs, batch[1])
        if right is None:
            return None
        return Score(ACCURACY, 1 - right.mean(), right.size, mean, {})

    def _metrics(self, labels: object, outputs: object, weights: object) -> dict[str, float]:
        """The model's own on all batches up to this; none if one can't be copied or computed."""
        try:
            found = self.scorer.compute_metrics(None, labels, outputs, weights)
        except Exception:
            return {}
        found.pop(LOSS, None)  # of `fit`, which this is not
        return {name: float(value) for name, value in found.items() if np.ndim(value) == 0}


def _mean(outputs: tf.Tensor) -> np.ndarray:
    """Of a batch: `[1, ...]`."""
    return np.mean(tf.cast(outputs, tf.float32), 0, keepdims=True)


def _correct(outputs: object, labels: object) -> np.ndarray | None:
    """Which answers are right; None if outputs and labels are no classification."""
    if labels is None or keras.tree.is_nested(labels) or keras.tree.is_nested(outputs):
        return None
    outputs, labels = np.asarray(outputs), np.asarray(labels)
    if outputs.ndim < 2:
        return None
    if labels.shape == (*outputs.shape[:-1], 1):
        labels = labels[..., 0]
    if outputs.shape[-1] == 1:
        return _correct_of_two(outputs[..., 0], labels)
    if labels.shape == outputs.shape and np.allclose(labels.sum(axis=-1), 1):
        labels = labels.argmax(axis=-1)
    if labels.shape != outputs.shape[:-1] or not np.array_equal(labels, np.round(labels)):
        return None
    return outputs.argmax(axis=-1) == labels


def _correct_of_two(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    if labels.shape != outputs.shape or not np.isin(labels, (0, 1)).all():
        return None
    are_probabilities = outputs.min() >= 0 and outputs.max() <= 1
    return (outputs > (0.5 if are_probabilities else 0)) == labels
