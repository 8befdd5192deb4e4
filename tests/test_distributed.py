"""On one device, and, in a process of its own, on four replicas (tests/replicas.py)."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bn_tutorial.batch_norm import batch_norm_by_hand
from bn_tutorial.distributed import (
    GhostBatchNormNetwork,
    build_replicas,
    compile_replica_steps,
    copy_first_replica,
    count_all_reduces,
    synchronized_batch_norm,
)
from bn_tutorial.networks import BatchNormNetwork, build_graph, initial_weights
from bn_tutorial.training import train
from tests.variables import assert_all_close

build_alone = partial(build_replicas, tf.distribute.get_strategy())


def test_on_four_replicas():
    tests = Path(__file__).with_name("replicas.py")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", tests]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_on_one_device_it_is_batch_norm_by_hand(generator):
    inputs = generator.normal(3, 2, [8, 3]).astype(np.float32)
    gamma, beta = np.float32([1, 2, 3]), np.float32([11, 12, 13])
    ours = synchronized_batch_norm(inputs, gamma, beta)
    np.testing.assert_allclose(ours, batch_norm_by_hand(inputs, gamma, beta), rtol=1e-6)


@pytest.mark.parametrize("inputs", [np.zeros(3, np.float32), np.zeros([2, 3], int)])
def test_other_inputs_are_refused(inputs):
    with pytest.raises(ValueError, match=r"floats of shape \[share, units\], found"):
        synchronized_batch_norm(inputs, tf.ones(3), tf.zeros(3))


@pytest.mark.parametrize("build", [build_alone, partial(GhostBatchNormNetwork, shares=1)])
def test_alone_the_networks_train_as_the_fixed_one(digits, build):
    fixed, other = (kind(initial_weights(0), decay=0.9) for kind in (BatchNormNetwork, build))
    train({"fixed": fixed, "other": other}, digits, steps=50)
    assert_all_close(other.variables, fixed.variables, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("joined", "rows"), [(False, slice(2)), (True, slice(None))])
def test_ghost_batches_by_themselves_the_population_by_the_first_or_all(generator, joined, rows):
    weights = initial_weights(0, layer_sizes=(4, 3, 2))
    images = generator.normal(size=[6, 4]).astype(np.float32)
    plain = BatchNormNetwork(weights)
    expected = np.concatenate([plain(share, True) for share in np.split(images, 3)])
    ghost = GhostBatchNormNetwork(weights, 3, decay=0.0, joined=joined)
    np.testing.assert_allclose(ghost(images, True), expected, atol=1e-6)
    shares = (images @ weights[0])[rows].reshape(-1, 2, 3)
    population = ghost.layers[0].batch_norm
    np.testing.assert_allclose(population.pop_mean, shares.mean(axis=(0, 1)), atol=1e-6)
    np.testing.assert_allclose(population.pop_var, shares.var(axis=1).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    ("build", "batch"), [(partial(GhostBatchNormNetwork, shares=3), 3), (build_alone, 1)]
)
def test_statistics_of_one_sample_are_refused(build, batch, traced):
    """As the wrapper does: each sample would get the same logits, and spoil the population."""
    network = build(initial_weights(0, layer_sizes=(4, 3, 2)))
    call = build_graph(network, is_training=True) if traced else lambda x: network(x, True)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="2 samples or more"):
        call(tf.zeros([batch, 4]))
    np.testing.assert_array_equal(network.layers[0].batch_norm.pop_var, np.ones(3))


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
    with pytest.raises(ValueError, match="statistics must be one of"):
        build_alone(initial_weights(0), "global")
    with pytest.raises(ValueError, match="shares must be 1 or more"):
        GhostBatchNormNetwork(initial_weights(0), 0)
    network = build_alone(initial_weights(0))
    with pytest.raises(ValueError, match="multiple of the 1 replicas, found 0"):
        compile_replica_steps(tf.distribute.get_strategy(), network, digits.train, 0, 0.01)
    with pytest.raises(ValueError, match="multiple of 3 shares, found a batch of 4"):
        GhostBatchNormNetwork(initial_weights(0), 3)(tf.zeros([4, 784]), True)
