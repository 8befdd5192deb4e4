"""Models whose weights are not those of the start, and one compared before and after."""

import contextlib

import numpy as np

from tests.variables import unchanged


def randomized(model, seed=0):
    """The model, with random weights and statistics; the variances are positive."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        low, high = (0.5, 2.0) if "variance" in variable.path else (-1.0, 1.0)
        if variable.dtype == "float32":
            variable.assign(generator.uniform(low, high, variable.shape))
    return model


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
