"""The graph of a Keras model, read from its configuration, and layers taken out of it there.

A configuration is public, complete, and a copy: nothing that is done to it touches the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

TENSOR = "__keras_tensor__"


@dataclass(frozen=True)
class Call:
    """One call of a layer: its name, and the layers whose outputs it takes."""

    name: str
    producers: tuple[str, ...]

    @property
    def producer(self) -> str:
        """The only one, or the first."""
        return self.producers[0]


class Graph:
    """Layers by name, and who takes whose outputs.

    Args:
        config: of a Sequential or functional model; `remove` changes it.
    """

    def __init__(self, config: dict) -> None:
        self.config = config
        self.functional = "input_layers" in config
        self.entries = {_name(entry): entry for entry in config["layers"]}
        self.calls = self._calls()

    def _calls(self) -> dict[str, list[Call]]:
        if not self.functional:  # a chain; what comes before the first layer has no name
            names = list(self.entries)
            self.entries.setdefault("", {"config": {}, "class_name": "the model's input"})
            pairs = zip(["", *names], names, strict=False)
            return {name: [Call(name, (before,))] for before, name in pairs}
        return {
            name: [
                Call(name, tuple(tensor["keras_history"][0] for tensor in tensors(node)))
                for node in entry["inbound_nodes"]
            ]
            for name, entry in self.entries.items()
        }

    def consumers(self, name: str) -> list[Call]:
        """The calls that take this layer's outputs."""
        return [call for calls in self.calls.values() for call in calls if name in call.producers]

    def uses(self, name: str) -> int:
        """How often this layer's outputs are taken, by layers and as outputs of the model."""
        taken = sum(call.producers.count(name) for call in self.consumers(name))
        if not self.functional:
            return taken + (name == list(self.calls)[-1])
        return taken + sum(reference[0] == name for reference in outputs(self.config))

    def remove(self, name: str) -> None:
        """Take out a layer that is called once; what took its outputs takes its inputs."""
        if self.functional:
            (node,) = self.entries[name]["inbound_nodes"]
            (tensor,) = tensors(node)
            for entry in self.entries.values():
                for other in tensors(entry.get("inbound_nodes", [])):
                    if other["keras_history"][0] == name:
                        other["keras_history"] = list(tensor["keras_history"])
            for reference in outputs(self.config):
                if reference[0] == name:
                    reference[:] = tensor["keras_history"]
        self.config["layers"].remove(self.entries.pop(name))
        self.entries.pop("", None)
        self.calls = self._calls()


def tensors(node: object) -> Iterator[dict]:
    """The tensors in the arguments of a call, wherever they are."""
    if isinstance(node, dict):
        if node.get("class_name") == TENSOR:
            yield node["config"]
            return
        node = list(node.values())
    if isinstance(node, list | tuple):
        for part in node:
            yield from tensors(part)


def outputs(config: dict) -> Iterator[list]:
    """The references `[layer, call, tensor]` to the outputs of a functional model."""
    yield from _references(config["output_layers"])


def _references(nested: object) -> Iterator[list]:
    if isinstance(nested, dict):
        nested = list(nested.values())
    if len(nested) == 3 and isinstance(nested[0], str):
        yield nested
        return
    for part in nested:
        yield from _references(part)


def _name(entry: dict) -> str:
    return entry.get("name") or entry["config"]["name"]
