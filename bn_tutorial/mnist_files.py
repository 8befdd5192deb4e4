"""MNIST's four arrays, from wherever they can be had: find, download, parse, verify.

Whatever is handed out has been checked, byte for byte, against the SHA-256 sums below.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import shutil
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import filelock
import numpy as np
import pooch
import requests
from tqdm import tqdm

# The published files: SHA-256 of the compressed file, and of the values within (no header), which
# are the same however the file came: compressed, unpacked, or in Keras's mnist.npz.
FILES = {
    "train-images-idx3-ubyte": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    ),
    "train-labels-idx1-ubyte": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    ),
    "t10k-images-idx3-ubyte": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    ),
    "t10k-labels-idx1-ubyte": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    ),
}
NPZ_NAMES = dict(zip(FILES, ("x_train", "y_train", "x_test", "y_test"), strict=True))
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
TIMEOUT = (5, 20)  # seconds: to connect, and between two pieces of an answer
ENVIRONMENT_VARIABLE = "BN_TUTORIAL_DATA"
MINIMUM_SPEED = 10_000  # bytes a second; a mirror that stays below is passed over
MAXIMUM_BYTES = 2**28  # of a file, packed or not: five times the largest of MNIST's
pooch.get_logger().setLevel("WARNING")  # the progress bar says what is fetched
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class MnistError(Exception):
    """MNIST can't be had, or a file of it is not what it should be."""


def mnist_arrays(data_dir: str | os.PathLike[str] | None = None) -> list[np.ndarray]:
    """MNIST as published: training images and labels, then test images and labels.

    Looks in `data_dir`, in the folder named by `BN_TUTORIAL_DATA` and in the repository's `data/`;
    what is in none of them is downloaded into `data_dir` or, without one, into `data/`.

    Returns:
        uint8 `[60000, 28, 28]`, `[60000]`, `[10000, 28, 28]`, `[10000]`.

    Raises:
        MnistError: names each file that was not right, each mirror tried and why it failed.
    """
    if data_dir is not None and Path(data_dir).exists() and not Path(data_dir).is_dir():
        raise MnistError(f"data_dir: expected a folder, found a file: {data_dir}")
    candidates = (data_dir, os.environ.get(ENVIRONMENT_VARIABLE), default_dir())
    folders = [Path(folder).expanduser() for folder in candidates if folder]
    arrays = {name: find_array(name, folders) for name in FILES}
    missing = [name for name, array in arrays.items() if array is None]
    if missing:
        download_dir = folders[0] if data_dir is not None else folders[-1]
        arrays.update(download(missing, download_dir))
    return list(arrays.values())


def default_dir() -> Path:
    """`data/` of the repository, or the user's cache if the package was installed without one."""
    repository = Path(__file__).resolve().parents[1]
    if (repository / "pyproject.toml").exists():
        return repository / "data"
    return Path(pooch.os_cache("bn_tutorial"))


# --- Find and verify ------------------------------------------------------------------------------


def find_array(name: str, folders: Iterable[Path]) -> np.ndarray | None:
    """The named array from the first folder that holds it whole, or None.

    A file that is there and not right is passed over, with a line on the standard error output.
    """
    for folder in folders:
        for path in (folder / f"{name}.gz", folder / name, folder / "mnist.npz"):
            if path.exists():
                try:
                    return verified(name, path)
                except MnistError as error:
                    notice(f"passed over {error}")
    return None


def verified(name: str, path: Path) -> np.ndarray:
    """The named array read from `path`; MnistError unless each byte is as published."""
    array = read_npz(path, NPZ_NAMES[name]) if path.suffix == ".npz" else read_idx(path)
    found = hashlib.sha256(np.ascontiguousarray(array)).hexdigest()
    expected = FILES[name][1]
    if found != expected:
        raise MnistError(
            f"{path}: expected {name} as published (SHA-256 of its values {expected[:12]}…), "
            f"found other values ({found[:12]}…); delete the file to have it fetched again"
        )
    return array


def read_npz(path: Path, key: str) -> np.ndarray:
    """One array of a NumPy archive, such as Keras's mnist.npz; nothing is ever unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(f"{key}.npy").file_size
        if size > MAXIMUM_BYTES:
            raise MnistError(f"{path}: expected {key} of {MAXIMUM_BYTES:,} bytes at most")
        with np.load(path, allow_pickle=False) as archive:
            return archive[key]
    except (OSError, EOFError, KeyError, ValueError, MemoryError, zlib.error) as error:
        raise MnistError(f"{path}: expected an archive with {key}, found: {error}") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise MnistError(f"{path}: expected a NumPy archive, found: {error}") from error


# --- Parse ----------------------------------------------------------------------------------------


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read one IDX file, the format of MNIST; gzip is recognised by its first bytes.

    The format: two zero bytes, a type code, the number of dimensions, each dimension as 4 bytes,
    then the values; all big-endian. At most `MAXIMUM_BYTES` of values are read.

    Returns:
        An array of the file's shape and type, read-only.

    Raises:
        MnistError: with the file, what was expected and what was found.
    """
    try:
        with Path(path).open("rb") as file:
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return _parse_idx(unpacked, path)
            return _parse_idx(file, path)
    except (OSError, EOFError, zlib.error) as error:
        raise MnistError(f"{path}: expected a readable IDX file, found: {error}") from error


def _parse_idx(stream: BinaryIO | gzip.GzipFile, path: str | os.PathLike[str]) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in IDX_TYPES:
        raise MnistError(f"{path}: expected IDX (0, 0, type code, dimensions), found {magic!r}")
    header = stream.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise MnistError(f"{path}: expected {magic[3]} dimensions, found {len(header)} bytes")
    shape = struct.unpack(f">{magic[3]}I", header)
    dtype = np.dtype(IDX_TYPES[magic[2]])
    size = math.prod(shape) * dtype.itemsize
    if size > MAXIMUM_BYTES:
        raise MnistError(f"{path}: expected {MAXIMUM_BYTES:,} bytes at most, found shape {shape}")
    values = stream.read(size + 1)  # one more shows what is too long, and has gzip check its end
    if len(values) != size:
        found = f"only {len(values):,}" if len(values) < size else "more"
        raise MnistError(f"{path}: expected {size:,} bytes for shape {shape}, found {found}")
    try:
        return np.ndarray(shape, dtype, values).astype(dtype.newbyteorder("="), copy=False)
    except ValueError as error:  # more dimensions than NumPy has, or 0 times too many
        raise MnistError(f"{path}: expected an array, found shape {shape}: {error}") from error


# --- Download -------------------------------------------------------------------------------------


def download(names: Iterable[str], folder: Path) -> dict[str, np.ndarray]:
    """Fetch the named files into `folder`, one process at a time.

    A file is fetched into a folder of its own beside the others and renamed when it is whole and
    right. Processes that come while another downloads wait, and take what it has fetched.

    Raises:
        MnistError: no mirror delivers, or the folder can't be written.
    """
    workplace = folder / ".download"
    mirrors = list(MIRRORS)
    arrays = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".download.lock"):
            shutil.rmtree(workplace, ignore_errors=True)  # what a killed process has left
            for name in names:
                array = find_array(name, [folder])
                if array is None:
                    fetch(f"{name}.gz", FILES[name][0], workplace, mirrors)
                    (workplace / f"{name}.gz").replace(folder / f"{name}.gz")
                    array = verified(name, folder / f"{name}.gz")
                arrays[name] = array
            shutil.rmtree(workplace, ignore_errors=True)
    except OSError as error:
        raise MnistError(f"{folder}: expected a folder to download to, found: {error}") from error
    return arrays


def fetch(file_name: str, sha256: str, folder: Path, mirrors: list[str]) -> None:
    """Fetch one file from the first mirror that delivers it; one that fails goes to the end."""
    failures = []
    for mirror in tuple(mirrors):
        host = urlsplit(mirror).netloc
        try:
            with DownloadProgress(desc=f"{file_name} from {host}") as progress:
                downloader = pooch.HTTPDownloader(
                    progressbar=progress,
                    chunk_size=2**16,
                    timeout=TIMEOUT,
                    headers={"Accept-Encoding": "identity"},
                )
                url, known_hash = mirror + file_name, f"sha256:{sha256}"
                pooch.retrieve(url, known_hash, file_name, folder, downloader=downloader)
            return
        except (requests.RequestException, ValueError) as error:
            failures.append(f"{mirror}: {reason(error)}")
            notice(f"passed over {failures[-1]}")
            mirrors.remove(mirror)
            mirrors.append(mirror)
    raise MnistError(
        f"{file_name} could not be downloaded ({'; '.join(failures)}). To place MNIST by hand, put "
        f"its four .gz files, or Keras's mnist.npz, into {folder.parent} or into a folder that the "
        f"environment variable {ENVIRONMENT_VARIABLE} names"
    )


class DownloadProgress(tqdm):
    """A progress bar that gives up on a mirror that is too slow, or has no end."""

    def __init__(self, **options: object) -> None:
        super().__init__(unit="B", unit_scale=True, leave=False, delay=1, **options)
        self.started = time.monotonic()

    def update(self, n: float | None = 1) -> bool | None:
        """Count `n` more bytes; raises a requests.RequestException to end the download."""
        seconds = time.monotonic() - self.started
        if seconds > TIMEOUT[1] and self.n < seconds * MINIMUM_SPEED:
            raise requests.Timeout(f"slower than {MINIMUM_SPEED:,} bytes a second")
        if self.n > MAXIMUM_BYTES:
            raise requests.RequestException(f"sends more than {MAXIMUM_BYTES:,} bytes")
        return super().update(n)


def reason(error: Exception) -> str:
    """Why a mirror failed, in a few words."""
    if isinstance(error, requests.HTTPError):
        return f"answers {error.response.status_code}"
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {TIMEOUT[0]} s"
    if isinstance(error, requests.ReadTimeout):
        return f"nothing sent for {TIMEOUT[1]} s"
    if isinstance(error, ValueError):
        return "sends another file (its SHA-256 differs)"
    if "resol" in str(error):
        return "its name cannot be resolved"
    if "refused" in str(error):
        return "the connection is refused"
    if isinstance(error, requests.Timeout | requests.exceptions.ChunkedEncodingError):
        return str(error)
    return f"the connection fails ({type(error).__name__})"


def notice(message: str) -> None:
    """One line to whoever watches; nothing of the loader happens in silence."""
    print(f"MNIST: {message}", file=sys.stderr)
