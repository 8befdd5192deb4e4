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

ALL = pytest.mark.parametrize("kind", [PlainNetwork, NaiveBatchNormNetwork, BatchNormNetwork])


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def normalize(z):
    return (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-3)


@pytest.fixture
def images(generator):
    return generator.uniform(size=(30, 784)).astype(np.float32)


def disturb(network, generator):
    """Move every variable off its start, as training would; the variances stay positive."""
    for variable in network.variables:
        variable.assign_add(generator.uniform(0, 0.3, size=variable.shape).astype(np.float32))


class TestInitialWeights:
    def test_normal(self):
        weights = initial_weights(seed=3)
        assert [matrix.shape for matrix in weights] == [(784, 100), (100, 100), (100, 10)]
        assert all(matrix.dtype == np.float32 for matrix in weights)
        assert abs(weights[0].mean()) < 0.02
        assert abs(weights[0].std() - 1) < 0.02

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
        network = PlainNetwork(initial_weights(scheme="glorot"))
        disturb(network, generator)
        (w1, b1), (w2, b2) = ((layer.weights, layer.biases) for layer in network.layers)
        z2 = sigmoid(images @ w1.numpy() + b1) @ w2.numpy() + b2
        logits = sigmoid(z2) @ network.output_weights.numpy() + network.output_biases
        np.testing.assert_allclose(network.activation_inputs(images, True), z2, rtol=1e-4)
        np.testing.assert_allclose(network(images, False), logits, rtol=1e-4)

    @pytest.mark.parametrize("is_training", [True, False])
    def test_naive_bn_uses_the_batch_always(self, images, generator, is_training):
        network = NaiveBatchNormNetwork(initial_weights())
        disturb(network, generator)
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

    def test_fixed_bn_predicts_from_the_population(self, images, generator):
        network = BatchNormNetwork(initial_weights())
        disturb(network, generator)
        outputs = images
        for layer in network.layers:
            bn = layer.batch_norm
            z = (outputs @ layer.weights.numpy() - bn.pop_mean) / np.sqrt(bn.pop_var + 1e-3)
            z = z * bn.gamma + bn.beta
            outputs = sigmoid(z)
        found = network.activation_inputs(images, is_training=False)
        np.testing.assert_allclose(found, z, rtol=1e-3, atol=1e-3)

    def test_fixed_bn_does_not_care_about_company(self, images, generator):
        network = BatchNormNetwork(initial_weights())
        disturb(network, generator)
        alone = np.concatenate([network(image[np.newaxis], False) for image in images])
        np.testing.assert_allclose(alone, network(images, False), rtol=1e-4, atol=1e-4)

    def test_naive_bn_alone_answers_what_its_weights_foretell(self, images, generator):
        network = NaiveBatchNormNetwork(initial_weights())
        disturb(network, generator)
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
        weights = initial_weights()
        sizes = {
            kind: sum(
                variable.shape.num_elements() for variable in kind(weights).trainable_variables
            )
            for kind in (PlainNetwork, NaiveBatchNormNetwork, BatchNormNetwork)
        }
        assert sizes[PlainNetwork] == 784 * 100 + 100 + 100 * 100 + 100 + 100 * 10 + 10
        assert sizes[NaiveBatchNormNetwork] == sizes[PlainNetwork] + 2 * 100
        assert sizes[BatchNormNetwork] == sizes[NaiveBatchNormNetwork]


class TestNoisyBatchNormNetwork:
    def test_without_noise_it_is_naive_bn(self, images):
        weights = initial_weights()
        noisy, naive = NoisyBatchNormNetwork(weights, noise=0.0), NaiveBatchNormNetwork(weights)
        np.testing.assert_array_equal(noisy(images, True), naive(images, True))

    def test_outside_training_there_is_no_noise(self, images):
        weights = initial_weights()
        noisy, naive = NoisyBatchNormNetwork(weights, noise=2.0), NaiveBatchNormNetwork(weights)
        np.testing.assert_array_equal(noisy(images, False), naive(images, False))
        assert noisy.layers[0].step.numpy() == 0

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

    def test_present_noise_can_be_looked_at(self, images):
        network = NoisyBatchNormNetwork(initial_weights(layer_sizes=(784, 50, 10)), noise=0.5)
        fed = network.activation_inputs(images, True)
        clean = network.activation_inputs(images, False)
        np.testing.assert_allclose(network.layers[0].add_noise(clean), fed, atol=1e-6)

    def test_seed(self, images):
        outputs = [
            NoisyBatchNormNetwork(initial_weights(), 0.5, seed)(images, True) for seed in (1, 1, 2)
        ]
        np.testing.assert_array_equal(outputs[0], outputs[1])
        assert not np.array_equal(outputs[0], outputs[2])


class TestCheckpoint:
    @ALL
    def test_round_trip_is_bit_equal(self, kind, generator, tmp_path):
        network = kind(initial_weights(seed=0))
        disturb(network, generator)
        path = tf.train.Checkpoint(network=network).write(str(tmp_path / "checkpoint"))
        restored = kind(initial_weights(seed=1))
        tf.train.Checkpoint(network=restored).read(path).assert_consumed()
        for a, b in zip(network.variables, restored.variables, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_holds_the_population(self, tmp_path):
        path = tf.train.Checkpoint(network=BatchNormNetwork(initial_weights())).write(
            str(tmp_path / "checkpoint")
        )
        names = [name for name, _ in tf.train.list_variables(path)]
        assert sum("pop_mean" in name or "pop_var" in name for name in names) == 4


class TestBuildGraph:
    def test_what_the_graphs_contain(self):
        network = BatchNormNetwork(initial_weights())
        counts = {
            is_training: Counter(
                operation.type
                for operation in build_graph(network, is_training).graph.get_operations()
            )
            for is_training in (True, False)
        }
        assert counts[True]["AssignVariableOp"] == 4
        assert counts[True]["Mean"] == 4
        for forbidden in ("Mean", "SquaredDifference", "AssignVariableOp", "AssignAddVariableOp"):
            assert counts[False][forbidden] == 0
        assert counts[False]["MatMul"] == 3

    @ALL
    @pytest.mark.parametrize("is_training", [True, False])
    def test_equals_the_network_for_any_batch(self, kind, is_training, images):
        network = kind(initial_weights())
        graph = build_graph(network, is_training)
        for batch in (2, 30):
            found = graph(tf.constant(images[:batch]))
            expected = kind(initial_weights())(images[:batch], is_training)
            if is_training:
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
            else:
                np.testing.assert_allclose(
                    found, network(images[:batch], False), rtol=1e-4, atol=1e-4
                )

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


def test_deviation_scales_normal_weights():
    for small, plain in zip(initial_weights(3, deviation=0.1), initial_weights(3), strict=True):
        np.testing.assert_allclose(small, 0.1 * plain, rtol=1e-6)


def test_a_keras_model_trains_as_our_own_network(digits):
    """The article's network without BN, ours and in Keras: the same history."""
    weights = initial_weights(2, "glorot")
    dense = [keras.layers.Dense(100, "sigmoid"), keras.layers.Dense(100, "sigmoid")]
    model = keras.Sequential([keras.Input([784]), *dense, keras.layers.Dense(10)])
    for layer, matrix in zip(model.layers, weights, strict=True):
        layer.kernel.assign(matrix)
    group = {"ours": PlainNetwork(weights), "Keras": KerasNetwork(model)}
    histories = training.train(group, digits, steps=30, record_every=10)
    np.testing.assert_allclose(
        histories["Keras"].test_accuracy, histories["ours"].test_accuracy, atol=0.01
    )
    np.testing.assert_allclose(
        model.layers[1].kernel.numpy(), group["ours"].layers[1].weights, atol=1e-4
    )


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
    regularizer = keras.regularizers.L2(0.1)
    models = [
        keras.Sequential(
            [keras.Input([784]), keras.layers.Dense(10, kernel_regularizer=regularizer)]
        )
        for _ in range(2)
    ]
    models[1].set_weights(models[0].get_weights())
    images, classes = digits.train.images[:20], digits.train.classes[:20]
    training.gradient_descent_step(KerasNetwork(models[0]), images, classes, 0.01)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    models[1].compile(keras.optimizers.SGD(20 * 0.01), loss)
    models[1].train_on_batch(images, classes)
    for ours, keras_ in zip(models[0].variables, models[1].variables, strict=True):
        np.testing.assert_allclose(ours.numpy(), keras_.numpy(), atol=1e-5)


def test_he_draws_from_a_normal_of_variance_two_over_inputs():
    for matrix in initial_weights(scheme="he", layer_sizes=(784, 400, 300)):
        assert matrix.std() == pytest.approx(np.sqrt(2 / matrix.shape[0]), rel=0.02)


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
