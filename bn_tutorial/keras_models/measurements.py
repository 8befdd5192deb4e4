"""What the BN layers of a Keras model are given, and how it answers in both modes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from bn_tutorial.keras_models.data import size_of
from bn_tutorial.keras_models.graph import functional_of
from bn_tutorial.keras_models.model import (
    BatchNorm,
    Watched,
    batch_norm_layers,
    layers_of,
    pooled,
    run_each,
    unchanged,
    watch,
)


@dataclass
class Gap:
    """How much worse a model answers by the moving statistics than by those of each batch.

    Attributes:
        value: a difference of accuracies, or of losses in units of what a constant answer loses.
        limit: what is a difference.
        quantity: what `value` is.
        remaining: what is left of it if the moving statistics are those of the data; asked for
            only where there is a gap, since it takes another run.
    """

    value: float
    limit: float
    quantity: str
    remaining: Callable[[], float]


@dataclass
class Measurements:
    """Everything that running a model on some batches tells.

    Attributes:
        training: the calls in training, dropout and augmentation included.
        without_dropout: the same, with everything but BN as at inference.
        inference: the calls at inference; only those that normalise by their batch are measured.
        gap: None if the answers can't be judged.
    """

    training: Watched
    without_dropout: Watched
    inference: Watched
    gap: Gap | None


def measure(model: keras.Model, batches: list[tuple], tool: str) -> Measurements:
    """Run a model on batches in both modes; it is left as it was, also when interrupted.

    Args:
        model: built.
        batches: (inputs,), (inputs, labels) or (inputs, labels, sample weights) each.
        tool: who asks, for messages.
    """
    layers, judge = batch_norm_layers(model), Judge(model)

    def run(watched: Watched | None, training: bool, batch: tuple) -> object:
        if watched is not None:
            watched.begin()
        return model(batch[0], training=training)

    def scores(kept: object, watched: Watched | None, training: bool = False) -> Score:
        outputs = run_each(partial(run, watched, training), batches, model, kept, tool)
        return judge.score(batches, outputs)

    with unchanged(model) as kept:
        training = without_dropout = watch(layers, _as_told)
        in_training = scores(kept, training, training=True)
    if _differs_in_training(model):
        with unchanged(model) as kept:
            by_batch = {bn for bn, calls in training.items() if any(c.by_batch for c in calls)}
            without_dropout = watch(layers, lambda layer, _: layer in by_batch)
            in_training = scores(kept, without_dropout)
    with unchanged(model) as kept:
        inference = watch(layers, _as_told, only_by_batch=True)
        at_inference = scores(kept, inference)

    def by_data() -> Score:
        with unchanged(model) as kept:
            for layer, calls in without_dropout.items():
                total = pooled(calls)
                if total.by_batch:
                    layer.moving_mean.assign(total.mean)
                    layer.moving_variance.assign(total.variance)
            return scores(kept, None)

    gap = judge.gap(in_training, at_inference, by_data, batches)
    return Measurements(training, without_dropout, inference, gap)


def _as_told(layer: BatchNorm, training: bool) -> bool:
    return training and layer.trainable


def _differs_in_training(model: keras.Model) -> bool:
    """Whether anything but BN may: a layer that asks, or a graph that can't be followed."""
    for layer in [model, *layers_of(model)]:
        if isinstance(layer, BatchNorm) or functional_of(layer) is not None:
            continue
        if type(layer) in (keras.layers.Dense, keras.layers.EinsumDense):
            continue  # these ask, and do the same
        asks = "training" in inspect.signature(type(layer).call).parameters
        if asks and getattr(layer, "rate", 1) != 0:
            return True
    return False


@dataclass
class Score:
    """Of all batches: the accuracy, or the loss with the mean outputs; and of how many answers."""

    value: float
    answers: int
    mean: object


class Judge:
    """How well outputs answer: by the loss that the model was compiled with, or the accuracy."""

    def __init__(self, model: keras.Model) -> None:
        self.scorer = None
        if getattr(model, "loss", None) is not None:
            self.scorer = keras.Model()  # whose loss is nobody else's, and forgets nothing
            self.scorer.output_names = getattr(model, "output_names", None)
            self.scorer.compile(loss=model.loss)

    def score(self, batches: list[tuple], outputs: Iterable) -> Score | None:
        """None if the answers can't be judged."""
        values, means = [], []
        for batch, answers in zip(batches, outputs, strict=True):
            values.append(self._of_batch(batch, answers))
            flat = keras.tree.flatten(answers)
            means.append([np.mean(tf.cast(each, tf.float32), 0, keepdims=True) for each in flat])
        if any(value is None for value in values):
            return None
        if self.scorer is None:
            right = np.concatenate([value.ravel() for value in values])
            return Score(float(right.mean()), right.size, [])
        sizes = [size_of(batch) for batch in batches]
        means = [np.average(each, axis=0, weights=sizes) for each in zip(*means, strict=True)]
        mean = keras.tree.pack_sequence_as(answers, means)
        return Score(float(np.average(values, weights=sizes)), sum(sizes), mean)

    def gap(
        self,
        by_batch: Score | None,
        by_moving: Score | None,
        by_data: Callable[[], Score],
        batches: list[tuple],
    ) -> Gap | None:
        """Between the two ways of normalising."""
        if by_batch is None or by_moving is None:
            return None
        if self.scorer is None:
            worse, unit, limit, what = 1.0, 1.0, 0.1, "accuracy"
        else:
            worse, limit, what = -1.0, 0.2, "loss, in units of what a constant answer loses,"
            unit = self._loss_of_constant(batches, by_moving.mean)
            if min(by_batch.value, by_moving.value) >= unit:
                worse = 0.0  # a model that has learnt nothing yet
        limit = max(limit, 2 / np.sqrt(by_batch.answers))
        gap = worse * (by_batch.value - by_moving.value) / unit
        if not np.isfinite(gap):
            return None
        words = f"{what} {by_batch.value:.3g} by batch statistics, {by_moving.value:.3g} by moving"
        return Gap(gap, limit, words, lambda: worse * (by_batch.value - by_data().value) / unit)

    def _loss_of_constant(self, batches: list[tuple], mean: object) -> float:
        """What the mean answer, given to each sample, loses."""
        losses = []
        for batch in batches:
            repeated = partial(tf.repeat, repeats=size_of(batch), axis=0)
            answers = keras.tree.map_structure(repeated, mean)
            losses.append(float(self._loss(batch, answers)))
        return float(np.average(losses, weights=[*map(size_of, batches)]))

    def _of_batch(self, batch: tuple, outputs: object) -> np.ndarray | float | None:
        if len(batch) < 2:
            return None
        if self.scorer is not None:
            try:
                return float(self._loss(batch, outputs))
            except Exception:  # labels of another kind than the loss takes
                self.scorer = None
        return _correct(outputs, batch[1])

    def _loss(self, batch: tuple, outputs: object) -> tf.Tensor:
        weights = batch[2] if len(batch) == 3 else None
        labels = keras.tree.map_structure(tf.convert_to_tensor, batch[1])
        return self.scorer.compute_loss(y=labels, y_pred=outputs, sample_weight=weights)


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
