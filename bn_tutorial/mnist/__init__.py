"""The digits: find, download, verify, parse, and hand out in batches. Needs no TensorFlow.

`datasets` is what a notebook uses. It takes the arrays from `files`, which finds and checks them,
has `mirrors` fetch what is missing, and `idx` read what is there.
"""

from bn_tutorial.mnist.datasets import Dataset, Datasets, binarize, change_images, load_mnist
from bn_tutorial.mnist.idx import MnistError, read_idx

__all__ = [
    "Dataset",
    "Datasets",
    "MnistError",
    "binarize",
    "change_images",
    "load_mnist",
    "read_idx",
]
