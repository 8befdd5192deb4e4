"""Exhibits that carry a network's numbers to another place: to a file, to another framework."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from bn_tutorial.checks.results import CheckResult
from bn_tutorial.keras_models.model import batch_norm_layers
from bn_tutorial.mnist import Datasets
from bn_tutorial.museum import probes
from bn_tutorial.museum.verdicts import AS_IT_WAS, NotMendedError, judge

Save = Callable[[keras.Model, Path], None]
Restore = Callable[[keras.Model, Path], keras.Model | None]
State = dict[str, np.ndarray]

TORCH_EPSILON = 1e-5
TORCH_MOMENTUM = 0.1  # the share of the new value
STEPS = 60


def check_checkpoint(
    save: Save, restore: Restore, data: Datasets, *, hint: bool = False
) -> CheckResult:
    """Does a new network get all numbers of the old one, and get them from the folder?

    Args:
        save: (model, folder) writes into the folder.
        restore: (another model of the same architecture, folder) changes the model, or returns
            one.
        data: the digits.
        hint: whether to say where in the chapters to look.
    """
    return judge("checkpoint", hint, lambda: _examine_checkpoint(save, restore, data))


def _examine_checkpoint(save: Save, restore: Restore, data: Datasets) -> str:
    images, classes = probes.batches(data.train, STEPS)
    model = probes.fit(_network(seed=0), images, classes)
    before = model.get_weights()
    other = _network(seed=1)
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder))
        written = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        if not all(map(np.array_equal, before, model.get_weights())):
            raise NotMendedError("saving changes the model", "After save the model is another.")
        returned = restore(other, Path(folder))
        restored = other if returned is None else returned
    if written < sum(value.nbytes for value in before) / 2 or restored is model:
        raise NotMendedError(
            "not from the file",
            f"The folder holds {written:,} bytes, fewer than the network's numbers need. What is "
            "handed over in memory is gone when the process ends.",
        )
    _require_same_variables(model, restored)
    after = probes.accuracy(restored, data.test.images, data.test.classes)
    return f"All {len(before)} variables are there; the restored network has {after:.3f}."


def _require_same_variables(model: keras.Model, restored: keras.Model) -> None:
    for ours, theirs in zip(model.trainable_variables, restored.trainable_variables, strict=True):
        if not np.array_equal(ours.numpy(), theirs.numpy()):
            raise NotMendedError(
                "trained variables differ", f"{ours.path} is not what it was before."
            )
    pairs = zip(model.non_trainable_variables, restored.non_trainable_variables, strict=True)
    apart = [(ours.numpy(), theirs.numpy()) for ours, theirs in pairs]
    if all(np.array_equal(ours, theirs) for ours, theirs in apart):
        return
    start = [np.unique(theirs).size == 1 for _, theirs in apart]
    if any(start):
        raise NotMendedError(
            AS_IT_WAS,
            f"After restoring, {sum(start)} of {len(apart)} variables still have the values that "
            "a new network starts with. Count what is in the file.",
        )
    raise NotMendedError(
        "computed anew, not restored",
        f"{len(apart)} variables are near what they were, and not the same: they were computed "
        "from data again. That takes data wherever the network is restored, and gives a network "
        "that nobody has tested.",
    )


def _network(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    hidden = []
    for _ in range(2):
        hidden.append(keras.layers.Dense(32, use_bias=False))
        hidden += [keras.layers.BatchNormalization(momentum=0.9)]
        hidden.append(keras.layers.Activation("sigmoid"))
    return keras.Sequential([keras.Input([784]), *hidden, keras.layers.Dense(10)])


def torch_state(data: Datasets) -> State:
    """The numbers of a small trained network as PyTorch would name, shape and compute them.

    Linear, BatchNorm1d, ReLU, Linear. After training the weights before BN are made small, as
    weight decay would make them, and with them the variances.

    Returns:
        "fc1.weight" `[64, 784]`, "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var",
        each `[64]`, "fc2.weight" `[10, 64]`, "fc2.bias" `[10]`.
    """
    keras.utils.set_random_seed(0)
    norm = keras.layers.BatchNormalization(epsilon=1e-9, momentum=1 - TORCH_MOMENTUM)
    hidden = [keras.layers.Dense(64, use_bias=False), norm, keras.layers.ReLU()]
    model = keras.Sequential([keras.Input([784]), *hidden, keras.layers.Dense(10)])
    probes.fit(model, *probes.batches(data.train, 2 * STEPS))
    first, gamma, beta, mean, variance, second, bias = model.get_weights()
    shrink = np.float32(0.003) / np.sqrt(np.median(variance))
    return {
        "fc1.weight": shrink * first.T,
        "bn1.weight": gamma,
        "bn1.bias": beta,
        "bn1.running_mean": shrink * mean,
        "bn1.running_var": shrink**2 * variance * np.float32(probes.BATCH / (probes.BATCH - 1)),
        "fc2.weight": second.T,
        "fc2.bias": bias,
    }


def check_two_frameworks(
    to_keras: Callable[[State], keras.Model], data: Datasets, *, hint: bool = False
) -> CheckResult:
    """Does the Keras model do what PyTorch would, in prediction and in further training?

    Args:
        to_keras: a state as of `torch_state` → a Keras model.
        data: the digits.
        hint: whether to say where in the chapters to look.
    """
    return judge("two_frameworks", hint, lambda: _examine_transfer(to_keras, data))


def _examine_transfer(to_keras: Callable[[State], keras.Model], data: Datasets) -> str:
    state = torch_state(data)
    model = to_keras({name: value.copy() for name, value in state.items()})
    images = data.test.images[:500]
    found, expected = probes.logits(model, images), torch_logits(state, images)
    apart = np.abs(found - expected).max()
    if found.shape != expected.shape or apart > 1e-2:
        raise NotMendedError(
            AS_IT_WAS,
            f"On the same images, a logit differs by up to {apart:.2g} from what PyTorch gives. "
            "Compare the two layers' formulas term by term, with their defaults.",
        )
    if not batch_norm_layers(model):
        raise NotMendedError(
            "batch normalization taken out",
            "The predictions agree, but the model has no BN layer: it can't be trained further "
            "as the old one could.",
        )
    (layer, *_) = batch_norm_layers(model)
    _require_same_statistics(layer, state)
    _require_same_pace(model, layer, state, data)
    return f"Logits agree to {apart:.0e}, and the statistics move as they would in PyTorch."


def torch_logits(state: State, images: np.ndarray) -> np.ndarray:
    """What PyTorch answers in evaluation: images `[n, 784]` → logits `[n, 10]`."""
    z = images @ state["fc1.weight"].T
    deviation = np.sqrt(state["bn1.running_var"] + TORCH_EPSILON)
    z = (z - state["bn1.running_mean"]) / deviation * state["bn1.weight"] + state["bn1.bias"]
    return np.maximum(z, 0) @ state["fc2.weight"].T + state["fc2.bias"]


def _require_same_statistics(layer: keras.layers.BatchNormalization, state: State) -> None:
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    if np.allclose(mean, state["bn1.running_mean"], rtol=1e-3, atol=1e-6) and np.allclose(
        variance, state["bn1.running_var"], rtol=1e-3
    ):
        return
    raise NotMendedError(
        "statistics bent to fit",
        "The predictions agree, but the moving statistics are no longer those of the data (the "
        f"smallest variance is {variance.min():.1e}, and was {state['bn1.running_var'].min():.1e})"
        ". Whatever was worked into them is lost as soon as training moves them.",
    )


def _require_same_pace(
    model: keras.Model, layer: keras.layers.BatchNormalization, state: State, data: Datasets
) -> None:
    images, _ = probes.batches(data.train, 1)
    with probes.unchanged(model):
        model(images, training=True)
        moved = layer.moving_mean.numpy() - state["bn1.running_mean"]
    batch_mean = (images @ state["fc1.weight"].T).mean(axis=0)
    full = batch_mean - state["bn1.running_mean"]
    share = float(full @ moved / (full @ full))
    if abs(share - TORCH_MOMENTUM) > 0.01:
        raise NotMendedError(
            "right only until it is trained",
            "The predictions agree. But in one step of training the moving mean goes "
            f"{share:.0%} of the way to the batch's; in PyTorch, with its momentum of "
            f"{TORCH_MOMENTUM}, it would go {TORCH_MOMENTUM:.0%}. Fine-tuning would give another "
            "network.",
        )
