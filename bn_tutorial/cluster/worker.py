"""What each process of a cluster does: its share of each step, and, the chief, checkpoints.

The cluster is what the environment variable `TF_CONFIG` says. Without one there is one process.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from bn_tutorial.cluster.files import write_json
from bn_tutorial.distributed import (
    build_replicas,
    compile_replica_steps,
    copy_first_replica,
    count_all_reduces,
    divide_processor,
    measure_all_reduce,
)
from bn_tutorial.mnist import Datasets, load_mnist
from bn_tutorial.networks import Network, initial_weights
from bn_tutorial.prediction import measure_accuracy

ALL_REDUCE_SIZES = (1, 100, 1_000, 10_000, 100_000, 1_000_000)


class CheckpointError(ValueError):
    """A checkpoint is there, and it is not of this run."""


class Progress:
    """Where training is: a bar where the chief is alone, a file where a supervisor reads it.

    The file is written anew twice a second, also while nothing moves, as a sign of life.
    """

    def __init__(self, steps: int, chief: bool, file: str | None) -> None:
        self.step = 0
        self.file = Path(file) if file else None
        self.bar = tqdm(
            total=steps, unit=" steps", desc="training", file=sys.stdout,
            disable=self.file is not None or not chief,
        )  # fmt: skip
        if self.file:
            threading.Thread(target=self._repeat, daemon=True).start()

    def move_to(self, step: int) -> None:
        """So many steps are done."""
        self.bar.update(step - self.step)
        self.step = step
        self._write()

    def _write(self) -> None:
        if self.file:
            part = self.file.with_suffix(f".{threading.get_ident()}")
            part.write_text(str(self.step))
            part.replace(self.file)

    def _repeat(self) -> None:
        while True:
            self._write()
            time.sleep(0.5)


class Run:
    """A network on all replicas, what it is trained on, and how far it is.

    The checkpoint holds the network, the step, which is also the position in the data, the last
    loss, and the options that a run must not change midway.
    """

    def __init__(self, options: argparse.Namespace, strategy: tf.distribute.Strategy) -> None:
        self.options = options
        self.data: Datasets = load_mnist(source=options.source, seed=options.seed)
        self.network: Network = build_replicas(
            strategy, initial_weights(options.seed), options.statistics
        )
        self.run_steps = compile_replica_steps(
            strategy, self.network, self.data.train, options.batch_size, options.learning_rate
        )
        self.step = tf.Variable(0, trainable=False)
        self.loss = tf.Variable(0.0, trainable=False)
        self.identity = tf.Variable(identity_of(options, self.data.source), trainable=False)
        self.checkpoint = tf.train.Checkpoint(
            network=self.network, step=self.step, loss=self.loss, identity=self.identity
        )

    def restore(self) -> None:
        """Go on from the last whole checkpoint, if there is one.

        Raises:
            CheckpointError: it is of a run with other options, or of more steps than are asked for.
        """
        folder = self.options.checkpoint_dir
        path = tf.train.latest_checkpoint(folder) if folder else None
        if path is None:
            return
        expected = self.identity.numpy().decode()
        self.checkpoint.restore(path).assert_consumed()
        found, step = self.identity.numpy().decode(), int(self.step.numpy())
        if found != expected:
            raise CheckpointError(f"{path} is of a run with {found}; this one is {expected}")
        if step > self.options.steps:
            raise CheckpointError(
                f"{path} has {step} steps, more than the {self.options.steps} asked for"
            )
        self.data.train.next_indices(step * self.options.batch_size)  # those it has seen

    def train(self, chief: bool, progress: Progress) -> None:
        """The steps that are left. The chief saves after each `save_every`, and after the last."""
        folder = self.options.checkpoint_dir
        saves = chief and folder is not None
        manager = tf.train.CheckpointManager(self.checkpoint, folder, 2) if saves else None
        step = int(self.step.numpy())
        progress.move_to(step)
        while step < self.options.steps:
            count = min(self.options.save_every, self.options.steps - step)
            batches = self.data.train.next_indices(count * self.options.batch_size)
            losses = self.run_steps(tf.constant(batches.reshape(count, -1)))
            step += count
            self.loss.assign(losses[-1])
            self.step.assign(step)
            if manager:
                manager.save(checkpoint_number=step)
            progress.move_to(step)

    def result(self, workers: int) -> dict[str, object]:
        """What the command writes to `--output`; the statistics are the first replica's."""
        network = copy_first_replica(self.network)
        layers = [layer.batch_norm for layer in network.layers]
        return {
            "workers": workers,
            "steps": int(self.step.numpy()),
            "loss": float(self.loss.numpy()),
            "accuracy": measure_accuracy(network, self.data.test),
            "pop_mean": [layer.pop_mean.numpy().tolist() for layer in layers],
            "pop_var": [layer.pop_var.numpy().tolist() for layer in layers],
            "restarts": 0,
            "all_reduces": count_all_reduces(self.run_steps),
        }


def identity_of(options: argparse.Namespace, source: str) -> str:
    """The options that a run must not change midway, in words."""
    names = ("seed", "batch_size", "learning_rate", "statistics")
    return ", ".join([*(f"{name} {getattr(options, name)}" for name in names), f"data {source}"])


def make_strategy(cluster: bool, replicas: int) -> tf.distribute.Strategy:
    """The workers' of `TF_CONFIG`, or so many replicas on this processor."""
    if cluster:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if replicas == 1:
        return tf.distribute.get_strategy()
    divide_processor(replicas)
    return tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(replicas)])


def run_worker(options: argparse.Namespace) -> None:
    """Take part in the cluster that `TF_CONFIG` describes, or be alone where it names none."""
    configuration = json.loads(os.environ.get("TF_CONFIG") or "{}")
    workers = len(configuration.get("cluster", {}).get("worker", [])) or 1
    chief = configuration.get("task", {}).get("index", 0) == 0
    progress = Progress(options.steps, chief, options.progress_file)
    strategy = make_strategy(bool(configuration.get("cluster")), options.replicas)
    if options.all_reduce:
        seconds = measure_all_reduce(strategy, ALL_REDUCE_SIZES)
        result = {"workers": workers, "restarts": 0, "seconds": seconds}
        progress.move_to(options.steps)
    else:
        run = Run(options, strategy)
        run.restore()
        run.train(chief, progress)
        result = run.result(workers) if chief else {}
    progress.bar.close()
    if chief and options.output:
        write_json(options.output, result)
