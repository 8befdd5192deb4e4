"""A digit to draw, and the two answers of one set of weights."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_tutorial.batch_norm import EPSILON, batch_norm_builtin
from bn_tutorial.figures.styles import COLORS
from bn_tutorial.interactive.fragments import (
    Fragment,
    encode_bytes,
    encode_half_floats,
    make_fragment,
    read_files,
)
from bn_tutorial.mnist import Dataset
from bn_tutorial.networks import LAYER_SIZES, BatchNormNetwork

CLASSES = 10
OF_EACH_CLASS = 6  # images are in the fragment, 60 in all
PICKS = [OF_EACH_CLASS * label for label in range(CLASSES)]  # one of each class, to choose from


def draw_a_digit(
    network: BatchNormNetwork, dataset: Dataset, seed: int = 0, language: str | None = None
) -> Fragment:
    """Paper to draw a digit on, and what the network answers by batch and by population statistics.

    Both answers come from the same weights, rounded to float16. A slider gives the digit up to 59
    companions in its batch: test images, six of each class.

    Args:
        network: A trained network, 784-100-100-10 with sigmoids, which is not changed.
        dataset: Test set that the images are taken from.
        seed: Seed of the choice of the images, and of the companions.
        language: "en" or "zh"; None takes the page's, or English where that is neither.

    Returns:
        A fragment that Jupyter shows as HTML.

    Raises:
        ValueError: the network is of another kind, or has numbers that no float16 can hold; a class
            has fewer than six images; the language is unknown.
    """
    _require_network(network)
    chosen = _choose_images(dataset, seed)
    images, classes = dataset.images[chosen], dataset.classes[chosen]
    start = _telling_pick(network, images, classes)
    data = {
        "sizes": LAYER_SIZES,
        "epsilon": EPSILON,
        "weights": encode_half_floats(_numbers(network)),
        "images": encode_bytes(dataset.pixels[chosen].tobytes()),
        "classes": classes.tolist(),
        "picks": PICKS,
        "seed": seed,
        "limits": _limits(network, images),
    }
    others = np.roll(images, -start, axis=0)
    answers = {
        "naive_alone": batch_logits(network, others[:1])[0],
        "naive": batch_logits(network, others)[0],
        "fixed": network(others[:1], is_training=False).numpy()[0],
    }
    words = {name: int(logits.argmax()) for name, logits in answers.items()}
    words["label"] = classes[start]
    picture = _picture(images[start], answers)
    return make_fragment("draw-a-digit", data, picture, words, language, read_files("network.js"))


def batch_logits(network: BatchNormNetwork, images: np.ndarray) -> np.ndarray:
    """What the network answers by batch statistics, its population statistics left as they are.

    Images `[batch, 784]` → logits `[batch, 10]`.
    """
    inputs = tf.constant(images)
    for layer in network.layers:
        gamma, beta = layer.batch_norm.gamma, layer.batch_norm.beta
        fed = batch_norm_builtin(inputs @ layer.weights, gamma, beta)
        inputs = network.activation(fed)
    return network.output(fed).numpy()


def _require_network(network: BatchNormNetwork) -> None:
    if not isinstance(network, BatchNormNetwork):
        raise ValueError(f"network must be a BatchNormNetwork, found {type(network).__name__}")
    if network.activation is not tf.sigmoid:
        raise ValueError(f"network must have sigmoids, found {network.activation}")
    matrices = [*network.layer_weights, network.output_weights]
    sizes = (network.image_size, *(matrix.shape[1] for matrix in matrices))
    if sizes != LAYER_SIZES:
        raise ValueError(f"network must have layers of {LAYER_SIZES}, found {sizes}")


def _choose_images(dataset: Dataset, seed: int) -> np.ndarray:
    """The indices of the samples that are shown, class by class."""
    generator = np.random.default_rng(seed)
    chosen = []
    for label in range(CLASSES):
        candidates = np.flatnonzero(dataset.classes == label)
        if (found := len(candidates)) < OF_EACH_CLASS:
            expected = f"{OF_EACH_CLASS} images of each class"
            raise ValueError(f"dataset must have {expected}, found {found} of class {label}")
        chosen.append(generator.choice(candidates, OF_EACH_CLASS, replace=False))
    return np.concatenate(chosen)


def _telling_pick(network: BatchNormNetwork, images: np.ndarray, classes: np.ndarray) -> int:
    """The first pick that fixed BN gets right and naive BN, alone, gets wrong; else the first."""
    fixed = network(images, is_training=False).numpy().argmax(axis=1)
    naive_alone = batch_logits(network, images[:1])[0].argmax()
    telling = (pick for pick in PICKS if naive_alone != classes[pick] == fixed[pick])
    return next(telling, PICKS[0])


def _numbers(network: BatchNormNetwork) -> np.ndarray:
    """All numbers of the network, in the order in which the script reads them."""
    variables = []
    for layer in network.layers:
        norm = layer.batch_norm
        variables += [layer.weights, norm.gamma, norm.beta, norm.pop_mean, norm.pop_var]
    variables += [network.output_weights, network.output_biases]
    return np.concatenate([variable.numpy().ravel() for variable in variables])


def _limits(network: BatchNormNetwork, images: np.ndarray) -> list[int]:
    """The colour scale of each layer: 99 of 100 activation inputs are within plus or minus it."""
    fed = network.all_activation_inputs(images, is_training=False)
    return [int(np.ceil(np.percentile(np.abs(inputs), 99))) for inputs in fed]


def _picture(image: np.ndarray, answers: dict[str, np.ndarray]) -> Figure:
    """The digit, and its answers alone and with 59 companions."""
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    shown, alone, together = figure.subplots(1, 3, width_ratios=(1, 2, 2))
    shown.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
    shown.set(title="the digit", xticks=[], yticks=[])
    _draw_bars(alone, answers["naive_alone"], answers["fixed"])
    _draw_bars(together, answers["naive"], answers["fixed"])
    alone.set(title="alone in its batch", ylabel="probability")
    together.set(title="with 59 companions")
    figure.legend(*alone.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _draw_bars(ax: Axes, naive: np.ndarray, fixed: np.ndarray) -> None:
    positions = np.arange(CLASSES)
    for shift, name, logits in ((-0.2, "naive BN", naive), (0.2, "fixed BN", fixed)):
        probabilities = tf.nn.softmax(logits).numpy()
        ax.bar(positions + shift, probabilities, 0.4, color=COLORS[name], label=name)
    ax.set(xlabel="class", xticks=positions, ylim=(0, 1))
