"""Notebook 7, batch normalization in deep networks."""

from __future__ import annotations

from functools import partial

import numpy as np
import tensorflow as tf

from bn_tutorial.batch_norm import EPSILON
from bn_tutorial.networks import BatchNormNetwork, PlainNetwork, ResidualNetwork, initial_weights
from bn_tutorial.training import gather_seeds, train
from tools.try_it_yourself.questions import BATCH_SIZE, SEED, Results, Settings, question

BN = partial(BatchNormNetwork, decay=0.9)
DEPTHS, RATES = (2, 5, 10, 20, 50), (0.001, 0.003, 0.01, 0.03, 0.1)
BLOCKS, BLOCK_RATES = 50, (0.001, 0.003, 0.01)
PRODUCT, DECAY_RATES = 1e-3, (0.003, 0.03, 0.3)


def start_weights(depth: int, scheme: str = "he") -> list[np.ndarray]:
    """Of networks 784-100×depth-10."""
    return initial_weights(SEED, scheme, layer_sizes=(784, *[100] * depth, 10))


@question("07.1")
def how_deep_with_relu(settings: Settings) -> Results:
    """The map of depths and learning rates, with ReLU and He's weights."""
    steps, results = settings.steps(300), {}
    for depth in DEPTHS:
        kinds = {"without BN": PlainNetwork, "fixed BN": BN}
        networks = {
            (name, rate): build(start_weights(depth), activation=tf.nn.relu)
            for name, build in kinds.items()
            for rate in RATES
        }
        rates = {key: key[1] for key in networks}
        histories = train(
            networks, settings.load(), steps, BATCH_SIZE, rates, steps, stop_when_diverged=False
        )
        for name in kinds:
            reached = [float(histories[name, rate].test_accuracy[-1]) for rate in RATES]
            results[f"{name}, {depth} layers, best"] = float(np.nanmax(reached))
            results[f"{name}, {depth} layers, best rate"] = RATES[int(np.nanargmax(reached))]
    return results


@question("07.2")
def batch_norm_and_skip_init(settings: Settings) -> Results:
    """Fifty residual blocks with BN, with SkipInit, and with both."""
    kinds = {
        "BN": partial(ResidualNetwork, decay=0.9),
        "SkipInit": partial(ResidualNetwork, batch_norm=False, skip_init=True),
        "both": partial(ResidualNetwork, skip_init=True, decay=0.9),
    }
    networks = {
        (name, rate): build(start_weights(BLOCKS + 1))
        for name, build in kinds.items()
        for rate in BLOCK_RATES
    }
    steps, rates = settings.steps(200), {key: key[1] for key in networks}
    histories = train(
        networks, settings.load(), steps, BATCH_SIZE, rates, steps, stop_when_diverged=False
    )
    return {
        f"{name}, rate {rate}": float(history.test_accuracy[-1])
        for (name, rate), history in histories.items()
        if np.isfinite(history.test_accuracy[-1])
    }


class ScaleInvariantNetwork(BatchNormNetwork):
    """Trains its hidden matrices alone."""

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        """What gradient descent and weight decay change."""
        return [layer.weights for layer in self.layers]


@question("07.3")
def weight_decay_with_sigmoids(settings: Settings) -> Results:
    """The angle of a step over √(2ηλ), and ε over the variance of z in the second layer."""
    networks = {
        (rate, seed): ScaleInvariantNetwork(initial_weights(seed, "glorot"), decay=0.99)
        for rate in DECAY_RATES
        for seed in settings.seeds(2)
    }
    rates = {key: key[0] for key in networks}
    run = partial(
        train, networks, settings.load(), batch_size=BATCH_SIZE, learning_rate=rates,
        weight_decay={key: PRODUCT / key[0] for key in networks}, stop_when_diverged=False,
    )  # fmt: skip
    steps = settings.steps(6_000)
    run(steps=steps, record_every=steps)
    after = run(
        steps=50, record_every=1,
        observe=lambda network, images: network.layers[1].weights.read_value(),
    )  # fmt: skip
    results: Results = {}
    for rate, histories in gather_seeds(after).items():
        results[f"measured over predicted, rate {rate}"] = [
            turn(history.observations) / np.sqrt(2 * PRODUCT) for history in histories
        ]
        results[f"ε over the variance of z, rate {rate}"] = [
            float(np.median(EPSILON / network.layers[1].batch_norm.pop_var))
            for key, network in networks.items()
            if key[0] == rate
        ]
    return results


def turn(weights: np.ndarray) -> float:
    """The root mean square angle from one step to the next: `[steps, inputs, units]` → rad."""
    units = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    cosines = np.sum(units[1:] * units[:-1], axis=1)
    return float(np.sqrt(np.mean(np.arccos(np.clip(cosines, -1, 1)) ** 2)))
