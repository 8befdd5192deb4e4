"""Weights with which a layer does what it did together with the batch normalization beside it.

At inference BN is `a·z + b`, with an `a` and a `b` for each channel. Where BN comes after a layer,
that rescales the layer's outputs; where BN comes before it, its inputs.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

DENSE = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)
TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
WITH_INPUTS_RESCALED = (*DENSE, *DEPTHWISE, *SEPARABLE)
WITH_OUTPUTS_RESCALED = (*WITH_INPUTS_RESCALED, *TRANSPOSED)
NAMES = {"kernel", "depthwise_kernel", "pointwise_kernel", "bias"}  # of all their weights


def affine(norm: layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """What BN does at inference, `a·z + b`: float64 `a` and `b`, each `[channels]`."""
    values = {variable.name: variable.numpy().astype(np.float64) for variable in norm.variables}
    scale = values.get("gamma", 1.0) / np.sqrt(values["moving_variance"] + norm.epsilon)
    return scale, values.get("beta", 0.0) - scale * values["moving_mean"]


def rescale_outputs(
    layer: keras.Layer, scale: np.ndarray, shift: np.ndarray
) -> dict[str, np.ndarray]:
    """Weights by name with which the layer's outputs are `scale·outputs + shift`.

    It is one of `WITH_OUTPUTS_RESCALED`, without activation function; `scale` and `shift` are
    float64, `[channels]` of its outputs.
    """
    weights = _weights(layer)
    name = "pointwise_kernel" if isinstance(layer, SEPARABLE) else "kernel"
    if isinstance(layer, TRANSPOSED):  # [..., outputs, inputs]
        factors = scale[:, np.newaxis]
    elif isinstance(layer, DEPTHWISE):  # [..., inputs, multiplier], and both make the outputs
        factors = scale.reshape(weights[name].shape[-2:])
    else:  # [..., inputs, outputs]
        factors = scale
    return weights | {name: weights[name] * factors, "bias": weights["bias"] * scale + shift}


def rescale_inputs(
    layer: keras.Layer, scale: np.ndarray, shift: np.ndarray
) -> dict[str, np.ndarray]:
    """Weights by name with which the layer makes of inputs what it made of `scale·inputs + shift`.

    It is one of `WITH_INPUTS_RESCALED`, and must not pad with zeros where `shift` is not 0;
    `scale` and `shift` are float64, `[channels]` of its inputs.
    """
    weights = _weights(layer)
    name = "depthwise_kernel" if isinstance(layer, SEPARABLE) else "kernel"
    kernel = weights[name]  # [..., inputs, outputs or multiplier]
    shifted = (kernel * shift[:, np.newaxis]).sum(axis=tuple(range(kernel.ndim - 2)))
    if isinstance(layer, DENSE):
        shifted = shifted.sum(axis=0)
    elif isinstance(layer, SEPARABLE):
        pointwise = weights["pointwise_kernel"]
        shifted = shifted.ravel() @ pointwise.reshape(pointwise.shape[-2:])
    bias = weights["bias"] + shifted.ravel()
    return weights | {name: kernel * scale[:, np.newaxis], "bias": bias}


def _weights(layer: keras.Layer) -> dict[str, np.ndarray]:
    """In float64; a bias that is missing is 0."""
    zero = {"bias": np.zeros(1)}
    return zero | {
        variable.name: variable.numpy().astype(np.float64) for variable in layer.variables
    }
