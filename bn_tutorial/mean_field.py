"""What theory says of gradients in wide, deep networks with BN, before they are trained.

Source: Yang et al., "A Mean Field Theory of Batch Normalization" (2019), called "the paper" below.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from bn_tutorial.arguments import require_at_least
from bn_tutorial.hidden_layers import Activation


def gradient_growth(
    activation: Activation, batch_size: int, samples: int = 10_000, seed: int = 0
) -> float:
    """By what factor a layer multiplies the squared norm of the gradient, on its way back.

    BN stretches what the activation function left of the signal, and the gradient with it. So for
    large batches the factor is what φ passes of the squared gradient over what it passes of the
    variance, E[φ'(y)²] / Var[φ(y)] with y ~ N(0, 1), and this is never below 1. Small batches add
    to it, because their standard deviation is sometimes very small.

    For layers `activation(BN(Wx))` with random weights, far wider than `batch_size`, γ = 1, β = 0
    and ε = 0. A unit's B normalised values y are then a random point of a sphere: Σy = 0, Σy² = B.
    The means over that sphere are estimated from random points:

        factor = B / ((B − 1)(B − 3)) · E tr(P D G D P) / s,   s = E[φ(y₁)²] − E[φ(y₁) φ(y₂)]

    G subtracts the mean; P subtracts it and what lies along y (BN's gradient is P over the standard
    deviation); D has φ'(y) on its diagonal. The variance that the next BN divides by is s / B times
    a χ² with B − 1 degrees of freedom, and the mean of 1 / χ² is 1 / (B − 3).

    Args:
        activation: The activation function φ, elementwise.
        batch_size: Number of samples in a batch, B, 4 or more.
        samples: Number of random points of the sphere.
        seed: Seed of the points.

    Returns:
        The factor. Without an activation function it is (B − 2) / (B − 3); for ReLU it tends to
        π / (π − 1) as B grows. These two numbers are the paper's.
    """
    require_at_least(4, batch_size=batch_size)
    require_at_least(1, samples=samples)
    batch, generator = batch_size, np.random.default_rng(seed)
    points = generator.normal(size=[samples, batch])
    points -= points.mean(axis=1, keepdims=True)
    points *= np.sqrt(batch / np.sum(points**2, axis=1, keepdims=True))
    values, slopes = _values_and_slopes(activation, points)
    different = (values.sum(axis=1) ** 2 - np.sum(values**2, axis=1)) / (batch * (batch - 1))
    spread = np.mean(values**2) - np.mean(different)
    trace = _projected_trace(points, slopes)
    return float(batch / ((batch - 1) * (batch - 3)) * trace.mean() / spread)


def _values_and_slopes(activation: Activation, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inputs = tf.constant(points)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        values = activation(inputs)
    return values.numpy(), tape.gradient(values, inputs).numpy()


def _projected_trace(points: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """tr(P D G D P) of each sample, `[samples, batch]` → `[samples]`.

    With d the diagonal of D it is tr(D² P) − dᵀPd / B, and P = I − 11ᵀ/B − yyᵀ/B.
    """
    batch = points.shape[1]
    squares, along = slopes**2, points / np.sqrt(batch)
    first = np.sum(squares * (1 - 1 / batch - along**2), axis=1)
    second = squares.sum(axis=1) - slopes.sum(axis=1) ** 2 / batch
    second -= np.sum(slopes * along, axis=1) ** 2
    return first - second / batch
