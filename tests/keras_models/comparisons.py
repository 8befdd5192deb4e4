"""What the tests of these tools compare, and how."""

import contextlib

import numpy as np

from tests.variables import unchanged


def assert_equal(expected, found):
    """The same arrays or variables, each to the last bit."""
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


@contextlib.contextmanager
def stays_as_it_was(model, but=()):
    """Its variables but for some, those of the optimizer, its flags and what its layers keep."""
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer else [])]
    others = [v for v in variables if not any(v is each for each in but)]
    layers = list(model._flatten_layers())

    def flags():
        attributes = [(sorted(vars(layer)), layer.trainable) for layer in layers]
        return attributes, [variable.trainable for variable in variables], model.train_function

    before = flags()
    with unchanged(others):
        yield
    assert flags() == before
