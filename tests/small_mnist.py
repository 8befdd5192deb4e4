"""A small MNIST, and a web server on 127.0.0.1 that plays mirrors of it, good and bad."""

import gzip
import hashlib
import io
import signal
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

import numpy as np

from bn_tutorial import mnist


def idx_bytes(array, code=8):
    header = struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.tobytes()


SHAPES = ((300, 28, 28), (300,), (50, 28, 28), (50,))
ARRAYS = [np.random.default_rng(0).integers(0, 10, shape, np.uint8) for shape in SHAPES]
UNPACKED = dict(zip(mnist.GZ_SHA256, map(idx_bytes, ARRAYS), strict=True))
CONTENTS = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in UNPACKED.items()}
with io.BytesIO() as file:
    np.savez_compressed(file, **dict(zip(mnist.KERAS_NAMES.values(), ARRAYS, strict=True)))
    KERAS = {"mnist.npz": file.getvalue()}


def sha256(contents):
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def replace_mnist(mirrors, timeout):
    """A context in which the small MNIST is the one that is published."""
    published = {"SHA256": sha256(UNPACKED | KERAS)}
    published["GZ_SHA256"] = dict(zip(UNPACKED, sha256(CONTENTS).values(), strict=True))
    return mock.patch.multiple(mnist, MIRRORS=mirrors, TIMEOUT=(timeout, timeout), **published)


class Mirrors(ThreadingHTTPServer):
    """A server: `url("404")` is the address of a mirror with that fault."""

    handle_error = mock.Mock()  # clients that are killed are expected

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    def url(self, fault):
        return f"http://127.0.0.1:{1 if fault == 'down' else self.server_port}/{fault}/"


class Handler(BaseHTTPRequestHandler):
    log_message = mock.Mock()

    def do_GET(self):
        _, fault, name = self.path.split("/")
        self.server.requests.append((fault, name, self.headers["Accept-Encoding"]))
        content = CONTENTS[name]
        body = {"html": b"<html>Sign in</html>", "wrong": content[:-1]}.get(fault, content)
        time.sleep(10 if fault == "silent" else 0)
        if fault == "404" or (fault == "incomplete" and name == list(CONTENTS)[-1]):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        time.sleep({"stalling": 10, "slow": 0.2}.get(fault, 0))
        self.wfile.write(b"" if fault == "midway" else body[len(body) // 2 :])


if __name__ == "__main__":  # python -m tests.small_mnist FOLDER MIRROR...
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    with replace_mnist(sys.argv[2:], timeout=20):
        for array, expected in zip(mnist.mnist_arrays(sys.argv[1]), ARRAYS, strict=True):
            np.testing.assert_array_equal(array, expected)
    print("loaded", "tensorflow" in sys.modules)
