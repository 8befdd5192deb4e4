"""Loads the small MNIST of `faulty_mirror` into a folder, in a process that can be killed."""

import sys

import numpy as np

from bn_tutorial import mirrors, mnist_files
from tests.faulty_mirror import small_mnist

folder, timeout, *addresses = sys.argv[1:]
_, mnist_files.FILES, expected = small_mnist()
mirrors.MIRRORS, mirrors.TIMEOUT = tuple(addresses), (float(timeout), float(timeout))
print("ready", flush=True)
for array, right in zip(mnist_files.mnist_arrays(folder), expected, strict=True):
    assert np.array_equal(array, right)
print("loaded", flush=True)
