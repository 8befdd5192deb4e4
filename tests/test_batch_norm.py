from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial.batch_norm import (
    BatchNormVariables,
    CorrectedBatchNormVariables,
    batch_norm_builtin,
    batch_norm_by_hand,
    batch_norm_gradients,
    batch_norm_wrapper,
    corrected_decay,
)
from tests.variables import assert_all_close, central_differences, unchanged

BOTH = pytest.mark.parametrize("batch_norm", [batch_norm_by_hand, batch_norm_builtin])


@pytest.fixture
def batch(generator):
    inputs = generator.normal(3, 5, size=(60, 7)).astype(np.float32)
    gamma, beta = generator.normal(size=(2, 7)).astype(np.float32)
    return tf.constant(inputs), tf.Variable(gamma), tf.Variable(beta)


def output_and_gradients(function, inputs, *variables):
    """The output, and the gradients of a loss in which each output weighs differently."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = function(inputs)
        loss = tf.reduce_sum(tf.sin(output) * tf.reshape(tf.range(420.0), [60, 7]) / 420)
    return [output, *tape.gradient(loss, [inputs, *variables])]


def wrapped(inputs, gamma, beta):
    variables = BatchNormVariables(7)
    variables.gamma, variables.beta = gamma, beta
    return batch_norm_wrapper(inputs, variables, is_training=True)


@pytest.mark.parametrize("batch_norm", [batch_norm_by_hand, batch_norm_builtin, wrapped])
def test_equals_keras_in_value_and_gradient(batch_norm, batch):
    inputs, gamma, beta = batch
    layer = keras.layers.BatchNormalization(epsilon=1e-3)
    layer.build(inputs.shape)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    expected = output_and_gradients(
        lambda x: layer(x, training=True), inputs, layer.gamma.value, layer.beta.value
    )
    found = output_and_gradients(lambda x: batch_norm(x, gamma, beta), inputs, gamma, beta)
    assert_all_close(found, expected, rtol=1e-4, atol=1e-5)


@BOTH
def test_gradient_equals_finite_differences(batch_norm, generator):
    arguments = [tf.constant(generator.normal(size=shape)) for shape in ((5, 3), (3,), (3,))]
    analytic, numeric = tf.test.compute_gradient(batch_norm, arguments, delta=1e-5)
    assert_all_close(analytic, numeric, rtol=1e-6, atol=1e-8)


@BOTH
def test_epsilon_enters_as_in_the_formula(batch_norm):
    output = batch_norm([[0.0], [2.0]], [1.0], [0.0], epsilon=3.0)
    np.testing.assert_array_equal(output, [[-0.5], [0.5]])  # mean 1, variance 1, √(1 + 3) = 2


@BOTH
@pytest.mark.parametrize("inputs", [[[7.0, 7.0]] * 4, [[3.0, -8.0]]])
def test_constant_units_and_a_batch_of_one_give_beta(batch_norm, inputs):
    output = batch_norm(inputs, [5.0, 2.0], [0.5, 0.25])
    np.testing.assert_array_equal(output, [[0.5, 0.25]] * len(inputs))


@BOTH
def test_variance_survives_a_large_mean(batch_norm, generator):
    """E[x²] − E[x]² would cancel here: the mean is 20,000 times the deviation."""
    inputs = (2e4 + generator.normal(size=(500, 1))).astype(np.float32)
    exact = inputs.astype(np.float64)
    expected = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-3)
    np.testing.assert_allclose(batch_norm(inputs, [1.0], [0.0]), expected, atol=5e-3)


@pytest.mark.parametrize("function", [batch_norm_by_hand, batch_norm_builtin, batch_norm_gradients])
@pytest.mark.parametrize("inputs", [[1.0, 2.0], np.zeros((2, 3, 4), np.float32), 5.0, [[1, 2]]])
def test_what_is_no_batch_of_floats_is_refused(function, inputs):
    found = r"takes floats .*\[batch, units\], found (float32|int32) of shape \(.*\)"
    with pytest.raises(ValueError, match=found):
        function(inputs, [1.0], [0.0])


class TestWrapper:
    def test_population_after_k_steps_by_the_closed_formula(self, batch):
        inputs, decay, steps = batch[0], 0.9, 25
        variables = BatchNormVariables(7)
        for _ in range(steps):
            batch_norm_wrapper(inputs, variables, is_training=True, decay=decay)
        exact = inputs.numpy().astype(np.float64)
        start = decay**steps
        mean, variance = exact.mean(axis=0), exact.var(axis=0)
        np.testing.assert_allclose(variables.pop_mean, start * 0 + (1 - start) * mean, rtol=1e-5)
        np.testing.assert_allclose(variables.pop_var, start * 1 + (1 - start) * variance, rtol=1e-5)

    def test_population_follows_keras_over_different_batches(self, generator):
        layer = keras.layers.BatchNormalization(momentum=0.97)
        variables = BatchNormVariables(4)
        for scale in range(1, 9):
            inputs = tf.constant(generator.normal(scale, scale, (20, 4)), tf.float32)
            layer(inputs, training=True)
            batch_norm_wrapper(inputs, variables, is_training=True, decay=0.97)
        np.testing.assert_allclose(variables.pop_mean, layer.moving_mean, rtol=1e-5)
        np.testing.assert_allclose(variables.pop_var, layer.moving_variance, rtol=1e-5)

    @pytest.mark.parametrize("kind", [BatchNormVariables, CorrectedBatchNormVariables])
    def test_prediction_uses_the_population_and_changes_nothing(self, kind):
        variables = kind(2)
        variables.gamma.assign([2.0, 1.0])
        variables.beta.assign([0.0, 5.0])
        variables.pop_mean.assign([1.0, -1.0])
        variables.pop_var.assign([4.0, 9.0])
        with unchanged(variables.variables):
            for _ in range(10):
                output = batch_norm_wrapper([[3.0, 2.0]], variables, is_training=False, epsilon=0.0)
        np.testing.assert_allclose(output, [[2.0, 6.0]], rtol=1e-6)

    def test_only_gamma_and_beta_are_trained(self):
        variables = BatchNormVariables(3)
        trained = {variable.name for variable in variables.trainable_variables}
        assert trained == {"gamma:0", "beta:0"}
        assert [variable.shape for variable in variables.variables] == [[3]] * 4

    @pytest.mark.parametrize("traced", [False, True])
    def test_batch_of_one_in_training_is_refused_and_changes_nothing(self, traced):
        variables = BatchNormVariables(2)
        call = partial(batch_norm_wrapper, variables=variables, is_training=True)
        if traced:  # for any batch
            any_batch = tf.TensorSpec([None, 2], tf.float32)
            call = tf.function(call).get_concrete_function(any_batch)
        errors = ValueError, tf.errors.InvalidArgumentError
        with unchanged(variables.variables), pytest.raises(errors, match="2 samples or more"):
            call(tf.ones([1, 2]))
        call(tf.ones([2, 2]))


@pytest.mark.parametrize("kind", [BatchNormVariables, CorrectedBatchNormVariables])
@pytest.mark.parametrize("decay", [-0.1, 1.1, 99])
def test_decay_out_of_range(decay, kind):
    variables = kind(2)
    refused = pytest.raises(ValueError, match=rf"decay must be in \[0, 1\], found {decay}")
    with unchanged(variables.variables), refused:
        variables.update_population(tf.ones([2]), tf.ones([2]), decay)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("batches", [1, 2, 30])
def test_corrected_start_is_smoothing_with_shares_that_add_up_to_one(generator, decay, batches):
    variables = CorrectedBatchNormVariables(3)
    variables.pop_mean.assign([1e3, -1e3, 7.0])  # a start that must leave no trace
    inputs = generator.normal(4, 2, size=(batches, 20, 3)).astype(np.float32)
    for batch in inputs:
        batch_norm_wrapper(batch, variables, is_training=True, decay=decay)
    shares = decay ** np.arange(batches)[::-1]
    shares /= shares.sum()
    np.testing.assert_allclose(variables.pop_mean, shares @ inputs.mean(axis=1), rtol=1e-3)
    np.testing.assert_allclose(variables.pop_var, shares @ inputs.var(axis=1), rtol=1e-3)
    assert variables.steps.numpy() == batches


def test_corrected_decay_is_the_decay_in_the_end():
    np.testing.assert_allclose(corrected_decay(0.99, tf.constant(1e4)), 0.99, rtol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 0.5])
@pytest.mark.parametrize("batch", [2, 9])
def test_gradients_equal_the_tapes(batch, epsilon, generator):
    inputs, upstream = (tf.constant(generator.normal(3, 5, size=(batch, 4))) for _ in range(2))
    gamma, beta = (tf.constant(generator.normal(size=4)) for _ in range(2))
    with tf.GradientTape() as tape:
        tape.watch([inputs, gamma, beta])
        loss = tf.reduce_sum(batch_norm_by_hand(inputs, gamma, beta, epsilon) * upstream)
    expected = tape.gradient(loss, [inputs, gamma, beta])
    found = batch_norm_gradients(inputs, gamma, upstream, epsilon)
    assert_all_close(found, expected, rtol=1e-9, atol=1e-12)


def test_gradients_equal_central_differences(generator):
    z, upstream = generator.normal(2, 3, size=(5, 2)), generator.normal(size=(5, 2))
    gamma = generator.normal(size=2)

    def loss(z):
        return np.sum(upstream * batch_norm_by_hand(z, gamma, np.zeros(2)).numpy())

    found = batch_norm_gradients(z, gamma, upstream)[0]
    np.testing.assert_allclose(found, central_differences(loss, z), atol=1e-8)
