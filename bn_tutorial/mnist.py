"""The digits: find, fetch, verify and parse MNIST, and hand it out in batches; no TensorFlow.

What `load_mnist` hands out of MNIST has had its SHA-256 verified before it was parsed.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import operator
import os
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import pooch
import requests

SOURCES = ("auto", "mnist", "digits")
MNIST_TRAINING_SIZE = 60_000
DIGITS_TEST_SIZE = 360
ENVIRONMENT_VARIABLE = "BN_TUTORIAL_DATA"
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
TIMEOUT = (5, 20)  # seconds to connect, and to wait for the next piece of an answer
DOWNLOAD = ".download"  # the name of a file until it is right; the next process goes on with it
MAXIMUM_BYTES = 2**28  # that a file may unpack to, five times the largest of MNIST's
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZ_SHA256 = {  # of each file as the mirrors have it, with .gz after its name
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
SHA256 = {  # of each file as it is read, unpacked
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    "mnist.npz": "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
}
KERAS_NAMES = dict(zip(GZ_SHA256, ("x_train", "y_train", "x_test", "y_test"), strict=True))


class MnistError(Exception):
    """MNIST can't be had, or a file of it is not what it should be."""


class Dataset:
    """Images and labels, handed out in shuffled batches.

    The images are held as bytes, in a quarter of the memory, and made floats where they are used.

    Args:
        pixels: Images, uint8 `[n, 784]` or `[n, 28, 28]`, where 0 is background and 255 is ink.
        classes: The digit that each image shows, int `[n]`, 0 to 9.
        one_hot: Whether `labels` are float32 `[n, 10]` with a single 1 in each row, or int32 `[n]`.
        seed: Seed of the shuffling.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        classes: np.ndarray,
        one_hot: bool = True,
        seed: int | np.random.SeedSequence = 0,
    ) -> None:
        self.pixels = pixels.reshape(len(pixels), 784)
        self.classes = classes.astype(np.int32)
        self.labels = np.eye(10, dtype=np.float32)[classes] if one_hot else self.classes
        self._generator = np.random.default_rng(seed)
        self._remainder = np.empty(0, np.int32)

    def __len__(self) -> int:
        return len(self.pixels)

    @functools.cached_property
    def images(self) -> np.ndarray:
        """The images as float32 `[n, 784]` in [0, 1], made at the first use and then kept."""
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
        if size < 0 or len(self) == 0:
            raise ValueError(f"expected size 0 or more, of samples, found {size} of {len(self)}")
        epochs = math.ceil((size - len(self._remainder)) / len(self))  # that begin on the way
        orders = [self._generator.permutation(len(self)) for _ in range(epochs)]
        indices = np.concatenate([self._remainder, *orders]).astype(np.int32)
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
    """Load the digits: 55,000 for training, 5,000 for validation and 10,000 for the test.

    Args:
        data_dir: Folder to look in first; then come the folder named by the environment variable
            `BN_TUTORIAL_DATA`, the repository's `data/`, and a download.
        source: "mnist" takes MNIST or raises an error, "digits" takes the 1,797 digits of
            scikit-learn, which need no download, and "auto" takes MNIST if it can be had, and
            otherwise the digits with a notice.
        one_hot: Whether labels are float32 `[n, 10]` with a single 1 in each row, or int32 `[n]`.
        validation_size: Number of MNIST's 60,000 training samples, the first ones, that are kept
            for validation; of the digits it is the same share.
        seed: Seed of the order in which batches come.

    Raises:
        MnistError: MNIST can't be had and `source` is "mnist", or `data_dir` is a file.
        ValueError: `source` is unknown, or `validation_size` is out of range.
    """
    if source not in SOURCES:
        raise ValueError(f"source must be one of {SOURCES}, found {source!r}")
    size = operator.index(validation_size)
    if not 0 <= size < MNIST_TRAINING_SIZE:
        raise ValueError(f"validation_size must be in [0, {MNIST_TRAINING_SIZE}), found {size}")
    folder = os.path.expanduser(data_dir or "")
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise MnistError(f"data_dir: expected a folder, found a file: {data_dir}")
    source, (train_images, train_labels, test_images, test_labels) = _load_arrays(data_dir, source)
    split = round(size * len(train_images) / MNIST_TRAINING_SIZE)
    split = min(split, len(train_images) - 1)  # at least one is left to train with
    seeds = np.random.SeedSequence(seed).spawn(3)
    return Datasets(
        Dataset(train_images[split:], train_labels[split:], one_hot, seeds[0]),
        Dataset(train_images[:split], train_labels[:split], one_hot, seeds[1]),
        Dataset(test_images, test_labels, one_hot, seeds[2]),
        source,
    )


def binarize(data: Datasets, seed: int = 0) -> Datasets:
    """The same data with each pixel 0, or 1 from half of full ink on; `seed` is as in `Dataset`."""
    parts = (data.train, data.validation, data.test)
    changed = (change_images(part, lambda images: images >= 0.5, seed) for part in parts)
    return Datasets(*changed, source=data.source)


def change_images(
    dataset: Dataset, change: Callable[[np.ndarray], np.ndarray], seed: int = 0
) -> Dataset:
    """The same samples with other images: darker, say, or inverted; `dataset` is left as it is.

    `change` is called with float32 `[n, 784]` in [0, 1], and what it makes of them is cut to that
    range. `seed` is of the new data set's shuffling.
    """
    images = np.asarray(change(as_floats(dataset.pixels)), np.float32)
    pixels = np.round(255 * np.clip(images, 0, 1)).astype(np.uint8)
    return Dataset(pixels, dataset.classes, one_hot=dataset.labels.ndim == 2, seed=seed)


def as_floats(pixels: np.ndarray) -> np.ndarray:
    """Pixels, uint8 in [0, 255], as float32 in [0, 1]."""
    return pixels / np.float32(255)


def _load_arrays(
    data_dir: str | os.PathLike[str] | None, source: str
) -> tuple[str, list[np.ndarray]]:
    if source != "digits":
        try:
            return "mnist", mnist_arrays(data_dir)
        except MnistError as error:
            if source == "mnist":
                raise
            notice(f"{error}. Using scikit-learn's digits instead, which are fewer and easier.")
    return "digits", digits_arrays()


def digits_arrays() -> list[np.ndarray]:
    """scikit-learn's handwritten digits in MNIST's form: 1,437 to train with, the last 360 to test.

    Each 8×8 image is scaled to 20×20 by linear interpolation and set in a frame of 28×28, as
    MNIST's own digits were. The last 360 are by other hands than most of the first.
    """
    from sklearn import datasets  # takes a second to import, and is seldom needed

    digits = datasets.load_digits()
    scale = np.stack([np.interp(np.linspace(0, 7, 20), range(8), row) for row in np.eye(8)], axis=1)
    scaled = scale @ digits.images @ scale.T * (255 / 16)
    images = np.pad(scaled.round().astype(np.uint8), ((0, 0), (4, 4), (4, 4)))
    labels = digits.target.astype(np.uint8)
    train, test = slice(None, -DIGITS_TEST_SIZE), slice(-DIGITS_TEST_SIZE, None)
    return [images[train], labels[train], images[test], labels[test]]


def mnist_arrays(data_dir: str | os.PathLike[str] | None = None) -> list[np.ndarray]:
    """MNIST as published: uint8 `[60000, 28, 28]`, `[60000]`, `[10000, 28, 28]`, `[10000]`.

    Looks where `load_mnist` does; what is nowhere is downloaded, into `data_dir` if there is one.

    Raises:
        MnistError: MNIST can't be had; it names each file that was not right, each mirror that
            was tried, and why that failed.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    given = [folder for folder in (data_dir, named, default_dir()) if folder]
    # Not Path.expanduser: it raises where `~` names a user that is not there.
    folders = [Path(os.path.expanduser(folder)).absolute() for folder in given]
    target = folders[0] if data_dir else folders[-1]
    problems: dict[str, None] = {}  # holds each once, in the order in which they are met
    if named and not os.path.isdir(os.path.expanduser(named)):
        problems[f"{named}: {ENVIRONMENT_VARIABLE} names it, but it is not a folder"] = None
    arrays = {name: _find_array(name, folders, problems) for name in GZ_SHA256}
    for problem in problems:
        notice(f"passed over {problem}")
    missing = [name for name, array in arrays.items() if array is None]
    if missing:
        try:
            _download(missing, target)
            arrays |= {name: _read_verified(name, target / f"{name}.gz") for name in missing}
        except (OSError, ValueError) as error:  # ValueError: a name that no folder can have
            raise MnistError(
                f"{'; '.join([*problems, str(target)])}: expected to download {len(missing)} files "
                f"of MNIST into it, found: {error}. To place MNIST by hand, put its .gz files or "
                f"Keras's mnist.npz there, or into a folder that {ENVIRONMENT_VARIABLE} names"
            ) from error
    return list(arrays.values())


def default_dir() -> Path:
    """`data/` of the repository, or the user's cache if the package was installed without one."""
    repository = Path(__file__).resolve().parents[1]
    is_clone = (repository / "pyproject.toml").exists()
    return repository / "data" if is_clone else Path(pooch.os_cache("bn_tutorial"))


def notice(message: str) -> None:
    """Print one line to standard error, or raise `MnistError`: nothing happens in silence."""
    try:
        print(f"MNIST: {message}", file=sys.stderr, flush=True)
    except (OSError, ValueError) as error:
        raise MnistError(f"expected an open standard error, found: {error}; {message}") from error


def _find_array(name: str, folders: list[Path], problems: dict[str, None]) -> np.ndarray | None:
    """The array from the first folder that has it as published; adds what is not to `problems`."""
    for folder in folders:
        for path in (folder / f"{name}.gz", folder / name, folder / "mnist.npz"):
            try:
                return _read_verified(name, path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except Exception as error:  # zlib, struct and NumPy raise all sorts
                problems[f"{path}: expected a file of MNIST, found: {error}"] = None
    return None


def _read_verified(name: str, path: Path) -> np.ndarray:
    """The named array from `path`, which is not parsed unless each byte of it is as published."""
    content = _read_unpacked(path)
    published, found = SHA256[path.name.removesuffix(".gz")], hashlib.sha256(content).hexdigest()
    if found != published:
        raise ValueError(f"SHA-256 {found[:8]}… instead of {published[:8]}… once unpacked")
    if path.suffix == ".npz":
        return np.load(io.BytesIO(content))[KERAS_NAMES[name]]
    return _parse_idx(content)


def _download(names: list[str], folder: Path) -> None:
    """Fetch the named files, one process at a time; the others wait and take what it fetched."""
    notice(f"downloading to {folder}, after any other process that is doing so")
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    with filelock.FileLock(folder / ".download.lock"):
        for mirror in MIRRORS:
            try:
                for name in names:
                    if _find_array(name, [folder], {}) is None:
                        _fetch(f"{name}.gz", GZ_SHA256[name], mirror, folder)
                return
            except (requests.RequestException, ValueError) as error:
                reason = str(error).rpartition("): ")[2].removesuffix('"))')  # its end says why
                failures.append(f"{mirror}: {reason}")
                notice(f"passed over {failures[-1]}")
    raise OSError("; ".join(failures))


def _fetch(name: str, sha256: str, mirror: str, folder: Path) -> None:
    """Fetch one file, which gets its name when it is whole and right."""
    fetched = pooch.retrieve(mirror + name, sha256, DOWNLOAD, folder, downloader=_stream_to_file)
    Path(fetched).replace(folder / name)


def _stream_to_file(url: str, path: str, _pooch: object) -> None:
    """What pooch calls with the name of a temporary file, which it checks and moves afterwards."""
    Path(path).unlink()  # since only its owner can read it, and a killed process would leave it
    part = Path(path).with_name(DOWNLOAD)
    headers = {"Accept-Encoding": "identity"}  # so that the .gz comes as it is
    pooch.HTTPDownloader(sys.stderr is not None, timeout=TIMEOUT, headers=headers)(url, part, None)
    part.replace(path)


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read one IDX file, the format of MNIST, compressed by gzip or not; no sum is verified.

    The format: two zero bytes, a type code, the number of dimensions, each dimension as 4 bytes,
    then the values; all big-endian. Files of more than `MAXIMUM_BYTES`, unpacked, are refused.

    Raises:
        MnistError: the file is not there, or is not as the format says.
    """
    try:
        return _parse_idx(_read_unpacked(path))
    except Exception as error:  # zlib, struct and NumPy raise all sorts
        raise MnistError(f"{path}: expected an IDX file, found: {error}") from error


def _read_unpacked(path: str | os.PathLike[str]) -> bytes:
    """The file's bytes, unpacked if they are gzip's; a FIFO is refused, not waited for."""
    size = Path(path).stat().st_size  # FileNotFoundError, where nothing is
    if not Path(path).is_file() or size > MAXIMUM_BYTES:
        raise ValueError(f"not a regular file, or one of more than {MAXIMUM_BYTES:,} bytes")
    content = Path(path).read_bytes()
    if content.startswith(b"\x1f\x8b"):
        decompressor = zlib.decompressobj(wbits=31)  # with gzip's checksum
        content = decompressor.decompress(content, MAXIMUM_BYTES)
        if not decompressor.eof or decompressor.unused_data:
            raise ValueError(f"gzip cut off, with more behind it, or above {MAXIMUM_BYTES:,} bytes")
    return content


def _parse_idx(content: bytes) -> np.ndarray:
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise ValueError(f"{content[:4]!r} instead of 0, 0, type code, number of dimensions")
    dtype, start = np.dtype(IDX_TYPES[content[2]]), 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    found, claimed = len(content) - start, math.prod(shape) * dtype.itemsize
    if found != claimed:
        raise ValueError(f"{found:,} bytes of values instead of {claimed:,} for shape {shape}")
    array = np.ndarray(shape, dtype, content, start).astype(dtype.newbyteorder("="), copy=False)
    array.flags.writeable = False
    return array
