import matplotlib as mpl
import numpy as np
import pytest

from bn_tutorial import mnist

mpl.use("agg")


@pytest.fixture
def digits():
    """The embedded digits, anew for each test: handing out batches changes a data set."""
    return mnist.load_mnist(source="digits")


@pytest.fixture(scope="session")
def real_mnist():
    """MNIST's own arrays, where they can be had."""
    try:
        return mnist.mnist_arrays()
    except mnist.MnistError as error:
        pytest.skip(f"MNIST can't be had: {error}")


@pytest.fixture
def generator():
    return np.random.default_rng(0)
