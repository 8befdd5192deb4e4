"""A Keras model made anew, with some of its layers replaced and some left out.

Keras's own `clone_model` runs the graph of a functional model once more, and is told here what to
call in the place of each layer. The rest is done beside it: models inside the model, Sequential
ones with fewer layers, and the state of the layers.
"""

from __future__ import annotations

import contextlib
import tempfile
import types
from collections.abc import Callable
from functools import partial

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from bn_tutorial.keras_models.graph import Node, functional_of, unwrapped
from bn_tutorial.keras_models.model import in_short, inlined, layers_of, unchanged

TOOL = "fold_batch_norm"
WHOLE = 1e-3  # by which share of their size a whole model's outputs may differ
Replacements = dict[keras.Operation, keras.Operation]
Removed = dict[keras.Operation, Node]


def custom_objects(model: keras.Model) -> contextlib.AbstractContextManager:
    """A scope in which Keras knows the classes and functions of a model, registered or not."""
    found: dict[str, object] = {}
    for layer in [model, *layers_of(model)]:
        values = [layer, *vars(layer).values()]
        objects = [v if isinstance(v, types.FunctionType) else type(v) for v in values]
        own = (o for o in objects if not o.__module__.startswith(("keras.", "builtins")))
        found |= {o.__name__: o for o in own}
    return keras.utils.custom_object_scope(found)


def copy_of(layer: keras.Layer, **changes: object) -> keras.Layer:
    """A layer with the same configuration but for `changes`, built, and with a state of its own."""
    serialized = keras.saving.serialize_keras_object(layer)
    serialized["config"] |= changes
    new = keras.saving.deserialize_keras_object(serialized)
    new.name = layer.name  # which the configuration of a layer of somebody's own may leave out
    return new


def rebuilt(model: keras.Model, replacements: Replacements, removed: Removed) -> keras.Model:
    """A Sequential or functional model with other layers in the place of some, and without others.

    Args:
        model: It is left as it is.
        replacements: The layers to use, by the ones in whose place they are.
        removed: The only call of each layer to leave out. What took its outputs takes its inputs.

    Raises:
        ValueError: Keras can't make a layer anew, or its state can't be copied.
    """
    rebuilding = _Rebuilding(model, replacements, removed)
    with unchanged(model), custom_objects(model):
        for each in [model, *layers_of(model)]:
            if isinstance(each, keras.Model):
                each.compiled = False  # or Keras would compile its clone too
        try:
            new = rebuilding.model(model)
            for old, copy in rebuilding.copied:  # now that all are built
                rebuilding.current = old
                _copy_state(old, copy)
        except Exception as error:
            layer = rebuilding.current
            message = f'Keras can\'t make "{layer.name}" ({type(layer).__name__}) anew'
            raise ValueError(f"{TOOL}: {message}: {in_short(error)}") from None
    return new


class _Rebuilding:
    """The new layers by the old ones, so that a layer in two places stays one layer."""

    def __init__(self, model: keras.Model, replacements: Replacements, removed: Removed) -> None:
        self.whole = model
        self.current: keras.Layer = model  # or the layer that is being copied, for messages
        self.new, self.removed = dict(replacements), removed
        self.copied: list[tuple[keras.Layer, keras.Layer]] = []

    def model(self, old: keras.Model) -> keras.Model:
        """A Sequential or functional model anew.

        It is of the same class, or of Keras's own if that has a constructor of its own.
        """
        first = [each for each in functional_of(old).layers if isinstance(each, layers.InputLayer)]
        if isinstance(old, keras.Sequential):
            plain = type(old).__init__ is keras.Sequential.__init__
            stay = [each for each in old.layers if each not in self.removed]
            chain = [self.layer(each) for each in [*first, *(stay or old.layers)]]
            new = (type(old) if plain else keras.Sequential)(chain, name=old.name)
        else:
            inputs = {id(each.output): self.layer(each).output for each in first}
            new = keras.models.clone_model(
                old,
                keras.tree.map_structure(lambda tensor: inputs[id(tensor)], old.input),
                clone_function=partial(self._to_call, outputs={id(x) for x in old.outputs}),
            )
        if not old.trainable:
            new.trainable = False
        return new

    def layer(self, old: keras.Operation) -> keras.Operation:
        """The new layer for an old one; for a removed one it does nothing."""
        if old not in self.new:
            self.new[old] = self._made(old)
        return self.new[old]

    def _made(self, old: keras.Operation) -> keras.Operation:
        if not isinstance(old, keras.Layer):
            return old  # an operation without a layer has no state
        if old in self.removed:
            return layers.Identity(name=old.name, dtype=old.dtype_policy)
        if functional_of(old) is not None:
            return self.model(old)
        if unwrapped(old) is not old:
            options = {key: value for key, value in old.get_config().items() if key != "layer"}
            return layers.TimeDistributed(self.layer(old.layer), **options)
        self.current = old
        new = copy_of(old)
        self.current = self.whole
        self.copied.append((old, new))
        return new

    def _to_call(self, old: keras.Operation, outputs: set[int]) -> Callable:
        """The new layer; for a removed one, what gives on its inputs.

        An output has its name from the layer that gives it, so there a removed one is replaced.
        """
        if old not in self.removed:
            return self.layer(old)
        is_output = id(self.removed[old].outputs[0]) in outputs
        give_on = self.layer(old) if is_output else lambda inputs: inputs
        return lambda *args, **kwargs: give_on(keras.tree.flatten((args, kwargs))[0])  # no mask


def _copy_state(old: keras.Layer, new: keras.Layer) -> None:
    """By the layers' own methods, so that tables and what is derived of the state come along."""
    for one, other in zip([old, *layers_of(old)], [new, *layers_of(new)], strict=True):
        store: dict[str, object] = {}
        one.save_own_variables(store)
        other.load_own_variables(store)
        if hasattr(one, "save_assets"):
            with tempfile.TemporaryDirectory() as folder:
                one.save_assets(folder)
                other.load_assets(folder)
    for one, other in zip(old.variables, new.variables, strict=True):
        if "seed" in one.path:
            other.assign(one)


def require_same_predictions(model: keras.Model, new: keras.Model) -> None:
    """Run both on random inputs, if some can be made.

    Outputs in half precision are left out, since rounding grows from layer to layer in either
    model, and so are those that differ from run to run.

    Raises:
        RuntimeError: The outputs differ.
    """
    try:
        inputs = keras.tree.map_structure(_random_input, functional_of(model).input)
        expected = _predictions(model, inputs)
    except Exception:  # there is no telling what inputs it takes
        return
    again, found = _predictions(model, inputs), _predictions(new, inputs)
    for one, other, fresh in zip(expected, again, found, strict=True):
        if one.dtype not in (tf.float32, tf.float64) or not np.array_equal(one, other):
            continue
        size, apart = np.max(np.abs(one)), np.max(np.abs(one - fresh))
        if np.isfinite(size) and not apart <= WHOLE * size:
            raise RuntimeError(
                f"{TOOL}: expected the same predictions, found outputs that differ by "
                f"{apart / size:.0e} of their size"
            )


def _predictions(model: keras.Model, inputs: object) -> list[tf.Tensor]:
    with unchanged(model), inlined():
        return keras.tree.flatten(model(inputs, training=False))


def _random_input(tensor: keras.KerasTensor) -> tf.Tensor:
    """Normal numbers, or zeros and ones, of the right shape and type."""
    shape = [tensor.shape[0] or 2, *(size or 32 for size in tensor.shape[1:])]
    values = np.random.default_rng(0).normal(size=shape)
    kind = keras.backend.standardize_dtype(tensor.dtype)
    return tf.cast(values if "float" in kind else values > 0, kind)
