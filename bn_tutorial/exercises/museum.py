"""The museum of broken programs: each check says whether a program is mended, or what hides.

A check takes what the reader wrote and the digits as `data`, runs it, and never raises. It is not
content with the symptom: it asks what the program should do, and knows the cures that only hide it.
Each takes `hint=True`, to say where in the chapters to look, and returns a `CheckResult`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from bn_tutorial.batch_norm import EPSILON
from bn_tutorial.exercises import probes
from bn_tutorial.exercises.results import AS_IT_WAS, Mistaken, check_program
from bn_tutorial.keras_models.model import batch_norm_layers
from bn_tutorial.mnist import Datasets
from bn_tutorial.networks import BatchNormNetwork, initial_weights

State = dict[str, np.ndarray]

CHANCE = 0.25  # an accuracy below which a network has learnt next to nothing
PAPER = 4000  # what the camera counts where there is no ink
ALONE = 25  # images are predicted one at a time
TORCH_EPSILON = 1e-5
TORCH_MOMENTUM = 0.1  # which PyTorch means as the share of the new value


def _trained(build_model: Callable, data: Datasets, steps: int) -> keras.Model:
    """A model as the reader builds it, from the same random numbers each time."""
    keras.utils.set_random_seed(0)
    return probes.fit(build_model(), *probes.batches(data.train, steps))


@check_program("01_naive_batch_norm", "The formula")
def check_stuck_at_chance(build_model: Callable, data: Datasets) -> str:
    """Does the network learn, with BN in both hidden layers, and from the first steps on?

    `build_model()` returns a Keras model: images `[batch, 784]` → logits `[batch, 10]`.
    """
    model = _trained(build_model, data, 50)
    found = probes.accuracy(model, data.test.images, data.test.classes)
    text = f"After 50 steps the test accuracy is {found:.3f}"
    if found < CHANCE:
        raise Mistaken(
            AS_IT_WAS,
            f"{text}; chance is about 0.1. Look at what leaves the first hidden layer, and at the "
            "gradients that come back to it.",
        )
    probes.require_batch_norm(model, data.train.images[:16], layers=2)
    usual = _trained(lambda: probes.network(64, "relu"), data, 50)
    expected = probes.accuracy(usual, data.test.images, data.test.classes)
    if found < expected - 0.15:
        raise Mistaken("a slow start", f"{text}, where the usual network has {expected:.3f}.")
    return f"{text}, with BN in both layers."


@check_program("02_fixed_batch_norm", "Two kinds of statistics")
def check_bad_in_evaluation(build_model: Callable, data: Datasets) -> str:
    """Is the network as good in evaluation as in training, on the same images?

    `build_model()` returns a Keras model: images `[batch, 784]` → logits `[batch, 10]`.
    """
    model = _trained(build_model, data, 100)
    images, classes = (values[-1000:] for values in probes.batches(data.train, 100))
    in_training = probes.accuracy(model, images, classes, training=True)
    in_evaluation = probes.accuracy(model, images, classes)
    both = (
        f"on the same 1,000 training images the accuracy is {in_training:.3f} with training=True "
        f"and {in_evaluation:.3f} with training=False"
    )
    if in_training - in_evaluation > 0.1:
        raise Mistaken(
            AS_IT_WAS,
            f"Still, {both}. What do the moving statistics follow, layer by layer? Training "
            "longer or recalibrating would compute the same mixture, only more precisely.",
        )
    probes.require_batch_norm(model, images[:16], layers=3)
    if in_training < 0.6:
        raise Mistaken("worse in training", f"Now both are bad: {both}.")
    return f"Now {both}."


@check_program("01_naive_batch_norm", "One sample at a time")
def check_one_class(build_model: Callable, data: Datasets) -> str:
    """Does the network, trained with BN, answer for one image what the image shows?

    `build_model()` returns a Keras model: images `[batch, 784]` → logits `[batch, 10]`.
    """
    model = _trained(build_model, data, 100)
    images, classes = data.test.images[:50], data.test.classes[:50]
    alone = np.array([probes.logits(model, image[np.newaxis]).argmax() for image in images])
    if len(set(alone)) == 1:
        raise Mistaken(
            AS_IT_WAS,
            f"50 test images, one at a time: all of them are a {alone[0]}. What does a BN "
            "layer of this network normalise a single image by?",
        )
    probes.require_batch_norm(model, data.train.images[:16], layers=2)
    text = f"50 test images, one at a time: {np.mean(alone == classes):.0%} of them are right."
    if np.mean(alone == classes) < 0.6:
        raise Mistaken("single images are guessed", text)
    return text


@check_program("07_across_machines", "Synchronized, by hand")
def check_nan(standardize: Callable, data: Datasets) -> str:
    """Is each pixel standardised over the batch, however large its mean?

    `standardize(counts)`, float32 `[batch, units]`, returns the same with mean 0 and variance 1
    over the batch, but for an ε of 1e-3 that is added to the variance.
    """
    generator = np.random.default_rng(0)
    easy = [generator.normal(1.0, 2.0, (60, 8)), generator.normal(0.0, 0.05, (60, 8))]
    if any(_off(standardize, batch) > 0.1 for batch in easy):
        raise Mistaken(
            "not standardised",
            "Columns with a standard deviation of 2 or 0.05 do not come out as they should, in "
            "float32 and with an ε of 0.001. (Beside a larger ε the variance does not count.)",
        )
    camera = np.split(PAPER - 255 * probes.batches(data.train, 50)[0], 50)
    worst = 0.0
    for batch in [*camera, *(generator.normal(mean, 0.3, (60, 32)) for mean in (3e3, 1e4, 2e4))]:
        off = _off(standardize, batch)
        if not np.isfinite(off):
            raise Mistaken(
                AS_IT_WAS,
                f"A batch whose pixels are near {batch.max():,.0f} gives numbers that are not "
                "finite. Print the smallest variance of such a batch.",
            )
        worst = max(worst, off)
    if worst > 0.2:
        raise Mistaken(
            "a variance of noise",
            f"There is no NaN any more, but results are off by up to {worst:,.1f} standard "
            "deviations. The variance is still the difference of two huge numbers.",
        )
    return f"No result is off by more than {worst:.3f} standard deviations."


def _off(standardize: Callable, batch: np.ndarray) -> float:
    """How far a standardised batch is from what it should be, at most."""
    given = tf.constant(batch, tf.float32)
    found, exact = np.asarray(standardize(given)), given.numpy().astype(np.float64)
    if (found.shape, found.dtype) != (exact.shape, np.float32):
        return np.inf
    return np.abs(found - (exact - exact.mean(0)) / np.sqrt(exact.var(0) + EPSILON)).max()


@check_program("04_statistics_at_test_time", "Who shares your batch?")
def check_batch_size(predict: Callable, data: Datasets) -> str:
    """Does an image get the same logits alone and in a batch, and the right ones?

    `predict(model, images, training_images)` returns logits `[batch, 10]`; the model was trained on
    images standardised by the training images.
    """
    training_images, classes = probes.batches(data.train, 50)
    mean, deviation = training_images.mean(axis=0), training_images.std(axis=0) + 0.1
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(64, activation="relu")
    model = keras.Sequential([keras.Input([784]), hidden, keras.layers.Dense(10)])
    probes.fit(model, (training_images - mean) / deviation, classes)
    images, answers = data.test.images[:100], data.test.classes[:ALONE]
    together = np.array(predict(model, images, training_images))[:ALONE]
    alone = np.concatenate([predict(model, images[[i]], training_images) for i in range(ALONE)])
    right, right_together = (np.mean(v.argmax(axis=1) == answers) for v in (alone, together))
    both = f"{ALONE} test images: alone {right:.0%} are right, among 100 {right_together:.0%}"
    if right < right_together - 0.1:
        raise Mistaken(AS_IT_WAS, f"{both}.")
    if not np.allclose(alone, together, rtol=1e-3, atol=1e-3):
        raise Mistaken("neighbours still count", f"{both}. But the logits are not the same.")
    if not np.allclose(alone, model((images[:ALONE] - mean) / deviation), rtol=1e-3, atol=1e-3):
        raise Mistaken(
            "not what the model was trained on",
            "The batch size no longer matters, but images are not prepared as in training.",
        )
    return f"{both}, and their logits are the same."


@check_program("02_fixed_batch_norm", "Save")
def check_checkpoint(save: Callable, restore: Callable, data: Datasets) -> str:
    """Does a new network get all numbers of the old one, and get them from the folder?

    `save(model, folder)` writes into the folder; `restore(other, folder)` changes another model of
    the same architecture, or returns one.
    """
    model, other = (probes.network(32, "sigmoid", seed) for seed in (0, 1))
    before = probes.fit(model, *probes.batches(data.train, 60)).get_weights()
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder))
        written = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        restored = restore(other, Path(folder)) or other
    if written < sum(value.nbytes for value in before) / 2 or restored is model:
        raise Mistaken(
            "not from the file",
            f"The folder holds {written:,} bytes, fewer than the network's numbers need.",
        )
    moving = [variable.numpy() for variable in restored.non_trainable_variables]
    new = sum(np.unique(values).size == 1 for values in moving)
    if new:
        raise Mistaken(
            AS_IT_WAS,
            f"After restoring, {new} of {len(moving)} variables still have the values that "
            "a new network starts with. Count what is in the file.",
        )
    if not all(map(np.array_equal, before, restored.get_weights())):
        raise Mistaken(
            "another network",
            "The numbers are not those of before. Statistics computed anew are only near them.",
        )
    after = probes.accuracy(restored, data.test.images, data.test.classes)
    return f"All {len(before)} variables are there; the restored network has {after:.3f}."


class WatchedBatchNormalization(keras.layers.BatchNormalization):
    """BN that remembers whether any of its kind has normalised by a batch, copies too."""

    used_batch = False

    def call(self, inputs: object, training: bool | None = None, mask: object = None) -> object:
        """Normalise as `BatchNormalization` does, and remember by what."""
        if training and self.trainable:
            WatchedBatchNormalization.used_batch = True
        return super().call(inputs, training=training, mask=mask)


@check_program("04_statistics_at_test_time", "Frozen layers in Keras")
def check_frozen(fine_tune: Callable, data: Datasets) -> str:
    """Does the head learn, on features of a backbone that stays as it is?

    `fine_tune(backbone, head, images, classes)` trains the head, where it is.
    """
    images, classes = probes.batches(data.train, 40)
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(32, use_bias=False, name="dense")
    norm = WatchedBatchNormalization(momentum=0.9, name="normalize")
    layers = [keras.Input([784]), dense, norm, keras.layers.ReLU()]
    backbone = keras.Sequential(layers, name="backbone")
    head = keras.Sequential([keras.Input([32]), keras.layers.Dense(10)])
    probes.fit(keras.Sequential([backbone, head]), images, classes)
    before, started = backbone.get_weights(), head.get_weights()
    WatchedBatchNormalization.used_batch = False
    images = 0.5 + 0.5 * images
    fine_tune(backbone, head, images, classes)
    pairs = zip(backbone.weights, before, strict=True)
    moved = [variable.path for variable, old in pairs if not np.array_equal(variable.numpy(), old)]
    text = f"Of the frozen backbone these have moved: {', '.join(moved)}."
    if any("moving" not in path for path in moved):
        raise Mistaken("the backbone is trained", text)
    if moved:
        raise Mistaken(AS_IT_WAS, text)
    if all(map(np.array_equal, started, head.get_weights())):
        raise Mistaken("nothing is trained", "The head is as it was, too. It should learn.")
    if WatchedBatchNormalization.used_batch:
        raise Mistaken(
            "features of another network",
            "The head has learned from features that were normalised by batches, and the backbone "
            "will never give such features again.",
        )
    share = probes.accuracy(head, probes.logits(backbone, images), classes)
    text = f"the head answers {share:.0%} of the new images right."
    return f"The backbone is as it was, to the bit; {text}"


@check_program("04_statistics_at_test_time", "Small batches")
def check_last_batch(split: Callable, data: Datasets) -> str:
    """Is each sample in one batch, and no batch too small for BN or much too large?

    `split(numbers, size)` returns the batches, each an array of some of the samples' numbers.
    """
    cases = [(601, 60), (600, 60), (119, 60), (61, 60), (60, 60), (59, 60), (1081, 36), (241, 16)]
    for count, size in cases:
        order = np.random.default_rng(count).choice(len(data.train), count, replace=False)
        found = [np.array(batch) for batch in split(order.copy(), size)]
        taken, lengths = np.concatenate([[], *found]), {len(batch) for batch in found}
        case = f"{count} samples in batches of {size}"
        if np.setdiff1d(order, taken).size:
            raise Mistaken("samples are left out", f"{case}: some of them are in no batch.")
        if len(taken) > count:
            raise Mistaken("samples count twice", f"{case}: some of them are in several places.")
        if 1 in lengths:
            raise Mistaken(AS_IT_WAS, f"{case}: there is a batch of one.")
        if 0 in lengths or max(lengths) >= 2 * size:
            raise Mistaken("another batch size", f"{case}: the batches have {sorted(lengths)}.")
    return f"{len(cases)} numbers of samples: each sample once, and no batch of one."


def torch_state(data: Datasets) -> State:
    """The numbers of a small trained network as PyTorch would name, shape and compute them.

    Linear, BatchNorm1d, ReLU, Linear. After training the weights before BN are made small, as
    weight decay would make them, and with them the variances.

    Returns:
        The arrays "fc1.weight" `[64, 784]`; "bn1.weight", "bn1.bias", "bn1.running_mean" and
        "bn1.running_var", each `[64]`; "fc2.weight" `[10, 64]` and "fc2.bias" `[10]`.
    """
    keras.utils.set_random_seed(0)
    norm = keras.layers.BatchNormalization(epsilon=1e-9, momentum=1 - TORCH_MOMENTUM)
    hidden = [keras.layers.Dense(64, use_bias=False), norm, keras.layers.ReLU()]
    model = keras.Sequential([keras.Input([784]), *hidden, keras.layers.Dense(10)])
    probes.fit(model, *probes.batches(data.train, 120))
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


@check_program("02_fixed_batch_norm", "The same things by other names")
def check_two_frameworks(to_keras: Callable, data: Datasets) -> str:
    """Does the Keras model do what PyTorch would, in prediction and in further training?

    `to_keras(state)` makes a Keras model of a state as of `torch_state`.
    """
    state = torch_state(data)
    model = to_keras({name: value.copy() for name, value in state.items()})
    images = data.test.images[:500]
    apart = np.abs(probes.logits(model, images) - _torch_logits(state, images)).max()
    if apart > 1e-2:
        raise Mistaken(
            AS_IT_WAS,
            f"On the same images, a logit differs by up to {apart:.2g} from what PyTorch gives. "
            "Compare the two layers' formulas term by term, with their defaults.",
        )
    probes.require_batch_norm(model, images[:16], layers=1)
    (layer, *_) = batch_norm_layers(model)
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    if not (
        np.allclose(mean, state["bn1.running_mean"], rtol=1e-3, atol=1e-6)
        and np.allclose(variance, state["bn1.running_var"], rtol=1e-3)
    ):
        raise Mistaken(
            "statistics bent to fit",
            "The predictions agree, but the moving statistics are no longer those of the data.",
        )
    images, _ = probes.batches(data.train, 1)
    model(images, training=True)
    full = (images @ state["fc1.weight"].T).mean(axis=0) - mean
    share = float(full @ (layer.moving_mean.numpy() - mean) / (full @ full))
    if abs(share - TORCH_MOMENTUM) > 0.01:
        raise Mistaken(
            "right only until it is trained",
            f"In a step of training the moving mean goes {share:.0%} of the way to the batch's; "
            f"in PyTorch it would go {TORCH_MOMENTUM:.0%}.",
        )
    return f"Logits agree to {apart:.0e}, and the statistics move as they would in PyTorch."


def _torch_logits(state: State, images: np.ndarray) -> np.ndarray:
    """What PyTorch answers in evaluation: images `[n, 784]` → logits `[n, 10]`."""
    z = images @ state["fc1.weight"].T
    deviation = np.sqrt(state["bn1.running_var"] + TORCH_EPSILON)
    z = (z - state["bn1.running_mean"]) / deviation * state["bn1.weight"] + state["bn1.bias"]
    return np.maximum(z, 0) @ state["fc2.weight"].T + state["fc2.bias"]


@check_program("07_across_machines", "Whose population?")
def check_replicas(train_step: Callable, data: Datasets) -> str:
    """Do two replicas stay one network, which knows the shares of both?

    `train_step(replicas, shares)` trains two networks of the same numbers one step, each on its own
    share: images `[n, 784]` and classes `[n]`.
    """
    images, classes = probes.batches(data.train, 10)
    weights = initial_weights(0, "glorot", (784, 32, 32, 10))
    replicas = [BatchNormNetwork(weights, decay=0.9) for _ in range(2)]
    shares = [(images[:40], classes[:40]), (0.5 * images[40:80], classes[40:80])]
    train_step(replicas, shares)
    _require_one_network(replicas)
    _require_statistics_of_both(replicas[0], [images @ weights[0] for images, _ in shares])
    losses = []
    for start in range(0, 600 - 40, 40):
        logits = replicas[0](images, is_training=False)
        losses.append(keras.losses.sparse_categorical_crossentropy(classes, logits, True))
        halves = [slice(start, start + 20), slice(start + 20, start + 40)]
        train_step(replicas, [(images[half], classes[half]) for half in halves])
    _require_one_network(replicas)
    if np.mean(losses[-1]) > 0.9 * np.mean(losses[0]):
        raise Mistaken("nothing is learned", "The replicas agree, but their loss does not fall.")
    return "After each step both replicas have the same numbers, with the statistics of both."


def _require_one_network(replicas: Sequence[BatchNormNetwork]) -> None:
    pairs = zip(*(replica.variables for replica in replicas), strict=True)
    parted = [a for a, b in pairs if not np.allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)]
    if any(variable.trainable for variable in parted):
        raise Mistaken("the weights part", "The trained variables are no longer the same.")
    if parted:
        names = sorted({variable.name.split(":")[0] for variable in parted})
        raise Mistaken(
            AS_IT_WAS,
            f"The weights are the same; {' and '.join(names)} of the replicas are not. In "
            "evaluation these are two networks.",
        )


def _require_statistics_of_both(replica: BatchNormNetwork, inputs: Sequence[np.ndarray]) -> None:
    """Look at the population after the first step, with decay 0.9 from a mean 0 and variance 1."""
    population = replica.layers[0].batch_norm
    found = np.stack([population.pop_mean.numpy(), population.pop_var.numpy() - 0.9]) / 0.1
    both = [*inputs, np.concatenate(inputs)]
    first, second, pooled = (np.stack([values.mean(0), values.var(0)]) for values in both)
    if not any(np.allclose(found, v, rtol=1e-2, atol=1e-3) for v in (pooled, (first + second) / 2)):
        raise Mistaken(
            "statistics not of both",
            "The replicas agree, but their population has not taken up a tenth of what both shares "
            "have. If it is one replica's, what the other one saw is thrown away.",
        )
