"""Damaged IDX files for `read_idx`; run by itself it tries them for as long as asked.

python -m tests.mnist.fuzz_read_idx --seconds 60
"""

import argparse
import gzip
import math
import struct
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from bn_tutorial.mnist import idx

BOUND = 2**16  # of values, in place of the real 2**28, so that the bound itself is met often


@st.composite
def files(draw):
    """An IDX file that is right, or one whose header promises what does not follow."""
    code = draw(st.sampled_from([*idx.IDX_TYPES, 0, 0x0A, 0xFF]))
    small = st.lists(st.integers(0, 9), max_size=5)
    any_size = st.lists(st.integers(0, 2**32 - 1), max_size=80)
    shape = draw(small | any_size)
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)
    right = math.prod(shape) * np.dtype(idx.IDX_TYPES.get(code, "u1")).itemsize
    size = right if right <= 4 * BOUND and draw(st.booleans()) else draw(st.integers(0, 300))
    return header + draw(st.binary(min_size=min(size, 50), max_size=50)) + bytes(max(size - 50, 0))


@st.composite
def damaged_files(draw):
    """Such a file, perhaps compressed, with bytes changed, cut off, added or repeated."""
    content = draw(files())
    if draw(st.booleans()):
        content = gzip.compress(content, 1, mtime=0) + draw(st.sampled_from([b"", b"\0\0", b"x"]))
    for _ in range(draw(st.integers(0, 3))):
        position = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["change", "cut", "add", "repeat"]))
        middle = draw(st.binary(max_size=4)) if kind != "repeat" else content[position:]
        rest = {"change": content[position + len(middle) :], "cut": b""}.get(
            kind, content[position:]
        )
        content = content[:position] + middle + rest
    return content


def check(content, path):
    """An array that takes no more room than the bound, or a MnistError that names the file."""
    path.write_bytes(content)
    with mock.patch.object(idx, "MAXIMUM_BYTES", BOUND):
        try:
            array, message = idx.read_idx(path), None
        except idx.MnistError as error:
            array, message = None, str(error)
    if array is None:
        assert message.startswith(str(path))
    else:
        assert isinstance(array, np.ndarray)
        assert array.nbytes <= BOUND


def fuzz(seconds):
    """Run batches of cases, each from a seed of its own, until the time is up."""
    end, cases, number = time.monotonic() + seconds, 0, time.time_ns()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        while time.monotonic() < end:

            @seed(number)
            @settings(
                max_examples=1000, deadline=None, database=None,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(content=damaged_files())
            def batch(content):
                nonlocal cases
                cases += 1
                check(content, path)

            batch()
            number += 1
            print(f"\r{cases:,} files tried, no failure", end="", flush=True)
    print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    fuzz(parser.parse_args().seconds)
