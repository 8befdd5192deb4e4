"""Exhibits that are a piece of a training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np

from bn_tutorial.checks.results import CheckResult
from bn_tutorial.mnist import Datasets
from bn_tutorial.museum import probes
from bn_tutorial.museum.verdicts import AS_IT_WAS, NotMendedError, judge
from bn_tutorial.networks import BatchNormNetwork, initial_weights

FineTune = Callable[[keras.Model, keras.Model, np.ndarray, np.ndarray], object]
Split = Callable[[np.ndarray, int], Iterable[np.ndarray]]
Share = tuple[np.ndarray, np.ndarray]  # images and classes
TrainStep = Callable[[list[BatchNormNetwork], list[Share]], object]

STEPS = 40


class WatchedBatchNormalization(keras.layers.BatchNormalization):
    """BN that remembers whether any of its kind has normalised by a batch, copies too."""

    used_batch = False

    def call(self, inputs: object, training: bool | None = None, mask: object = None) -> object:
        """As `BatchNormalization`'s."""
        if training and self.trainable:
            WatchedBatchNormalization.used_batch = True
        return super().call(inputs, training=training, mask=mask)


def check_frozen(fine_tune: FineTune, data: Datasets, *, hint: bool = False) -> CheckResult:
    """Does the head learn, on features of a backbone that stays as it is?

    Args:
        fine_tune: (backbone, head, images, classes) trains the head, where it is.
        data: the digits.
        hint: whether to say where in the chapters to look.
    """
    return judge("frozen", hint, lambda: _examine_frozen(fine_tune, data))


def _examine_frozen(fine_tune: FineTune, data: Datasets) -> str:
    backbone, head = _trained_parts(data)
    images, classes = probes.batches(data.train, STEPS)
    images = 0.5 + 0.5 * images
    frozen, started = backbone.get_weights(), head.get_weights()
    WatchedBatchNormalization.used_batch = False
    fine_tune(backbone, head, images, classes)
    moved = [
        variable.path
        for variable, before in zip(backbone.weights, frozen, strict=True)
        if not np.array_equal(variable.numpy(), before)
    ]
    if any("moving" in path for path in moved) and not any("kernel" in path for path in moved):
        raise NotMendedError(
            AS_IT_WAS, f"Of the frozen backbone these have moved: {', '.join(moved)}."
        )
    if moved:
        raise NotMendedError("the backbone is trained", f"These have moved: {', '.join(moved)}.")
    if all(map(np.array_equal, started, head.get_weights())):
        raise NotMendedError("nothing is trained", "The head is as it was, too. It should learn.")
    if WatchedBatchNormalization.used_batch:
        raise NotMendedError(
            "features of another network",
            "The backbone has the numbers it had before. But while the head was trained, the "
            "backbone normalised by its batches, so the head has learned from features that the "
            "backbone will never give again.",
        )
    features = probes.logits(backbone, images)
    return (
        "The backbone is as it was, to the bit; the head answers "
        f"{probes.accuracy(head, features, classes):.0%} of the new images right."
    )


def _trained_parts(data: Datasets) -> tuple[keras.Model, keras.Model]:
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(32, use_bias=False, name="dense")
    norm = WatchedBatchNormalization(momentum=0.9, name="normalize")
    layers = [keras.Input([784]), dense, norm, keras.layers.ReLU()]
    backbone = keras.Sequential(layers, name="backbone")
    head = keras.Sequential([keras.Input([32]), keras.layers.Dense(10)])
    probes.fit(keras.Sequential([backbone, head]), *probes.batches(data.train, STEPS))
    return backbone, head


def check_last_batch(split: Split, data: Datasets, *, hint: bool = False) -> CheckResult:
    """Is each sample in one batch, and no batch too small for BN or much too large?

    Args:
        split: (sample numbers `[n]`, batch size) → the batches, each an array of sample numbers.
        data: the digits.
        hint: whether to say where in the chapters to look.
    """
    return judge("last_batch", hint, lambda: _examine_split(split, data))


def _examine_split(split: Split, data: Datasets) -> str:
    cases = [(601, 60), (600, 60), (119, 60), (61, 60), (60, 60), (59, 60), (1081, 36), (241, 16)]
    generator = np.random.default_rng(0)
    for count, size in cases:
        order = generator.choice(len(data.train), count, replace=False)
        found = [np.array(batch) for batch in split(order.copy(), size)]
        _require_fair_batches(order, found, size, f"{count} samples in batches of {size}")
    return f"{len(cases)} numbers of samples: each sample once, and no batch of one."


def _require_fair_batches(
    order: np.ndarray, found: Sequence[np.ndarray], size: int, case: str
) -> None:
    taken = np.concatenate(found) if found else np.empty(0, int)
    numbers, counts = np.unique(taken, return_counts=True)
    lengths = [len(batch) for batch in found]
    if min(lengths, default=0) == 1 and len(taken) == len(order):
        raise NotMendedError(AS_IT_WAS, f"{case}: there is a batch of one.")
    if 0 in lengths:
        raise NotMendedError("an empty batch", f"{case}: there is a batch of none.")
    left_out = np.setdiff1d(order, numbers).size
    if left_out:
        raise NotMendedError(
            "samples are left out",
            f"{case}: samples that are in no batch: {left_out}. Here each sample should count, "
            "in each epoch.",
        )
    if counts.max() > 1 or len(numbers) > len(order):
        raise NotMendedError(
            "samples count twice",
            f"{case}: samples that are in more than one place: {np.sum(counts > 1)}. A batch of "
            "one sample and its copies has no variance either; one filled up with others counts "
            "them twice.",
        )
    if max(lengths) >= 2 * size:
        raise NotMendedError(
            "another batch size", f"{case}: the largest batch has {max(lengths)} samples."
        )


def check_replicas(train_step: TrainStep, data: Datasets, *, hint: bool = False) -> CheckResult:
    """Do two replicas stay one network, which knows the shares of both?

    Args:
        train_step: (replicas, shares) trains two networks of the same numbers one step, each on
            its own share: images `[n, 784]` and classes `[n]`.
        data: the digits.
        hint: whether to say where in the chapters to look.
    """
    return judge("replicas", hint, lambda: _examine_replicas(train_step, data))


def _examine_replicas(train_step: TrainStep, data: Datasets) -> str:
    images, classes = probes.batches(data.train, 10)
    replicas = _replicas()
    shares = [(images[:40], classes[:40]), (0.5 * images[40:80], classes[40:80])]
    first = [_moments(replicas[0], share) for share, _ in shares]
    pooled = _moments(replicas[0], np.concatenate([share for share, _ in shares]))
    train_step(replicas, shares)
    _require_one_network(replicas)
    _require_statistics_of_both(replicas[0], first, pooled)
    losses = []
    for start in range(0, 600 - 40, 40):
        halves = [slice(start, start + 20), slice(start + 20, start + 40)]
        losses.append(_loss(replicas[0], images, classes))
        train_step(replicas, [(images[half], classes[half]) for half in halves])
    _require_one_network(replicas)
    if losses[-1] > 0.9 * losses[0]:
        raise NotMendedError(
            "nothing is learned",
            f"The replicas agree, but the loss goes from {losses[0]:.2f} to {losses[-1]:.2f}.",
        )
    return "After each step both replicas have the same numbers, with the statistics of both."


def _replicas() -> list[BatchNormNetwork]:
    weights = initial_weights(0, "glorot", (784, 32, 32, 10))
    return [BatchNormNetwork(weights, decay=0.9) for _ in range(2)]


def _loss(network: BatchNormNetwork, images: np.ndarray, classes: np.ndarray) -> float:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return float(loss(classes, network(images, is_training=False)))


def _moments(network: BatchNormNetwork, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of what the first layer normalises."""
    inputs = images @ network.layers[0].weights.numpy()
    return inputs.mean(axis=0), inputs.var(axis=0)


def _require_one_network(replicas: Sequence[BatchNormNetwork]) -> None:
    one, other = replicas
    pairs = list(zip(one.variables, other.variables, strict=True))
    parted = [a for a, b in pairs if not np.allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)]
    if any(variable.trainable for variable in parted):
        raise NotMendedError(
            "the weights part", "The trained variables of the replicas are no longer the same."
        )
    if parted:
        names = sorted({variable.name.split(":")[0] for variable in parted})
        raise NotMendedError(
            AS_IT_WAS,
            f"The weights are the same; {' and '.join(names)} of the replicas are not. In "
            "evaluation these are two networks.",
        )


def _require_statistics_of_both(
    replica: BatchNormNetwork,
    of_shares: Sequence[tuple[np.ndarray, np.ndarray]],
    pooled: tuple[np.ndarray, np.ndarray],
) -> None:
    """After the first step, which started from a population of 0 and 1."""
    population = replica.layers[0].batch_norm
    mean, variance = population.pop_mean.numpy(), population.pop_var.numpy()
    found = mean / 0.1, (variance - 0.9) / 0.1
    averaged = tuple(np.mean(values, axis=0) for values in zip(*of_shares, strict=True))
    if any(_near(found, expected) for expected in (averaged, pooled)):
        return
    for number, expected in enumerate(of_shares):
        if _near(found, expected):
            raise NotMendedError(
                "one replica's statistics for all",
                "The replicas agree, because both have the population of replica "
                f"{number}. What the other one saw is thrown away at each step.",
            )
    raise NotMendedError(
        "statistics of neither",
        "The replicas agree, but after a step with decay 0.9 their population has not taken up a "
        "tenth of what the two shares have.",
    )


def _near(found: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> bool:
    return all(
        np.allclose(ours, theirs, rtol=1e-2, atol=1e-3)
        for ours, theirs in zip(found, expected, strict=True)
    )
