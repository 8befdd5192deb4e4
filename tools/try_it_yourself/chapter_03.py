"""Notebook 3, what batch normalization really buys."""

from __future__ import annotations

from functools import partial

import numpy as np
import tensorflow as tf

from bn_tutorial.batch_norm import batch_norm_by_hand
from bn_tutorial.mnist import binarize
from bn_tutorial.networks import (
    BatchNormNetwork,
    NaiveBatchNormNetwork,
    NoisyBatchNormNetwork,
    PlainNetwork,
    initial_weights,
)
from bn_tutorial.training import gather_seeds, train
from tools.try_it_yourself.questions import (
    BATCH_SIZE,
    LEARNING_RATE,
    SEED,
    Results,
    Settings,
    question,
)

NETWORKS = {"without BN": PlainNetwork, "fixed BN": partial(BatchNormNetwork, decay=0.99)}
SCALES = (0.01, 0.03, 0.1, 0.3, 1.0)
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
PAPER_LAYERS = (784, 100, 100, 100, 10)


@question("03.1")
def one_over_root_of_inputs(settings: Settings) -> Results:
    """The fair comparison, from σ = 1/√inputs and from Glorot's weights."""
    networks = {}
    for seed in settings.seeds(5):
        starts = {
            "σ = 1/√inputs": [m / np.float32(len(m) ** 0.5) for m in initial_weights(seed)],
            "Glorot": initial_weights(seed, "glorot"),
        }
        for label, weights in starts.items():
            for name, build in NETWORKS.items():
                networks[f"{name}, {label}", seed] = build(weights)
    steps = settings.steps(10_000)
    histories = train(networks, settings.load(), steps, BATCH_SIZE, LEARNING_RATE, 100)
    results: Results = {}
    for label, runs in gather_seeds(histories).items():
        results[label] = [run.test_accuracy[-1] for run in runs]
        for mark in (0.9, 0.97):
            reached = [float(run.steps_to(mark) or steps) for run in runs]
            results[f"{label}, steps to {mark:.0%}, or to the end"] = reached
    return results


@question("03.2")
def map_with_more_steps(settings: Settings) -> Results:
    """The map of learning rates and weights, after the notebook's steps and after four times."""
    keys = [(name, scale, rate) for name in NETWORKS for scale in SCALES for rate in RATES]
    networks = {key: NETWORKS[key[0]](initial_weights(SEED, deviation=key[1])) for key in keys}
    first, rates = settings.steps(1_500), {key: key[2] for key in keys}
    histories = train(
        networks, settings.load(), 4 * first, BATCH_SIZE, rates, first, stop_when_diverged=False
    )
    results: Results = {}
    for steps in (first, 4 * first):
        accuracy = {key: history.accuracy_after(steps) for key, history in histories.items()}
        threshold = np.nanmax(list(accuracy.values())) - 0.1
        results[f"working after {steps:,}"] = threshold
        for name in NETWORKS:
            working = [key for key in keys if key[0] == name and accuracy[key] >= threshold]
            results[f"{name}, cells of 40 after {steps:,}"] = len(working)
            for scale in SCALES:
                rates_of_row = [rate for _, s, rate in working if s == scale]
                if rates_of_row:
                    ends = [min(rates_of_row), max(rates_of_row)]
                    results[f"{name}, σ = {scale}, rates after {steps:,}"] = ends
    return results


@question("03.3")
def more_noise(settings: Settings) -> Results:
    """Noise of 0.5, 1 and 2, early, on average and at the end."""
    networks = {}
    for seed in settings.seeds(3):
        weights = initial_weights(seed, layer_sizes=PAPER_LAYERS, deviation=0.1)
        networks["without BN", seed] = PlainNetwork(weights)
        networks["naive BN", seed] = NaiveBatchNormNetwork(weights)
        for noise in (0.5, 1, 2):
            networks[f"NOISE {noise}", seed] = NoisyBatchNormNetwork(weights, noise, seed)
    steps, every = settings.steps(10_000), settings.steps(200)
    data = binarize(settings.load())
    histories = train(networks, data, steps, BATCH_SIZE, LEARNING_RATE, every)
    early = min(5 * every, steps)
    results: Results = {}
    for name, runs in gather_seeds(histories).items():
        results[f"{name}, after {early:,} steps"] = [run.accuracy_after(early) for run in runs]
        results[f"{name}, mean of the run"] = [float(run.test_accuracy.mean()) for run in runs]
        results[f"{name}, at the end"] = [run.test_accuracy[-1] for run in runs]
    return results


@question("03.4")
def small_weights_and_epsilon(settings: Settings) -> Results:  # noqa: ARG001
    """Weights divided by a hundred, with an epsilon of 1e-3."""
    generator = np.random.default_rng(SEED)
    u, weights, target = (
        tf.constant(generator.normal(size=shape)) for shape in ((60, 20), (20, 5), (60, 5))
    )
    ones, zeros = tf.ones([5], tf.float64), tf.zeros([5], tf.float64)
    outputs, gradients = {}, {}
    for a in (1.0, 0.01):
        with tf.GradientTape() as tape:
            tape.watch(scaled := a * weights)
            outputs[a] = batch_norm_by_hand(u @ scaled, ones, zeros, epsilon=1e-3)
            loss = tf.reduce_sum(tf.sigmoid(outputs[a]) * target)
        gradients[a] = tape.gradient(loss, scaled).numpy()
    variances = np.var(u @ (0.01 * weights), axis=0)
    along = np.sum(gradients[0.01] * weights, axis=0) / np.linalg.norm(weights, axis=0)
    return {
        "variance of z, a = 0.01": list(variances),
        "standard deviation of the outputs, a = 1": list(np.std(outputs[1.0], axis=0)),
        "standard deviation of the outputs, a = 0.01": list(np.std(outputs[0.01], axis=0)),
        "predicted": list(np.sqrt(variances / (variances + 1e-3))),
        "gradient, times that of a = 1": float(
            np.linalg.norm(gradients[0.01]) / np.linalg.norm(gradients[1.0])
        ),
        "share of the gradient along the weights": list(
            np.abs(along) / np.linalg.norm(gradients[0.01], axis=0)
        ),
    }
