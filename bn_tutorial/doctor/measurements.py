"""What the BN layers of a Keras model are given, and how it answers in both modes; see `doctor`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state

from bn_tutorial.recalibration import batch_norm_layers, normalised_axes


@dataclass
class LayerStatistics:
    """What one BN layer was given, a row for each call.

    Attributes:
        counts: values a channel.
        means: `[channels]`, by call.
        variances: `[channels]`, by call.
        in_training: whether the layer normalises by the batch in training, and so follows it.
    """

    counts: list[int] = field(default_factory=list)
    means: list[np.ndarray] = field(default_factory=list)
    variances: list[np.ndarray] = field(default_factory=list)
    in_training: bool = False

    def add(self, values: np.ndarray) -> None:
        """`[values, channels]` of one call, as float64."""
        self.counts.append(len(values))
        self.means.append(values.mean(axis=0))
        self.variances.append(values.var(axis=0))

    @property
    def mean(self) -> np.ndarray:
        """Of all values."""
        return np.average(self.means, axis=0, weights=self.counts)

    @property
    def within(self) -> np.ndarray:
        """The mean of the batches' variances, which Keras's moving variance tends to."""
        return np.average(self.variances, axis=0, weights=self.counts)

    @property
    def variance(self) -> np.ndarray:
        """Of all values."""
        between = np.average((self.means - self.mean) ** 2, axis=0, weights=self.counts)
        return self.within + between


Measured = dict[keras.layers.BatchNormalization, LayerStatistics]  # in the order of the calls


@dataclass
class Measurements:
    """Everything that running a model on some batches tells.

    Attributes:
        training: what the layers are given in training, dropout and augmentation included.
        without_dropout: the same, with everything but BN as at inference.
        samples: how many.
        labelled: how many of these counted for the accuracies.
        by_batch: accuracy where BN normalises by the batch, dropout off; None without labels.
        by_moving: accuracy at inference.
        by_data: accuracy at inference, were the moving statistics those of these data.
    """

    training: Measured = field(default_factory=dict)
    without_dropout: Measured = field(default_factory=dict)
    samples: int = 0
    labelled: int = 0
    by_batch: float | None = None
    by_moving: float | None = None
    by_data: float | None = None


def measure(model: keras.Model, batches: list[tuple]) -> Measurements:
    """Run a model on batches in both modes; it is left as it was, also when interrupted.

    Args:
        model: built.
        batches: (inputs, labels) each; labels may be None.
    """
    measured = Measurements()
    correct: dict[str, list[np.ndarray]] = {"by_batch": [], "by_moving": [], "by_data": []}
    batches = [(keras.tree.map_structure(tf.convert_to_tensor, x), y) for x, y in batches]
    with _unchanged(model):
        for inputs, labels in batches:
            with _recording(model, measured.training, None):
                model(inputs, training=True)
            with _recording(model, measured.without_dropout, measured.training):
                correct["by_batch"].append(_correct(model(inputs, training=False), labels))
    with _unchanged(model):
        for inputs, labels in batches:
            correct["by_moving"].append(_correct(model(inputs, training=False), labels))
        _set_statistics(measured)
        for inputs, labels in batches:
            correct["by_data"].append(_correct(model(inputs, training=False), labels))
    measured.samples = sum(len(keras.tree.flatten(inputs)[0]) for inputs, _ in batches)
    if all(answers is not None for each in correct.values() for answers in each):
        measured.labelled = sum(answers.size for answers in correct["by_batch"])
        for name, each in correct.items():
            setattr(measured, name, float(np.mean(np.concatenate([a.ravel() for a in each]))))
    return measured


def _set_statistics(measured: Measurements) -> None:
    for layer, statistics in measured.without_dropout.items():
        if measured.training[layer].in_training:
            layer.moving_mean.assign(statistics.mean)
            layer.moving_variance.assign(statistics.variance)


@contextlib.contextmanager
def _recording(model: keras.Model, into: Measured, like: Measured | None) -> Iterator[None]:
    """What BN layers are given is recorded; they run as they did in `like`, if given."""
    with contextlib.ExitStack() as stack:
        for layer in batch_norm_layers(model):
            in_training = None if like is None else layer in like and like[layer].in_training
            own = layer.__dict__.get("call")
            layer.__dict__["call"] = _recorded_call(layer, layer.call, into, in_training)
            if own is None:
                stack.callback(layer.__dict__.pop, "call")
            else:
                stack.callback(layer.__dict__.__setitem__, "call", own)
        yield


def _recorded_call(
    layer: keras.layers.BatchNormalization,
    call: Callable,
    into: Measured,
    in_training: bool | None,
) -> Callable:
    """What stands in for `layer.call` meanwhile."""
    axes, rank = normalised_axes(layer), layer.input_spec.ndim

    def recorded(
        inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        if not tf.executing_eagerly():  # inside a function of the model's own
            return call(inputs, training=training, mask=mask)
        statistics = into.setdefault(layer, LayerStatistics())
        values = np.transpose(inputs, [*axes, layer.axis % rank]).astype(np.float64)
        values = values.reshape(-1, values.shape[-1])
        statistics.add(values if mask is None else values[np.ravel(mask).astype(bool)])
        if in_training is not None:
            training = in_training
        elif training and layer.trainable:
            statistics.in_training = True
        return call(inputs, training=training, mask=mask)

    return recorded


@contextlib.contextmanager
def _unchanged(model: keras.Model) -> Iterator[None]:
    """Put back what running the model may move: statistics, states of seeds, counters."""
    shared = global_state.get_global_attribute("global_seed_generator")
    variables = [*model.variables, *([shared.state] if shared else [])]
    before = [variable.numpy() for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


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
