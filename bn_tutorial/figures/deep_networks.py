"""Deep networks: gradients and shares by layer, theory beside measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bn_tutorial.figures.styles import COLORS, SERIES_COLORS, draw_band, series_styles


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
    figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, style in series_styles(values).items():
        layers = 1 + np.arange(values[name].shape[1])
        draw_band(ax, layers, values[name], label=name, **style)
    for name, curve in (predicted or {}).items():
        layers = 1 + np.arange(len(curve))
        ax.plot(layers, curve, color="black", linewidth=1, linestyle=(0, (1, 2)), label=name)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel, xscale=xscale, yscale="log")
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
    figure, axes = plt.subplots(
        1, len(measured), figsize=(11, 4.2), sharex=True, layout="constrained", squeeze=False
    )
    for ax, (activation, by_width) in zip(axes[0], measured.items(), strict=True):
        sizes = list(theory[activation])
        ax.plot(sizes, list(theory[activation].values()), color="black", label="theory")
        for number, (width, by_size) in enumerate(by_width.items()):
            values = np.array([by_size[size] for size in sizes])
            middle = values.mean(axis=1)
            reach = [middle - values.min(axis=1), values.max(axis=1) - middle]
            ax.errorbar(
                np.array(sizes) * 1.06 ** (number - 1), middle, yerr=reach, linestyle="none",
                marker="os^Dv"[number % 5], markersize=5, color=SERIES_COLORS[number],
                label=f"width {width:,}",
            )  # fmt: skip
        ax.set(title=activation, xlabel="batch size", xscale="log")
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.minorticks_off()
    axes[0, 0].set_ylabel("factor a layer, squared norm")
    axes[0, 0].legend()
    figure.suptitle("How the gradient grows backwards through BN (bars: lowest to highest seed)")
    return figure


def plot_accuracy_by_decay(
    accuracies: Mapping[str, Mapping[tuple[float, float], float]],
) -> Figure:
    """Accuracy against the product of rate and weight decay, a line for each rate.

    Args:
        accuracies: by network; by product and rate.
    """
    figure, axes = plt.subplots(
        1, len(accuracies), figsize=(10, 4), sharey=True, layout="constrained", squeeze=False
    )
    for ax, (name, by_choice) in zip(axes[0], accuracies.items(), strict=True):
        products = sorted({product for product, _ in by_choice})
        styles = series_styles(sorted({rate for _, rate in by_choice}))
        for (rate, style), marker in zip(styles.items(), "os^Dv", strict=False):
            values = [by_choice[product, rate] for product in products]
            ax.plot(products, values, marker=marker, label=f"rate {rate:g}", **style)
        ax.set(title=name, xlabel="rate · weight decay", xscale="log")
        ax.set_xticks(products, [f"{product:g}" for product in products])
        ax.minorticks_off()
    axes[0, 0].set_ylabel("test accuracy")
    axes[0, 0].legend()
    figure.suptitle("Is it the rate, the decay, or their product?")
    return figure


def plot_along_gradient(
    ranges: Mapping[str, Mapping[str, np.ndarray]], steps: Sequence[int]
) -> Figure:
    """The range of the loss along the gradient, over training: a panel for each kind of network.

    Args:
        ranges: by kind; by network, float `[seeds, records]`.
        steps: of training, at each record.
    """
    figure, axes = plt.subplots(
        1, len(ranges), figsize=(3.2 * len(ranges), 3.8), sharey=True, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for ax, (kind, by_network) in zip(axes[0], ranges.items(), strict=True):
        for name, values in by_network.items():
            draw_band(ax, np.asarray(steps), values, label=name, color=COLORS[name])
        ax.set(title=kind, xlabel="training steps", yscale="log")
    axes[0, 0].set_ylabel("range of the loss along the gradient")
    axes[0, 0].legend()
    figure.suptitle("How rough is the way ahead? (band: lowest to highest seed)")
    return figure
