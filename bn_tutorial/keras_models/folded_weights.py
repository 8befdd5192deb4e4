"""Weights that do what a batch normalization before or behind them did: `a·z + b`, channel-wise."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

Weights = dict[str, np.ndarray]
# For each kind of layer its kernel, and the axis of that kernel's output channels. A depthwise
# kernel is `[..., inputs, multiplier]`, and its channels are both of these.
DENSE = {layers.Dense: "kernel", layers.Conv1D: "kernel", layers.Conv2D: "kernel",
         layers.Conv3D: "kernel"}  # fmt: skip
TRANSPOSED = {layers.Conv1DTranspose: "kernel", layers.Conv2DTranspose: "kernel",
              layers.Conv3DTranspose: "kernel"}  # fmt: skip
DEPTHWISE = {layers.DepthwiseConv1D: "kernel", layers.DepthwiseConv2D: "kernel"}
SEPARABLE = {layers.SeparableConv1D: "pointwise_kernel", layers.SeparableConv2D: "pointwise_kernel"}
KINDS = DENSE | TRANSPOSED | DEPTHWISE | SEPARABLE
FORWARD_KINDS = DENSE | DEPTHWISE | SEPARABLE


def affine(layer: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """What BN does at inference, `a·z + b`: float64 `a` and `b`, each `[channels]`."""
    mean, variance, gamma, beta = (
        None if variable is None else variable.numpy().astype(np.float64)
        for variable in (
            getattr(layer, name, None)
            for name in ("moving_mean", "moving_variance", "gamma", "beta")
        )
    )
    scale = (1.0 if gamma is None else gamma) / np.sqrt(variance + layer.epsilon)
    return scale, (0.0 if beta is None else beta) - scale * mean


def rescale_outputs(
    layer: keras.Layer, weights: Weights, scale: np.ndarray, shift: np.ndarray
) -> Weights:
    """Weights with which the layer's outputs are `scale·outputs + shift`.

    Args:
        layer: one of `KINDS`, without activation function.
        weights: its own, by name; `bias` may be missing.
        scale: float `[channels]`, of the layer's outputs.
        shift: float `[channels]`.
    """
    name = KINDS[type(layer)]
    kernel = weights[name].astype(np.float64)
    if type(layer) in TRANSPOSED:
        kernel = kernel * scale[:, np.newaxis]
    elif type(layer) in DEPTHWISE:
        kernel = kernel * scale.reshape(kernel.shape[-2:])
    else:
        kernel = kernel * scale
    bias = weights.get("bias", np.zeros_like(shift)) * scale + shift
    return weights | {name: kernel, "bias": bias}


def rescale_inputs(
    layer: keras.Layer, weights: Weights, scale: np.ndarray, shift: np.ndarray
) -> Weights:
    """Weights that make of `inputs` what the old ones make of `scale·inputs + shift`.

    Args:
        layer: one of `FORWARD_KINDS`; where `shift` is not 0 it must not pad with zeros.
        weights: its own, by name; `bias` may be missing.
        scale: float `[channels]`, of the layer's inputs.
        shift: float `[channels]`.
    """
    name = "depthwise_kernel" if type(layer) in SEPARABLE else "kernel"
    kernel = weights[name].astype(np.float64)
    positions = tuple(range(kernel.ndim - 2))
    moved = kernel.sum(axis=positions) * shift[:, np.newaxis]  # [inputs, outputs or multiplier]
    if type(layer) in DENSE:
        moved = moved.sum(axis=0)
    elif type(layer) in DEPTHWISE:
        moved = moved.ravel()
    else:
        pointwise = weights["pointwise_kernel"].astype(np.float64)
        moved = moved.ravel() @ pointwise.reshape(pointwise.shape[-2:])
    kernel = kernel * scale[:, np.newaxis]
    return weights | {name: kernel, "bias": weights.get("bias", 0.0) + moved}
