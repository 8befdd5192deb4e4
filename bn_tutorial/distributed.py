"""Batch normalization when a batch is spread over replicas: devices of one machine, or machines.

Each replica sees a share of the global batch. Either it normalises by its own share, or the
replicas add up what they need and normalise by the whole batch: *synchronized* BN.
Source of the name and of the two sums: Peng et al., "MegDet" (2018), section 3.3.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.types.experimental import ConcreteFunction

from bn_tutorial.arguments import require_at_least
from bn_tutorial.batch_norm import (
    DECAY,
    EPSILON,
    BatchNormVariables,
    require_floats,
    require_two,
    samples_in,
)
from bn_tutorial.hidden_layers import Activation, BatchNormLayer
from bn_tutorial.mnist import Dataset
from bn_tutorial.networks import BatchNormNetwork, Network, split_weights
from bn_tutorial.training import floats, gradient_descent_step


def synchronized_moments(inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mean and variance of each unit over the shares of all replicas, by two all-reduces.

    Args:
        inputs: This replica's share of the batch, float `[share, units]`. Shares may differ in
            size.

    Returns:
        Mean and variance, each `[units]`, and the size of the whole batch, the same on all
        replicas. The gradient of an all-reduce is an all-reduce: what one replica's share does to
        another's loss is in it.
    """
    replica = tf.distribute.get_replica_context()
    share = tf.fill([1], tf.cast(tf.shape(inputs)[0], inputs.dtype))
    sums = replica.all_reduce("sum", tf.concat([tf.reduce_sum(inputs, axis=0), share], axis=0))
    mean, batch = sums[:-1] / sums[-1], sums[-1]
    squares = replica.all_reduce("sum", tf.reduce_sum(tf.square(inputs - mean), axis=0))
    return mean, squares / batch, batch


def synchronized_batch_norm(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float = EPSILON
) -> tf.Tensor:
    """Normalise each unit over the whole batch, of which this replica has a share.

    For use inside a replica, that is in a function given to `strategy.run`. Outside of one the
    share is the batch, and this is `batch_norm_by_hand`.

    Args:
        inputs: This replica's share of the batch, float `[share, units]`.
        gamma: The trained scale, float `[units]`.
        beta: The trained shift, float `[units]`.
        epsilon: Number that is added to the variance.

    Returns:
        The share normalised, float `[share, units]`. The gradients of `gamma`, `beta` and all
        weights have to be summed over the replicas.

    Raises:
        ValueError: `inputs` is not `[share, units]`.
        RuntimeError: called where there is a strategy, but outside of `strategy.run`.
    """
    inputs = require_floats(inputs, "[share, units]")
    if tf.distribute.in_cross_replica_context():
        raise RuntimeError("synchronized_batch_norm must be called inside strategy.run")
    mean, variance, _ = synchronized_moments(inputs)
    return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, epsilon)


class SynchronizedBatchNormLayer(BatchNormLayer):
    """BN with the statistics of the whole batch in training, the population's otherwise."""

    def __call__(self, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """Compute `BN(Wx)` of a share: `[share, inputs]` → `[share, units]`."""
        if not is_training:
            return super().__call__(inputs, is_training)
        inputs = inputs @ self.weights
        mean, variance, batch = synchronized_moments(inputs)
        mean, variance = (require_two(moment, batch) for moment in (mean, variance))
        self.batch_norm.update_population(mean, variance, self.decay)
        return tf.nn.batch_normalization(
            inputs, mean, variance, self.batch_norm.beta, self.batch_norm.gamma, EPSILON
        )


class GhostBatchNormLayer(BatchNormLayer):
    """BN that normalises each of several shares of a batch by itself, on one device.

    What replicas do that don't synchronise, without replicas. Done on purpose it is *ghost batch
    normalization* (Hoffer et al., 2017). The population follows the first share, as a checkpoint
    of replicas does, or the mean over the shares.
    """

    def __init__(
        self, weights: np.ndarray, shares: int, decay: float = DECAY, joined: bool = False
    ) -> None:
        super().__init__(weights, decay)
        self.shares = shares
        self.joined = joined

    def __call__(self, inputs: tf.Tensor, is_training: bool) -> tf.Tensor:
        """`[batch, inputs]` → `[batch, units]`; in training `batch` is a multiple of `shares`."""
        if not is_training:
            return super().__call__(inputs, is_training)
        batch = samples_in(inputs)
        if not tf.is_tensor(batch) and batch % self.shares:
            raise ValueError(
                f"expected a multiple of {self.shares} shares, found a batch of {batch}"
            )
        shares = tf.reshape(inputs @ self.weights, [self.shares, -1, self.units])
        shares = require_two(shares, batch // self.shares)
        mean, variance = tf.nn.moments(shares, axes=[1], keepdims=True)
        seen = slice(None) if self.joined else slice(1)
        self.batch_norm.update_population(
            tf.reduce_mean(mean[seen], axis=[0, 1]),
            tf.reduce_mean(variance[seen], axis=[0, 1]),
            self.decay,
        )
        beta, gamma = self.batch_norm.beta, self.batch_norm.gamma
        outputs = tf.nn.batch_normalization(shares, mean, variance, beta, gamma, EPSILON)
        return tf.reshape(outputs, [-1, self.units])


class GhostBatchNormNetwork(Network):
    """A network of layers of the kind `GhostBatchNormLayer`, each with as many shares."""

    def __init__(
        self,
        weights: Sequence[np.ndarray],
        shares: int,
        decay: float = DECAY,
        joined: bool = False,
        activation: Activation = tf.sigmoid,
    ) -> None:
        require_at_least(1, shares=shares)
        hidden, output = split_weights(weights)
        layers = [GhostBatchNormLayer(matrix, shares, decay, joined) for matrix in hidden]
        super().__init__(layers, output, activation)


def divide_processor(devices: int) -> None:
    """Make so many devices, "CPU:0" and on, of the one processor, to try several replicas on.

    They share its cores: nothing gets faster.

    Raises:
        RuntimeError: TensorFlow has been used in this process before.
    """
    require_at_least(1, devices=devices)
    processor = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(processor, logical)


def build_replicas(
    strategy: tf.distribute.Strategy,
    weights: Sequence[np.ndarray],
    statistics: str = "synchronized",
    decay: float = DECAY,
) -> Network:
    """The article's network on each replica of `strategy`.

    Args:
        strategy: Strategy that says which replicas there are.
        weights: Matrices that all of them start from.
        statistics: "synchronized", or "per-replica": each normalises its share by itself.
        decay: Share of the old population estimate that is kept at each step.

    Raises:
        ValueError: `statistics` is unknown.
    """
    kinds = {"synchronized": SynchronizedBatchNormLayer, "per-replica": BatchNormLayer}
    if statistics not in kinds:
        raise ValueError(f"statistics must be one of {tuple(kinds)}, found {statistics!r}")
    hidden, output = split_weights(weights)
    with strategy.scope(), variables_of_replicas():
        return Network([kinds[statistics](matrix, decay) for matrix in hidden], output)


@contextlib.contextmanager
def variables_of_replicas() -> Iterator[None]:
    """Say of each variable made here how the replicas share it.

    A trained one is the same on all: whatever `assign_sub` is given is summed over the replicas.
    One that is not trained, a population, belongs to its replica. Outside of replicas, and in a
    checkpoint, it is the first replica's.
    """

    def create(next_creator: Callable[..., tf.Variable], **options: object) -> tf.Variable:
        if options.get("trainable") is False:
            options["synchronization"] = tf.VariableSynchronization.ON_READ
            options["aggregation"] = tf.VariableAggregation.ONLY_FIRST_REPLICA
        else:
            options["aggregation"] = tf.VariableAggregation.SUM
        return next_creator(**options)

    with tf.variable_creator_scope(create):
        yield


def compile_replica_steps(
    strategy: tf.distribute.Strategy,
    network: Network,
    dataset: Dataset,
    batch_size: int,
    learning_rate: float,
) -> ConcreteFunction:
    """Many training steps on all replicas, as one function.

    It takes int32 `[steps, batch_size]`, the samples of each *global* batch, the same on each
    worker; a replica reads its own share of each. It returns the losses `[steps]`, each summed
    over the global batch. The step itself is `training.gradient_descent_step`.

    Raises:
        ValueError: `batch_size` can't be shared evenly among the replicas.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size < 1 or batch_size % replicas:
        raise ValueError(
            f"batch_size must be a multiple of the {replicas} replicas, found {batch_size}"
        )
    pixels, labels = tf.constant(dataset.pixels), tf.constant(dataset.classes)

    def train_share(batch: tf.Tensor) -> tf.Tensor:
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        share = tf.reshape(batch, [replicas, -1])[number]
        images, classes = floats(tf.gather(pixels, share)), tf.gather(labels, share)
        return gradient_descent_step(network, images, classes, learning_rate)

    @tf.function
    def run_steps(batches: tf.Tensor) -> tf.Tensor:
        losses = tf.TensorArray(tf.float32, size=tf.shape(batches)[0])
        for step in tf.range(tf.shape(batches)[0]):
            loss = strategy.run(train_share, [batches[step]])
            losses = losses.write(step, strategy.reduce("sum", loss, axis=None))
        return losses.stack()

    return run_steps.get_concrete_function(tf.TensorSpec([None, batch_size], tf.int32))


def count_all_reduces(run_steps: ConcreteFunction) -> int:
    """How many all-reduces between workers one step makes, counted in the compiled graph."""
    definition = run_steps.graph.as_graph_def()
    nodes = [node for function in definition.library.function for node in function.node_def]
    return sum(node.op.startswith("CollectiveReduce") for node in nodes)


def replica_populations(
    strategy: tf.distribute.Strategy, layer: BatchNormLayer
) -> tuple[np.ndarray, np.ndarray]:
    """Each replica's own `pop_mean` and `pop_var` of a layer, each `[replicas, units]`.

    For replicas of one process; those of other processes can't be seen.
    """
    population: BatchNormVariables = layer.batch_norm
    both = (population.pop_mean, population.pop_var)
    return tuple(
        np.array([value.numpy() for value in strategy.experimental_local_results(variable)])
        for variable in both
    )


def copy_first_replica(network: Network) -> BatchNormNetwork:
    """An ordinary network with the first replica's variables, as a checkpoint has them."""
    matrices = [matrix.numpy() for matrix in (*network.layer_weights, network.output_weights)]
    copied = BatchNormNetwork(matrices, activation=network.activation)
    for ours, theirs in zip(copied.layers, network.layers, strict=True):
        ours.decay = theirs.decay
    for ours, theirs in zip(copied.variables, network.variables, strict=True):
        ours.assign(theirs.numpy())
    return copied


def measure_all_reduce(
    strategy: tf.distribute.Strategy, sizes: Iterable[int], repeats: int = 20, rounds: int = 7
) -> dict[int, float]:
    """What one all-reduce takes, in seconds, by the number of floats it sums.

    Args:
        strategy: Strategy between whose replicas floats are summed.
        sizes: Numbers of floats to sum.
        repeats: Number of all-reduces in a round, each of what the last one gave.
        rounds: Number of rounds, of which the shortest counts, since what disturbs only adds.
    """
    require_at_least(1, repeats=repeats, rounds=rounds)

    def reduce_once(size: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
        values = tf.fill([size], start)
        return tf.distribute.get_replica_context().all_reduce("mean", values)[0]

    @tf.function
    def run_repeats(size: tf.Tensor) -> tf.Tensor:
        last = tf.constant(1.0)
        for _ in tf.range(repeats):
            reduced = strategy.run(reduce_once, [size, last])
            last = strategy.experimental_local_results(reduced)[0]
        return last

    graph = run_repeats.get_concrete_function(tf.TensorSpec([], tf.int32))
    seconds = {}
    for size in sizes:
        graph(tf.constant(size)).numpy()
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            graph(tf.constant(size)).numpy()
            times.append((time.perf_counter() - start) / repeats)
        seconds[int(size)] = min(times)
    return seconds
