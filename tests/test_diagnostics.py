import keras
import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial.diagnostics import (
    diagnose,
    in_float64,
    look_along_gradient,
    measure_gradient_norms,
    observe_percentiles,
    percentiles,
)
from bn_tutorial.distributed import GhostBatchNormNetwork, build_replicas
from bn_tutorial.networks import (
    BatchNormNetwork,
    KerasNetwork,
    NaiveBatchNormNetwork,
    NoisyBatchNormNetwork,
    PlainNetwork,
    ResidualNetwork,
    build_graph,
    initial_weights,
)
from bn_tutorial.prediction import measure_accuracy
from bn_tutorial.training import loss_and_gradients, train
from tests.variables import central_differences, unchanged


@pytest.fixture
def batch(digits):
    return digits.train.images[:40], digits.train.classes[:40]


def of_keras(weights):
    layers = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input([28, 28, 1]), keras.layers.Flatten(), *layers])
    return KerasNetwork(model)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Keras's own, when it is copied
@pytest.mark.parametrize(
    ("build", "layers"),
    [
        (PlainNetwork, 2),
        (NaiveBatchNormNetwork, 2),
        (BatchNormNetwork, 2),
        (lambda weights: NoisyBatchNormNetwork(weights, 0.5), 2),
        (lambda weights: GhostBatchNormNetwork(weights, 2), 2),
        (lambda weights: build_replicas(tf.distribute.get_strategy(), weights), 2),
        (ResidualNetwork, 2),
        (lambda weights: ResidualNetwork(weights, batch_norm=False, skip_init=True), 2),
        (of_keras, 1),
    ],
)
def test_any_network_can_be_looked_at(build, layers, batch, digits):
    """What promises to take "one of `networks`" takes each of them, and leaves it as it was."""
    images, labels = batch
    network = build(initial_weights(scheme="he", layer_sizes=(784, 8, 8, 10)))
    state = network.model.variables if isinstance(network, KerasNetwork) else network.variables
    with unchanged(state):
        found = diagnose(network, images, labels)
        assert len(found) == layers
        assert all(np.isfinite([one.deviation, one.gradient]).all() for one in found)
        assert measure_gradient_norms(network, images, labels).shape == (layers,)
        losses, changes = look_along_gradient(network, images, labels, [0.0, 1e-4])
        assert changes[0] == 0 < changes[1]
        assert losses[1] < losses[0]  # so small a step follows the gradient
        assert observe_percentiles(network, images).shape == (3, network.units)
        graph = build_graph(network, is_training=False)
        np.testing.assert_allclose(graph(tf.constant(images)), network(images, False), atol=1e-4)
        by_population = np.argmax(network(digits.test.images, False), axis=1)
        expected = np.mean(by_population == digits.test.classes)
        assert measure_accuracy(network, digits.test) == pytest.approx(expected)
        measure_accuracy(network, digits.test, 60)  # by batches, which must not move its population
    train({"": network}, digits, steps=2, observe=observe_percentiles)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def cross_entropy(logits, labels):
    """Summed over the batch."""
    return np.sum(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels])


def test_diagnosis_of_the_plain_network(batch):
    """Against the same numbers by hand, the gradient by finite differences."""
    images, labels = batch
    weights = [0.3 * matrix for matrix in initial_weights(layer_sizes=(784, 8, 6, 10))]
    found = diagnose(PlainNetwork(weights), images, labels)
    z1 = images.astype(np.float64) @ weights[0]
    z2 = sigmoid(z1) @ weights[1]
    for diagnosis, z in zip(found, (z1, z2), strict=True):
        np.testing.assert_allclose(diagnosis.saturated, np.mean(np.abs(z) > 4), atol=0.01)
        np.testing.assert_allclose(diagnosis.deviation, z.std(), rtol=1e-4)

    def loss(w2):
        return cross_entropy(sigmoid(sigmoid(z1) @ w2) @ weights[2], labels)

    expected = np.sqrt(np.mean(central_differences(loss, weights[1]) ** 2))
    np.testing.assert_allclose(found[1].gradient, expected, rtol=1e-3)


def test_diagnosis_of_a_noisy_network_is_of_one_step(batch):
    """What is fed and the gradient belong to the same noise: that of the next step."""
    images, labels = batch
    noisy, twin = (NoisyBatchNormNetwork(initial_weights(), noise=2.0, seed=3) for _ in range(2))
    found = diagnose(noisy, images, labels)
    fed = twin.all_activation_inputs(images, is_training=True)
    np.testing.assert_allclose([one.deviation for one in found], [np.std(z) for z in fed], 1e-5)
    for layer in twin.layers:
        layer.step.assign(0)
    _, gradients = loss_and_gradients(twin, images, labels)
    names = [variable.ref() for variable in twin.trainable_variables]
    of = dict(zip(names, gradients, strict=True))
    expected = [np.sqrt(np.mean(of[layer.weights.ref()] ** 2)) for layer in twin.layers]
    np.testing.assert_allclose([one.gradient for one in found], expected, 1e-5)


@pytest.mark.parametrize("ranks", [(15, 50, 85), (0, 100)])
def test_percentiles_are_numpys(ranks, generator):
    values = generator.normal(size=(301, 4)).astype(np.float32)
    expected = np.percentile(values, ranks, axis=0, method="nearest")
    np.testing.assert_array_equal(percentiles(tf.constant(values), ranks), expected)


def test_observed_percentiles_hold_the_layers_own_noise(batch):
    weights = initial_weights()
    noisy = NoisyBatchNormNetwork(weights, noise=0.5, seed=1)
    naive = NaiveBatchNormNetwork(weights)
    inputs = naive.activation_inputs(batch[0], is_training=False)
    np.testing.assert_array_equal(observe_percentiles(naive, batch[0]), percentiles(inputs))
    noise = noisy.layers[-1].add_noise(inputs)
    np.testing.assert_array_equal(observe_percentiles(noisy, batch[0]), percentiles(noise))
    assert not np.allclose(noise, inputs)


def test_gradient_norms_by_finite_differences(batch):
    """Move what the last sigmoids are fed, and look at the loss."""
    images, labels = batch
    network = PlainNetwork(initial_weights(scheme="glorot", layer_sizes=(784, 6, 5, 10)))
    wide = in_float64(network)
    fed = wide.all_activation_inputs(tf.cast(images, tf.float64), is_training=True)[-1].numpy()

    def loss(fed):
        return cross_entropy(wide.output(tf.constant(fed)).numpy(), labels)

    norms = measure_gradient_norms(network, images, labels)
    expected = np.linalg.norm(central_differences(loss, fed))
    np.testing.assert_allclose(norms[-1], expected, rtol=1e-6)


def test_gradient_norms_far_below_float32(batch):
    """In float32 the square of such a norm is 0."""
    weights = initial_weights(scheme="glorot", layer_sizes=(784, *[30] * 40, 10))
    norms = measure_gradient_norms(PlainNetwork(weights), *batch)
    assert 0 < norms[0] < 1e-23
    assert (np.diff(norms) > 0).all()


@pytest.mark.parametrize("kind", [BatchNormNetwork, ResidualNetwork, NoisyBatchNormNetwork])
def test_a_copy_in_float64_computes_the_same(kind, batch):
    images, _ = batch
    options = {"noise": 0.1} if kind is NoisyBatchNormNetwork else {}
    network = kind(initial_weights(layer_sizes=(784, 7, 7, 10)), **options)
    wide = in_float64(network)
    assert {v.dtype for v in wide.variables if v.dtype.is_floating} == {tf.float64}
    assert len(wide.trainable_variables) == len(network.trainable_variables)
    found = wide(tf.cast(images, tf.float64), is_training=False)
    expected = network(images, is_training=False)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_along_the_gradient_the_loss_falls_by_the_squared_norm():
    images, labels = np.zeros([4, 784], np.float32), np.array([0, 1, 2, 3])
    network = PlainNetwork(initial_weights(layer_sizes=(784, 3, 10)))
    losses, changes = look_along_gradient(network, images, labels, [0.0, 0.01, 0.02])
    here, gradients = loss_and_gradients(network, images, labels)
    np.testing.assert_allclose(losses[0], here, rtol=1e-6)
    assert changes[0] == 0
    assert changes[2] > changes[1] > 0
    square = tf.linalg.global_norm(gradients) ** 2
    np.testing.assert_allclose(losses[0] - losses[1], 0.01 * square, rtol=0.1)  # Taylor
