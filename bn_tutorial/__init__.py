"""Batch normalization by hand and built in, on MNIST, in TensorFlow 2.

The modules are imported one by one (``from bn_tutorial import mnist``): the loader alone does not
need TensorFlow, and this file keeps it that way.
"""

__version__ = "1.0.0"
