"""A small web server on 127.0.0.1 that plays mirrors, good and bad, and a small MNIST to serve."""

import gzip
import hashlib
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from bn_tutorial.mnist.files import FILES, PublishedFile

PAUSE = 1.5  # seconds a stalling mirror stands still; the tests' timeouts are shorter


def idx_bytes(array):
    """A uint8 array as an IDX file."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def small_mnist():
    """MNIST's files, but small: contents by name, and what `files.FILES` says of them."""
    generator = np.random.default_rng(0)
    contents, published, arrays = {}, {}, []
    for name, real in FILES.items():
        shape = (real.shape[0] // 200, *real.shape[1:])
        array = generator.integers(0, 10, size=shape, dtype=np.uint8)
        content = gzip.compress(idx_bytes(array), mtime=0)
        contents[f"{name}.gz"] = content
        published[name] = PublishedFile(
            hashlib.sha256(content).hexdigest(),
            hashlib.sha256(array.tobytes()).hexdigest(),
            shape,
            real.npz_name,
        )
        arrays.append(array)
    return contents, published, arrays


class FaultyMirrors:
    """`server.url("404")` is the address of a mirror with that fault; see the methods below."""

    def __init__(self, contents, tls=None):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                *_, fault, name = self.path.split("/")
                outer.requests.append((fault, name))
                outer.headers = self.headers
                getattr(outer, f"answer_{fault}", outer.answer_status)(self, fault, contents[name])

            def log_message(self, *arguments):
                pass

        self.requests = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.scheme = "https" if tls else "http"
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *arguments: None  # clients that are killed are expected
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, fault):
        return f"{self.scheme}://127.0.0.1:{self.server.server_port}/{fault}/"

    def send(self, handler, body, length=None, kind="application/gzip"):
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    def answer_status(self, handler, fault, content):
        handler.send_error(int(fault))

    def answer_good(self, handler, fault, content):
        self.send(handler, content)

    def answer_html(self, handler, fault, content):
        self.send(handler, b"<html>Sign in to the network</html>", kind="text/html")

    def answer_wrong(self, handler, fault, content):
        self.send(handler, content[:100] + bytes([content[100] ^ 1]) + content[101:])

    def answer_midway(self, handler, fault, content):
        self.send(handler, content[: len(content) // 2], length=len(content))

    def answer_empty(self, handler, fault, content):
        self.send(handler, b"")

    def answer_silent(self, handler, fault, content):
        time.sleep(PAUSE)

    def answer_stalling(self, handler, fault, content):
        self.send(handler, content[:100], length=len(content))
        time.sleep(PAUSE)

    def answer_steady(self, handler, fault, content):
        """All of it, in a bit more than half a second, without a long break."""
        self.answer_slow(handler, fault, content, seconds=0.06)

    def answer_slow(self, handler, fault, content, seconds=0.01):
        """All of it, in ten parts."""
        self.send(handler, b"", length=len(content))
        size = len(content) // 10 + 1
        for start in range(0, len(content), size):
            handler.wfile.write(content[start : start + size])
            handler.wfile.flush()
            time.sleep(seconds)

    def drip(self, handler, piece):
        """A little now and then: each comes in time, all of it never."""
        for _ in range(int(PAUSE / 0.05)):
            handler.wfile.write(piece)
            time.sleep(0.05)

    def answer_trickle(self, handler, fault, content):
        self.send(handler, b"", length=len(content))
        self.drip(handler, b"x")

    def answer_burst(self, handler, fault, content):
        """A good start, and then a trickle."""
        self.send(handler, bytes(50_000), length=60_000)
        self.drip(handler, b"x")

    def answer_headers(self, handler, fault, content):
        """A trickle before the body has begun."""
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Padding: ")
        self.drip(handler, b"x")

    def answer_trailers(self, handler, fault, content):
        """Lines without end behind the last chunk."""
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        handler.wfile.write(b"3\r\nabc\r\n0\r\n")
        self.drip(handler, b"X: y\r\n")

    def answer_chunk_size(self, handler, fault, content):
        """A number that does not end."""
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.drip(handler, b"0")

    def answer_only_labels(self, handler, fault, content):
        self.send(handler, content) if "labels" in handler.path else handler.send_error(404)

    def answer_only_images(self, handler, fault, content):
        self.send(handler, content) if "images" in handler.path else handler.send_error(404)

    def answer_redirect(self, handler, fault, content):
        """To a good mirror; but with a body that would fill the memory if it were read."""
        handler.send_response(302)
        handler.send_header("Location", handler.path.replace("redirect", "good"))
        handler.end_headers()
        for _ in range(4000):
            handler.wfile.write(bytes(2**16))

    def answer_broken_redirect(self, handler, fault, content):
        handler.send_response(302)
        handler.send_header("Location", handler.path)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"abc")

    def answer_chunked(self, handler, fault, content):
        """All of it, in chunks that are small and say nothing of the whole."""
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(content), 100):
            chunk = content[start : start + 100]
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        handler.wfile.write(b"0\r\n\r\n")

    def answer_encoded(self, handler, fault, content):
        """All of it, with the .gz taken for a page that is compressed on its way."""
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        handler.wfile.write(content)

    def answer_endless(self, handler, fault, content):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(4000):
            handler.wfile.write(bytes(2**16))
