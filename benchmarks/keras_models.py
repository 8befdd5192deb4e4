"""What the tools for a Keras model cost, as a multiple of `predict`; side by side in one run."""

from __future__ import annotations

import time
from collections.abc import Callable

import keras
import numpy as np
from tabulate import tabulate

from bn_tutorial.keras_models import examine, fold_batch_norm, recalibrate

IMAGES, SIZE = 320, 96


def seconds(function: Callable[[], object]) -> float:
    """Of one call, graphs that have to be built included."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def measure(name: str) -> list:
    """A row: the model, seconds of `predict`, and the others as multiples of it."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, input_shape=(SIZE, SIZE, 3))
    model.compile("sgd", "sparse_categorical_crossentropy")
    generator = np.random.default_rng(0)
    images = generator.random((IMAGES, SIZE, SIZE, 3), np.float32)
    labels = generator.integers(1000, size=IMAGES)
    predicting = seconds(lambda: model.predict(images, 60, verbose=0))
    calls = (
        lambda: examine(model, (images, labels)),
        lambda: recalibrate(model, images, verbose=0),
        lambda: fold_batch_norm(model, verbose=0),
    )
    return [name, predicting, *(f"{seconds(call) / predicting:.1f}" for call in calls)]


def main() -> None:
    """Print the table."""
    rows = [measure(name) for name in ("MobileNetV2", "ResNet50")]
    headers = [f"{IMAGES} images of {SIZE} px", "predict (s)", "examine", "recalibrate", "fold"]
    print(tabulate(rows, headers, "github", floatfmt=".1f"))


if __name__ == "__main__":
    main()
