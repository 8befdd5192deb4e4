"""Every picture of the notebooks. Each function draws one figure and returns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bn_tutorial.training import History

# Okabe and Ito's colours, which colour-blind readers can tell apart; one for each network, always.
COLORS = {
    "without BN": "#D55E00",
    "naive BN": "#0072B2",
    "fixed BN": "#009E73",
    "noisy BN": "#CC79A7",
}


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


def plot_accuracy_bands(
    groups: Mapping[tuple[str, str], Sequence[History]], title: str, ylim: tuple[float, float]
) -> Figure:
    """Test accuracy against steps: a line for a group's mean, a band from lowest to highest.

    Args:
        groups: by network and variant; the histories of a group differ by their seed alone. A
            network has one colour, a variant one style of line.
        title: of the figure.
        ylim: of the accuracy.
    """
    figure, ax = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    variants = list(dict.fromkeys(variant for _, variant in groups))
    for (network, variant), histories in groups.items():
        steps = histories[0].steps
        accuracies = np.array([history.test_accuracy for history in histories])
        style = ("-", "--", ":", "-.")[variants.index(variant)]
        label = f"{network}, {variant}"
        ax.plot(steps, accuracies.mean(axis=0), style, color=COLORS[network], label=label)
        low, high = accuracies.min(axis=0), accuracies.max(axis=0)
        ax.fill_between(steps, low, high, color=COLORS[network], alpha=0.25, linewidth=0)
    ax.set(title=title, xlabel="training steps", ylabel="test accuracy", ylim=ylim)
    ax.legend(loc="lower right")
    return figure


def plot_rate_grid(
    grids: Mapping[str, np.ndarray], scales: Sequence[float], rates: Sequence[float], title: str
) -> Figure:
    """Accuracy by weight scale and learning rate: a map for each network, one colour scale.

    Args:
        grids: by network, float `[scales, rates]`, in [0, 1]; NaN where the training diverged.
        scales: standard deviation of the weights, a row each.
        rates: learning rates, a column each.
        title: of the figure.
    """
    figure, axes = plt.subplots(
        1, len(grids), figsize=(10, 3.6), sharey=True, layout="constrained", squeeze=False
    )
    for ax, (name, grid) in zip(axes[0], grids.items(), strict=True):
        image = ax.imshow(grid, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        for (row, column), accuracy in np.ndenumerate(grid):
            text = "×" if np.isnan(accuracy) else f"{accuracy:.2f}"
            color = "black" if accuracy > 0.5 else "white"
            ax.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
        ax.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        ax.set_yticks(range(len(scales)), [f"{scale:g}" for scale in scales])
        ax.set(title=name, xlabel="learning rate")
        ax.grid(visible=False)
    axes[0, 0].set_ylabel("standard deviation\nof the initial weights")
    figure.colorbar(image, ax=axes, label="test accuracy")
    figure.suptitle(title)
    return figure


def plot_percentiles(histories: Mapping[str, History], unit: int, title: str) -> Figure:
    """The {15, 50, 85}th percentiles of one unit's activation input over training, side by side.

    Args:
        histories: by network; their observations are percentiles, `[records, 3, units]`.
        unit: which one, from 0.
        title: of the figure.
    """
    figure, axes = plt.subplots(
        1, len(histories), figsize=(4 * len(histories), 3.6), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for ax, (name, history) in zip(axes[0], histories.items(), strict=True):
        for rank, style in enumerate(("--", "-", ":")):
            values = history.observations[:, rank, unit]
            ax.plot(history.steps, values, style, color=COLORS[name], linewidth=1)
        ax.set(title=name, xlabel="training steps")
    axes[0, 0].set_ylabel("activation input")
    figure.suptitle(title + "\nits median, and its 15th (dashed) and 85th (dotted) percentile")
    return figure


def plot_population_estimates(
    variants: Mapping[str, Sequence[History]], precise: Mapping[int, Sequence[float]]
) -> Figure:
    """Accuracy by population statistics against steps, a line and a band for each decay.

    Args:
        variants: by decay, a history for each seed.
        precise: by step, the accuracies with precise statistics, one for each seed.
    """
    figure, ax = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    styles = (("#E69F00", "-."), ("#0072B2", "--"), ("#D55E00", ":"), ("#009E73", "-"))
    for (variant, histories), (color, style) in zip(variants.items(), styles, strict=False):
        accuracies = np.array([history.test_accuracy for history in histories])
        steps = histories[0].steps
        ax.plot(steps, accuracies.mean(axis=0), style, color=color, label=f"decay {variant}")
        low, high = accuracies.min(axis=0), accuracies.max(axis=0)
        ax.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
    for number, (step, values) in enumerate(precise.items()):
        label = "precise statistics, each seed" if number == 0 else None
        ax.plot([step] * len(values), values, "kx", label=label)
    ax.set(
        title="The same weights, five estimates of the population (band: lowest to highest seed)",
        xlabel="training steps", ylabel="test accuracy", ylim=(0.5, 1),
    )  # fmt: skip
    ax.legend(loc="lower right")
    return figure


def plot_estimates_by_count(accuracies: Mapping[int, Sequence[float]], reference: float) -> Figure:
    """Accuracy against the number of batches in a precise estimate: each draw, and their mean.

    Args:
        accuracies: by number of batches, one for each draw.
        reference: with the whole training set.
    """
    figure, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
    for count, values in accuracies.items():
        ax.plot([count] * len(values), values, "o", color="0.6", markersize=4)
    means = [np.mean(values) for values in accuracies.values()]
    ax.plot(list(accuracies), means, "-", color=COLORS["fixed BN"], label="mean of the draws")
    ax.axhline(reference, color="black", linewidth=0.8, label="the whole training set")
    ax.set(
        title="How many batches are enough? Each dot is one draw", xlabel="batches averaged",
        ylabel="test accuracy", xscale="log",
    )  # fmt: skip
    ax.legend(loc="lower right")
    return figure


def plot_accuracy_by_training_batch(
    results: Mapping[str, Mapping[int, Sequence[float]]], samples: int
) -> Figure:
    """Accuracy against the size of the training batches, by the statistics it is measured with.

    Args:
        results: by kind of statistics and by size, one accuracy for each seed.
        samples: how many each network was trained on.
    """
    figure, ax = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    styles = (("#0072B2", "o--"), ("#D55E00", "s:"), ("#009E73", "^-"))
    for (kind, by_size), (color, style) in zip(results.items(), styles, strict=False):
        sizes = list(by_size)
        values = np.array([by_size[size] for size in sizes])
        ax.plot(sizes, values.mean(axis=1), style, color=color, label=f"{kind} statistics")
        low, high = values.min(axis=1), values.max(axis=1)
        ax.fill_between(sizes, low, high, color=color, alpha=0.2, linewidth=0)
    ax.set(
        title=f"Trained on {samples:,} samples (band: lowest to highest seed)",
        xlabel="samples in a training batch", ylabel="test accuracy", xscale="log",
    )  # fmt: skip
    ax.set_xticks(sizes, [str(size) for size in sizes], minor=False)
    ax.minorticks_off()
    ax.legend(loc="lower right")
    return figure
