"""Curves over training steps and over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from bn_tutorial.figures.styles import (
    COLORS,
    LINE_STYLES,
    draw_band,
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
        _draw_accuracy(ax, histories, label=label, **style)
    ax.legend(loc="lower right")
    return figure


def _draw_accuracy(ax: Axes, histories: Sequence[History], **style: object) -> None:
    accuracies = np.array([history.test_accuracy for history in histories])
    draw_band(ax, histories[0].steps, accuracies, **style)


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


def plot_percentiles(histories: Mapping[str, History], unit: int, title: str) -> Figure:
    """The {15, 50, 85}th percentiles of one unit's activation input over training, side by side.

    Args:
        histories: Histories by network; their observations are percentiles `[records, 3, units]`.
        unit: Number of the unit, from 0.
        title: Title of the figure.
    """
    title += "\nits median, and its 15th (dashed) and 85th (dotted) percentile"
    size = (4 * len(histories), 3.6)
    figure, axes = make_panels(title, histories, (STEPS, "activation input"), size)
    for ax, (name, color) in zip(axes, network_colors(histories).items(), strict=True):
        history = histories[name]
        for values, line in zip(history.observations[:, :, unit].T, ("--", "-", ":"), strict=True):
            ax.plot(history.steps, values, line, color=color, linewidth=1)
    return figure


def plot_smoothing(
    values: np.ndarray, smoothed: Mapping[float, np.ndarray], target: float
) -> Figure:
    """A noisy series of batch statistics and its exponential smoothing, a line for each decay.

    Args:
        values: One statistic, batch by batch, float `[steps]`.
        smoothed: The smoothed series by decay, float `[steps]`.
        target: Its value over the population.
    """
    title = "Exponential smoothing of batch means"
    figure, ax = make_axes(title, "batches seen", "mean of z", (7.5, 4))
    ax.plot(values, ".", color="0.75", markersize=3, label="one batch")
    for decay, style in series_styles(smoothed).items():
        ax.plot(smoothed[decay], label=f"decay {decay}", **style)
    ax.axhline(target, color="black", linewidth=0.8, label="population mean")
    figure.legend(loc="outside right center")
    return figure


def plot_population_estimates(
    variants: Mapping[str, Sequence[History]], precise: Mapping[int, Sequence[float]]
) -> Figure:
    """Accuracy by population statistics against steps, a line and a band for each decay.

    Args:
        variants: Histories by decay, one for each seed.
        precise: Accuracies with precise statistics by step, one for each seed.
    """
    title = "The same weights, measured with several estimates (band: lowest to highest seed)"
    figure, ax = make_axes(title, STEPS, "test accuracy", ylim=(0.5, 1))
    for variant, style in series_styles(variants).items():
        _draw_accuracy(ax, variants[variant], label=f"decay {variant}", **style)
    label = "precise statistics, each seed"
    for step, values in precise.items():
        ax.plot([step] * len(values), values, "kx", label=label)
        label = None
    ax.legend(loc="lower right")
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


def plot_growth(
    measured: Mapping[str, Mapping[int, Mapping[int, Sequence[float]]]],
    theory: Mapping[str, Mapping[int, float]],
) -> Figure:
    """The gradient's factor a layer against batch size: points measured, curves predicted.

    Args:
        measured: Factors by activation function, width and batch size, one for each seed.
        theory: The predicted factor by activation function and batch size.
    """
    title = "How the gradient grows backwards through BN (bars: lowest to highest seed)"
    labels = ("batch size", "factor a layer, squared norm")
    figure, axes = make_panels(title, measured, labels, (11, 4.2), xscale="log")
    for ax, (activation, by_width) in zip(axes, measured.items(), strict=True):
        sizes = np.array(list(theory[activation]))
        ax.plot(sizes, list(theory[activation].values()), color="black", label="theory")
        for number, (width, style) in enumerate(series_styles(by_width, marked=True).items()):
            values = np.array([by_width[width][size] for size in sizes])
            middle = values.mean(axis=1)
            reach = [middle - values.min(axis=1), values.max(axis=1) - middle]
            style |= {"linestyle": "none", "markersize": 5, "label": f"width {width:,}"}
            ax.errorbar(sizes * 1.06 ** (number - 1), middle, reach, **style)
        mark(ax, sizes)
    axes[0].legend()
    return figure
