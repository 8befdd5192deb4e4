"""Notebook 4, which statistics at test time."""

from __future__ import annotations

import copy

import numpy as np

from bn_tutorial.mnist import Dataset, Datasets, change_images
from bn_tutorial.networks import BatchNormNetwork, initial_weights
from bn_tutorial.population import estimate_population
from bn_tutorial.prediction import measure_accuracy
from bn_tutorial.training import gather_seeds, train
from tools.try_it_yourself.questions import (
    BATCH_SIZE,
    LEARNING_RATE,
    Results,
    Settings,
    question,
)

SEEDS = 3


@question("04.1")
def decay_of_9999(settings: Settings) -> Results:
    """Three decays with a corrected start: how right they are, and how calm."""
    networks = {
        (f"decay {decay}", seed): BatchNormNetwork(initial_weights(seed), decay, correct_start=True)
        for decay in (0.99, 0.999, 0.9999)
        for seed in settings.seeds(SEEDS)
    }
    steps, every = settings.steps(3_000), settings.steps(100, 10)
    histories = train(networks, settings.load(), steps, BATCH_SIZE, LEARNING_RATE, every)
    results: Results = {}
    for name, runs in gather_seeds(histories).items():
        for mark in (steps // every // 3 * every, steps):
            results[f"{name}, after {mark:,} steps"] = [run.accuracy_after(mark) for run in runs]
        late = [run.test_accuracy[len(run.steps) // 3 :] for run in runs]
        results[f"{name}, points from one record to the next, from then on"] = [
            100 * float(np.mean(np.abs(np.diff(accuracies)))) for accuracies in late
        ]
    return results


def trained_networks(settings: Settings, data: Datasets) -> list[BatchNormNetwork]:
    """Those of *Who shares your batch?*, with precise statistics."""
    networks = {
        f"seed {seed}": BatchNormNetwork(initial_weights(seed, "glorot"), correct_start=True)
        for seed in settings.seeds(SEEDS)
    }
    train(networks, data, settings.steps(5_000), BATCH_SIZE, LEARNING_RATE, 5_000)
    for network in networks.values():
        estimate_population(network, data.train)
    return list(networks.values())


@question("04.2")
def half_of_the_classes_darkened(settings: Settings) -> Results:
    """Darkened test images, with statistics from darkened images of all digits or of five."""
    data = settings.load()
    test, validation = (
        change_images(part, lambda pixels: 0.5 * pixels) for part in (data.test, data.validation)
    )
    sources = {"all darkened digits": validation, "darkened 0 to 4": with_classes(validation, 0, 4)}
    results: Results = {}
    for network in trained_networks(settings, data):
        adapted = {"training images": network}
        for name, source in sources.items():
            adapted[name] = copy.deepcopy(network)
            estimate_population(adapted[name], source)
        for name, measured in adapted.items():
            parts = {"": test, " on 0 to 4": with_classes(test, 0, 4),
                     " on 5 to 9": with_classes(test, 5, 9)}  # fmt: skip
            for part, dataset in parts.items():
                accuracy = measure_accuracy(measured, dataset)
                results.setdefault(f"statistics of {name}{part}", []).append(accuracy)
    return results


def with_classes(dataset: Dataset, first: int, last: int) -> Dataset:
    """The samples of some classes."""
    chosen = (first <= dataset.classes) & (dataset.classes <= last)
    return Dataset(dataset.pixels[chosen], dataset.classes[chosen])


@question("04.3")
def ten_times_the_samples(settings: Settings) -> Results:
    """Batches of 2 and of 60, on the notebook's samples and on ten times as many."""
    results: Results = {}
    for size, times in ((60, 1), (2, 1), (60, 10), (2, 10)):
        data = settings.load()
        networks = {
            f"seed {seed}": BatchNormNetwork(initial_weights(seed, "glorot"), correct_start=True)
            for seed in settings.seeds(SEEDS)
        }
        samples = times * settings.steps(60_000, 1_000)
        train(networks, data, samples // size, size, LEARNING_RATE, samples // size)
        for network in networks.values():
            accuracies = {"batch": measure_accuracy(network, data.test, size)}
            accuracies["smoothed"] = measure_accuracy(network, data.test)
            estimate_population(network, data.train, BATCH_SIZE)
            accuracies["precise"] = measure_accuracy(network, data.test)
            for way, accuracy in accuracies.items():
                name = f"batches of {size}, {samples:,} samples, {way} statistics"
                results.setdefault(name, []).append(accuracy)
    return results
