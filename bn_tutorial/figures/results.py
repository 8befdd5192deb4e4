"""What was measured: over training steps, over batch sizes and layers, and as a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from bn_tutorial.figures.styles import (
    COLORS,
    LINE_STYLES,
    draw_band,
    draw_bands,
    make_axes,
    make_panels,
    mark,
    network_colors,
    series_styles,
)
from bn_tutorial.training import History

STEPS = "training steps"


def plot_accuracy(
    histories: Mapping[str, History], title: str, ylim: tuple[float, float] = (0.8, 1)
) -> Figure:
    """Test accuracy against training steps, a line for each history."""
    figure, ax = make_axes(title, STEPS, "test accuracy", ylim=ylim)
    for name, color in network_colors(histories).items():
        history = histories[name]
        label = f"{name} (ends at {history.test_accuracy[-1]:.3f})"
        ax.plot(history.steps, history.test_accuracy, color=color, label=label, linewidth=1)
    ax.legend(loc="lower right")
    return figure


def plot_accuracy_bands(
    groups: Mapping[tuple[str, str], Sequence[History]], title: str, ylim: tuple[float, float]
) -> Figure:
    """Test accuracy against steps: a line for a group's mean, a band from lowest to highest.

    Args:
        groups: Histories by network and variant; those of a group differ by their seed alone. A
            network has one colour, a variant one style of line.
        title: Title of the figure.
        ylim: Lowest and highest accuracy on the axis.
    """
    figure, ax = make_axes(title, STEPS, "test accuracy", ylim=ylim)
    colors = network_colors(network for network, _ in groups)
    variants = dict.fromkeys(variant for _, variant in groups)
    lines = dict(zip(variants, cycle(LINE_STYLES), strict=False))
    for (network, variant), histories in groups.items():
        style = {"color": colors[network], "linestyle": lines[variant]}
        label = f"{network}, {variant}" if len(variants) > 1 else network
        accuracies = np.array([history.test_accuracy for history in histories])
        draw_band(ax, histories[0].steps, accuracies, label=label, **style)
    ax.legend(loc="lower right")
    return figure


def plot_activation_inputs(histories: Mapping[str, History], units: int = 5) -> Figure:
    """What the first units of the last hidden layer are fed: a row a unit, a column a history.

    The axes of a row are shared, so that its two curves can be compared.
    """
    figure = plt.figure(figsize=(8, 2 * units), layout="constrained")
    axes = figure.subplots(units, len(histories), sharex=True, sharey="row", squeeze=False)
    colors = network_colors(histories)
    for column, (name, history) in zip(axes.T, histories.items(), strict=True):
        for ax, inputs in zip(column, history.activation_inputs.T, strict=False):
            ax.plot(history.steps, inputs, color=colors[name], linewidth=1)
        column[0].set_title(name)
        column[-1].set_xlabel(STEPS)
    for unit, ax in enumerate(axes[:, 0], 1):
        ax.set_ylabel(f"unit {unit}")
    figure.align_ylabels(axes[:, 0])
    title = "Activation inputs of the second hidden layer, mean over the test set"
    figure.suptitle(f"{title}\n(each unit has a scale of its own)")
    return figure


def plot_accuracy_by_training_batch(
    results: Mapping[str, Mapping[int, Sequence[float]]], samples: int, what: str = "statistics"
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


def plot_by_layer(
    values: Mapping[str, np.ndarray],
    title: str,
    xlabel: str,
    ylabel: str,
    predicted: Mapping[str, np.ndarray] | None = None,
    xscale: str = "linear",
) -> Figure:
    """Something of each layer, on a logarithmic axis: a line for each network, a band over seeds.

    Args:
        values: Values above 0 by network, float `[seeds, layers]`, the first layer first. A name
            that ends with a network's has the colour of that network.
        title: Title of the figure.
        xlabel: What is counted, from 1.
        ylabel: What is measured.
        predicted: What theory says, by name, float `[layers]`; it is drawn in black.
        xscale: Scale of the horizontal axis, "linear" or "log".
    """
    figure, ax = make_axes(title, xlabel, ylabel, (8, 4.5), xscale=xscale, yscale="log")
    for name, style in series_styles(values).items():
        known = [color for network, color in COLORS.items() if name.endswith(network)]
        style["color"] = known[0] if known else style["color"]
        layers = range(1, values[name].shape[1] + 1)
        draw_band(ax, layers, values[name], label=name, **style)
    for name, curve in (predicted or {}).items():
        layers = range(1, len(curve) + 1)
        ax.plot(layers, curve, color="black", linewidth=1, linestyle=(0, (1, 2)), label=name)
    if xscale == "log":
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    low, high = ax.get_ylim()
    if high < 1000 * low:  # else powers of ten are enough
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.legend()
    return figure
