"""What stands before each BN layer in the graph of a Keras model; see `doctor`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import keras
from keras import layers
from keras.src.models.functional import Functional

from bn_tutorial.recalibration import batch_norm_layers

DROPOUT = (layers.Dropout, layers.GaussianDropout, layers.AlphaDropout)  # spatial ones: subclasses
BIASED = (
    layers.Dense,
    layers.EinsumDense,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)


class Graph:
    """The tensors of a functional model, those of the models inside it included.

    A subclassed model or layer has no graph that can be followed: walking upstream ends there.
    """

    def __init__(self, model: keras.Model) -> None:
        self._producers: dict[int, tuple[keras.Operation, list]] = {}
        self._same: dict[int, list] = {}  # through the border of a model inside
        self._consumers: dict[int, set[int | None]] = {}
        self._inputs: dict[int, list] = {}  # of BN layers, by their id
        self._add(model)

    def unknown(self, model: keras.Model) -> list[layers.BatchNormalization]:
        """The BN layers of the model that are not in the graph."""
        return [bn for bn in batch_norm_layers(model) if id(bn) not in self._inputs]

    def useless_bias(self, bn: layers.BatchNormalization) -> layers.Layer | None:
        """The layer directly before, if BN takes its bias away and nothing else uses it."""
        for tensor in self._inputs.get(id(bn), []):
            for producer, _ in self._producers_of(tensor):
                if _adds_bias_to_channels_of(producer, bn) and self._feeds_only_bn(producer):
                    return producer
        return None

    def dropout_before(self, bn: layers.BatchNormalization) -> layers.Layer | None:
        """A dropout layer upstream, with no BN between."""
        open_, seen = list(self._inputs.get(id(bn), [])), set()
        while open_:
            tensor = open_.pop()
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            for producer, output in self._producers_of(tensor):
                if isinstance(producer, DROPOUT) and producer.rate > 0:
                    return producer
                if not isinstance(producer, layers.BatchNormalization):
                    open_ += self._producers[id(output)][1]
        return None

    def _feeds_only_bn(self, producer: keras.Operation) -> bool:
        outputs = [t for t, (operation, _) in self._producers.items() if operation is producer]
        return all(self._consumers.get(output, {None}) <= set(self._inputs) for output in outputs)

    def _add(self, model: keras.Model) -> None:
        functional = _functional(model)
        if functional is None:
            return
        for tensor in functional.outputs:
            self._consumers.setdefault(id(tensor), set()).add(None)  # whoever uses the model
        for node in itertools.chain(*functional._nodes_by_depth.values()):
            self._add_node(node.operation, list(node.input_tensors), node.output_tensors)

    def _add_node(self, operation: keras.Operation, inputs: list, outputs: list) -> None:
        for tensor in inputs:
            self._consumers.setdefault(id(tensor), set()).add(id(operation))
        inner = _functional(operation)
        if inner is not None:
            self._join(inner.inputs, inputs)
            self._join(outputs, inner.outputs)
            self._add(inner)
            return
        if isinstance(operation, layers.BatchNormalization):
            self._inputs.setdefault(id(operation), []).extend(inputs)
        if not isinstance(operation, layers.InputLayer):
            for tensor in outputs:
                self._producers[id(tensor)] = (operation, inputs)

    def _join(self, downstream: list, upstream: list) -> None:
        for below, above in zip(downstream, upstream, strict=True):
            if below is not above:
                self._same.setdefault(id(below), []).append(above)

    def _producers_of(self, tensor: keras.KerasTensor) -> Iterator[tuple[keras.Operation, object]]:
        if id(tensor) in self._producers:
            yield self._producers[id(tensor)][0], tensor
        for other in self._same.get(id(tensor), []):
            yield from self._producers_of(other)


def _functional(operation: keras.Operation) -> keras.Model | None:
    """The functional model that this is, or that a Sequential model is made of."""
    if isinstance(operation, keras.Sequential):
        return operation._functional
    # a subclass may do anything in a call of its own
    follows = isinstance(operation, Functional) and type(operation).call is Functional.call
    return operation if follows else None


def _adds_bias_to_channels_of(layer: keras.Operation, bn: layers.BatchNormalization) -> bool:
    if not isinstance(layer, BIASED) or getattr(layer, "bias", None) is None:
        return False
    if layer.activation is not keras.activations.linear:
        return False
    rank = bn.input_spec.ndim
    channels = 1 if getattr(layer, "data_format", None) == "channels_first" else rank - 1
    return bn.axis % rank == channels and layer.bias.shape == bn.moving_mean.shape
