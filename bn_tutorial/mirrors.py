"""Fetch a file from the first mirror that delivers it, whole and right, in reasonable time."""

from __future__ import annotations

import sys
import threading
import time
from concurrent import futures
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
import urllib3
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
        url, known_hash = mirror + file_name, f"sha256:{sha256}"
        try:
            pooch.retrieve(url, known_hash, file_name, folder, downloader=stream_to_file)
            return
        except (requests.RequestException, ValueError) as error:
            failures.append(f"{mirror}: {reason(error)}")
            notice(f"passed over {failures[-1]}")
            mirrors.remove(mirror)
            mirrors.append(mirror)
    raise MnistError(f"{file_name} could not be downloaded ({'; '.join(failures)})")


def stream_to_file(url: str, path: str, _pooch: object = None) -> None:
    """Write what `url` holds to `path`; pooch calls this, and checks the file afterwards.

    Raises:
        requests.RequestException: no answer, a bad one, one that ends early, is slow or has no end.
    """
    file_name, host = url.rpartition("/")[2], urlsplit(url).netloc
    with (
        open_within(sum(TIMEOUT), url) as answer,
        Path(path).open("wb") as file,
        tqdm(
            desc=f"{file_name} from {host}", unit="B", unit_scale=True, leave=False, delay=1
        ) as progress,
    ):
        answer.raise_for_status()
        progress.total = answer.raw.length_remaining
        started = time.monotonic()
        try:
            # As it comes: to wait for a full piece would be to wait for a trickle without end.
            while piece := answer.raw.read1(2**16):
                file.write(piece)
                progress.update(len(piece))
                check_pace(progress.n, time.monotonic() - started)
        except urllib3.exceptions.HTTPError as error:
            raise requests.ConnectionError(error) from error


def open_within(seconds: float, url: str) -> requests.Response:
    """The answer to a request, its body still to be read.

    The time-outs of requests leave out the look-up of the name, and start anew at each byte. The
    thread can't be ended: if it hangs it is left behind, and does not keep the process alive.
    """
    answer = futures.Future()

    def ask() -> None:
        try:
            headers = {"Accept-Encoding": "identity"}
            answer.set_result(requests.get(url, stream=True, timeout=TIMEOUT, headers=headers))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.result(seconds)
    except futures.TimeoutError as error:
        raise requests.Timeout(f"no answer within {seconds:g} s") from error


def check_pace(received: int, seconds: float) -> None:
    """Give up, by a requests.RequestException, on a mirror that is too slow, or has no end."""
    if seconds > TIMEOUT[1] and received < seconds * MINIMUM_SPEED:
        raise requests.Timeout(f"slower than {MINIMUM_SPEED:,} bytes a second")
    if received > MAXIMUM_BYTES:
        raise requests.RequestException(f"sends more than {MAXIMUM_BYTES:,} bytes")


def reason(error: Exception) -> str:
    """Why a mirror failed, in a few words."""
    if isinstance(error, requests.HTTPError):
        return f"answers {error.response.status_code}"
    if "hash of downloaded file" in str(error):
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
