"""Exhibits that are a function which computes or uses statistics."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from bn_tutorial.batch_norm import EPSILON
from bn_tutorial.checks.results import CheckResult
from bn_tutorial.mnist import Datasets
from bn_tutorial.museum import probes
from bn_tutorial.museum.verdicts import AS_IT_WAS, NotMendedError, judge

PAPER = 4000  # what the camera counts where there is no ink
ALONE = 25  # images that are predicted one at a time


def check_nan(
    standardize: Callable[[tf.Tensor], tf.Tensor], data: Datasets, *, hint: bool = False
) -> CheckResult:
    """Is each pixel standardised over the batch, however large its mean?

    Args:
        standardize: float32 `[batch, units]` → the same with mean 0 and variance 1 over the batch,
            but for an ε of 1e-3 that is added to the variance.
        data: the digits.
        hint: whether to say where in the chapters to look.
    """
    return judge("nan", hint, lambda: _examine_standardize(standardize, data))


def _examine_standardize(standardize: Callable[[tf.Tensor], tf.Tensor], data: Datasets) -> str:
    generator = np.random.default_rng(0)
    _require_standardized(standardize, generator)
    camera = [PAPER - batch for batch in np.split(_pixels(data, 50), 50)]
    distant = [generator.normal(mean, 0.3, (60, 32)) for mean in (3e3, 1e4, 2e4)]
    worst = 0.0
    for batch in [*camera, *distant]:
        found = np.array(standardize(tf.constant(batch, tf.float32)))
        if not np.isfinite(found).all():
            raise NotMendedError(
                AS_IT_WAS,
                f"A batch whose pixels are near {batch.max():,.0f} gives numbers that are not "
                "finite. Print the smallest variance of such a batch.",
            )
        worst = max(worst, np.abs(found - _exact(np.float32(batch))).max())
    if worst > 0.2:
        raise NotMendedError(
            "a variance of noise",
            "There is no NaN any more, but where the mean is large and the spread small, the "
            f"results are off by up to {worst:,.1f} standard deviations. The variance is still "
            "the difference of two huge numbers; only its negative values are hidden.",
        )
    return f"No result is off by more than {worst:.3f} standard deviations."


def _pixels(data: Datasets, steps: int) -> np.ndarray:
    return 255 * probes.batches(data.train, steps)[0]


def _exact(batch: np.ndarray, epsilon: float = EPSILON) -> np.ndarray:
    batch = batch.astype(np.float64)
    return (batch - batch.mean(axis=0)) / np.sqrt(batch.var(axis=0) + epsilon)


def _require_standardized(
    standardize: Callable[[tf.Tensor], tf.Tensor], generator: np.random.Generator
) -> None:
    """On batches without any difficulty."""
    easy = generator.normal(1.0, 2.0, (60, 8)).astype(np.float32)
    small = generator.normal(0.0, 0.05, (60, 8)).astype(np.float32)
    found = tf.convert_to_tensor(standardize(tf.constant(easy)))
    if found.shape != easy.shape or found.dtype != tf.float32:
        raise NotMendedError(
            "another shape or type",
            f"Expected float32 {easy.shape}, found {found.dtype.name} {tuple(found.shape)}.",
        )
    for batch in (easy, small):
        found = np.array(standardize(tf.constant(batch)))
        expected = _exact(batch)
        if np.allclose(found, expected, atol=0.1):
            continue
        shrunk = found * (expected.std(axis=0) / np.maximum(found.std(axis=0), 1e-9))
        if found.std() > expected.std() or not np.allclose(shrunk, expected, atol=0.1):
            raise NotMendedError(
                "not standardised",
                f"Columns with mean {batch.mean():.2f} and standard deviation {batch.std():.2f} "
                "do not come out with mean 0 and variance 1.",
            )
        raise NotMendedError(
            "a larger epsilon",
            f"Columns with a standard deviation of {batch.std():.2f} should come out with "
            f"{expected.std():.2f}, and come out with {found.std():.2f}. Beside so large an ε the "
            "variance does not count: such units are no longer standardised, and whether there "
            "is a NaN depends on the data.",
        )


Predict = Callable[[keras.Model, np.ndarray, np.ndarray], np.ndarray]


def check_batch_size(predict: Predict, data: Datasets, *, hint: bool = False) -> CheckResult:
    """Does an image get the same logits alone and in a batch, and the right ones?

    Args:
        predict: (model, images `[batch, 784]`, training images `[n, 784]`) → logits
            `[batch, 10]`; the model was trained on images standardised as `standardize` does.
        data: the digits.
        hint: whether to say where in the chapters to look.
    """
    return judge("batch_size", hint, lambda: _examine_predict(predict, data))


def standardize_like(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Standardise each pixel by its mean and deviation over `others`; 0.1 spares empty pixels."""
    return (images - others.mean(axis=0)) / (others.std(axis=0) + 0.1)


def _examine_predict(predict: Predict, data: Datasets) -> str:
    training_images, classes = probes.batches(data.train, 50)
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(64, activation="relu")
    model = keras.Sequential([keras.Input([784]), hidden, keras.layers.Dense(10)])
    probes.fit(model, standardize_like(training_images, training_images), classes)

    images, answers = data.test.images[:100], data.test.classes[:ALONE]
    together = np.array(predict(model, images, training_images))[:ALONE]
    alone = np.concatenate(
        [predict(model, images[i : i + 1], training_images) for i in range(ALONE)]
    )
    shares = [np.mean(logits.argmax(axis=1) == answers) for logits in (alone, together)]
    both = f"{ALONE} test images: alone {shares[0]:.0%} are right, among 100 {shares[1]:.0%}"
    if not _agree(alone, together):
        if shares[0] < shares[1] - 0.1:
            raise NotMendedError(AS_IT_WAS, f"{both}.")
        apart = np.abs(alone - together).max()
        raise NotMendedError(
            "neighbours still count",
            f"{both}. But a logit changes by up to {apart:.2g} with who else is in the batch: the "
            "influence has become small, and is not gone.",
        )
    _require_statistics_of_training(alone, model, images[:ALONE], training_images, data.test.images)
    return f"{both}, and their logits are the same."


def _require_statistics_of_training(
    found: np.ndarray,
    model: keras.Model,
    images: np.ndarray,
    training_images: np.ndarray,
    test_images: np.ndarray,
) -> None:
    expected = np.array(model(standardize_like(images, training_images)))
    if _agree(found, expected):
        return
    if _agree(found, np.array(model(standardize_like(images, test_images)))):
        raise NotMendedError(
            "statistics of the test set",
            "The batch size no longer matters, but the images are standardised by the test set. "
            "In use there is no test set, and the model has never seen its statistics.",
        )
    apart = np.abs(found - expected).max()
    raise NotMendedError(
        "not what the model was trained on",
        "The batch size no longer matters, but the images are not prepared as in training: a "
        f"logit is off by up to {apart:.2g}.",
    )


def _agree(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-3, atol=1e-3)
