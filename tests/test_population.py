import keras
import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial.mnist import Dataset
from bn_tutorial.networks import (
    BatchNormNetwork,
    KerasNetwork,
    NaiveBatchNormNetwork,
    PlainNetwork,
    ResidualNetwork,
    initial_weights,
)
from bn_tutorial.population import estimate_population
from tests.variables import unchanged


@pytest.fixture
def network():
    return BatchNormNetwork(initial_weights(layer_sizes=(784, 30, 20, 10)))


def layer_1(network, dataset):
    """What BN is given in the first layer, in float64."""
    return dataset.images.astype(np.float64) @ network.layers[0].weights.numpy()


def test_one_batch_of_everything_is_the_population(network, digits):
    z = layer_1(network, digits.train)
    estimate_population(network, digits.train, len(digits.train), 1, "biased")
    bn = network.layers[0].batch_norm
    np.testing.assert_allclose(bn.pop_mean, z.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(bn.pop_var, z.var(axis=0), rtol=1e-4)
    # and then both modes agree, in the second layer too
    images = digits.train.images
    by_population = network(images, is_training=False)
    np.testing.assert_allclose(by_population, network(images, is_training=True), atol=1e-3)


@pytest.mark.parametrize("correct_start", [False, True])
@pytest.mark.parametrize("variance", ["biased", "unbiased", "pooled"])
@pytest.mark.parametrize("size", [2, 5])
def test_averages_over_batches_by_their_formula(digits, variance, size, correct_start):
    weights = initial_weights(layer_sizes=(784, 30, 20, 10))
    network = BatchNormNetwork(weights, correct_start=correct_start)
    twin, dataset = (Dataset(digits.train.pixels, digits.train.classes, seed=3) for _ in range(2))
    z = layer_1(network, twin)[twin.next_indices(size * 12)].reshape(12, size, -1)
    estimate_population(network, dataset, size, 12, variance)
    bn = network.layers[0].batch_norm
    np.testing.assert_allclose(bn.pop_mean, z.mean(axis=(0, 1)), rtol=1e-4, atol=1e-4)
    expected = {
        "biased": z.var(axis=1).mean(axis=0),
        "unbiased": z.var(axis=1, ddof=1).mean(axis=0),
        "pooled": z.reshape(12 * size, -1).var(axis=0),
    }[variance]
    np.testing.assert_allclose(bn.pop_var, expected, rtol=1e-4)


def test_works_on_any_depth_and_changes_nothing_but_the_population(digits):
    network = BatchNormNetwork(initial_weights(layer_sizes=(784, 9, 8, 7, 10)), decay=0.97)
    with unchanged(network.trainable_variables):
        estimate_population(network, digits.train, batches=3)
    assert {layer.decay for layer in network.layers} == {0.97}
    for bn in (layer.batch_norm for layer in network.layers):
        assert np.all(bn.pop_mean != tf.zeros_like(bn.pop_mean))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"batch_size": 1}, "batch_size must be 2 or more, found 1"),
        ({"batches": 0}, "batches must be 1 or more, found 0"),
        ({"variance": "sample"}, "variance must be one of .*, found 'sample'"),
    ],
)
def test_bad_arguments(network, digits, bad, message):
    with unchanged(network.variables), pytest.raises(ValueError, match=message):
        estimate_population(network, digits.train, **bad)


@pytest.mark.parametrize(
    "network",
    [
        PlainNetwork(initial_weights()),
        NaiveBatchNormNetwork(initial_weights()),
        ResidualNetwork(initial_weights(layer_sizes=(784, 8, 8, 10)), batch_norm=False),
        KerasNetwork(keras.Sequential([keras.Input([784]), keras.layers.Dense(10)])),
    ],
)
def test_a_network_without_a_population(network, digits):
    with pytest.raises(TypeError, match=f"in each layer, found {type(network).__name__}"):
        estimate_population(network, digits.train)
