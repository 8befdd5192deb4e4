"""A Keras model made anew from its configuration, without some of its layers.

A configuration is public, complete, and a copy: nothing that is done to it touches the model.
"""

from __future__ import annotations

import copy
import tempfile
import types
from collections.abc import Iterable, Iterator
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from bn_tutorial.keras_models.graph import Path, functional_of, unwrapped
from bn_tutorial.keras_models.model import in_short, inlined, layers_of, unchanged

TENSOR = "__keras_tensor__"
WHOLE = 1e-3  # by which share of their size a whole model's outputs may differ


def copy_of(layer: keras.Layer, **changes: object) -> keras.Layer:
    """A layer with the same configuration but for `changes`, and with the same state."""
    config = layer.get_config() | changes
    with keras.utils.custom_object_scope(_objects([layer])):
        new = type(layer).from_config(config)
    if layer.built:
        new.build_from_config(layer.get_build_config())
    if not changes:
        _copy_state(layer, new)
    return new


def rebuilt(
    model: keras.Model, copies: dict[Path, keras.Layer], removed: Iterable[Path], tool: str
) -> keras.Model:
    """The model without the removed layers, and with the state of copies in place of some others.

    Raises:
        ValueError: Keras can't make a layer anew.
    """
    config = copy.deepcopy(model.get_config())
    _complete_names(model, config)
    for path in copies:
        _entry(config, path)["config"]["use_bias"] = True
    for path in removed:
        _remove(config, path)
    scope = keras.utils.custom_object_scope(_objects([model, *layers_of(model)]))
    try:
        with scope:
            new = type(model).from_config(config)
    except Exception as error:
        with scope:
            culprit = _culprit(model) or f'the model "{model.name}"'
        raise ValueError(f"{tool}: Keras can't make {culprit} anew: {in_short(error)}") from None
    for path, old, fresh in _pairs(model, new, ()):
        source = copies.get(path, old)
        try:
            _copy_state(source, fresh)
        except Exception as error:
            culprit = f'"{old.name}" ({type(old).__name__})'
            message = f"{tool}: the state of {culprit} can't be copied: {in_short(error)}"
            raise ValueError(message) from None
    return new


def require_same_predictions(model: keras.Model, new: keras.Model, tool: str) -> None:
    """Run both on random inputs, if some can be made.

    Half precision is left out: rounding grows from layer to layer, in either model.

    Raises:
        RuntimeError: the outputs differ.
    """
    struct = functional_of(model).input
    try:
        inputs = keras.tree.map_structure(_random_input, struct)
        with unchanged(model), inlined():
            expected = keras.tree.flatten(model(inputs, training=False))
    except Exception:  # there is no telling what inputs it takes
        return
    with unchanged(model), inlined():
        again = keras.tree.flatten(model(inputs, training=False))
    with unchanged(new), inlined():
        found = keras.tree.flatten(new(inputs, training=False))
    for one, other, fresh in zip(expected, again, found, strict=True):
        if one.dtype not in (tf.float32, tf.float64) or not np.array_equal(one, other):
            continue
        size, apart = np.max(np.abs(one)), np.max(np.abs(one - fresh))
        if np.isfinite(size) and not apart <= WHOLE * size:
            raise RuntimeError(
                f"{tool}: expected the same predictions, found outputs that differ by "
                f"{apart / size:.0e} of their size"
            )


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


def _pairs(
    old: keras.Model, new: keras.Model, path: Path
) -> Iterator[tuple[Path, keras.Layer, keras.Layer]]:
    """The layers of both, down to those that are no models; a removed one's stand-in is left."""
    for fresh in new.layers:
        layer, here = old.get_layer(fresh.name), (*path, fresh.name)
        if type(layer) is not type(fresh):
            continue
        inner, inner_fresh = unwrapped(layer), unwrapped(fresh)
        if inner is not layer:
            here = (*here, inner.name)
        if functional_of(inner) is not None:
            yield from _pairs(inner, inner_fresh, here)
        else:
            yield here, inner, inner_fresh


def _entry(config: dict, path: Path) -> dict:
    """The configuration of a layer with its class; it is part of `config`."""
    entry = {"config": config}
    for name in path:
        inner = entry["config"]
        if "layers" in inner:
            (entry,) = (each for each in inner["layers"] if _name(each) == name)
        else:
            entry = inner["layer"]  # of TimeDistributed
    return entry


def _remove(config: dict, path: Path) -> None:
    """Take out a layer that is called once; what took its outputs takes its inputs."""
    while "layers" not in _entry(config, path[:-1])["config"]:
        path = path[:-1]  # it goes with the wrapper around it
    model, entry = _entry(config, path[:-1])["config"], _entry(config, path)
    is_output = path[-1] in (name for name, *_ in _outputs(model))
    if is_output or len(model["layers"]) == 1 + ("input_layers" not in model):
        _stand_in(entry)
        return
    if "input_layers" in model:
        (node,) = entry["inbound_nodes"]
        (tensor,) = _tensors(node)
        for other in _tensors([each.get("inbound_nodes", []) for each in model["layers"]]):
            if other["keras_history"][0] == path[-1]:
                other["keras_history"] = list(tensor["keras_history"])
    model["layers"].remove(entry)


def _stand_in(entry: dict) -> None:
    """A layer of the same name that does nothing."""
    stand_in = keras.layers.Identity(name=_name(entry), dtype=entry["config"].get("dtype"))
    entry.update(keras.saving.serialize_keras_object(stand_in), build_config=None)
    for node in entry.get("inbound_nodes", []):
        node["kwargs"] = {}


def _tensors(node: object) -> Iterator[dict]:
    """The tensors in the arguments of a call, wherever they are."""
    if isinstance(node, dict):
        if node.get("class_name") == TENSOR:
            yield node["config"]
            return
        node = list(node.values())
    if isinstance(node, list | tuple):
        for part in node:
            yield from _tensors(part)


def _outputs(config: dict) -> Iterator[list]:
    """The references `[layer, call, tensor]` to the outputs of a functional model."""
    open_ = [config.get("output_layers", [])]
    while open_:
        nested = open_.pop()
        nested = list(nested.values()) if isinstance(nested, dict) else nested
        if len(nested) == 3 and isinstance(nested[0], str):
            yield nested
        else:
            open_ += nested


def _complete_names(model: keras.Model, config: dict) -> None:
    """A layer of somebody's own may leave its name out of its configuration; put it back."""
    entries = config["layers"][-len(model.layers) :]  # an input may be no layer of a Sequential
    if "input_layers" in config:
        for entry in config["layers"]:
            entry["config"].setdefault("name", entry["name"])
    for entry, layer in zip(entries, model.layers, strict=False):
        if "input_layers" not in config:
            entry["config"].setdefault("name", layer.name)
    for entry in config["layers"]:
        inner = [layer for layer in model.layers if layer.name == _name(entry)]
        while inner and unwrapped(inner[0]) is not inner[0]:
            inner, entry = [unwrapped(inner[0])], entry["config"]["layer"]
        if inner and functional_of(inner[0]) is not None and "layers" in entry["config"]:
            _complete_names(inner[0], entry["config"])


def _name(entry: dict) -> str:
    return entry.get("name") or entry["config"]["name"]


def _objects(layers: Iterable[keras.Layer]) -> dict[str, object]:
    """Classes and functions that are not Keras's own, which need not be registered then."""
    found: dict[str, object] = {}
    for layer in layers:
        values = [layer, *vars(layer).values()]
        objects = [v if isinstance(v, types.FunctionType) else type(v) for v in values]
        own = (o for o in objects if not o.__module__.startswith(("keras.", "builtins")))
        found |= {o.__name__: o for o in own}
    return found


def _culprit(model: keras.Model) -> str:
    """The first layer that can't be made anew by itself."""
    for layer in layers_of(model):
        try:
            keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        except Exception:
            return f'"{layer.name}" ({type(layer).__name__})'
    return ""


def _random_input(tensor: keras.KerasTensor) -> np.ndarray:
    """Of the right shape and type: normal numbers, or zeros and ones."""
    generator, shape = np.random.default_rng(0), [size or 2 for size in tensor.shape]
    shape[1:] = [size or 32 for size in tensor.shape[1:]]
    kind = keras.backend.standardize_dtype(tensor.dtype)
    if kind == "string":
        raise TypeError("words can't be drawn")
    draw = generator.normal if "float" in kind else partial(generator.integers, 2)
    return draw(size=shape).astype(kind)
