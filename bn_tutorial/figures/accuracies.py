"""The accuracy of trained networks against what they were trained or tested with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bn_tutorial.figures.styles import (
    COLORS,
    draw_bands,
    make_axes,
    make_panels,
    mark,
    series_styles,
    show_image,
)

NEAR = {"textcoords": "offset points"}  # a note's place is counted from its point
BySize = Mapping[int, Sequence[float]]  # accuracies, one for each seed or draw


def plot_accuracy_by_batch_size(accuracies: Mapping[int, float], one_class: float) -> Figure:
    """Accuracy of one trained network against the size of the batches it is tested in.

    Args:
        accuracies: Accuracies by batch size.
        one_class: Accuracy where all samples of a batch of 60 are of one class.
    """
    title = "Naive BN: the same weights, tested in batches of different sizes"
    figure, ax = make_axes(title, "samples in a test batch", "test accuracy", (7.5, 4))
    ax.set(xscale="log", xlim=(0.7, 4e4), ylim=(0, 1.1))
    ax.plot(*zip(*accuracies.items(), strict=True), "o-", color=COLORS["naive BN"], label="mixed")
    ax.plot(60, one_class, "s", color="black", label="60 of one class")
    for size, accuracy in accuracies.items():
        ax.annotate(f"{accuracy:.3f}", (size, accuracy), (6, -13), **NEAR)
    ax.annotate(f"{one_class:.3f}", (60, one_class), (8, -4), **NEAR)
    mark(ax, accuracies)
    ax.legend(loc="lower right")
    return figure


def plot_accuracy_by_training_batch(
    results: Mapping[str, BySize], samples: int, what: str = "statistics"
) -> Figure:
    """Accuracy against the size of the training batches, a line and a band for each kind.

    Args:
        results: Accuracies by kind and by size, one for each seed.
        samples: Number of samples that each network was trained on.
        what: What there are kinds of: "statistics" it is measured with, or "normalization".
    """
    title = f"Trained on {samples:,} samples (band: lowest to highest seed)"
    figure, ax = make_axes(title, "samples in a training batch", "test accuracy", xscale="log")
    draw_bands(ax, results, f"{{}} {what}")
    mark(ax, set().union(*results.values()))
    ax.legend(loc="lower right")
    return figure


def plot_accuracy_by_make_up(
    by_make_up: Mapping[str, BySize], population: Sequence[float]
) -> Figure:
    """Accuracy against the size of the test batch, by what the batch is made of.

    Args:
        by_make_up: Accuracies with batch statistics by make-up and by size, one for each seed.
        population: Accuracies with population statistics, one for each seed; their mean is drawn
            as a level line.
    """
    title = f"The same weights, by who shares the batch (means of {len(population)} seeds)"
    figure, ax = make_axes(title, "samples in a test batch", "test accuracy", xscale="log")
    ax.set_ylim(0, 1.05)
    draw_bands(ax, by_make_up, "batch statistics, {}")
    for by_size in by_make_up.values():
        for size, values in by_size.items():
            point = size, np.mean(values)
            ax.annotate(f"{point[1]:.2f}", point, (0, -15), ha="center", fontsize=9, **NEAR)
    label = f"population statistics, any batch: {np.mean(population):.3f}"
    ax.axhline(np.mean(population), color="black", linewidth=1.5, label=label)
    mark(ax, set().union(*by_make_up.values()))
    ax.legend(loc="center right")
    return figure


def plot_estimates_by_count(accuracies: BySize, reference: float) -> Figure:
    """Accuracy against the number of batches in a precise estimate: each draw, and their mean.

    Args:
        accuracies: Accuracies by number of batches, one for each draw.
        reference: Accuracy with statistics of the whole training set.
    """
    title = "How many batches are enough? Each dot is one draw"
    figure, ax = make_axes(title, "batches averaged", "test accuracy", (7.5, 4), xscale="log")
    for count, values in accuracies.items():
        ax.plot([count] * len(values), values, "o", color="0.6", markersize=4)
    means = [np.mean(values) for values in accuracies.values()]
    ax.plot(list(accuracies), means, "-", color=COLORS["fixed BN"], label="mean of the draws")
    ax.axhline(reference, color="black", linewidth=0.8, label="the whole training set")
    mark(ax, accuracies)
    ax.legend(loc="lower right")
    return figure


def plot_rate_grid(
    grids: Mapping[str, np.ndarray],
    rows: Sequence[float],
    rates: Sequence[float],
    title: str,
    row_label: str = "standard deviation\nof the initial weights",
) -> Figure:
    """Accuracy by learning rate and something else: a map for each network, one colour scale.

    Args:
        grids: Accuracies by network, float `[rows, rates]` in [0, 1]; NaN where training diverged.
        rows: Standard deviation of the weights, or depth, of each row.
        rates: Learning rate of each column.
        title: Title of the figure.
        row_label: What the rows are, in words.
    """
    figure, axes = make_panels(title, grids, ("learning rate", row_label), (10, 3.6))
    for ax, grid in zip(axes, grids.values(), strict=True):
        image = ax.imshow(grid, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        for (row, column), accuracy in np.ndenumerate(grid):
            text = "×" if np.isnan(accuracy) else f"{accuracy:.2f}"
            color = "black" if accuracy > 0.5 else "white"
            ax.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
        ax.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        ax.set_yticks(range(len(rows)), [f"{row:g}" for row in rows])
        ax.grid(visible=False)
    figure.colorbar(image, ax=axes, label="test accuracy")
    return figure


def plot_drift(
    images: Mapping[str, np.ndarray], results: Mapping[str, Mapping[str, Sequence[float]]]
) -> Figure:
    """Drifted digits, a row for each drift, beside the accuracy of each way to normalise them.

    Args:
        images: A few images by drift, float `[n, 784]` in [0, 1].
        results: Accuracies by drift and by way, one for each seed. A bar is their mean, its whisker
            goes from the lowest to the highest.
    """
    figure = plt.figure(figsize=(10, 1.35 * len(results) + 0.8), layout="constrained")
    axes = figure.subplots(len(results), 2, sharex="col", squeeze=False, width_ratios=(1, 1.3))
    for (drift, by_way), (shown, bars) in zip(results.items(), axes, strict=True):
        strip = np.hstack(np.reshape(images[drift], (-1, 28, 28)))
        show_image(shown, strip, drift, "gray")  # as bright as the numbers are
        for place, (way, style) in enumerate(series_styles(by_way).items()):
            values = by_way[way]
            mean, low, high = np.mean(values), min(values), max(values)
            bars.barh(place, mean, xerr=[[mean - low], [high - mean]], color=style["color"])
            bars.annotate(f"{mean:.3f}", (high, place), (5, 0), fontsize=9, va="center", **NEAR)
        bars.set(yticks=range(len(by_way)), yticklabels=by_way, xlim=(0, 1.12))
        bars.invert_yaxis()
    axes[-1, 1].set_xlabel("test accuracy")
    title = f"Data that drift: mean of {len(values)} seeds, whisker from lowest to highest"
    figure.suptitle(title)
    return figure
