"""What the checks measure of a Keras model: does it learn, and what does it normalise by."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import keras
import numpy as np

from bn_tutorial.keras_models.model import batch_norm_layers
from bn_tutorial.mnist import Dataset
from bn_tutorial.museum.verdicts import NotMendedError

BATCH = 60
RATE = 0.1


def batches(dataset: Dataset, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Images `[steps · BATCH, 784]` and classes `[steps · BATCH]`, the same ones each time."""
    again = Dataset(dataset.pixels, dataset.classes, seed=0)
    indices = again.next_indices(steps * BATCH)
    return again.pixels[indices] / np.float32(255), again.classes[indices]


def build(build_model: Callable[[], keras.Model]) -> keras.Model:
    """A model as the reader builds it, from the same random numbers each time.

    Raises:
        NotMendedError: it is none.
    """
    keras.utils.set_random_seed(0)
    model = build_model()
    if not isinstance(model, keras.Model):
        raise NotMendedError(
            "no model", f"Expected a Keras model to be returned, found {type(model).__name__}."
        )
    return model


def fit(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> keras.Model:
    """Train a model for one epoch: plain gradient descent, batches in their order."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE), loss)
    model.fit(images, classes, BATCH, shuffle=False, verbose=0)
    return model


def logits(model: keras.Model, images: np.ndarray, training: bool = False) -> np.ndarray:
    """What the model answers; it is left as it was."""
    with unchanged(model):
        return np.array(model(images, training=training))


def accuracy(
    model: keras.Model, images: np.ndarray, classes: np.ndarray, training: bool = False
) -> float:
    """In [0, 1]; with `training`, by the statistics of all these images."""
    return float(np.mean(logits(model, images, training).argmax(axis=1) == classes))


@contextlib.contextmanager
def unchanged(model: keras.Model) -> Iterator[None]:
    """Whatever happens to the model's variables inside is undone."""
    values = model.get_weights()
    try:
        yield
    finally:
        model.set_weights(values)


def depends_on_neighbours(model: keras.Model, images: np.ndarray, training: bool) -> bool:
    """Whether the answer for the first image changes with who is in the batch."""
    half = len(images) // 2
    others = np.concatenate([images[:1], images[half:]])
    one, other = (logits(model, batch, training)[0] for batch in (images[:half], others))
    return not np.allclose(one, other, rtol=1e-3, atol=1e-4)


def require_batch_norm(model: keras.Model, images: np.ndarray, layers: int) -> None:
    """The model still has its BN layers, and trains by the statistics of its batches.

    Raises:
        NotMendedError: it has not, or does not.
    """
    found = len(batch_norm_layers(model))
    if found < layers:
        raise NotMendedError(
            "batch normalization taken out",
            f"BN layers in the network: {found}, expected: {layers}. Without BN the symptom is "
            "gone, and so is what BN was there for. The mistake is not found.",
        )
    if not depends_on_neighbours(model, images, training=True):
        raise NotMendedError(
            "batch normalization switched off",
            "The BN layers are there, but in training an image's logits do not depend on its "
            "batch: nothing is normalised by batch statistics. So the moving statistics are never "
            "updated either, and the layers do nothing but scale and shift.",
        )
