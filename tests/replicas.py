"""Four replicas on one processor: set up before TensorFlow starts, so in a process of its own.

`python -m tests.replicas` prints what test_distributed.py asks about, as JSON.
"""

import json
import sys
import tempfile

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
from bn_tutorial.mnist import load_mnist
from bn_tutorial.networks import BatchNormNetwork, initial_weights
from bn_tutorial.training import compile_steps

REPLICAS = 4
STEPS, BATCH = 100, 64


def distance(ours, theirs):
    pairs = zip(ours.variables, theirs.variables, strict=True)
    return max(float(np.abs(a.numpy() - b.numpy()).max()) for a, b in pairs)


def trained(strategy, statistics, reference):
    """Distances after training on replicas and on one device, and the network on replicas."""
    network = build_replicas(strategy, initial_weights(0), statistics)
    data = load_mnist(source="digits")
    indices = tf.constant(data.train.next_indices(STEPS * BATCH).reshape(STEPS, BATCH))
    losses = compile_replica_steps(strategy, network, data.train, BATCH, 0.01)(indices)
    expected = compile_steps({"": reference}, data.train, BATCH, {"": 0.01})(indices)[:, 0]
    copied, images = copy_first_replica(network), data.test.images
    measured = {
        "variables": distance(copied, reference),
        "losses": float(np.max(np.abs(losses - expected) / np.abs(expected))),
        "logits": float(np.abs(copied(images, False) - reference(images, False)).max()),
    }
    return measured, network


def normalized(strategy, function, inputs):
    """Outputs and input gradients on all replicas, of a loss that couples the shares."""
    shares = strategy.experimental_distribute_values_from_function(
        lambda context: inputs.reshape(REPLICAS, -1, inputs.shape[1])[
            context.replica_id_in_sync_group
        ]
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


def compare_with_keras(strategy):
    inputs = np.random.default_rng(0).normal(3, 2, [16, 5]).astype(np.float32)
    gamma, beta = np.full(5, 1.5, np.float32), np.full(5, -0.5, np.float32)
    with strategy.scope():
        layer = keras.layers.BatchNormalization(
            synchronized=True,
            gamma_initializer=keras.initializers.Constant(1.5),
            beta_initializer=keras.initializers.Constant(-0.5),
        )
        layer.build([None, 5])
    ours = normalized(strategy, lambda x: synchronized_batch_norm(x, gamma, beta), inputs)
    keras_ = normalized(strategy, lambda x: layer(x, training=True), inputs)
    outputs = batch_norm_by_hand(inputs, gamma, beta).numpy()
    gradients = batch_norm_gradients(inputs, gamma, 3 * outputs**2)[0].numpy()
    return {
        "keras outputs": float(np.abs(ours[0] - keras_[0]).max()),
        "keras gradients": float(np.abs(ours[1] - keras_[1]).max()),
        "one device outputs": float(np.abs(ours[0] - outputs).max()),
        "one device gradients": float(np.abs(ours[1] - gradients).max()),
    }


def check_refusals(strategy):
    """Statistics outside of a replica, and a batch that can't be shared evenly."""
    with strategy.scope(), pytest.raises(RuntimeError, match="inside strategy.run"):
        synchronized_batch_norm(tf.zeros([2, 3]), tf.ones(3), tf.zeros(3))
    network, dataset = build_replicas(strategy, initial_weights(0)), load_mnist(source="digits")
    with pytest.raises(ValueError, match="multiple of the 4 replicas, found 66"):
        compile_replica_steps(strategy, network, dataset.train, 66, 0.01)


def main():
    divide_processor(REPLICAS)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(REPLICAS)])
    weights = initial_weights(0)
    check_refusals(strategy)
    answer = {"with keras": compare_with_keras(strategy)}
    answer["synchronized"], network = trained(strategy, "synchronized", BatchNormNetwork(weights))
    answer["populations"] = np.ptp(replica_populations(strategy, network.layers[0])[0], 0).tolist()
    ghost = GhostBatchNormNetwork(weights, REPLICAS)
    answer["per-replica"], network = trained(strategy, "per-replica", ghost)
    pop_mean, _ = replica_populations(strategy, network.layers[0])
    answer["own populations"] = pop_mean.tolist()
    with tempfile.TemporaryDirectory() as folder:
        path = tf.train.Checkpoint(network=network).save(f"{folder}/checkpoint")
        restored = BatchNormNetwork(initial_weights(1))
        tf.train.Checkpoint(network=restored).restore(path).assert_consumed()
        answer["restored"] = restored.layers[0].batch_norm.pop_mean.numpy().tolist()
    answer["all-reduce"] = measure_all_reduce(strategy, [1, 100], repeats=2, rounds=2)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
