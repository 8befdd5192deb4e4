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
    @pytest.mark.parametrize(
        ("scheme", "variance"),
        [
            ("normal", lambda inputs, outputs: 1),
            ("glorot", lambda inputs, outputs: 2 / (inputs + outputs)),
            ("he", lambda inputs, outputs: 2 / inputs),
        ],
    )
    def test_each_scheme_has_its_variance(self, scheme, variance):
        weights = initial_weights(3, scheme, layer_sizes=(784, 400, 300))
        for matrix, shape in zip(weights, [(784, 400), (400, 300)], strict=True):
            assert (matrix.shape, matrix.dtype) == (shape, np.float32)
            deviation = np.sqrt(variance(*shape))
            assert abs(matrix.mean()) < 0.02 * deviation
            assert matrix.std() == pytest.approx(deviation, rel=0.02)
            if scheme == "glorot":  # uniform
                assert np.abs(matrix).max() == pytest.approx(np.sqrt(3) * deviation, rel=0.01)

    def test_deviation_and_seed(self):
        weights = initial_weights(3)
        assert [matrix.shape for matrix in weights] == [(784, 100), (100, 100), (100, 10)]
        assert_all_close(initial_weights(3, deviation=0.1), [0.1 * w for w in weights], rtol=1e-6)
        for ours, other in zip(weights, initial_weights(4), strict=True):
            assert not np.array_equal(ours, other)

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
        weights = initial_weights(layer_sizes=(784, 60, 50, 40, 10))
        network = disturbed(NaiveBatchNormNetwork(weights), generator)
        outputs = images.astype(np.float64)
        for layer in network.layers:
            z = layer.gamma * normalize(outputs @ layer.weights.numpy()) + layer.beta
            outputs = sigmoid(z)
        found = network.activation_inputs(images, is_training)
        assert found.shape == (30, 40)
        np.testing.assert_allclose(found, z, rtol=1e-3, atol=1e-3)

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
        shifts = [
            float(layer.add_noise(tf.zeros([1, 50]))[0, 0])
            for seed in range(6)
            for layer in NoisyBatchNormNetwork(weights, 0.5, seed).layers
        ]
        assert len(set(shifts)) == 18

    def test_present_noise_can_be_looked_at_and_is_its_seeds(self, images):
        weights = initial_weights(layer_sizes=(784, 50, 10))
        network, again = (NoisyBatchNormNetwork(weights, 0.5, seed=1) for _ in range(2))
        fed = network.activation_inputs(images, True)
        np.testing.assert_array_equal(fed, again.activation_inputs(images, True))
        clean = network.activation_inputs(images, False)
        np.testing.assert_allclose(network.layers[0].add_noise(clean), fed, atol=1e-6)


@ALL
def test_a_checkpoint_holds_every_variable_to_the_bit(kind, generator, tmp_path):
    network, restored = disturbed(kind(initial_weights(0)), generator), kind(initial_weights(1))
    path = tf.train.Checkpoint(network=network).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(network=restored).read(path).assert_consumed()
    np.testing.assert_equal(values(restored.variables), values(network.variables))


class TestBuildGraph:
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

    @pytest.mark.parametrize("skip_init", [True, False])
    @pytest.mark.parametrize("batch_norm", [True, False])
    def test_blocks_add_to_a_stream(self, images, batch_norm, skip_init):
        network = ResidualNetwork(self.weights, batch_norm, skip_init)
        scales = [v for v in network.trainable_variables if v.shape.rank == 0]
        assert [scale.numpy() for scale in scales] == ([0, 0] if skip_init else [])
        for scale in scales:
            scale.assign(0.5)
        share = 0.5 if skip_init else 1
        change = normalize if batch_norm else np.asarray
        stream = images.astype(np.float64) @ self.weights[0]
        for matrix in self.weights[1:3]:
            stream = stream + share * np.maximum(change(stream), 0) @ matrix
        expected = np.maximum(change(stream), 0) @ self.weights[3]
        found = network(images, is_training=True)
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
        assert len(network.all_activation_inputs(images, is_training=True)) == 3
        assert network.units == 8

    def test_population_statistics_predict_one_sample(self, images):
        network = ResidualNetwork(self.weights, decay=0.0)
        together = network(images, is_training=True)
        np.testing.assert_allclose(network(images, is_training=False), together, atol=1e-3)
        alone = network(images[:1], is_training=False)
        np.testing.assert_allclose(alone, network(images, is_training=False)[:1], atol=1e-4)
