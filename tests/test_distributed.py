"""On one device, and, in a process of its own, on four replicas (tests/replicas.py)."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial.batch_norm import batch_norm_by_hand
from bn_tutorial.distributed import (
    GhostBatchNormNetwork,
    SynchronizedBatchNormNetwork,
    build_replicas,
    compile_replica_steps,
    copy_first_replica,
    count_all_reduces,
    synchronized_batch_norm,
)
from bn_tutorial.networks import BatchNormNetwork, build_graph, initial_weights
from bn_tutorial.training import train
from tests.variables import assert_all_close


@pytest.fixture(scope="module")
def replicas():
    done = subprocess.run(
        [sys.executable, "-m", "tests.replicas"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("what", ["variables", "losses", "logits"])
def test_synchronized_replicas_equal_one_device_after_a_hundred_steps(replicas, what):
    assert replicas["synchronized"][what] < 1e-5 * (10 if what == "variables" else 1)


@pytest.mark.parametrize("what", ["variables", "losses", "logits"])
def test_per_replica_statistics_equal_ghost_batches_on_one_device(replicas, what):
    assert replicas["per-replica"][what] < 1e-4


@pytest.mark.parametrize("what", ["keras outputs", "one device outputs"])
def test_outputs_equal_those_of_keras_and_of_one_device(replicas, what):
    assert replicas["with keras"][what] < 1e-6


@pytest.mark.parametrize("what", ["keras gradients", "one device gradients"])
def test_gradients_go_through_the_all_reduce(replicas, what):
    assert replicas["with keras"][what] < 2e-5


def test_synchronized_populations_are_the_same_on_all(replicas):
    assert max(replicas["populations"]) == 0


def test_populations_of_replicas_part_and_a_checkpoint_holds_the_first(replicas):
    populations = np.array(replicas["own populations"])
    assert (np.ptp(populations, axis=0) > 1e-4).mean() > 0.5
    np.testing.assert_array_equal(replicas["restored"], np.float32(populations[0]))


def test_times_of_all_reduces_are_positive(replicas):
    assert set(replicas["all-reduce"]) == {"1", "100"}
    assert min(replicas["all-reduce"].values()) > 0


def test_on_one_device_it_is_batch_norm_by_hand(generator):
    inputs = generator.normal(3, 2, [8, 3]).astype(np.float32)
    gamma, beta = np.float32([1, 2, 3]), np.float32([11, 12, 13])
    ours = synchronized_batch_norm(inputs, gamma, beta)
    np.testing.assert_allclose(ours, batch_norm_by_hand(inputs, gamma, beta), rtol=1e-6)


@pytest.mark.parametrize("inputs", [np.zeros(3, np.float32), np.zeros([2, 3], int)])
def test_other_inputs_are_refused(inputs):
    with pytest.raises(ValueError, match=r"floats of shape \[share, units\], found"):
        synchronized_batch_norm(inputs, tf.ones(3), tf.zeros(3))


@pytest.mark.parametrize(
    "build", [SynchronizedBatchNormNetwork, lambda weights: GhostBatchNormNetwork(weights, 1)]
)
def test_alone_the_networks_train_as_the_fixed_one(digits, build):
    weights = initial_weights(0)
    fixed, other = BatchNormNetwork(weights), build(weights)
    train({"fixed": fixed, "other": other}, digits, steps=50)
    assert_all_close(other.variables, fixed.variables, atol=1e-5)


def test_ghost_batches_are_each_normalized_by_themselves(generator):
    weights = initial_weights(0, layer_sizes=(4, 3, 2))
    images = generator.normal(size=[6, 4]).astype(np.float32)
    ghost, plain = GhostBatchNormNetwork(weights, 3), BatchNormNetwork(weights)
    shares = np.concatenate([plain(share, True) for share in np.split(images, 3)])
    np.testing.assert_allclose(ghost(images, True), shares, atol=1e-6)


@pytest.mark.parametrize(("joined", "rows"), [(False, slice(2)), (True, slice(None))])
def test_ghost_population_follows_the_first_share_or_all(generator, joined, rows):
    weights = initial_weights(0, layer_sizes=(4, 3, 2))
    images = generator.normal(size=[6, 4]).astype(np.float32)
    ghost = GhostBatchNormNetwork(weights, 3, decay=0.0, joined=joined)
    ghost(images, True)
    shares = (images @ weights[0])[rows].reshape(-1, 2, 3)
    population = ghost.layers[0].batch_norm
    np.testing.assert_allclose(population.pop_mean, shares.mean(axis=(0, 1)), atol=1e-6)
    np.testing.assert_allclose(population.pop_var, shares.var(axis=1).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    ("build", "batch"),
    [(lambda weights: GhostBatchNormNetwork(weights, 3), 3), (SynchronizedBatchNormNetwork, 1)],
)
def test_statistics_of_one_sample_are_refused(build, batch, traced):
    """As the wrapper does: each sample would get the same logits, and spoil the population."""
    network = build(initial_weights(0, layer_sizes=(4, 3, 2)))
    call = build_graph(network, is_training=True) if traced else lambda x: network(x, True)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="2 samples or more"):
        call(tf.zeros([batch, 4]))
    np.testing.assert_array_equal(network.layers[0].batch_norm.pop_var, np.ones(3))


@pytest.mark.parametrize("decay", [-0.1, 7])
def test_a_decay_that_is_no_share_is_refused(decay):
    weights = initial_weights(0, layer_sizes=(4, 3, 2))
    for network in (
        GhostBatchNormNetwork(weights, 2, decay),
        SynchronizedBatchNormNetwork(weights, decay),
    ):
        with pytest.raises(ValueError, match=r"decay must be in \[0, 1\], found"):
            network(tf.zeros([4, 4]), True)


def test_a_copy_keeps_decay_and_activation():
    network = GhostBatchNormNetwork(initial_weights(0), 2, decay=0.5, activation=tf.nn.relu)
    copied = copy_first_replica(network)
    assert [layer.decay for layer in copied.layers] == [0.5, 0.5]
    assert copied.activation is tf.nn.relu


def test_all_reduces_are_counted_in_the_graphs_functions():
    """A graph as TensorFlow makes it for several workers, but for its operations' arguments."""
    definition = tf.compat.v1.GraphDef()
    operations = definition.library.function.add()
    for kind in ("CollectiveReduceV2", "CollectiveReduceV3", "CollectiveGatherV2", "AddV2"):
        operations.node_def.add(op=kind)

    class RunSteps:
        class graph:  # noqa: N801
            as_graph_def = staticmethod(lambda: definition)

    assert count_all_reduces(RunSteps) == 2


def test_wrong_arguments_are_named(digits):
    strategy = tf.distribute.get_strategy()
    with pytest.raises(ValueError, match="statistics must be one of"):
        build_replicas(strategy, initial_weights(0), "global")
    with pytest.raises(ValueError, match="shares must be 1 or more"):
        GhostBatchNormNetwork(initial_weights(0), 0)
    network = build_replicas(strategy, initial_weights(0))
    with pytest.raises(ValueError, match="multiple of the 1 replicas, found 0"):
        compile_replica_steps(strategy, network, digits.train, 0, 0.01)
    with pytest.raises(ValueError, match="multiple of 3 shares, found a batch of 4"):
        GhostBatchNormNetwork(initial_weights(0), 3)(tf.zeros([4, 784]), True)
