"""What folds and what stays, and the new model without what folds."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import keras
import numpy as np

from bn_tutorial.folding.graphs import Call, Graph
from bn_tutorial.folding.weights import (
    FORWARD_KINDS,
    KINDS,
    affine,
    rescale_inputs,
    rescale_outputs,
)

Weights = dict[str, np.ndarray]
Path = tuple[str, ...]  # names from the outermost model to a layer


@dataclass(frozen=True)
class Folding:
    """What becomes of the BN layers of a model.

    Attributes:
        folded: by name of the BN layer, the name of the layer that takes it over.
        kept: by name of the BN layer, why it stays.

    The name of a layer in a model inside the model is "model/layer".
    """

    folded: dict[str, str]
    kept: dict[str, str]


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """A new model that predicts the same, without each BN layer that can be folded.

    A BN layer folds backward, into the layer before, or forward, into the one behind. It is printed
    how many do, and which ones stay and why; `plan_folding` has the same as a value. The new model
    is not compiled; training it further trains it without BN.

    Args:
        model: Sequential or functional, with models inside it or not. It is left as it is.

    Returns:
        A model of the same kind, inputs, outputs and names, but without the folded layers.

    Raises:
        TypeError: `model` is no Keras model, or a subclassed one, whose graph can't be seen.
        ValueError: `model` is not built.
    """
    work = _Work(model)
    with keras.utils.custom_object_scope(_classes(model)):
        new = type(model).from_config(work.config)
    _copy_weights(model, new, work.changed)
    for line in _in_words(work.folding):
        print(line)
    return new


def plan_folding(model: keras.Model) -> Folding:
    """What `fold_batch_norm` would do. Args and errors are its own."""
    return _Work(model).folding


class _Work:
    """The configuration of the new model, the weights that change, and what becomes of each BN."""

    def __init__(self, model: keras.Model) -> None:
        _require_graph(model)
        self.config = copy.deepcopy(model.get_config())
        self.changed: dict[Path, Weights] = {}
        self.folding = Folding({}, {})
        self.fold_inside(model, self.config, ())

    def fold_inside(self, model: keras.Model, config: dict, path: Path) -> None:
        """Fold a model, and the models inside it, in its configuration."""
        _complete_names(model, config)
        for entry in config["layers"]:
            layer = _layer(model, entry)
            if _has_graph(layer):
                self.fold_inside(layer, entry["config"], (*path, layer.name))
            elif layer is not None and not isinstance(layer, keras.layers.BatchNormalization):
                self.name_those_within(layer, path)
        graph = Graph(config)
        for entry in list(config["layers"]):
            layer = _layer(model, entry)
            if isinstance(layer, keras.layers.BatchNormalization):
                self.fold_one(model, graph, layer, path)

    def fold_one(
        self,
        model: keras.Model,
        graph: Graph,
        layer: keras.layers.BatchNormalization,
        path: Path,
    ) -> None:
        """Fold one BN layer, or note why not."""
        reasons, name = [], "/".join((*path, layer.name))
        for direction in (_backward, _forward):
            target, reason = direction(model, graph, layer)
            if target is None:
                reasons.append(reason)
                continue
            weights = self.weights_of(target, (*path, target.name))
            scale, shift = affine(layer)
            rescale = rescale_outputs if direction is _backward else rescale_inputs
            self.changed[(*path, target.name)] = rescale(target, weights, scale, shift)
            graph.entries[target.name]["config"]["use_bias"] = True
            graph.remove(layer.name)
            self.folding.folded[name] = "/".join((*path, target.name))
            return
        self.folding.kept[name] = "; ".join(dict.fromkeys(reasons))

    def weights_of(self, layer: keras.Layer, path: Path) -> Weights:
        """As they are by now: another BN may have been folded into them."""
        own = {variable.name: variable.numpy() for variable in layer.weights}
        return self.changed.get(path, own)

    def name_those_within(self, layer: keras.Layer, path: Path) -> None:
        """BN in a layer that is no model: a wrapper, or somebody's own."""
        for inner in layer._flatten_layers(include_self=False):
            if isinstance(inner, keras.layers.BatchNormalization):
                name = "/".join((*path, layer.name, inner.name))
                self.folding.kept[name] = f'it is inside "{layer.name}" ({type(layer).__name__})'


def _backward(
    model: keras.Model, graph: Graph, layer: keras.layers.BatchNormalization
) -> tuple[keras.Layer | None, str]:
    """The layer before that can take a BN over, or why there is none."""
    calls = graph.calls[layer.name]
    if len(calls) != 1:
        return None, f"it is called {len(calls)} times"
    before = calls[0].producer
    target = _layer(model, graph.entries[before])
    if type(target) not in KINDS:
        return None, f'before it is "{before}" ({_kind(graph, before)})'
    if target.activation is not keras.activations.linear:
        return None, f'the layer before, "{before}", has an activation function'
    if len(graph.calls[before]) != 1:
        return None, f'the layer before, "{before}", is called {len(graph.calls[before])} times'
    if graph.uses(before) != 1:
        return None, f'the outputs of "{before}" are used elsewhere too'
    if not _on_channels(layer, target):
        return None, f"its axis {layer.axis} is not that of the channels"
    return target, ""


def _forward(
    model: keras.Model, graph: Graph, layer: keras.layers.BatchNormalization
) -> tuple[keras.Layer | None, str]:
    """The layer behind that can take a BN over, or why there is none."""
    if len(graph.calls[layer.name]) != 1:
        return None, f"it is called {len(graph.calls[layer.name])} times"
    consumers: list[Call] = graph.consumers(layer.name)
    if graph.uses(layer.name) != 1 or len(consumers) != 1:
        return None, "its outputs are used more than once, or are the model's"
    behind = consumers[0].name
    target = _layer(model, graph.entries[behind])
    if type(target) not in FORWARD_KINDS or getattr(target, "groups", 1) != 1:
        return None, f'behind it is "{behind}" ({_kind(graph, behind)})'
    if len(graph.calls[behind]) != 1:
        return None, f'the layer behind, "{behind}", is called {len(graph.calls[behind])} times'
    if getattr(target, "padding", "valid") != "valid" and np.any(affine(layer)[1]):
        return None, f'the layer behind, "{behind}", pads with zeros, which BN would have shifted'
    if not _on_channels(layer, target):
        return None, f"its axis {layer.axis} is not that of the channels"
    return target, ""


def _on_channels(layer: keras.layers.BatchNormalization, target: keras.Layer) -> bool:
    rank = layer.input_spec.ndim
    first = getattr(target, "data_format", "channels_last") == "channels_first"
    return layer.axis % rank == (1 if first else rank - 1)


def _kind(graph: Graph, name: str) -> str:
    return graph.entries[name]["class_name"]


def _complete_names(model: keras.Model, config: dict) -> None:
    """A layer of somebody's own may leave its name out of its configuration; put it back."""
    if "input_layers" in config:
        entries, names = config["layers"], [entry["name"] for entry in config["layers"]]
    else:  # whose input is no layer of it
        entries, names = (
            config["layers"][-len(model.layers) :],
            [layer.name for layer in model.layers],
        )
    for entry, name in zip(entries, names, strict=True):
        entry["config"].setdefault("name", name)


def _layer(model: keras.Model, entry: dict) -> keras.Layer | None:
    """The layer of an entry; None for an operation that is no layer."""
    name = entry["config"].get("name", entry.get("name"))
    found = [layer for layer in model.layers if layer.name == name]
    return found[0] if found else None


def _classes(model: keras.Model) -> dict[str, type]:
    """The classes of its layers that are not Keras's own, which need not be registered then."""
    classes = {type(layer) for layer in model._flatten_layers()}
    return {c.__name__: c for c in classes if not c.__module__.startswith("keras.")}


def _has_graph(model: object) -> bool:
    return isinstance(model, keras.Sequential) or (
        isinstance(model, keras.Model) and "input_layers" in model.get_config()
    )


def _require_graph(model: object) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(f"expected a Keras model, found {type(model).__name__}")
    if not model.built:
        raise ValueError(f'expected a model that is built; "{model.name}" has not seen its inputs')
    if not _has_graph(model):
        raise TypeError(
            "expected a Sequential or functional model, whose graph can be seen; "
            f'"{model.name}" is a {type(model).__name__}'
        )


def _copy_weights(old: keras.Model, new: keras.Model, changed: dict[Path, Weights]) -> None:
    for layer in new.layers:
        source = old.get_layer(layer.name)
        if _has_graph(layer):
            inner = {path[1:]: weights for path, weights in changed.items()
                     if path[0] == layer.name and len(path) > 1}  # fmt: skip
            _copy_weights(source, layer, inner)
        elif (layer.name,) in changed:
            for variable in layer.weights:
                variable.assign(changed[layer.name,][variable.name])
        else:
            layer.set_weights(source.get_weights())


def _in_words(folding: Folding) -> list[str]:
    count = len(folding.folded) + len(folding.kept)
    kept = [f"  {name} stays: {reason}" for name, reason in folding.kept.items()]
    return [f"{len(folding.folded)} of {count} BN layers folded", *kept]
