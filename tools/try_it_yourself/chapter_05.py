"""Notebook 5, batch normalization in real layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import keras
import numpy as np

from bn_tutorial.keras_models import examine, plan_folding, recalibrate
from bn_tutorial.mnist import Datasets
from bn_tutorial.networks import KerasNetwork
from bn_tutorial.prediction import measure_accuracy
from bn_tutorial.training import train
from tools.try_it_yourself.questions import (
    BATCH_SIZE,
    LEARNING_RATE,
    SEED,
    Results,
    Settings,
    question,
)

SEEDS = 3
BATCHES = 110  # of an epoch, in *The first symptom, in the wild*


def convolutional(seed: int, *blocks: Callable[[], keras.Layer]) -> keras.Sequential:
    """Two convolutions without a bias, each with these layers behind it, and the logits."""
    keras.utils.set_random_seed(seed)
    layers = [keras.Input([28, 28, 1])]
    for filters in (8, 16):
        conv = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)
        layers += [conv, *(build() for build in blocks)]
    return keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(10)])


def fit_one_epoch(model: keras.Model, settings: Settings, data: Datasets) -> int:
    """Adam, one epoch, as in the notebook; returns the size of the batches."""
    batch = len(data.train) // BATCHES
    count = batch * settings.steps(BATCHES, 1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    images, classes = images_of(data)[:count], data.train.classes[:count]
    model.fit(images, classes, batch_size=batch, verbose=0)
    return batch


def images_of(data: Datasets) -> np.ndarray:
    """Those for training, `[n, 28, 28, 1]`."""
    return data.train.images.reshape(-1, 28, 28, 1)


@question("05.1")
def momentum_of_09(settings: Settings) -> Results:
    """One epoch with Adam, with a momentum of 0.99 and of 0.9; then the doctor."""
    data, results = settings.load(), {}
    few = images_of(data)[: 20 * BATCH_SIZE], data.train.classes[: 20 * BATCH_SIZE]
    for momentum in (0.99, 0.9):
        norm = partial(keras.layers.BatchNormalization, momentum=momentum)
        kinds = set()
        for seed in settings.seeds(SEEDS):
            model = convolutional(seed, norm, keras.layers.ReLU)
            batch = fit_one_epoch(model, settings, data)
            kinds |= {finding.kind for finding in examine(model, few)}
            network = KerasNetwork(model)
            accuracies = {"by batches": measure_accuracy(network, data.test, batch)}
            accuracies["by population"] = measure_accuracy(network, data.test)
            recalibrate(model, images_of(data), batches=100)
            accuracies["recalibrated"] = measure_accuracy(network, data.test)
            for way, accuracy in accuracies.items():
                results.setdefault(f"momentum {momentum}, {way}", []).append(accuracy)
        results[f"momentum {momentum}, findings"] = ", ".join(sorted(kinds)) or "none"
    return results


NORMALIZATIONS = {
    "no": lambda: [],
    "batch": lambda: [keras.layers.BatchNormalization()],
    "layer": lambda: [keras.layers.GroupNormalization(groups=1)],
    "RMS": lambda: [keras.layers.RMSNormalization()],
}


def dense(seed: int, normalize: Callable[[], list[keras.Layer]]) -> keras.Sequential:
    """Two layers of 100 units, with what `normalize` gives before each sigmoid."""
    keras.utils.set_random_seed(seed)
    layers = [keras.Input([784])]
    for _ in range(2):
        layers += [keras.layers.Dense(100), *normalize(), keras.layers.Activation("sigmoid")]
    return keras.Sequential([*layers, keras.layers.Dense(10)])


@question("05.2")
def batches_of_two_and_ten_times_the_samples(settings: Settings) -> Results:
    """Dense networks with four normalizations, on ten times the notebook's samples."""
    results: Results = {}
    samples = 10 * settings.steps(12_000, 120)
    for size in (2, 60):
        data = settings.load()
        networks = {
            (kind, seed): KerasNetwork(dense(seed, normalize))
            for kind, normalize in NORMALIZATIONS.items()
            for seed in settings.seeds(SEEDS)
        }
        steps = samples // size
        train(networks, data, steps, size, LEARNING_RATE, steps)
        for (kind, _), network in networks.items():
            name = f"{kind} normalization, batches of {size}, {samples:,} samples"
            results.setdefault(name, []).append(measure_accuracy(network, data.test))
    return results


@question("05.3")
def relu_before_the_norm(settings: Settings) -> Results:
    """What folds and what stays in a trained model with BN behind each ReLU, and why."""
    keras.utils.clear_session()  # layers are numbered from here on
    norm, relu = keras.layers.BatchNormalization, keras.layers.ReLU
    before, behind = (convolutional(SEED, *blocks) for blocks in ((relu, norm), (norm, relu)))
    folded = {
        "folded, ReLU last": len(plan_folding(behind).folded),
        "folded, not trained": len(plan_folding(before).folded),
    }
    fit_one_epoch(before, settings, settings.load())
    plan = plan_folding(before)
    folded["folded"] = len(plan.folded)
    return folded | {f"{name} stays": reason for name, reason in plan.kept.items()}
