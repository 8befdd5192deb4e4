"""The small MNIST that the tests load, and what they ask of a folder it was loaded into."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.mnist.faulty_mirror import small_mnist

CONTENTS, PUBLISHED, ARRAYS = small_mnist()
ROOT = Path(__file__).parents[2]


def assert_small_mnist(arrays):
    for array, right in zip(arrays, ARRAYS, strict=True):
        np.testing.assert_array_equal(array, right)


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".download.lock")


def run_python(*arguments):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def start_download(folder, address, timeout=20):
    return run_python("-m", "tests.mnist.download_process", folder, timeout, address)
