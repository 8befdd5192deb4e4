"""Which layer of a Keras model feeds which, through the borders of models inside it too."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import keras
from keras import layers
from keras.src.models.functional import Functional  # public as a base class of keras.Model alone

Path = tuple[str, ...]  # names from the outermost model to a layer


@dataclass(eq=False)
class Node:
    """One call of a layer, or of an operation without a layer."""

    operation: keras.Operation
    path: Path  # to `layer`, through models inside and `TimeDistributed`
    inputs: list  # tensors of the graph, as `outputs` are
    outputs: list
    training: bool  # whether it always runs as in training

    @property
    def layer(self) -> keras.Operation:
        """The operation, or the layer that `TimeDistributed` runs at each step."""
        return unwrapped(self.operation)

    @property
    def kind(self) -> str:
        """The name of the layer's class."""
        return type(self.layer).__name__


class Graph:
    """The calls in a Sequential or functional model, and in those inside it.

    What a subclassed model or layer does can't be followed: it is one node.

    Attributes:
        nodes: The calls, in an order in which they can run.
    """

    def __init__(self, model: keras.Model) -> None:
        self.nodes: list[Node] = []
        # By the id of a tensor: the node that gives it, and those that take it.
        self._made: dict[int, Node] = {}
        self._used: dict[int, list[Node | None]] = defaultdict(list)
        # By the id of a tensor: the same one, on the other side of a border of a model inside.
        self._above: dict[int, list] = defaultdict(list)
        self._below: dict[int, list] = defaultdict(list)
        self._seen: set[Functional] = set()
        self._add(model, (), training=False, apart=True)

    def calls(self, operation: keras.Operation) -> list[Node]:
        """The calls of a layer, or of the `TimeDistributed` around it."""
        return [node for node in self.nodes if operation in (node.operation, node.layer)]

    def makers(self, tensor: object) -> list[Node | None]:
        """What gives a tensor; None stands for an input of the model."""
        if id(tensor) in self._made:
            return [self._made[id(tensor)]]
        above = self._above[id(tensor)]
        return [maker for other in above for maker in self.makers(other)] or [None]

    def users(self, tensor: object) -> list[Node | None]:
        """What takes a tensor; None stands for an output of the model."""
        below = self._below[id(tensor)]
        return [*self._used[id(tensor)], *(user for other in below for user in self.users(other))]

    def upstream(self, node: Node, until: type | tuple[()] = ()) -> list[Node]:
        """The nodes that a node depends on, the nearest first; not those behind an `until`."""
        found: dict[int, Node] = {}
        open_ = [node]
        while open_:
            for tensor in open_.pop(0).inputs:
                for maker in self.makers(tensor):
                    if maker and id(maker) not in found and not isinstance(maker.layer, until):
                        found[id(maker)] = maker
                        open_.append(maker)
        return list(found.values())

    def _add(self, model: keras.Operation, path: Path, training: bool, apart: bool) -> None:
        """The nodes of a model; `apart` if its ends are joined to nothing."""
        functional = functional_of(model)
        if functional is None or functional in self._seen:
            return
        self._seen.add(functional)
        if apart:
            for tensor in functional.outputs:
                self._used[id(tensor)].append(None)
        for _, nodes in sorted(functional._nodes_by_depth.items(), reverse=True):
            for node in nodes:
                if not isinstance(node.operation, layers.InputLayer):
                    always = training or node.arguments.kwargs.get("training") is True
                    self._add_call(node, (*path, node.operation.name), always)

    def _add_call(self, call: object, path: Path, training: bool) -> None:
        """The node of a layer or an operation, or those of a model inside."""
        operation, inputs, outputs = call.operation, call.input_tensors, call.output_tensors
        inner, layer = functional_of(operation), unwrapped(operation)
        if inner is not None:
            self._join(inputs, inner.inputs)
            self._join(inner.outputs, outputs)
            self._add(operation, path, training, apart=False)
            return
        if layer is not operation:
            path = (*path, layer.name)
            self._add(layer, path, training, apart=True)
        node = Node(operation, path, list(inputs), list(outputs), training)
        self.nodes.append(node)
        for tensor in inputs:
            self._used[id(tensor)].append(node)
        self._made.update((id(tensor), node) for tensor in outputs)

    def _join(self, above: list, below: list) -> None:
        """Tensors on both sides of the border of a model inside."""
        for one, other in zip(above, below, strict=True):
            if one is not other:
                self._below[id(one)].append(other)
                self._above[id(other)].append(one)


def functional_of(operation: object) -> Functional | None:
    """The functional model that this is, or that a Sequential model is made of.

    A subclass may do anything in a `call` of its own, so it is none.
    """
    if isinstance(operation, keras.Sequential):
        return operation._functional if type(operation).call is keras.Sequential.call else None
    follows = isinstance(operation, Functional) and type(operation).call is Functional.call
    return operation if follows and "call" not in vars(operation) else None


def unwrapped(operation: keras.Operation) -> keras.Operation:
    """The layer inside `TimeDistributed`, or the operation itself."""
    return operation.layer if type(operation) is layers.TimeDistributed else operation
