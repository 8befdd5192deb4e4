"""Every picture of the notebooks. Each function draws one figure and returns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bn_tutorial.training import History

# Okabe and Ito's colours, which colour-blind readers can tell apart; one for each network, always.
COLORS = {"without BN": "#D55E00", "naive BN": "#0072B2", "fixed BN": "#009E73"}


def plot_digits(images: np.ndarray, titles: Sequence[object], title: str) -> Figure:
    """Up to ten images, in a row.

    Args:
        images: float `[n, 784]`.
        titles: what to write above each, `[n]`.
        title: of the figure.
    """
    figure, axes = plt.subplots(1, 10, figsize=(10, 1.6), layout="constrained")
    for ax in axes:
        ax.axis("off")
    for ax, image, label in zip(axes, images, titles, strict=False):
        ax.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(str(label))
    figure.suptitle(title)
    return figure


def plot_accuracy(
    histories: Mapping[str, History], title: str, ylim: tuple[float, float] = (0.8, 1)
) -> Figure:
    """Test accuracy against training steps, a line for each history."""
    figure, ax = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    for name, history in histories.items():
        label = f"{name} (ends at {history.test_accuracy[-1]:.3f})"
        ax.plot(history.steps, history.test_accuracy, color=COLORS[name], label=label, linewidth=1)
    ax.set(title=title, xlabel="training steps", ylabel="test accuracy", ylim=ylim)
    ax.legend(loc="lower right")
    return figure


def plot_activation_inputs(histories: Mapping[str, History], units: int = 5) -> Figure:
    """What the first units of the last hidden layer are fed: a row a unit, a column a history.

    The axes of a row are shared, so that its two curves can be compared.
    """
    figure, axes = plt.subplots(
        units, len(histories), figsize=(8, 2 * units), sharex=True, sharey="row", squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for column, (name, history) in enumerate(histories.items()):
        axes[0, column].set_title(name)
        axes[-1, column].set_xlabel("training steps")
        for unit in range(units):
            inputs = history.activation_inputs[:, unit]
            axes[unit, column].plot(history.steps, inputs, color=COLORS[name], linewidth=1)
            axes[unit, 0].set_ylabel(f"unit {unit + 1}")
    figure.suptitle("Activation inputs of the second hidden layer, mean over the test set")
    return figure


def plot_accuracy_by_batch_size(accuracies: Mapping[int, float], one_class: float) -> Figure:
    """Accuracy of one trained network against the size of the batches it is tested in.

    Args:
        accuracies: by batch size.
        one_class: the accuracy where all the samples of a batch are of one class.
    """
    figure, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
    ax.plot(*zip(*accuracies.items(), strict=True), "o-", color=COLORS["naive BN"], label="mixed")
    ax.plot(60, one_class, "s", color="black", label="60 of one class")
    for size, accuracy in accuracies.items():
        ax.annotate(f"{accuracy:.3f}", (size, accuracy), (0, 7), textcoords="offset points",
                    ha="center")  # fmt: skip
    ax.annotate(f"{one_class:.3f}", (60, one_class), (8, -4), textcoords="offset points")
    ax.set(
        title="Naive BN: the same weights, tested in batches of different sizes",
        xlabel="samples in a test batch", ylabel="test accuracy", xscale="log", ylim=(0, 1.1),
    )  # fmt: skip
    ax.legend(loc="lower right")
    return figure


def plot_smoothing(
    values: np.ndarray, smoothed: Mapping[float, np.ndarray], target: float
) -> Figure:
    """A noisy series of batch statistics and its exponential smoothing, a line for each decay.

    Args:
        values: float `[steps]`: one statistic, batch by batch.
        smoothed: by decay, float `[steps]`.
        target: the population's true value.
    """
    figure, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
    ax.plot(values, ".", color="0.75", markersize=3, label="one batch")
    for (decay, series), (color, style) in zip(
        smoothed.items(), (("#E69F00", "-"), ("#0072B2", "--"), ("#009E73", "-.")), strict=False
    ):
        ax.plot(series, style, color=color, label=f"decay {decay}")
    ax.axhline(target, color="black", linewidth=0.8, label="population")
    ax.set(title="Exponential smoothing of batch means", xlabel="batches seen", ylabel="mean")
    ax.legend(loc="lower right")
    return figure
