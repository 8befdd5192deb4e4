"""Notebook 2, fixed batch normalization."""

from __future__ import annotations

import tempfile

import numpy as np
import tensorflow as tf

from bn_tutorial.networks import BatchNormNetwork, NaiveBatchNormNetwork, initial_weights
from bn_tutorial.population import estimate_population
from bn_tutorial.prediction import measure_accuracy, predict_in_batches, predict_one_by_one
from bn_tutorial.training import History, train
from tools.try_it_yourself.questions import (
    BATCH_SIZE,
    LEARNING_RATE,
    SEED,
    Results,
    Settings,
    question,
)

STEPS = 10_000
DECAY = 0.999


@question("02.1")
def other_decays(settings: Settings) -> Results:
    """Where the two curves meet, within 0.01 for good, and how calm the lower one is then."""
    results: Results = {}
    for seed in settings.seeds(3):
        weights = initial_weights(seed)
        networks = {d: BatchNormNetwork(weights, decay=d) for d in (0.9, 0.99, 0.999)}
        networks["naive"] = NaiveBatchNormNetwork(weights)
        steps = settings.steps(STEPS)
        histories = train(networks, settings.load(), steps, BATCH_SIZE, LEARNING_RATE, 50)
        naive = histories.pop("naive")
        for decay, history in histories.items():
            met = meeting(history, naive, within=0.01)
            results.setdefault(f"steps until they meet, {decay}", []).append(met)
        for name, history in {**histories, "naive BN": naive}.items():
            late = history.test_accuracy[len(history.steps) // 2 :]
            jump = 100 * float(np.mean(np.abs(np.diff(late))))
            results.setdefault(f"points from one record to the next, {name}", []).append(jump)
    return results


def meeting(history: History, reference: History, within: float) -> int:
    """The first recorded step from which the two accuracies stay within so much."""
    apart = np.abs(history.test_accuracy - reference.test_accuracy) > within
    last = np.flatnonzero(apart)[-1] if apart.any() else -1
    return int(history.steps[min(last + 1, len(history.steps) - 1)])


@question("02.2")
def after_1000_steps(settings: Settings) -> Results:
    """The hundred one by one, and in one batch by its own statistics; then the test set."""
    results: Results = {}
    for seed in settings.seeds(3):
        fixed, data = BatchNormNetwork(initial_weights(seed), DECAY), settings.load()
        steps = settings.steps(1_000)
        train({"fixed BN": fixed}, data, steps, BATCH_SIZE, LEARNING_RATE, 1_000)
        hundred = data.test.images[:100], data.test.labels[:100]
        accuracies = {
            "the hundred, one by one": predict_one_by_one(fixed, *hundred)[1],
            "the test set, by the population": measure_accuracy(fixed, data.test),
            "the test set, by its own statistics": measure_accuracy(fixed, data.test, 10_000),
            "the hundred, in one batch": predict_in_batches(fixed, *hundred, 100, True)[1],
        }
        for name, accuracy in accuracies.items():
            results.setdefault(name, []).append(accuracy)
    return results


@question("02.3")
def trained_variables_alone(settings: Settings) -> Results:
    """Restore the trained variables and nothing else; then estimate the population anew."""
    results: Results = {}
    for seed in settings.seeds(3):
        fixed, data = BatchNormNetwork(initial_weights(seed), DECAY), settings.load()
        train({"fixed BN": fixed}, data, settings.steps(STEPS), BATCH_SIZE, LEARNING_RATE, 10_000)
        restored = BatchNormNetwork(initial_weights(SEED + 100), DECAY)
        with tempfile.TemporaryDirectory() as folder:
            saved = tf.train.Checkpoint(trained=list(fixed.trainable_variables)).write(
                folder + "/c"
            )
            mine = tf.train.Checkpoint(trained=list(restored.trainable_variables))
            mine.read(saved).assert_consumed()
        lost = measure_accuracy(restored, data.test)
        estimate_population(restored, data.train)
        accuracies = {
            "saved": measure_accuracy(fixed, data.test),
            "restored": lost,
            "population estimated anew": measure_accuracy(restored, data.test),
        }
        for name, accuracy in accuracies.items():
            results.setdefault(name, []).append(accuracy)
    numbers = sum(int(tf.size(v)) for v in fixed.variables if not v.trainable)
    return results | {"numbers that are lost": numbers}


@question("02.4")
def rate_of_the_article(settings: Settings) -> Results:
    """Five seeds with the rate that the article prints, and with ten times as much."""
    results: Results = {}
    steps = settings.steps(STEPS)
    for rate in (LEARNING_RATE, 10 * LEARNING_RATE):
        data = settings.load()  # the same batches for both rates
        networks = {
            f"seed {seed}": BatchNormNetwork(initial_weights(seed), DECAY)
            for seed in settings.seeds(5)
        }
        train(networks, data, steps, BATCH_SIZE, rate, steps)
        images, labels = data.test.images[:100], data.test.labels[:100]
        results[f"rate {rate}, test set"] = [
            measure_accuracy(network, data.test) for network in networks.values()
        ]
        results[f"rate {rate}, the hundred"] = [
            predict_one_by_one(network, images, labels)[1] for network in networks.values()
        ]
    return results
