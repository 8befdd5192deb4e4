import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial.diagnostics import diagnose, percentiles
from bn_tutorial.networks import (
    BatchNormNetwork,
    NaiveBatchNormNetwork,
    NoisyBatchNormNetwork,
    PlainNetwork,
    initial_weights,
)


@pytest.fixture
def batch(digits):
    return digits.train.images[:40], digits.train.classes[:40]


def test_diagnosis_of_the_plain_network(batch):
    """Against the same numbers by hand, the gradient by finite differences."""
    images, labels = batch
    weights = [0.3 * matrix for matrix in initial_weights(layer_sizes=(784, 8, 6, 10))]
    network = PlainNetwork(weights)
    found = diagnose(network, images, labels)
    z1 = images.astype(np.float64) @ weights[0]
    z2 = 1 / (1 + np.exp(-z1)) @ weights[1]
    for diagnosis, z in zip(found, (z1, z2), strict=True):
        np.testing.assert_allclose(diagnosis.saturated, np.mean(np.abs(z) > 4), atol=0.01)
        np.testing.assert_allclose(diagnosis.deviation, z.std(), rtol=1e-4)

    def loss(w2):
        logits = (1 / (1 + np.exp(-(1 / (1 + np.exp(-z1)) @ w2)))) @ weights[2]
        normalizer = np.log(np.exp(logits).sum(axis=1))
        return np.sum(normalizer - logits[np.arange(40), labels])

    gradient = np.zeros((8, 6))
    for index in np.ndindex(8, 6):
        step = np.zeros((8, 6))
        step[index] = 1e-5
        gradient[index] = (loss(weights[1] + step) - loss(weights[1] - step)) / 2e-5
    expected = np.sqrt(np.mean(gradient**2))
    np.testing.assert_allclose(found[1].gradient, expected, rtol=1e-3)


@pytest.mark.parametrize(
    "build",
    [
        PlainNetwork,
        NaiveBatchNormNetwork,
        BatchNormNetwork,
        lambda weights: NoisyBatchNormNetwork(weights, noise=0.5),
    ],
)
def test_diagnosis_leaves_the_network_as_it_was(build, batch):
    network = build(initial_weights())
    before = [variable.numpy() for variable in network.variables]
    assert len(diagnose(network, *batch)) == 2
    for a, b in zip(before, network.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_percentiles_are_numpys(generator):
    values = generator.normal(size=(301, 4)).astype(np.float32)
    expected = np.percentile(values, (15, 50, 85), axis=0, method="nearest")
    np.testing.assert_array_equal(percentiles(tf.constant(values)), expected)


def test_other_percentiles(generator):
    values = generator.normal(size=(11, 1)).astype(np.float32)
    found = percentiles(tf.constant(values), ranks=(0, 100))
    np.testing.assert_array_equal(found, [values.min(axis=0), values.max(axis=0)])
