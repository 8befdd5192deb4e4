"""What several tests make models of, and a model compared before and after."""

import contextlib

import keras
import numpy as np
from keras import layers

from tests.variables import unchanged

BN = layers.BatchNormalization


class DoubledBN(BN):
    """A kind of BN of somebody's own."""

    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training, mask=mask)


class Block(layers.Layer):
    """BN in a layer whose graph can't be followed."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units
        self.dense, self.norm = layers.Dense(units), BN(name="norm")

    def build(self, shape):
        self.dense.build(shape)
        self.norm.build((*shape[:-1], self.units))

    def call(self, inputs, training=None):
        return self.norm(self.dense(inputs), training=training)

    def get_config(self):
        return super().get_config() | {"units": self.units}


class Subclassed(keras.Model):
    """No graph: it runs another model, always in one mode if that is given."""

    def __init__(self, body, training=None):
        super().__init__()
        self.body, self.fixed = body, training

    def call(self, inputs, training=None):
        return self.body(inputs, training=training if self.fixed is None else self.fixed)


def randomized(model, seed=0):
    """The model, with random weights and statistics; the variances are positive."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        low, high = (0.5, 2.0) if "variance" in variable.path else (-1.0, 1.0)
        if variable.dtype == "float32":
            variable.assign(generator.uniform(low, high, variable.shape))
    return model


def predict(model, inputs):
    return keras.tree.map_structure(lambda outputs: outputs.numpy(), model(inputs, training=False))


@contextlib.contextmanager
def stays_as_it_was(model, but=()):
    """Its variables but for some, those of the optimizer, its flags and what its layers keep."""
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer else [])]
    others = [v for v in variables if not any(v is each for each in but)]
    parts = list(model._flatten_layers())

    def flags():
        attributes = [(sorted(vars(layer)), layer.trainable) for layer in parts]
        return attributes, [variable.trainable for variable in variables], model.train_function

    before = flags()
    with unchanged(others):
        yield
    assert flags() == before
