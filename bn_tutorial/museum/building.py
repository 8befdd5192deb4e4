"""Exhibits that are a function which builds a model."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from bn_tutorial.checks.results import CheckResult
from bn_tutorial.mnist import Datasets
from bn_tutorial.museum import probes
from bn_tutorial.museum.verdicts import AS_IT_WAS, NotMendedError, judge

BuildModel = Callable[[], keras.Model]
STEPS = 100
FIRST_STEPS = 50
CHANCE = 0.25  # below that, a network has learnt next to nothing


def check_stuck_at_chance(
    build_model: BuildModel, data: Datasets, *, hint: bool = False
) -> CheckResult:
    """Does the network learn, with BN in both hidden layers, and from the first steps on?

    Args:
        build_model: → a Keras model, images `[batch, 784]` → logits `[batch, 10]`.
        data: the digits.
        hint: whether to say where in the chapters to look.
    """
    return judge("stuck_at_chance", hint, lambda: _examine_learning(build_model, data))


def _examine_learning(build_model: BuildModel, data: Datasets) -> str:
    images, classes = probes.batches(data.train, FIRST_STEPS)
    model = probes.fit(probes.build(build_model), images, classes)
    found = probes.accuracy(model, data.test.images, data.test.classes)
    if found < CHANCE:
        raise NotMendedError(
            AS_IT_WAS,
            f"After {FIRST_STEPS} steps the test accuracy is {found:.3f}; chance is about 0.1. "
            "Look at what leaves the first hidden layer, and at the gradients that come back to "
            "it.",
        )
    probes.require_batch_norm(model, images[:16], layers=2)
    usual = probes.fit(probes.build(_usual_network), images, classes)
    expected = probes.accuracy(usual, data.test.images, data.test.classes)
    if found < expected - 0.15:
        raise NotMendedError(
            "a slow start",
            f"The network learns, but after {FIRST_STEPS} steps its test accuracy is {found:.3f}, "
            f"where the usual one has {expected:.3f}. It first has to leave the place where it "
            "was stuck: the cause is smaller, and still there.",
        )
    return f"After {FIRST_STEPS} steps the test accuracy is {found:.3f}, with BN in both layers."


def _usual_network() -> keras.Model:
    hidden = []
    for _ in range(2):
        hidden.append(keras.layers.Dense(64, use_bias=False))
        hidden += [keras.layers.BatchNormalization(momentum=0.9), keras.layers.ReLU()]
    return keras.Sequential([keras.Input([784]), *hidden, keras.layers.Dense(10)])


def check_bad_in_evaluation(
    build_model: BuildModel, data: Datasets, *, hint: bool = False
) -> CheckResult:
    """Is the network as good in evaluation as in training, on the same images?

    Args:
        build_model: → a Keras model, images `[batch, 784]` → logits `[batch, 10]`.
        data: the digits.
        hint: whether to say where in the chapters to look.
    """
    return judge("bad_in_evaluation", hint, lambda: _examine_evaluation(build_model, data))


def _examine_evaluation(build_model: BuildModel, data: Datasets) -> str:
    images, classes = probes.batches(data.train, STEPS)
    model = probes.fit(probes.build(build_model), images, classes)
    _require_no_neighbours(model, images[:16])
    images, classes = images[-1000:], classes[-1000:]
    in_training = probes.accuracy(model, images, classes, training=True)
    in_evaluation = probes.accuracy(model, images, classes)
    both = (
        f"on the same 1,000 training images the accuracy is {in_training:.3f} with training=True "
        f"and {in_evaluation:.3f} with training=False"
    )
    if in_training - in_evaluation > 0.1:
        raise NotMendedError(
            AS_IT_WAS,
            f"Still, {both}. What do the moving statistics follow, layer by layer? Training "
            "longer or recalibrating would compute the same mixture, only more precisely.",
        )
    probes.require_batch_norm(model, images[:16], layers=3)
    if in_training < 0.6:
        raise NotMendedError(
            "worse in training", f"Now both are bad: {both}. The network has to learn, too."
        )
    return f"Now {both}."


def check_one_class(build_model: BuildModel, data: Datasets, *, hint: bool = False) -> CheckResult:
    """Does the network, trained with BN, answer for one image what the image shows?

    Args:
        build_model: → a Keras model, images `[batch, 784]` → logits `[batch, 10]`.
        data: the digits.
        hint: whether to say where in the chapters to look.
    """
    return judge("one_class", hint, lambda: _examine_single_images(build_model, data))


def _examine_single_images(build_model: BuildModel, data: Datasets) -> str:
    images, classes = probes.batches(data.train, STEPS)
    model = probes.fit(probes.build(build_model), images, classes)
    count = 50
    alone = np.concatenate(
        [probes.logits(model, data.test.images[i : i + 1]) for i in range(count)]
    ).argmax(axis=1)
    found = float(np.mean(alone == data.test.classes[:count]))
    if len(set(alone)) == 1:
        raise NotMendedError(
            AS_IT_WAS,
            f"{count} test images, one at a time: all of them are a {alone[0]}. What does a BN "
            "layer of this network normalise a single image by?",
        )
    _require_no_neighbours(model, images[:16])
    probes.require_batch_norm(model, images[:16], layers=2)
    if found < 0.6:
        raise NotMendedError(
            "single images are guessed",
            f"{count} test images, one at a time: only {found:.0%} of them are right.",
        )
    return f"{count} test images, one at a time: {found:.0%} of them are right."


def _require_no_neighbours(model: keras.Model, images: np.ndarray) -> None:
    if probes.depends_on_neighbours(model, images, training=False):
        raise NotMendedError(
            "batch statistics in evaluation",
            "With training=False, an image's logits still depend on who shares its batch. That "
            "looks well on a large batch of all classes, which is how it hides. A single image "
            "would be normalised by itself.",
        )
