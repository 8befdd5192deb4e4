"""Fetch a file from the first mirror that delivers it, whole and right, in reasonable time."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
from tqdm import tqdm

from bn_tutorial.idx import MAXIMUM_BYTES, MnistError

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
TIMEOUT = (5, 20)  # seconds: to connect, and between two pieces of an answer
MINIMUM_SPEED = 10_000  # bytes a second; a mirror that stays below is passed over
pooch.get_logger().setLevel("WARNING")  # the progress bar says what is fetched


def fetch(file_name: str, sha256: str, folder: Path, mirrors: list[str]) -> None:
    """Fetch one file into `folder`; a mirror that fails goes to the end of the list.

    Args:
        file_name: as the mirrors have it.
        sha256: of the file; another is not accepted.
        folder: must be the caller's alone; it is made if need be.
        mirrors: addresses of folders, in the order in which they are tried.

    Raises:
        MnistError: no mirror delivers; names each with its reason.
        OSError: the folder can't be written.
    """
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
    raise MnistError(f"{file_name} could not be downloaded ({'; '.join(failures)})")


class DownloadProgress(tqdm):
    """A progress bar that gives up on a mirror that is too slow, or has no end."""

    def __init__(self, **options: object) -> None:
        super().__init__(unit="B", unit_scale=True, leave=False, delay=1, **options)
        self.started = time.monotonic()

    def __bool__(self) -> bool:
        """True: to pooch it means that there is a bar, to tqdm that the total is known."""
        return True

    def reset(self, total: float | None = None) -> None:
        """Keep the count: pooch empties the bar and fills it again when all has come."""

    def update(self, n: float = 1) -> bool | None:
        """Count `n` more bytes; raises a requests.RequestException to end the download."""
        seconds, received = time.monotonic() - self.started, self.n + n
        if seconds > TIMEOUT[1] and received < seconds * MINIMUM_SPEED:
            raise requests.Timeout(f"slower than {MINIMUM_SPEED:,} bytes a second")
        if received > MAXIMUM_BYTES:
            raise requests.RequestException(f"sends more than {MAXIMUM_BYTES:,} bytes")
        return super().update(n)


def reason(error: Exception) -> str:
    """Why a mirror failed, in a few words."""
    if isinstance(error, requests.HTTPError):
        return f"answers {error.response.status_code}"
    if not isinstance(error, requests.RequestException):
        return "sends another file (its SHA-256 differs)"
    known = {
        "Read timed out": f"sends nothing for {TIMEOUT[1]} s",
        "connect timeout": f"no connection within {TIMEOUT[0]} s",
        "resol": "its name cannot be resolved",
        "refused": "the connection is refused",
        "IncompleteRead": "the connection closes midway",
    }
    return next((words for mark, words in known.items() if mark in str(error)), str(error))


def notice(message: str) -> None:
    """One line to whoever watches; nothing of the loader happens in silence."""
    print(f"MNIST: {message}", file=sys.stderr)
