"""The digits: MNIST or, where it can't be had, scikit-learn's; split, and handed out in batches."""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bn_tutorial.mnist.files import expand, mnist_arrays
from bn_tutorial.mnist.idx import MnistError
from bn_tutorial.mnist.mirrors import notice

CLASSES = 10
SOURCES = ("auto", "mnist", "digits")
MNIST_TRAINING_SIZE = 60_000
DIGITS_TEST_SIZE = 360


class Dataset:
    """Images and labels, handed out in shuffled batches.

    The images are held as bytes, a quarter of the memory of floats, and converted where they are
    used.

    Args:
        pixels: uint8 `[n, 784]`, 0 is background, 255 is ink.
        classes: int `[n]`, 0 to 9.
        one_hot: the form of `labels`.
        seed: of the shuffling.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        classes: np.ndarray,
        one_hot: bool = True,
        seed: int | np.random.SeedSequence = 0,
    ) -> None:
        self.pixels = pixels
        self.classes = classes.astype(np.int32)
        self.labels = np.eye(CLASSES, dtype=np.float32)[classes] if one_hot else self.classes
        self._generator = np.random.default_rng(seed)
        self._remainder = np.empty(0, np.int32)

    def __len__(self) -> int:
        return len(self.pixels)

    @functools.cached_property
    def images(self) -> np.ndarray:
        """float32 `[n, 784]` in [0, 1]; made at the first use, then kept."""
        return as_floats(self.pixels)

    def next_batch(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The next `size` samples: images `[size, 784]` and labels `[size, 10]` or `[size]`.

        Each epoch is every sample once, in an order of its own. What one epoch has left begins the
        batch that runs into the next, as in TensorFlow 1's loader.

        Raises:
            ValueError: `size` is not between 1 and the number of samples.
        """
        size = operator.index(size)
        if not 1 <= size <= len(self):
            raise ValueError(f"size must be between 1 and {len(self)}, found {size}")
        indices = self.next_indices(size)
        return as_floats(self.pixels[indices]), self.labels[indices]

    def next_indices(self, size: int) -> np.ndarray:
        """Which samples the next `size` are, int32 `[size]`: many batches at once, if need be.

        Raises:
            ValueError: `size` is below 0, or there are no samples.
        """
        if size < 0:
            raise ValueError(f"size must be 0 or more, found {size}")
        if len(self) == 0:
            raise ValueError("expected samples to hand out, found an empty data set")
        orders = [self._remainder]
        missing = size - len(self._remainder)
        while missing > 0:
            orders.append(self._generator.permutation(len(self)).astype(np.int32))
            missing -= len(self)
        indices = np.concatenate(orders)
        self._remainder = indices[size:]
        return indices[:size]


@dataclass(frozen=True)
class Datasets:
    """The three parts, and where they come from: `source` is "mnist" or "digits"."""

    train: Dataset
    validation: Dataset
    test: Dataset
    source: str


def load_mnist(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    source: str = "auto",
    one_hot: bool = True,
    validation_size: int = 5000,
    seed: int = 0,
) -> Datasets:
    """Load the digits: 55,000 for training, 5,000 for validation, 10,000 for the test.

    Args:
        data_dir: where to look first; then come the folder named by the environment variable
            `BN_TUTORIAL_DATA`, the repository's `data/`, and a download.
        source: "mnist" is MNIST or an error; "digits" the 1,797 digits of scikit-learn, which need
            no download; "auto" is MNIST if it can be had, and the digits with a notice if not.
        one_hot: labels as float32 `[n, 10]`, or as int32 `[n]`.
        validation_size: how many of MNIST's 60,000 training samples, the first ones, are kept for
            validation; of the digits the same share.
        seed: of the order in which batches come.

    Returns:
        `Datasets` of images `[n, 784]`.

    Raises:
        MnistError: MNIST can't be had and `source` is "mnist", or `data_dir` is a file.
        ValueError: an unknown `source`, or `validation_size` out of range.
    """
    if source not in SOURCES:
        raise ValueError(f"source must be one of {SOURCES}, found {source!r}")
    validation_size = operator.index(validation_size)
    if not 0 <= validation_size < MNIST_TRAINING_SIZE:
        raise ValueError(
            f"validation_size must be in [0, {MNIST_TRAINING_SIZE}), found {validation_size}"
        )
    folder = expand(data_dir) if data_dir else None
    if folder and os.path.exists(folder) and not os.path.isdir(folder):
        raise MnistError(f"data_dir: expected a folder, found a file: {data_dir}")
    source, arrays = _arrays(folder, source)
    train_images, train_labels, test_images, test_labels = arrays
    split = round(validation_size * len(train_images) / MNIST_TRAINING_SIZE)
    split = min(split, len(train_images) - 1)  # at least one is left to train with
    parts = [
        (train_images[split:], train_labels[split:]),
        (train_images[:split], train_labels[:split]),
        (test_images, test_labels),
    ]
    seeds = np.random.SeedSequence(seed).spawn(len(parts))
    return Datasets(
        *(
            Dataset(images.reshape(len(images), 784), labels, one_hot, part_seed)
            for (images, labels), part_seed in zip(parts, seeds, strict=True)
        ),
        source=source,
    )


def binarize(data: Datasets, seed: int = 0) -> Datasets:
    """The same data with each pixel 0 or 1: 1 from half of full ink on; `seed` as in `Dataset`."""
    parts = (data.train, data.validation, data.test)
    changed = (change_images(part, lambda images: images >= 0.5, seed) for part in parts)
    return Datasets(*changed, source=data.source)


def change_images(
    dataset: Dataset, change: Callable[[np.ndarray], np.ndarray], seed: int = 0
) -> Dataset:
    """The same samples with other images: darker, say, or inverted.

    Args:
        dataset: is left as it is.
        change: of float32 `[n, 784]` in [0, 1]; what it makes of them is cut to [0, 1].
        seed: of the new data set's shuffling.
    """
    images = np.asarray(change(as_floats(dataset.pixels)), np.float32)
    pixels = np.round(255 * np.clip(images, 0, 1)).astype(np.uint8)
    return Dataset(pixels, dataset.classes, one_hot=dataset.labels.ndim == 2, seed=seed)


def as_floats(pixels: np.ndarray) -> np.ndarray:
    """uint8 in [0, 255] → float32 in [0, 1]."""
    return pixels / np.float32(255)


def _arrays(data_dir: Path | None, source: str) -> tuple[str, list[np.ndarray]]:
    if source == "digits":
        return "digits", digits_arrays()
    try:
        return "mnist", mnist_arrays(data_dir)
    except MnistError as error:
        if source == "mnist":
            raise
        notice(
            f"{error}. Using scikit-learn's digits instead: 1,797 images of 8×8 scaled to MNIST's "
            "28×28, fewer and easier to tell apart, so that accuracies differ from MNIST's."
        )
        return "digits", digits_arrays()


def digits_arrays() -> list[np.ndarray]:
    """scikit-learn's handwritten digits in MNIST's form: 1,437 to train with, the last 360 to test.

    Each 8×8 image is scaled to 20×20 by linear interpolation and set in a frame of 28×28, as
    MNIST's own digits were. The last 360 are by other hands than most of the first.

    Returns:
        As `mnist_arrays`, but fewer.
    """
    from sklearn import datasets  # takes a second to import, and is seldom needed

    digits = datasets.load_digits()
    positions = np.linspace(0, 7, 20)
    scale = np.stack([np.interp(positions, np.arange(8), row) for row in np.eye(8)], axis=1)
    scaled = scale @ digits.images @ scale.T * (255 / 16)
    images = np.pad(scaled.round().astype(np.uint8), ((0, 0), (4, 4), (4, 4)))
    labels = digits.target.astype(np.uint8)
    train, test = slice(None, -DIGITS_TEST_SIZE), slice(-DIGITS_TEST_SIZE, None)
    return [images[train], labels[train], images[test], labels[test]]
