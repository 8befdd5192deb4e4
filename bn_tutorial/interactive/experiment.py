"""The article's experiment to run in the page: two networks that the browser itself trains."""

from __future__ import annotations

import contextlib
import io
import zlib

import numpy as np
from matplotlib.figure import Figure

from bn_tutorial import networks, training
from bn_tutorial.batch_norm import EPSILON
from bn_tutorial.figures.styles import network_colors
from bn_tutorial.interactive.fragments import Fragment, encode_bytes, make_fragment, read_files
from bn_tutorial.mnist import Dataset, Datasets

SIDE = 14  # pixels of an image's side, each of which is the mean of four of MNIST's
LEVELS = 15  # of grey: a pixel has 0 to 15, and a byte two pixels
# Four equal pixels, each with a weight from N(0, 1), act like one pixel of twice the brightness.
BRIGHTNESS = 2
TRAINING_IMAGES = 2500
TEST_IMAGES = 400
FEWEST = 256  # images to train with: the largest batch
CLASSES = 10
PICTURE_STEPS, PICTURE_EVERY = 200, 10  # of the picture that is seen where scripts don't run


def train_here(
    data: Datasets, seed: int = 0, small: bool = False, language: str | None = None
) -> Fragment:
    """Two networks to train in the page, without BN and with it, from the same weights.

    They are the article's, 784-100-100-10, for images whose pixels are equal in fours: MNIST's at
    14 × 14. So 196 inputs do, of twice the brightness. The browser trains them on 2,500 images, and
    measures on 400 others. The rate, the batch, the weights, the activation function and the decay
    can be changed, while it runs.

    Args:
        data: Digits that the images are taken from.
        seed: Seed of the choice of the images.
        small: Whether the settings and the pictures of the activation inputs are left out.
        language: "en" or "zh"; None takes the page's, or English where that is neither.

    Returns:
        A fragment that Jupyter shows as HTML.

    Raises:
        ValueError: there are fewer than 256 images to train with, or a class has no test image; the
            language is unknown.
    """
    generator = np.random.default_rng(seed)
    train = _choose(data.train, TRAINING_IMAGES, generator)
    test = _choose(data.test, TEST_IMAGES, generator)
    _require_images(train, test)
    described = {
        "side": SIDE,
        "sizes": (SIDE * SIDE, *networks.LAYER_SIZES[1:]),
        "epsilon": EPSILON,
        "brightness": BRIGHTNESS / LEVELS,
        "train": _encode(train),
        "test": _encode(test),
        "picks": [int(np.flatnonzero(test.classes == label)[0]) for label in range(CLASSES)],
        "small": small,
    }
    figure, values = _picture(Datasets(train, train, test, data.source))
    # A function, whose text the page can give to a worker.
    arithmetic = read_files("network.js", "experiment.js")
    training_script = f"function training() {{\n{arithmetic}return {{ serve, Experiment }};\n}}\n"
    return make_fragment("train-here", described, figure, values, language, training_script)


def _choose(dataset: Dataset, count: int, generator: np.random.Generator) -> Dataset:
    """Some samples, at random, whose images have 14 × 14 pixels of 16 levels, each four times."""
    chosen = generator.choice(len(dataset), min(count, len(dataset)), replace=False)
    pixels = dataset.pixels[chosen].reshape(-1, SIDE, 2, SIDE, 2).mean(axis=(2, 4))
    coarse = np.round(pixels * LEVELS / 255).astype(np.uint8) * (255 // LEVELS)
    return Dataset(coarse.repeat(2, axis=1).repeat(2, axis=2), dataset.classes[chosen])


def _require_images(train: Dataset, test: Dataset) -> None:
    if len(train) < FEWEST:
        raise ValueError(f"data.train must have {FEWEST} images or more, found {len(train)}")
    missing = sorted(set(range(CLASSES)) - set(test.classes.tolist()))
    if missing:
        raise ValueError(f"data.test must have an image of each class, found none of {missing[0]}")


def _encode(dataset: Dataset) -> dict[str, str]:
    """Images, two pixels a byte and compressed; and the classes, a digit each."""
    pixels = dataset.pixels.reshape(-1, 2 * SIDE, 2 * SIDE)[:, ::2, ::2] // (255 // LEVELS)
    left, right = pixels.reshape(-1, 2).T
    packed = zlib.compress((16 * left + right).astype(np.uint8).tobytes(), level=9)
    return {"images": encode_bytes(packed), "classes": "".join(map(str, dataset.classes))}


def _picture(data: Datasets) -> tuple[Figure, dict[str, object]]:
    """The accuracies of the first steps, by TensorFlow, and the numbers for the sentence."""
    weights = networks.initial_weights(0)
    by_name = {
        "without BN": networks.PlainNetwork(weights),
        "naive BN": networks.NaiveBatchNormNetwork(weights),
        "fixed BN": networks.BatchNormNetwork(weights),
    }
    with contextlib.redirect_stdout(io.StringIO()):  # nobody waits for it
        histories = training.train(by_name, data, PICTURE_STEPS, record_every=PICTURE_EVERY)
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    ax = figure.subplots()
    for name, color in network_colors(by_name).items():
        ax.plot(histories[name].steps, histories[name].test_accuracy, color=color, label=name)
    ax.set(xlabel="training steps", ylabel="test accuracy", ylim=(0, 1))
    ax.legend(loc="center right")
    last = {name.split()[0]: f"{h.test_accuracy[-1]:.2f}" for name, h in histories.items()}
    return figure, {"steps": PICTURE_STEPS, **last}
