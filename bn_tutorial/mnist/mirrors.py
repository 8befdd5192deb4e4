"""Fetch a file from the first mirror that delivers it, whole and right, in reasonable time."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import certifi
import pooch
import pycurl
from tqdm import tqdm

from bn_tutorial.mnist.idx import MAXIMUM_BYTES, MnistError

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
CONNECT_TIMEOUT = 5  # seconds to resolve the name, connect and agree on keys
MINIMUM_SPEED = 10_000  # bytes a second of the file itself ...
PATIENCE = 20  # ... and for how many seconds a mirror may stay below
QUICK_EXIT = 322  # libcurl's option; pycurl has no name for it


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
                pooch.retrieve(url, known_hash, file_name, folder, downloader=download)
            return
        except (pycurl.error, ValueError) as error:
            failures.append(f"{mirror}: {reason(error, url)}")
            notice(f"passed over {failures[-1]}")
            mirrors.remove(mirror)
            mirrors.append(mirror)
    raise MnistError(f"{file_name} could not be downloaded ({'; '.join(failures)})")


def download(url: str, path: str, _pooch: object = None) -> None:
    """Write what `url` holds to `path`; pooch calls this, and checks the file afterwards.

    Raises:
        pycurl.error: no answer, a bad one, one that ends early, is slow, has no end or is a
            redirect.
    """
    content = io.BytesIO()  # libcurl would blame the mirror for a full disk
    bar = tqdm(
        desc=f"{url.rpartition('/')[2]} from {urlsplit(url).netloc}", unit="B", unit_scale=True,
        leave=False, delay=1, disable=sys.stderr is None or sys.stderr.closed,
    )  # fmt: skip

    def show(total: int, received: int, *_: int) -> None:
        bar.total = total or None
        bar.update(received - bar.n)

    with bar, contextlib.closing(pycurl.Curl()) as curl:
        for option, value in curl_options(url).items():
            curl.setopt(option, value)
        curl.setopt(pycurl.WRITEDATA, content)
        curl.setopt(pycurl.XFERINFOFUNCTION, show)
        curl.perform()
    Path(path).unlink()  # pooch has made it for its owner alone to read
    Path(path).write_bytes(content.getbuffer())


def curl_options(url: str) -> dict[int, object]:
    """What is asked of libcurl: limits for everything, and no redirect."""
    return {
        pycurl.URL: url,
        pycurl.PROXY: proxy(url),
        # As requests, pip and others have it, for those whose network has certificates of its own.
        pycurl.CAINFO: os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where(),
        pycurl.HTTPHEADER: ["Accept-Encoding: identity"],
        pycurl.HTTP_CONTENT_DECODING: 0,
        pycurl.FAILONERROR: 1,
        pycurl.FOLLOWLOCATION: 1,  # else the body of a redirect, of any size, would be the file
        pycurl.MAXREDIRS: 0,
        pycurl.CONNECTTIMEOUT_MS: round(1000 * CONNECT_TIMEOUT),
        pycurl.LOW_SPEED_LIMIT: MINIMUM_SPEED,
        pycurl.LOW_SPEED_TIME: PATIENCE,
        pycurl.MAXFILESIZE_LARGE: MAXIMUM_BYTES,
        pycurl.NOPROGRESS: 0,
        pycurl.NOSIGNAL: 1,
        QUICK_EXIT: 1,  # does not wait for a look-up of a name that hangs
    }


def proxy(url: str) -> str:
    """The proxy of the environment or, on macOS and Windows, of the system; "" is none."""
    address = urlsplit(url)
    if urllib.request.proxy_bypass(address.hostname or ""):
        return ""
    proxies = urllib.request.getproxies()
    return proxies.get(address.scheme) or proxies.get("all", "")


def reason(error: Exception, url: str) -> str:
    """Why a mirror failed, in a few words; mostly libcurl's."""
    if not isinstance(error, pycurl.error):
        return "sends another file (its SHA-256 differs)"
    code, words = error.args
    if code == pycurl.E_TOO_MANY_REDIRECTS:
        return "answers with a redirect"
    if proxy(url) and code in (pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_PROXY):
        return f"the proxy cannot be reached: {words}"
    return words[:200]


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
