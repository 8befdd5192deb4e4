"""Fetch a file from the first mirror that delivers it, whole and right, in reasonable time."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
from requests import exceptions
from tqdm import tqdm
from urllib3.exceptions import NameResolutionError, NewConnectionError, ReadTimeoutError

from bn_tutorial.mnist.idx import MAXIMUM_BYTES, MnistError

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
TIMEOUT = (5, 20)  # seconds: to connect, and between two pieces of an answer
MINIMUM_SPEED = 10_000  # bytes a second; a mirror that stays below is passed over


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
            with quiet_pooch():
                pooch.retrieve(url, known_hash, file_name, folder, downloader=stream_to_file)
            return
        except (requests.RequestException, ValueError) as error:
            failures.append(f"{mirror}: {reason(error)}")
            notice(f"passed over {failures[-1]}")
            mirrors.remove(mirror)
            mirrors.append(mirror)
    raise MnistError(f"{file_name} could not be downloaded ({'; '.join(failures)})")


# --- One file from one mirror ---------------------------------------------------------------------


def stream_to_file(url: str, path: str, _pooch: object = None) -> None:
    """Write what `url` holds to `path`; pooch calls this, and checks the file afterwards.

    Raises:
        requests.RequestException: no answer, a bad one, one that ends early, is slow or has no end.
    """
    file_name, host = url.rpartition("/")[2], urlsplit(url).netloc
    Path(path).unlink()  # pooch has made it for its owner alone to read
    pace = Pace()
    with (
        Path(path).open("wb") as file,
        tqdm(
            desc=f"{file_name} from {host}",
            unit="B",
            unit_scale=True,
            leave=False,
            delay=1,
            disable=sys.stderr is None or sys.stderr.closed,
        ) as progress,
        contextlib.closing(pieces(url)) as received,
    ):
        progress.total = next(received)
        for piece in received:
            file.write(piece)
            progress.update(len(piece))
            pace.count(len(piece))


class Pace:
    """Gives up, by a requests.RequestException, on a mirror that is too slow, or has no end."""

    def __init__(self) -> None:
        self.received = self.received_before = 0
        self.since = time.monotonic()

    def count(self, size: int) -> None:
        """So many bytes have come."""
        self.received += size
        if self.received > MAXIMUM_BYTES:
            raise requests.RequestException(f"sends more than {MAXIMUM_BYTES:,} bytes")
        seconds = time.monotonic() - self.since
        if seconds > TIMEOUT[1]:
            if self.received - self.received_before < seconds * MINIMUM_SPEED:
                raise requests.Timeout(f"slower than {MINIMUM_SPEED:,} bytes a second")
            self.received_before, self.since = self.received, time.monotonic()


def pieces(url: str) -> Iterator[int | bytes | None]:
    """First the length of what `url` holds, or None if the mirror doesn't tell; then its bytes.

    A thread asks and reads, and this waits for it: the time-outs of requests leave out the look-up
    of the name, and start anew at each byte of a header. A thread can't be ended. One that hangs is
    left behind, and does not keep the process alive.
    """
    reader = Reader(url)
    threading.Thread(target=reader.run, daemon=True).start()
    try:
        while True:
            found = reader.found.get(timeout=sum(TIMEOUT))
            if isinstance(found, Exception):
                raise found
            if found == b"":
                return
            yield found
    except queue.Empty:
        raise requests.Timeout(f"sends nothing of use for {sum(TIMEOUT):g} s") from None
    finally:
        reader.stop()


class Reader:
    """Asks for `url`, and puts into `found` the length, the bytes as they come, b"" or an error."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.found: queue.Queue[int | bytes | Exception | None] = queue.Queue(maxsize=16)
        self.answer: requests.Response | None = None
        self.stopped = False

    def run(self) -> None:
        """What the thread does."""
        try:
            headers = {"Accept-Encoding": "identity"}
            with (
                DirectSession() as session,
                session.get(self.url, stream=True, timeout=TIMEOUT, headers=headers) as self.answer,
            ):
                if self.answer.status_code != 200:
                    raise requests.HTTPError(response=self.answer)
                self.found.put(self.answer.raw.length_remaining)
                # As it comes: to wait for a full piece would be to wait for a trickle without end.
                while not self.stopped and (piece := self.answer.raw.read1(2**16)):
                    self.found.put(piece)
            self.found.put(b"")
        except requests.RequestException as error:
            self.found.put(error)
        except Exception as error:  # urllib3's, http.client's, and bare ones of requests
            self.found.put(requests.ConnectionError(error))

    def stop(self) -> None:
        """End the thread as well as can be: wake it where it waits to put, or to read."""
        self.stopped = True
        with contextlib.suppress(queue.Empty):
            while True:
                self.found.get_nowait()
        with contextlib.suppress(Exception):  # there is no connection, or no longer
            self.answer.raw.shutdown()


class DirectSession(requests.Session):
    """Follows no redirect: requests would read the body of each, whole, whatever its size."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """There is none."""


# --- What the reader is told ----------------------------------------------------------------------


def reason(error: Exception) -> str:
    """Why a mirror failed, in a few words."""
    if not isinstance(error, requests.RequestException):
        return "sends another file (its SHA-256 differs)"
    if isinstance(error, requests.HTTPError):
        return f"answers {error.response.status_code}"
    cause = error.args[0] if error.args else error  # urllib3's, which may have one in turn
    cause = getattr(cause, "reason", cause)
    known = (
        (exceptions.ProxyError, "the proxy cannot be reached"),
        (exceptions.SSLError, "no secure connection"),
        (exceptions.ConnectTimeout, f"no connection within {TIMEOUT[0]} s"),
        ((exceptions.ReadTimeout, ReadTimeoutError), f"sends nothing for {TIMEOUT[1]} s"),
        (NameResolutionError, "its name cannot be resolved"),
    )
    for kind, words in known:
        if isinstance(error, kind) or isinstance(cause, kind):
            return words
    if isinstance(cause, NewConnectionError) and "refused" in str(cause):
        return "the connection is refused"
    if "IncompleteRead" in str(cause):
        return "the connection closes midway"
    return str(cause)[:200]


@contextlib.contextmanager
def quiet_pooch() -> Iterator[None]:
    """Without pooch's log of what it fetches: the progress bar says that."""
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)


def notice(message: str) -> None:
    """One line to whoever watches; nothing of the loader happens in silence.

    Raises:
        MnistError: there is no standard error to write to.
    """
    try:
        print(f"MNIST: {message}", file=sys.stderr, flush=True)
    except (OSError, ValueError) as error:
        raise MnistError(
            f"expected an open standard error to say something on, found: {error}; "
            f"what was to be said: {message}"
        ) from error
