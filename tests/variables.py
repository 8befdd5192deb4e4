"""Lists of variables compared, before and after or of two networks; and gradients from losses."""

from contextlib import contextmanager

import numpy as np


def values(variables):
    return [variable.numpy() for variable in variables]


@contextmanager
def unchanged(variables):
    """At the end of the block the variables are what they were at its start, to the bit."""
    before = values(variables)
    yield
    np.testing.assert_equal(values(variables), before)


def assert_all_close(found, expected, **tolerances):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, **tolerances)


def central_differences(loss, at, step=1e-5):
    """The gradient of a loss, number by number, float64 of the shape of `at`."""
    gradient = np.zeros(at.shape)
    for index in np.ndindex(at.shape):
        move = np.zeros(at.shape)
        move[index] = step
        gradient[index] = (loss(at + move) - loss(at - move)) / (2 * step)
    return gradient
