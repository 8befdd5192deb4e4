"""Loads the small MNIST of `faulty_mirror` into a folder, in a process that can be killed."""

import signal
import sys
from pathlib import Path

import numpy as np

from bn_tutorial.mnist import files, mirrors
from tests.mnist.faulty_mirror import small_mnist

folder, timeout, *addresses = sys.argv[1:]
_, files.FILES, expected = small_mnist()
mirrors.MIRRORS, mirrors.TIMEOUT = tuple(addresses), (float(timeout), float(timeout))
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
print("ready", flush=True)
for array, right in zip(files.mnist_arrays(Path(folder)), expected, strict=True):
    assert np.array_equal(array, right)
print("loaded", flush=True)
