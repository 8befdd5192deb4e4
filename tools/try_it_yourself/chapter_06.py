"""Notebook 6, batch normalization across machines."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import tensorflow as tf

from bn_tutorial.distributed import GhostBatchNormNetwork, copy_first_replica
from bn_tutorial.networks import initial_weights
from bn_tutorial.population import estimate_population
from bn_tutorial.prediction import measure_accuracy
from bn_tutorial.training import compile_steps, train
from tools.try_it_yourself.questions import LEARNING_RATE, SEED, Results, Settings, question

BATCH_SIZE, REPLICAS = 64, 8
EXAMPLE = Path(__file__).parents[2] / "examples/train_on_workers.py"


@question("06.1")
def global_batch_of_256(settings: Settings) -> Results:
    """Accuracies by a precise population, for global batches of 64 and of 256."""
    results: Results = {}
    for batch_size in (64, 256):
        data = settings.load()
        networks = {
            (count, seed): GhostBatchNormNetwork(initial_weights(seed), count)
            for count in (1, 8, 32, batch_size // 2)
            for seed in settings.seeds(3)
        }
        steps = settings.steps(3_000)
        train(networks, data, steps, batch_size, LEARNING_RATE, steps, stop_when_diverged=False)
        for (count, _), network in networks.items():
            fixed = copy_first_replica(network)
            estimate_population(fixed, data.train, batch_size)
            name = f"batch {batch_size}, {count} replicas, share {batch_size // count}"
            results.setdefault(name, []).append(measure_accuracy(fixed, data.test))
    return results


@question("06.2")
def spread_of_populations(settings: Settings) -> Results:
    """Spread of eight replicas' `pop_mean` over that predicted, after more and more steps."""
    decays, marks = (0.9, 0.99), [settings.steps(steps) for steps in (100, 300, 500)]
    populations = populations_of_replicas(settings, decays, marks)
    share, results = BATCH_SIZE // REPLICAS, {}
    for decay in decays:
        factor = ((1 - decay) / (1 + decay)) ** 0.5
        results[f"decay {decay}, predicted, in σ"] = factor / share**0.5
        until = float(np.ceil(np.log(0.01) / np.log(decay)))
        results[f"decay {decay}, steps until 1 % of the start is left"] = until
        for steps in marks:
            means, variances = populations[decay, steps]
            predicted = factor**2 * variances.mean() / (share - 1)
            ratio = float(np.sqrt(means.var(axis=0, ddof=1).mean() / predicted))
            results[f"decay {decay}, {steps} steps, as the cell prints it"] = ratio
            kept = decay**steps  # of the start, which is a variance of 1
            results[f"decay {decay}, {steps} steps, variance without its start"] = float(
                ratio * np.sqrt(variances.mean() / (variances - kept).mean() * (1 - kept))
            )
            results[f"decay {decay}, {steps} steps, share of the start, %"] = 100 * kept
    of_9, of_99 = (results[f"decay {decay}, predicted, in σ"] for decay in decays)
    return results | {"predicted spread of 0.9 over that of 0.99": of_9 / of_99}


def populations_of_replicas(
    settings: Settings, decays: Sequence[float], marks: Sequence[int]
) -> dict[tuple[float, int], np.ndarray]:
    """The first layer's `pop_mean` and `pop_var`, by decay and steps: `[2, replicas, units]`.

    A network with ghost batches equals the replicas (section 1), and keeps the population of its
    first share. So each replica is one such network, with that replica's share as the first.
    """
    data = settings.load().train
    shares = data.next_indices(marks[-1] * BATCH_SIZE).reshape(marks[-1], REPLICAS, -1)
    found: dict[tuple[float, int], list] = {}
    for replica in range(REPLICAS):
        networks = {
            decay: GhostBatchNormNetwork(initial_weights(SEED), REPLICAS, decay) for decay in decays
        }
        rates = dict.fromkeys(decays, LEARNING_RATE)
        run = compile_steps(networks, data, BATCH_SIZE, rates)
        batches = np.roll(shares, -replica, axis=1).reshape(-1, BATCH_SIZE)
        for start, mark in itertools.pairwise([0, *marks]):
            run(tf.constant(batches[start:mark]))
            for decay, network in networks.items():
                population = network.layers[0].batch_norm
                both = population.pop_mean.numpy(), population.pop_var.numpy()
                found.setdefault((decay, mark), []).append(both)
    return {key: np.array(both).swapaxes(0, 1) for key, both in found.items()}


@question("06.3", compared=False)  # seconds depend on the moment
def kill_the_chief(settings: Settings) -> Results:
    """SIGKILL to worker 0 after the first checkpoint: what the command then says of both."""
    message, _ = disturbed(settings, 0, signal.SIGKILL)
    seconds = re.search(r"([\d.]+) s later worker 1 ended", message)
    return {
        "the chief": message.split(" (")[0],
        "seconds until the other ended": float(seconds[1]) if seconds else np.nan,
        "the other said": message.split("exit code ")[-1],
    }


@question("06.4", compared=False)
def stop_a_worker(settings: Settings) -> Results:
    """SIGSTOP to worker 1 after the first checkpoint, with `--stall-limit 5`."""
    message, seconds = disturbed(settings, 1, signal.SIGSTOP, "--stall-limit", "5")
    return {"the command": message, "seconds until it ended": round(seconds, 1)}


def disturbed(
    settings: Settings, worker: int, number: signal.Signals, *options: str
) -> tuple[str, float]:
    """What two workers' command says when one is sent a signal, and how long it takes to end."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Path(folder) / "checkpoints"
        command = [sys.executable, str(EXAMPLE), "--source", settings.source,
                   "--workers", "2", "--steps", "100000", "--save-every", "20",
                   "--checkpoint-dir", str(checkpoints), *options]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            while tf.train.latest_checkpoint(checkpoints) is None and process.poll() is None:
                time.sleep(0.05)
            psutil.Process(process.pid).children()[worker].send_signal(number)
            start = time.monotonic()
            message = process.communicate(timeout=120)[1]
        finally:
            process.kill()
    return message.strip().removeprefix("error: "), time.monotonic() - start
