"""The training loop, many steps inside one compiled function, and the history it records."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from bn_tutorial.arguments import require_at_least
from bn_tutorial.mnist import Dataset, Datasets
from bn_tutorial.networks import Network

Observe = Callable[[Network, tf.Tensor], tf.Tensor]
Measurement = tuple[tf.Tensor, ...]  # of one network; see `compile_measurement`
Records = dict[int, list[Measurement]]  # by the steps trained, a measurement of each network


@dataclass(frozen=True)
class History:
    """What `train` saw of one network, measured on the whole test set, before step 1 and after.

    Attributes:
        steps: int `[records]`: steps trained when the record was made, from 0.
        test_accuracy: float32 `[records]`, in [0, 1].
        activation_inputs: float32 `[records, units]`: what each unit of the last hidden layer is
            fed, its mean over the test set.
        observations: `[records, ...]`: what `train` was asked to observe besides, or None.
    """

    steps: np.ndarray
    test_accuracy: np.ndarray
    activation_inputs: np.ndarray
    observations: np.ndarray | None = None

    def accuracy_after(self, steps: int) -> float:
        """The test accuracy recorded after so many steps; NaN if there was no such record."""
        recorded = self.test_accuracy[self.steps == steps]
        return float(recorded[0]) if len(recorded) else np.nan

    def steps_to(self, accuracy: float) -> int | None:
        """The first recorded step with this test accuracy or more; None if there was none."""
        reached = self.steps[self.test_accuracy >= accuracy]
        return int(reached[0]) if len(reached) else None


class DivergenceError(ArithmeticError):
    """A loss is no longer a finite number; `histories` is what had been recorded by then."""

    def __init__(self, message: str, histories: dict[str, History]) -> None:
        super().__init__(message)
        self.histories = histories


def train(
    networks: Mapping[str, Network],
    data: Datasets,
    steps: int = 40_000,
    batch_size: int = 60,
    learning_rate: float | Mapping[str, float] = 0.01,
    record_every: int = 50,
    *,
    weight_decay: float | Mapping[str, float] = 0.0,
    observe: Observe | None = None,
    stop_when_diverged: bool = True,
    jit_compile: bool = False,
) -> dict[str, History]:
    """Train networks side by side, on the same batches, by plain gradient descent.

    The loss is the cross entropy summed over the batch, as in the article. Every `record_every`
    steps, and after the last, each network is measured on the test set with `is_training=False`;
    measuring changes nothing. Ctrl-C ends the training early, at whatever moment, and keeps what
    was recorded; the last record is of the networks as they are left.

    Args:
        networks: The networks by name; they are trained where they are.
        data: Digits whose `train` gives the batches, and whose `test` is measured on.
        steps: Number of gradient steps to train.
        batch_size: Number of samples in a step.
        learning_rate: Learning rate of gradient descent, for all networks or for each by name.
        record_every: Number of steps from one record to the next.
        weight_decay: The coefficient λ, for all networks or for each by name: at each step matrices
            and kernels shrink by the factor 1 − rate · λ; biases, `gamma` and `beta` don't.
        observe: Function of a network and of the test images, float32 `[n, 784]`, whose result is
            recorded too. It is compiled, and must not change the network.
        stop_when_diverged: Whether a loss that is not finite ends the training with an error. If
            not, the accuracy of that network is NaN from then on, and the others go on.
        jit_compile: Whether XLA compiles the steps, which rounds differently and takes longer
            before the first step; `benchmarks/README.md` says when that pays.

    Returns:
        A `History` by name.

    Raises:
        ValueError: no networks, or `steps`, `batch_size` or `record_every` below 1.
        DivergenceError: a loss is NaN or infinite; names the network and the step.
        KeyError: `learning_rate` or `weight_decay` does not name a network.
    """
    require_at_least(
        1, networks=len(networks), steps=steps, batch_size=batch_size, record_every=record_every
    )
    rates = _one_each(networks, learning_rate)
    decays = _one_each(networks, weight_decay)
    records: Records = {}
    try:
        measure = compile_measurement(networks, data.test, observe)
        records[0] = measure()
        run_steps = compile_steps(
            networks, data.train, batch_size, rates, decays, jit_compile=jit_compile
        )
        with tqdm(total=steps, unit=" steps", desc="training", file=sys.stdout) as progress:
            for start in range(0, steps, record_every):
                count = min(record_every, steps - start)
                indices = data.train.next_indices(count * batch_size)
                with _hold_ctrl_c():  # so that the last record is of the networks as they are left
                    losses = run_steps(tf.constant(indices.reshape(count, batch_size)))
                    measured = measure()
                    accuracies = [float(accuracy) for accuracy, *_ in measured]
                    if stop_when_diverged:
                        _require_finite(np.vstack([losses, accuracies]), start, networks, records)
                    records[start + count] = measured
                progress.set_postfix_str(_in_short(networks, accuracies), refresh=False)
                progress.update(count)
    except KeyboardInterrupt:
        kept = f"up to step {max(records):,}" if records else "still empty,"
        print(f"Interrupted: the history {kept} is kept.")
    return _histories(networks, records)


def gather_seeds(histories: Mapping[tuple, History]) -> dict[Hashable, list[History]]:
    """The histories of runs that differ by their seed alone, in one list.

    Args:
        histories: Histories by tuples whose last element is the seed.

    Returns:
        A history for each seed, by what is before it: a tuple, or one thing alone.
    """
    groups: dict[Hashable, list[History]] = {}
    for (*key, _), history in histories.items():
        groups.setdefault(tuple(key) if len(key) > 1 else key[0], []).append(history)
    return groups


def gradient_descent_step(
    network: Network, images: tf.Tensor, labels: tf.Tensor, learning_rate: float
) -> tf.Tensor:
    """One step down the gradient of the cross entropy, summed over the batch.

    Args:
        network: Network whose trainable variables are changed.
        images: Pixels in [0, 1], float32 `[batch, 784]`.
        labels: Classes, int32 `[batch]`.
        learning_rate: Learning rate of gradient descent.

    Returns:
        The loss before the step, a scalar.
    """
    loss, gradients = loss_and_gradients(network, images, labels)
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        variable.assign_sub(learning_rate * gradient)
    return loss


def loss_and_gradients(
    network: Network, images: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The cross entropy summed over the batch, and its gradient for each trainable variable.

    The loss is computed from the logits: `-Σ y·log(softmax)` would be NaN as soon as a probability
    underflows. `network.regularization` is 0 but for Keras models with regularisers.
    """
    with tf.GradientTape() as tape:
        logits = network(images, is_training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss = tf.reduce_sum(losses + network.regularization)
    return loss, tape.gradient(loss, network.trainable_variables)


def decay_weights(network: Network, share: float) -> None:
    """Shrink the trained matrices and kernels by this share of them; 0 adds nothing to a graph."""
    if share:
        for variable in network.trainable_variables:
            if variable.shape.rank >= 2:
                variable.assign((1 - share) * variable)


def compile_steps(
    networks: Mapping[str, Network],
    dataset: Dataset,
    batch_size: int,
    learning_rates: Mapping[str, float],
    weight_decays: Mapping[str, float] | None = None,
    *,
    jit_compile: bool = False,
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Many training steps as one function: int32 `[steps, batch_size]`, which samples → losses.

    The data set is a tensor of the graph, and the loop over the steps is part of it: between two
    steps there is no Python and no copying. The losses are float32 `[steps, networks]`.
    """
    pixels, labels = tf.constant(dataset.pixels), tf.constant(dataset.classes)

    @tf.function(jit_compile=jit_compile)
    def run_steps(batches: tf.Tensor) -> tf.Tensor:
        losses = tf.TensorArray(tf.float32, size=tf.shape(batches)[0])
        for step in tf.range(tf.shape(batches)[0]):
            batch_images = floats(tf.gather(pixels, batches[step]))
            batch_labels = tf.gather(labels, batches[step])
            step_losses = [
                gradient_descent_step(network, batch_images, batch_labels, learning_rates[name])
                for name, network in networks.items()
            ]
            for name, decay in (weight_decays or {}).items():
                decay_weights(networks[name], learning_rates[name] * decay)
            losses = losses.write(step, tf.stack(step_losses))
        return losses.stack()

    return run_steps.get_concrete_function(tf.TensorSpec([None, batch_size], tf.int32))


def compile_measurement(
    networks: Mapping[str, Network], dataset: Dataset, observe: Observe | None = None
) -> Callable[[], list[Measurement]]:
    """A function that measures each network on a whole data set, and changes none.

    It returns, a network: the accuracy, a scalar; the mean activation inputs, `[units]`; what
    `observe` returns, if given. The accuracy is NaN where a logit is not a finite number.
    """
    images, labels = floats(tf.constant(dataset.pixels)), tf.constant(dataset.classes)

    @tf.function
    def measure() -> list[Measurement]:
        measured = []
        for network in networks.values():
            activation_inputs = network.activation_inputs(images, is_training=False)
            logits = network.output(activation_inputs)
            correct = tf.argmax(logits, axis=1, output_type=tf.int32) == labels
            accuracy = tf.reduce_mean(tf.cast(correct, tf.float32))
            finite = tf.reduce_all(tf.math.is_finite(logits))
            accuracy = tf.where(finite, accuracy, np.nan)
            observed = [observe(network, images)] if observe else []
            measured.append((accuracy, tf.reduce_mean(activation_inputs, axis=0), *observed))
        return measured

    return measure.get_concrete_function()


def floats(pixels: tf.Tensor) -> tf.Tensor:
    """uint8 in [0, 255] → float32 in [0, 1], to the bit as `Dataset.images`."""
    return tf.cast(pixels, tf.float32) / 255


@contextlib.contextmanager
def _hold_ctrl_c() -> Iterator[None]:
    """Ctrl-C waits until the end of this; only the main thread gets it at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if arrived:
        signal.raise_signal(signal.SIGINT)


def _one_each(names: Iterable[str], value: float | Mapping[str, float]) -> dict[str, float]:
    """A number for each name: one of its own, or the same for all."""
    return {name: value[name] if isinstance(value, Mapping) else value for name in names}


def _histories(networks: Mapping[str, Network], records: Records) -> dict[str, History]:
    """All that has been recorded so far; it may be nothing."""
    histories = {}
    for name, *measurements in zip(networks, *records.values(), strict=True):
        columns = [np.array(values) for values in zip(*measurements, strict=True)]
        nothing = np.empty(0), np.empty([0, networks[name].units])
        histories[name] = History(np.array(list(records), int), *(columns or nothing))
    return histories


def _in_short(names: Iterable[str], accuracies: list[float]) -> str:
    if len(accuracies) > 3:
        known = [accuracy for accuracy in accuracies if not np.isnan(accuracy)] or [np.nan]
        return f"accuracies {min(known):.3f} to {max(known):.3f}"
    return ", ".join(f"{name} {a:.3f}" for name, a in zip(names, accuracies, strict=True))


def _require_finite(
    values: np.ndarray, start: int, networks: Mapping[str, Network], records: Records
) -> None:
    """`values`: `[steps + 1, networks]`: the loss at each step, and last the accuracy after all."""
    if np.isfinite(values).all():
        return
    step, index = np.argwhere(~np.isfinite(values))[0]
    name = list(networks)[index]
    raise DivergenceError(
        f'the loss of network "{name}" is {values[step, index]} at step {start + step + 1:,}; '
        "a lower learning rate may help. The exception's `histories` hold what was recorded.",
        _histories(networks, records),
    )
