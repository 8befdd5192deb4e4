"""Deep networks: gradients and shares by layer, theory beside measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from bn_tutorial.figures.styles import (
    COLORS,
    SERIES_COLORS,
    draw_band,
    make_axes,
    make_panels,
    mark,
    series_styles,
)


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
        values: by network, float `[seeds, layers]`, above 0; the first layer first.
        title: of the figure.
        xlabel: what is counted, from 1.
        ylabel: what is measured.
        predicted: by name, float `[layers]`: what theory says, in black.
        xscale: "linear" or "log".
    """
    figure, ax = make_axes(title, xlabel, ylabel, (8, 4.5), xscale=xscale, yscale="log")
    for name, style in series_styles(values).items():
        layers = 1 + np.arange(values[name].shape[1])
        draw_band(ax, layers, values[name], label=name, **style)
    for name, curve in (predicted or {}).items():
        layers = 1 + np.arange(len(curve))
        ax.plot(layers, curve, color="black", linewidth=1, linestyle=(0, (1, 2)), label=name)
    ax.legend()
    return figure


def plot_growth(
    measured: Mapping[str, Mapping[int, Mapping[int, Sequence[float]]]],
    theory: Mapping[str, Mapping[int, float]],
) -> Figure:
    """The gradient's factor a layer against batch size: points measured, curves predicted.

    Args:
        measured: by activation function, width and batch size: a factor for each seed.
        theory: by activation function and batch size.
    """
    title = "How the gradient grows backwards through BN (bars: lowest to highest seed)"
    ylabel = "factor a layer, squared norm"
    figure, axes = make_panels(title, measured, "batch size", ylabel, (11, 4.2), xscale="log")
    for ax, (activation, by_width) in zip(axes, measured.items(), strict=True):
        sizes = list(theory[activation])
        ax.plot(sizes, list(theory[activation].values()), color="black", label="theory")
        for number, (width, by_size) in enumerate(by_width.items()):
            values = np.array([by_size[size] for size in sizes])
            middle = values.mean(axis=1)
            reach = [middle - values.min(axis=1), values.max(axis=1) - middle]
            style = {"marker": "os^Dv"[number % 5], "color": SERIES_COLORS[number]}
            beside = np.array(sizes) * 1.06 ** (number - 1)
            label = f"width {width:,}"
            ax.errorbar(beside, middle, reach, linestyle="none", markersize=5, label=label, **style)
        mark(ax, sizes)
    axes[0].legend()
    return figure


def plot_accuracy_by_decay(
    accuracies: Mapping[str, Mapping[tuple[float, float], float]],
) -> Figure:
    """Accuracy against the product of rate and weight decay, a line for each rate.

    Args:
        accuracies: by network; by product and rate.
    """
    title, xlabel = "Is it the rate, the decay, or their product?", "rate · weight decay"
    figure, axes = make_panels(title, accuracies, xlabel, "test accuracy", (10, 4), xscale="log")
    for ax, by_choice in zip(axes, accuracies.values(), strict=True):
        products = sorted({product for product, _ in by_choice})
        styles = series_styles(sorted({rate for _, rate in by_choice}))
        for (rate, style), marker in zip(styles.items(), "os^Dv", strict=False):
            values = [by_choice[product, rate] for product in products]
            ax.plot(products, values, marker=marker, label=f"rate {rate:g}", **style)
        mark(ax, products)
    axes[0].legend()
    return figure


def plot_along_gradient(
    ranges: Mapping[str, Mapping[str, np.ndarray]], steps: Sequence[int]
) -> Figure:
    """The range of the loss along the gradient, over training: a panel for each kind of network.

    Args:
        ranges: by kind; by network, float `[seeds, records]`.
        steps: of training, at each record.
    """
    title = "How rough is the way ahead? (band: lowest to highest seed)"
    ylabel, size = "range of the loss along the gradient", (3.2 * len(ranges), 3.8)
    figure, axes = make_panels(title, ranges, "training steps", ylabel, size, yscale="log")
    for ax, by_network in zip(axes, ranges.values(), strict=True):
        for name, values in by_network.items():
            draw_band(ax, np.asarray(steps), values, label=name, color=COLORS[name])
    axes[0].legend()
    return figure
