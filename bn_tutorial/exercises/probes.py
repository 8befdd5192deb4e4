"""What the museum measures of a Keras model: does it learn, and what does it normalise by."""

from __future__ import annotations

import keras
import numpy as np

from bn_tutorial.exercises.results import Mistaken
from bn_tutorial.keras_models.model import batch_norm_layers
from bn_tutorial.mnist import Dataset, as_floats

Array = np.ndarray
BATCH = 60


def batches(dataset: Dataset, steps: int) -> tuple[Array, Array]:
    """Images `[steps · BATCH, 784]` and classes `[steps · BATCH]`, the same ones each time."""
    again = Dataset(dataset.pixels, dataset.classes, seed=0)
    indices = again.next_indices(steps * BATCH)
    return as_floats(again.pixels[indices]), again.classes[indices]


def network(units: int, activation: str, seed: int = 0) -> keras.Model:
    """A network 784-units-units-10, with BN before each activation."""
    keras.utils.set_random_seed(seed)
    hidden = []
    for _ in range(2):
        hidden.append(keras.layers.Dense(units, use_bias=False))
        norm = keras.layers.BatchNormalization(momentum=0.9)
        hidden += [norm, keras.layers.Activation(activation)]
    return keras.Sequential([keras.Input([784]), *hidden, keras.layers.Dense(10)])


def fit(model: keras.Model, images: Array, classes: Array) -> keras.Model:
    """Train a model for one epoch: plain gradient descent, batches in their order."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"expected a Keras model, found {type(model).__name__}")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    model.fit(images, classes, BATCH, shuffle=False, verbose=0)
    return model


def logits(model: keras.Model, images: Array, training: bool = False) -> Array:
    """What the model answers; it is left as it was."""
    values = model.get_weights()
    try:
        return np.array(model(images, training=training))
    finally:
        model.set_weights(values)


def accuracy(model: keras.Model, images: Array, classes: Array, training: bool = False) -> float:
    """The share of right answers; with `training`, by the statistics of all these images."""
    return float(np.mean(logits(model, images, training).argmax(axis=1) == classes))


def _company_matters(model: keras.Model, images: Array, training: bool) -> bool:
    """Whether the answer for the first image changes with who is in the batch."""
    half = len(images) // 2
    others = np.concatenate([images[:1], images[half:]])
    one, other = (logits(model, batch, training)[0] for batch in (images[:half], others))
    return not np.allclose(one, other, rtol=1e-3, atol=1e-4)


def require_batch_norm(model: keras.Model, images: Array, layers: int) -> None:
    """The model has its BN layers; they normalise by the batch in training, and only there.

    Raises:
        Mistaken: BN layers are missing, or normalise by something else.
    """
    if _company_matters(model, images, training=False):
        raise Mistaken(
            "batch statistics in evaluation",
            "With training=False, an image's logits still depend on who shares its batch.",
        )
    found = len(batch_norm_layers(model))
    if found < layers:
        raise Mistaken(
            "batch normalization taken out",
            f"BN layers: {found}, expected: {layers}. What BN was there for is gone, too.",
        )
    if not _company_matters(model, images, training=True):
        raise Mistaken(
            "batch normalization switched off",
            "In training nothing is normalised by the batch, so the population can't follow it.",
        )
