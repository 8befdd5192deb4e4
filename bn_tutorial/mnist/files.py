"""MNIST's four arrays, from wherever they can be had: find, download, parse, verify.

Whatever is handed out has been checked, byte for byte, against the SHA-256 sums below.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import pooch

from bn_tutorial.mnist import mirrors
from bn_tutorial.mnist.idx import MnistError, read_idx, read_npz
from bn_tutorial.mnist.mirrors import notice


@dataclass(frozen=True)
class PublishedFile:
    """What a file of MNIST is known by; its name has `.gz` behind it where it is compressed.

    The second sum is of the values alone, which are the same however the file came: compressed,
    unpacked, or as an array of Keras's mnist.npz.
    """

    sha256: str
    values_sha256: str
    shape: tuple[int, ...]
    npz_name: str


FILES = {
    "train-images-idx3-ubyte": PublishedFile(
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        (60_000, 28, 28),
        "x_train",
    ),
    "train-labels-idx1-ubyte": PublishedFile(
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        (60_000,),
        "y_train",
    ),
    "t10k-images-idx3-ubyte": PublishedFile(
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        (10_000, 28, 28),
        "x_test",
    ),
    "t10k-labels-idx1-ubyte": PublishedFile(
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
        (10_000,),
        "y_test",
    ),
}
ENVIRONMENT_VARIABLE = "BN_TUTORIAL_DATA"
WORKPLACE = ".bn_tutorial_download"  # a folder in the one that is downloaded to; removed at the end
BY_HAND = (
    "To place MNIST by hand, put its four .gz files, or Keras's mnist.npz, into {folder} or into a "
    f"folder that the environment variable {ENVIRONMENT_VARIABLE} names"
)


def mnist_arrays(data_dir: Path | None = None) -> list[np.ndarray]:
    """MNIST as published: training images and labels, then test images and labels.

    Looks in `data_dir`, in the folder named by `BN_TUTORIAL_DATA` and in the repository's `data/`;
    what is in none of them is downloaded into `data_dir` or, without one, into `data/`.

    Args:
        data_dir: as `expand` returns it.

    Returns:
        uint8 `[60000, 28, 28]`, `[60000]`, `[10000, 28, 28]`, `[10000]`.

    Raises:
        MnistError: names each file that was not right, each mirror tried and why it failed.
    """
    folders = folders_to_search(data_dir)
    target = folders[0] if data_dir else folders[-1]
    problems: list[str] = []
    arrays = {name: find_array(name, folders, problems) for name in FILES}
    for problem in dict.fromkeys(problems):
        notice(f"passed over {problem}")
    missing = [name for name, array in arrays.items() if array is None]
    if missing:
        try:
            arrays.update(download(missing, target))
        except MnistError as error:
            reasons = "; ".join([*dict.fromkeys(problems), str(error)])
            raise MnistError(f"{reasons}. {BY_HAND.format(folder=target)}") from error
    return list(arrays.values())


def folders_to_search(data_dir: Path | None) -> list[Path]:
    """`data_dir`, the folder that `BN_TUTORIAL_DATA` names, and `data/`: those that are given."""
    name = os.environ.get(ENVIRONMENT_VARIABLE)
    named = expand(name) if name else None
    if named and not os.path.isdir(named):
        notice(f"passed over {name}: {ENVIRONMENT_VARIABLE} names it, but it is not a folder")
    return [folder for folder in (data_dir, named, default_dir()) if folder]


def expand(folder: str | os.PathLike[str]) -> Path:
    """Absolute, and with `~` as the home folder unless it names a user that is not there."""
    return Path(os.path.expanduser(folder)).absolute()  # Path.expanduser raises then


def default_dir() -> Path:
    """`data/` of the repository, or the user's cache if the package was installed without one."""
    repository = Path(__file__).resolve().parents[2]
    if (repository / "pyproject.toml").exists():
        return repository / "data"
    return Path(pooch.os_cache("bn_tutorial"))


# --- Find and verify ------------------------------------------------------------------------------


def find_array(name: str, folders: Iterable[Path], problems: list[str]) -> np.ndarray | None:
    """The named array from the first folder that holds it whole, or None.

    A file that is there and not right is passed over, and what is wrong is added to `problems`.
    """
    for folder in folders:
        for path in (folder / f"{name}.gz", folder / name, folder / "mnist.npz"):
            try:
                return verified(name, path)
            except MnistError as error:
                if not isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                    problems.append(str(error))
    return None


def verified(name: str, path: Path) -> np.ndarray:
    """The named array read from `path`; MnistError unless each byte is as published."""
    published = FILES[name]
    array = read_npz(path, published.npz_name) if path.suffix == ".npz" else read_idx(path)
    sha256 = hashlib.sha256(np.ascontiguousarray(array)).hexdigest()
    expected = (np.dtype(np.uint8), published.shape, published.values_sha256)
    if (array.dtype, array.shape, sha256) != expected:
        raise MnistError(
            f"{path}: expected {name} as published, uint8 {published.shape} with SHA-256 "
            f"{published.values_sha256[:8]}, found {array.dtype} {array.shape} with {sha256[:8]}; "
            "delete it to have it fetched again"
        )
    return array


# --- Download -------------------------------------------------------------------------------------


def download(names: Iterable[str], folder: Path) -> dict[str, np.ndarray]:
    """Fetch the named files into `folder`, one process at a time.

    A file is fetched into a folder of its own beside the others and renamed when it is whole and
    right. Processes that come while another downloads wait, and take what it has fetched.

    Raises:
        MnistError: no mirror delivers, or the folder can't be written.
    """
    workplace = folder / WORKPLACE
    addresses = list(mirrors.MIRRORS)
    arrays = {}
    try:
        make_folder(folder)
        with only_process(folder / ".download.lock"):
            shutil.rmtree(workplace, ignore_errors=True)  # what a killed process has left
            try:
                for name in names:
                    arrays[name] = find_array(name, [folder], problems=[])
                    if arrays[name] is None:
                        mirrors.fetch(f"{name}.gz", FILES[name].sha256, workplace, addresses)
                        (workplace / f"{name}.gz").replace(folder / f"{name}.gz")
                        arrays[name] = verified(name, folder / f"{name}.gz")
            finally:
                shutil.rmtree(workplace, ignore_errors=True)
    except OSError as error:
        raise MnistError(f"{folder}: expected a folder to download to, found: {error}") from error
    return arrays


def make_folder(folder: Path) -> None:
    """Make it, if it is not there; OSError too where the name can't be one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except ValueError as error:  # a NUL in the name
        raise OSError(error) from error


@contextlib.contextmanager
def only_process(lock_file: Path) -> Iterator[None]:
    """Wait until no other process holds the lock; one that is killed gives it up."""
    lock = filelock.FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        notice("waiting for another process that is downloading")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
