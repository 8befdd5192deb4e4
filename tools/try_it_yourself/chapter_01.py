"""Notebook 1, naive batch normalization."""

from __future__ import annotations

from collections import Counter

import numpy as np
import tensorflow as tf

from bn_tutorial.mnist import Dataset
from bn_tutorial.networks import NaiveBatchNormNetwork, Network, PlainNetwork, initial_weights
from bn_tutorial.prediction import predict_in_batches, predict_one_by_one
from bn_tutorial.training import train
from tools.try_it_yourself.questions import (
    BATCH_SIZE,
    LEARNING_RATE,
    SEED,
    Results,
    Settings,
    question,
)

STEPS = 40_000
NETWORKS = {"without BN": PlainNetwork, "naive BN": NaiveBatchNormNetwork}


@question("01.1")
def gap_from_glorot_weights(settings: Settings) -> Results:
    """Three seeds from Glorot's weights; the notebook's own seed from N(0, 1)."""
    starts = [("normal", SEED), *(("glorot", seed) for seed in settings.seeds(3))]
    networks = {
        (name, scheme, seed): build(initial_weights(seed, scheme))
        for scheme, seed in starts
        for name, build in NETWORKS.items()
    }
    steps = settings.steps(STEPS)
    histories = train(networks, settings.load(), steps, BATCH_SIZE, LEARNING_RATE, 1_000)
    results: Results = {}
    for scheme in ("normal", "glorot"):
        ends = {
            name: [h.test_accuracy[-1] for key, h in histories.items() if key[:2] == (name, scheme)]
            for name in NETWORKS
        }
        for name, accuracies in ends.items():
            results[f"{name}, {scheme}"] = accuracies
        results[f"gap, {scheme}"] = list(np.subtract(ends["naive BN"], ends["without BN"]))
    return results


@question("01.2")
def other_learning_rates(settings: Settings) -> Results:
    """Ten times the learning rate, and a tenth of it; two seeds of weights."""
    rates = {
        (name, rate, seed): rate
        for rate in (0.001, 0.01, 0.1)
        for name in NETWORKS
        for seed in settings.seeds(2)
    }
    networks = {key: NETWORKS[key[0]](initial_weights(key[2])) for key in rates}
    steps = settings.steps(STEPS)
    histories = train(
        networks, settings.load(), steps, BATCH_SIZE, rates, 1_000, stop_when_diverged=False
    )
    results: Results = {}
    for (name, rate, _), history in histories.items():
        results.setdefault(f"{name}, rate {rate}", []).append(history.test_accuracy[-1])
    return results


@question("01.3", compared=False)  # which class it is, a last digit can decide
def class_of_other_seeds(settings: Settings) -> Results:
    """The class forecast and the class answered, with the seed of everything changed."""
    results: Results = {"forecast": [], "answered": [], "share of the hundred as forecast": []}
    for seed in settings.seeds(5):
        network = NaiveBatchNormNetwork(initial_weights(seed))
        data, steps = settings.load(seed), settings.steps(STEPS)
        train({"naive BN": network}, data, steps, BATCH_SIZE, LEARNING_RATE, 10_000)
        forecast = class_of_beta(network)
        hundred = data.test.images[:100], data.test.labels[:100]
        answers, _ = predict_one_by_one(network, *hundred)
        results["forecast"].append(forecast)
        results["answered"].append(int(answers[0]))
        results["share of the hundred as forecast"].append(float(np.mean(answers == forecast)))
    many = {seed: NaiveBatchNormNetwork(initial_weights(seed)) for seed in settings.seeds(20)}
    data, steps = settings.load(), settings.steps(10_000)
    train(many, data, steps, BATCH_SIZE, LEARNING_RATE, 10_000)
    forecasts = [class_of_beta(network) for network in many.values()]
    nearest = [class_nearest_to_beta(network, data.test) for network in many.values()]
    for name, classes in {"forecast": forecasts, "nearest to beta": nearest}.items():
        for number, count in sorted(Counter(classes).items()):
            results[f"of 20, after {steps:,} steps, {name} is class {number}"] = count
    return results


def class_of_beta(network: NaiveBatchNormNetwork) -> int:
    """What a naive network answers where BN leaves nothing but its shift."""
    return int(np.argmax(network.output(network.layers[-1].beta.numpy()[np.newaxis])))


def class_nearest_to_beta(network: NaiveBatchNormNetwork, test: Dataset) -> int:
    """The class whose mean activation inputs, in the whole test set, are nearest to the shift."""
    fed = network.activation_inputs(test.images, is_training=False).numpy()
    centres = np.array([fed[test.classes == number].mean(axis=0) for number in range(10)])
    return int(np.argmin(np.linalg.norm(centres - network.layers[-1].beta.numpy(), axis=1)))


@question("01.4")
def same_image_twice(settings: Settings) -> Results:
    """A hundred batches that hold one image twice, and a hundred of two images, for comparison."""
    network: Network = NaiveBatchNormNetwork(initial_weights(SEED))
    data, steps = settings.load(), settings.steps(STEPS)
    train({"naive BN": network}, data, steps, BATCH_SIZE, LEARNING_RATE, 10_000)
    images, labels = data.test.images[:100], data.test.labels[:100]
    z = tf.stack([images[0], images[0]]) @ network.layers[0].weights
    twice = np.repeat(images, 2, axis=0), np.repeat(labels, 2, axis=0)
    answers, _ = predict_in_batches(network, *twice, 2)
    _, of_two = predict_in_batches(network, images, labels, 2)
    return {
        "largest distance of z from its mean": float(
            tf.reduce_max(tf.abs(z - tf.reduce_mean(z, axis=0)))
        ),
        "class forecast": class_of_beta(network),
        "share of the answers as forecast": float(np.mean(answers == class_of_beta(network))),
        "accuracy in batches of 2 different images": of_two,
    }
