from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial import training
from bn_tutorial.hidden_layers import BatchNormLayer, PlainLayer
from bn_tutorial.networks import (
    BatchNormNetwork,
    KerasNetwork,
    NaiveBatchNormNetwork,
    Network,
    NoisyBatchNormNetwork,
    PlainNetwork,
    ResidualNetwork,
    build_graph,
    initial_weights,
)
from tests.variables import assert_all_close, values

KINDS = [PlainNetwork, NaiveBatchNormNetwork, BatchNormNetwork]
ALL = pytest.mark.parametrize("kind", KINDS)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def normalize(z):
    return (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-3)


@pytest.fixture
def images(generator):
    return generator.uniform(size=(30, 784)).astype(np.float32)


def disturbed(network, generator):
    """The network, each variable moved as by training; the variances stay positive."""
    for variable in network.variables:
        variable.assign_add(generator.uniform(0, 0.3, size=variable.shape).astype(np.float32))
    return network


class TestInitialWeights:
    def test_normal(self):
        weights = initial_weights(seed=3)
        assert [matrix.shape for matrix in weights] == [(784, 100), (100, 100), (100, 10)]
        assert all(matrix.dtype == np.float32 for matrix in weights)
        assert abs(weights[0].mean()) < 0.02
        assert abs(weights[0].std() - 1) < 0.02
        assert_all_close(initial_weights(3, deviation=0.1), [0.1 * w for w in weights], rtol=1e-6)

    def test_he_is_normal_of_variance_two_over_inputs(self):
        for matrix in initial_weights(scheme="he", layer_sizes=(784, 400, 300)):
            assert matrix.std() == pytest.approx(np.sqrt(2 / matrix.shape[0]), rel=0.02)

    def test_glorot_is_uniform_within_its_limit(self):
        for matrix in initial_weights(scheme="glorot"):
            limit = np.sqrt(6 / sum(matrix.shape))
            assert np.abs(matrix).max() <= limit
            assert np.abs(matrix).max() > 0.99 * limit
            assert abs(matrix.std() - limit / np.sqrt(3)) < 0.05 * limit

    def test_seed(self):
        for a, b, c in zip(*(initial_weights(seed) for seed in (1, 1, 2)), strict=True):
            assert np.array_equal(a, b)
            assert not np.array_equal(a, c)

    def test_unknown_scheme(self):
        with pytest.raises(ValueError, match='"glorot" or "he", found \'uniform\''):
            initial_weights(scheme="uniform")


class TestNetworks:
    def test_without_bn(self, images, generator):
        network = disturbed(PlainNetwork(initial_weights(scheme="glorot")), generator)
        (w1, b1), (w2, b2) = ((layer.weights, layer.biases) for layer in network.layers)
        z2 = sigmoid(images @ w1.numpy() + b1) @ w2.numpy() + b2
        logits = sigmoid(z2) @ network.output_weights.numpy() + network.output_biases
        np.testing.assert_allclose(network.activation_inputs(images, True), z2, rtol=1e-4)
        np.testing.assert_allclose(network(images, False), logits, rtol=1e-4)

    @pytest.mark.parametrize("is_training", [True, False])
    def test_naive_bn_uses_the_batch_always(self, images, generator, is_training):
        network = disturbed(NaiveBatchNormNetwork(initial_weights()), generator)
        outputs = images.astype(np.float64)
        for layer in network.layers:
            z = layer.gamma * normalize(outputs @ layer.weights.numpy()) + layer.beta
            outputs = sigmoid(z)
        found = network.activation_inputs(images, is_training)
        np.testing.assert_allclose(found, z, rtol=1e-3, atol=1e-3)

    def test_fixed_bn_trains_as_naive_bn_does(self, images):
        weights = initial_weights()
        naive, fixed = NaiveBatchNormNetwork(weights), BatchNormNetwork(weights)
        np.testing.assert_allclose(fixed(images, True), naive(images, True), rtol=1e-4, atol=1e-4)

    def test_fixed_bn_predicts_from_the_population_whoever_shares_the_batch(
        self, images, generator
    ):
        network = disturbed(BatchNormNetwork(initial_weights()), generator)
        outputs = images
        for layer in network.layers:
            bn = layer.batch_norm
            z = (outputs @ layer.weights.numpy() - bn.pop_mean) / np.sqrt(bn.pop_var + 1e-3)
            z = z * bn.gamma + bn.beta
            outputs = sigmoid(z)
        found = network.activation_inputs(images, is_training=False)
        np.testing.assert_allclose(found, z, rtol=1e-3, atol=1e-3)
        alone = np.concatenate([network(image[np.newaxis], False) for image in images])
        np.testing.assert_allclose(alone, network(images, False), rtol=1e-4, atol=1e-4)

    def test_naive_bn_alone_answers_what_its_weights_foretell(self, images, generator):
        network = disturbed(NaiveBatchNormNetwork(initial_weights()), generator)
        expected = sigmoid(network.layers[1].beta.numpy()) @ network.output_weights.numpy()
        expected += network.output_biases
        for image in images:
            logits = network(image[np.newaxis], False)[0]
            np.testing.assert_allclose(logits, expected, atol=1e-3)  # but for rounding

    @ALL
    def test_any_number_of_hidden_layers(self, kind, generator):
        network = kind(initial_weights(layer_sizes=(4, 6, 5, 3, 2)))
        images = generator.uniform(size=(8, 4)).astype(np.float32)
        assert network.activation_inputs(images, is_training=True).shape == (8, 3)
        assert network(images, is_training=True).shape == (8, 2)

    @ALL
    def test_weights_that_do_not_chain(self, kind):
        with pytest.raises(ValueError, match=r"found shapes \[\(4, 6\), \(5, 2\)\]"):
            kind([np.zeros((4, 6)), np.zeros((5, 2))])
        with pytest.raises(ValueError, match="two or more matrices"):
            kind([np.zeros((4, 6))])

    def test_no_bias_before_bn(self):
        networks = [kind(initial_weights()) for kind in KINDS]
        plain, naive, fixed = (sum(map(tf.size, one.trainable_variables)) for one in networks)
        assert plain == 784 * 100 + 100 + 100 * 100 + 100 + 100 * 10 + 10
        assert naive == fixed == plain + 2 * 100


class TestNoisyBatchNormNetwork:
    @pytest.mark.parametrize(("noise", "is_training"), [(0.0, True), (2.0, False)])
    def test_without_noise_and_outside_training_it_is_naive_bn(self, images, noise, is_training):
        weights = initial_weights()
        noisy, naive = NoisyBatchNormNetwork(weights, noise), NaiveBatchNormNetwork(weights)
        np.testing.assert_array_equal(noisy(images, is_training), naive(images, is_training))
        assert noisy.layers[0].step.numpy() == is_training

    def test_noise_is_new_at_each_step_and_one_for_the_whole_batch(self, images):
        network = NoisyBatchNormNetwork(initial_weights(layer_sizes=(784, 50, 10)), noise=0.5)
        clean = network.activation_inputs(images, False).numpy()
        first, second = (network.activation_inputs(images, True).numpy() for _ in range(2))
        assert network.layers[0].step.numpy() == 2
        assert np.abs(first - second).mean() > 0.1
        for noisy in (first, second):  # for each unit a line: scale · clean + shift
            scale = noisy.std(axis=0) / clean.std(axis=0)
            shift = noisy.mean(axis=0) - scale * clean.mean(axis=0)
            np.testing.assert_allclose(noisy, scale * clean + shift, atol=1e-4)
            assert np.all((scale > 1 - 1e-4) & (scale < 1.5 + 1e-4))
            assert 0.3 < shift.std() < 0.7

    def test_each_layer_and_seed_has_noise_of_its_own(self):
        weights = initial_weights(layer_sizes=(784, 50, 50, 50, 10))
        clean = np.array([[0.0], [1.0]], np.float32).repeat(50, axis=1)
        drawn = [
            np.ravel(layer.add_noise(clean)).tolist()
            for seed in range(6)
            for layer in NoisyBatchNormNetwork(weights, 0.5, seed).layers
        ]
        assert len({tuple(noise) for noise in drawn}) == 18
        singles = [noise[0] for noise in drawn]  # shifts, of which none comes twice either
        assert len(set(singles)) == 18

    def test_present_noise_can_be_looked_at_and_is_its_seeds(self, images):
        weights = initial_weights(layer_sizes=(784, 50, 10))
        first, again, other = (NoisyBatchNormNetwork(weights, 0.5, seed) for seed in (1, 1, 2))
        fed = first.activation_inputs(images, True)
        np.testing.assert_array_equal(fed, again.activation_inputs(images, True))
        assert not np.array_equal(fed, other.activation_inputs(images, True))
        clean = first.activation_inputs(images, False)
        np.testing.assert_allclose(first.layers[0].add_noise(clean), fed, atol=1e-6)


@ALL
def test_a_checkpoint_holds_every_variable_to_the_bit(kind, generator, tmp_path):
    network, restored = disturbed(kind(initial_weights(0)), generator), kind(initial_weights(1))
    path = tf.train.Checkpoint(network=network).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(network=restored).read(path).assert_consumed()
    np.testing.assert_equal(values(restored.variables), values(network.variables))


class TestBuildGraph:
    def test_what_the_graphs_contain(self):
        network = BatchNormNetwork(initial_weights())
        graphs = [build_graph(network, is_training).graph for is_training in (True, False)]
        training, prediction = (Counter(op.type for op in g.get_operations()) for g in graphs)
        assert training["AssignVariableOp"] == training["Mean"] == 4
        for forbidden in ("Mean", "SquaredDifference", "AssignVariableOp", "AssignAddVariableOp"):
            assert prediction[forbidden] == 0
        assert prediction["MatMul"] == 3

    @ALL
    @pytest.mark.parametrize("is_training", [True, False])
    def test_equals_the_network_for_any_batch(self, kind, is_training, images):
        network = kind(initial_weights())
        graph = build_graph(network, is_training)
        for batch in (images[:2], images):
            found, expected = graph(tf.constant(batch)), network(batch, is_training)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

    def test_graphs_share_the_variables(self, images):
        network = BatchNormNetwork(initial_weights(), decay=0.0)
        training, prediction = (build_graph(network, flag) for flag in (True, False))
        in_training = training(tf.constant(images))  # decay 0: the population is now this batch's
        np.testing.assert_allclose(prediction(tf.constant(images)), in_training, atol=1e-4)


def test_layers_of_different_kinds_make_a_network(images):
    """What later chapters build on: a new way to normalise is a new layer, not a new network."""
    first, second, output = initial_weights()
    mixed = Network([BatchNormLayer(first, decay=0.0), PlainLayer(second)], output)
    z1 = images @ first
    fed = mixed.all_activation_inputs(images, is_training=True)
    np.testing.assert_allclose(fed[0], normalize(z1), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(fed[1], sigmoid(fed[0].numpy()) @ second, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(mixed(images, False), mixed(images, True), rtol=1e-3, atol=1e-3)


def test_a_keras_model_trains_as_our_own_network(digits):
    """The article's network without BN, ours and in Keras: the same history."""
    weights = initial_weights(2, "glorot")
    dense = [keras.layers.Dense(100, "sigmoid"), keras.layers.Dense(100, "sigmoid")]
    model = keras.Sequential([keras.Input([784]), *dense, keras.layers.Dense(10)])
    for layer, matrix in zip(model.layers, weights, strict=True):
        layer.kernel.assign(matrix)
    group = {"ours": PlainNetwork(weights), "Keras": KerasNetwork(model)}
    histories = training.train(group, digits, steps=30, record_every=10)
    accuracies = [histories[name].test_accuracy for name in group]
    np.testing.assert_allclose(*accuracies, atol=0.01)
    second = [model.layers[1].kernel.numpy(), group["ours"].layers[1].weights]
    np.testing.assert_allclose(*second, atol=1e-4)


def test_a_keras_models_bn_moves_in_training_alone(digits):
    norm = keras.layers.BatchNormalization()
    layers = [keras.Input([28, 28, 1]), keras.layers.Flatten(), norm, keras.layers.Dense(10)]
    network = KerasNetwork(keras.Sequential(layers))
    images = digits.train.images[:8]
    assert network(images, is_training=False).shape == (8, 10)
    np.testing.assert_array_equal(norm.moving_mean.numpy(), np.zeros(784))
    network(images, is_training=True)
    np.testing.assert_allclose(norm.moving_mean.numpy(), 0.01 * images.mean(axis=0), rtol=1e-4)


def test_a_keras_models_regularisation_counts_as_in_keras(digits):
    """Keras takes the mean of the cross entropy, so its rate is the batch size times as large."""
    dense = keras.layers.Dense(10, kernel_regularizer=keras.regularizers.L2(0.1))
    ours = keras.Sequential([keras.Input([784]), dense])
    theirs = keras.models.clone_model(ours)
    theirs.set_weights(ours.get_weights())
    images, classes = digits.train.images[:20], digits.train.classes[:20]
    training.gradient_descent_step(KerasNetwork(ours), images, classes, 0.01)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs.compile(keras.optimizers.SGD(20 * 0.01), loss)
    theirs.train_on_batch(images, classes)
    assert_all_close(ours.get_weights(), theirs.get_weights(), atol=1e-5)


@pytest.mark.parametrize("kind", [PlainNetwork, BatchNormNetwork])
def test_another_activation(kind, images):
    weights = initial_weights(layer_sizes=(784, 8, 6, 10))
    found = kind(weights, activation=tf.nn.relu)(images, is_training=True)
    change = normalize if kind is BatchNormNetwork else np.asarray
    outputs = images.astype(np.float64)
    for matrix in weights[:2]:
        outputs = np.maximum(change(outputs @ matrix), 0)
    np.testing.assert_allclose(found, outputs @ weights[2], rtol=1e-3, atol=1e-3)


class TestResidualNetwork:
    weights = initial_weights(scheme="he", layer_sizes=(784, 8, 8, 8, 10))

    @pytest.mark.parametrize("batch_norm", [True, False])
    def test_blocks_add_to_a_stream(self, images, batch_norm):
        network = ResidualNetwork(self.weights, batch_norm)
        change = normalize if batch_norm else np.asarray
        stream = images.astype(np.float64) @ self.weights[0]
        for matrix in self.weights[1:3]:
            stream = stream + np.maximum(change(stream), 0) @ matrix
        expected = np.maximum(change(stream), 0) @ self.weights[3]
        found = network(images, is_training=True)
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
        assert len(network.all_activation_inputs(images, is_training=True)) == 3
        assert network.units == 8

    def test_skip_init_starts_as_the_identity(self, images):
        network = ResidualNetwork(self.weights, batch_norm=False, skip_init=True)
        stream = images @ self.weights[0]
        expected = np.maximum(stream, 0) @ self.weights[3]
        np.testing.assert_allclose(network(images, is_training=False), expected, atol=1e-4)
        scales = [block.scale for block in network.layers[:-1]]
        assert all(any(scale is v for v in network.trainable_variables) for scale in scales)

    def test_population_statistics_predict_one_sample(self, images):
        network = ResidualNetwork(self.weights, decay=0.0)
        together = network(images, is_training=True)
        np.testing.assert_allclose(network(images, is_training=False), together, atol=1e-3)
        alone = network(images[:1], is_training=False)
        np.testing.assert_allclose(alone, network(images, is_training=False)[:1], atol=1e-4)

    @pytest.mark.parametrize("options", [{}, {"batch_norm": False, "skip_init": True}])
    def test_it_trains(self, digits, options):
        weights = initial_weights(scheme="he", layer_sizes=(784, *[30] * 6, 10))
        network = ResidualNetwork(weights, **({"decay": 0.9} | options))
        histories = training.train({"": network}, digits, 150, 60, 0.003, 150)
        assert histories[""].test_accuracy[-1] > 0.75
