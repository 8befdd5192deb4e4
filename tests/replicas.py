"""Tests on four replicas of one processor; test_distributed.py runs them in a process of their own.

The processor has to be divided before TensorFlow starts.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial.batch_norm import batch_norm_by_hand, batch_norm_gradients
from bn_tutorial.distributed import (
    GhostBatchNormNetwork,
    build_replicas,
    compile_replica_steps,
    copy_first_replica,
    divide_processor,
    measure_all_reduce,
    replica_populations,
    synchronized_batch_norm,
)
from bn_tutorial.networks import BatchNormNetwork, initial_weights
from bn_tutorial.training import compile_steps
from tests.variables import assert_all_close

REPLICAS = 4
STEPS, BATCH = 100, 64


@pytest.fixture(scope="module")
def strategy():
    divide_processor(REPLICAS)
    return tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(REPLICAS)])


def train_on_replicas(strategy, data, statistics, reference, tolerance):
    """A network trained on the replicas, which is compared with another on one device."""
    network = build_replicas(strategy, initial_weights(0), statistics)
    indices = tf.constant(data.train.next_indices(STEPS * BATCH).reshape(STEPS, BATCH))
    losses = compile_replica_steps(strategy, network, data.train, BATCH, 0.01)(indices)
    expected = compile_steps({"": reference}, data.train, BATCH, {"": 0.01})(indices)[:, 0]
    np.testing.assert_allclose(losses, expected, rtol=tolerance)
    copied, images = copy_first_replica(network), data.test.images
    logits = [one(images, is_training=False) for one in (copied, reference)]
    np.testing.assert_allclose(*logits, rtol=0, atol=tolerance)
    assert_all_close(copied.variables, reference.variables, rtol=0, atol=1e-4)
    return network


def test_synchronized_replicas_equal_one_device_and_share_the_population(strategy, digits):
    reference = BatchNormNetwork(initial_weights(0))
    network = train_on_replicas(strategy, digits, "synchronized", reference, tolerance=1e-5)
    pop_mean, _ = replica_populations(strategy, network.layers[0])
    np.testing.assert_array_equal(pop_mean, pop_mean[[0] * REPLICAS])


def test_per_replica_statistics_are_ghost_batches_and_populations_part(strategy, digits, tmp_path):
    reference = GhostBatchNormNetwork(initial_weights(0), REPLICAS)
    network = train_on_replicas(strategy, digits, "per-replica", reference, tolerance=1e-4)
    pop_mean, _ = replica_populations(strategy, network.layers[0])
    assert (np.ptp(pop_mean, axis=0) > 1e-4).mean() > 0.5
    path = tf.train.Checkpoint(network=network).save(tmp_path / "checkpoint")
    restored = BatchNormNetwork(initial_weights(1))
    tf.train.Checkpoint(network=restored).restore(path).assert_consumed()
    np.testing.assert_array_equal(restored.layers[0].batch_norm.pop_mean, pop_mean[0])


def normalize_shares(strategy, function, inputs):
    """Outputs and input gradients on all replicas, of a loss that couples the shares."""
    shares = strategy.experimental_distribute_values_from_function(
        lambda context: np.split(inputs, REPLICAS)[context.replica_id_in_sync_group]
    )

    @tf.function
    def run(share):
        with tf.GradientTape() as tape:
            tape.watch(share)
            outputs = function(share)
            loss = tf.reduce_sum(outputs**3)
        return outputs, tape.gradient(loss, share)

    outputs, gradients = strategy.run(run, [shares])
    join = strategy.experimental_local_results
    return np.concatenate(join(outputs)), np.concatenate(join(gradients))


def test_values_and_gradients_are_those_of_keras_and_of_one_device(strategy, generator):
    inputs = generator.normal(3, 2, [16, 5]).astype(np.float32)
    gamma, beta = np.full(5, 1.5, np.float32), np.full(5, -0.5, np.float32)
    with strategy.scope():
        layer = keras.layers.BatchNormalization(
            synchronized=True,
            gamma_initializer=keras.initializers.Constant(1.5),
            beta_initializer=keras.initializers.Constant(-0.5),
        )
        layer.build([None, 5])
    outputs, gradients = normalize_shares(
        strategy, lambda x: synchronized_batch_norm(x, gamma, beta), inputs
    )
    of_keras = normalize_shares(strategy, lambda x: layer(x, training=True), inputs)
    on_one_device = batch_norm_by_hand(inputs, gamma, beta).numpy()
    its_gradients = batch_norm_gradients(inputs, gamma, 3 * on_one_device**2)[0]
    for expected in (of_keras, (on_one_device, its_gradients)):
        np.testing.assert_allclose(outputs, expected[0], rtol=0, atol=1e-6)
        np.testing.assert_allclose(gradients, expected[1], rtol=0, atol=2e-5)


def test_statistics_outside_of_a_replica_are_refused(strategy):
    with strategy.scope(), pytest.raises(RuntimeError, match="inside strategy.run"):
        synchronized_batch_norm(tf.zeros([2, 3]), tf.ones(3), tf.zeros(3))


def test_a_batch_that_can_not_be_shared_evenly_is_refused(strategy, digits):
    network = build_replicas(strategy, initial_weights(0))
    with pytest.raises(ValueError, match="multiple of the 4 replicas, found 66"):
        compile_replica_steps(strategy, network, digits.train, 66, 0.01)


def test_times_of_all_reduces_are_positive(strategy):
    seconds = measure_all_reduce(strategy, [1, 100], repeats=2, rounds=2)
    assert list(seconds) == [1, 100]
    assert min(seconds.values()) > 0
