"""Estimates of the population's statistics, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bn_tutorial.figures.styles import COLORS, draw_band, make_axes, series_styles
from bn_tutorial.training import History


def plot_smoothing(
    values: np.ndarray, smoothed: Mapping[float, np.ndarray], target: float
) -> Figure:
    """A noisy series of batch statistics and its exponential smoothing, a line for each decay.

    Args:
        values: float `[steps]`: one statistic, batch by batch.
        smoothed: by decay, float `[steps]`.
        target: the population's true value.
    """
    title = "Exponential smoothing of batch means"
    figure, ax = make_axes(title, "batches seen", "mean", (7.5, 4))
    ax.plot(values, ".", color="0.75", markersize=3, label="one batch")
    for decay, style in series_styles(smoothed).items():
        ax.plot(smoothed[decay], label=f"decay {decay}", **style)
    ax.axhline(target, color="black", linewidth=0.8, label="population")
    ax.legend(loc="lower right")
    return figure


def plot_population_estimates(
    variants: Mapping[str, Sequence[History]], precise: Mapping[int, Sequence[float]]
) -> Figure:
    """Accuracy by population statistics against steps, a line and a band for each decay.

    Args:
        variants: by decay, a history for each seed.
        precise: by step, the accuracies with precise statistics, one for each seed.
    """
    title = "The same weights, measured with several estimates (band: lowest to highest seed)"
    figure, ax = make_axes(title, "training steps", "test accuracy", ylim=(0.5, 1))
    for variant, style in series_styles(variants).items():
        histories = variants[variant]
        accuracies = np.array([history.test_accuracy for history in histories])
        draw_band(ax, histories[0].steps, accuracies, label=f"decay {variant}", **style)
    for number, (step, values) in enumerate(precise.items()):
        label = "precise statistics, each seed" if number == 0 else None
        ax.plot([step] * len(values), values, "kx", label=label)
    ax.legend(loc="lower right")
    return figure


def plot_estimates_by_count(accuracies: Mapping[int, Sequence[float]], reference: float) -> Figure:
    """Accuracy against the number of batches in a precise estimate: each draw, and their mean.

    Args:
        accuracies: by number of batches, one for each draw.
        reference: with the whole training set.
    """
    title = "How many batches are enough? Each dot is one draw"
    figure, ax = make_axes(title, "batches averaged", "test accuracy", (7.5, 4), xscale="log")
    for count, values in accuracies.items():
        ax.plot([count] * len(values), values, "o", color="0.6", markersize=4)
    means = [np.mean(values) for values in accuracies.values()]
    ax.plot(list(accuracies), means, "-", color=COLORS["fixed BN"], label="mean of the draws")
    ax.axhline(reference, color="black", linewidth=0.8, label="the whole training set")
    ax.legend(loc="lower right")
    return figure


def plot_drift(
    images: Mapping[str, np.ndarray], results: Mapping[str, Mapping[str, Sequence[float]]]
) -> Figure:
    """Drifted digits, a row for each drift, beside the accuracy of each way to normalise them.

    Args:
        images: by drift, float `[n, 784]` in [0, 1]: a few of the images.
        results: by drift and by way, one accuracy for each seed. A bar is their mean, its whisker
            goes from the lowest to the highest.
    """
    ways = list(next(iter(results.values())))
    styles = series_styles(ways)
    settings = {"squeeze": False, "sharex": "col", "width_ratios": (1, 1.3)}
    size = (10, 1.35 * len(results) + 0.8)
    figure, axes = plt.subplots(len(results), 2, figsize=size, layout="constrained", **settings)
    for (drift, by_way), (shown, bars) in zip(results.items(), axes, strict=True):
        strip = np.hstack(np.reshape(images[drift], (-1, 28, 28)))
        shown.imshow(strip, cmap="gray", vmin=0, vmax=1)  # as bright as the numbers are
        shown.set(title=drift, xticks=[], yticks=[])
        shown.grid(visible=False)
        for place, way in enumerate(ways):
            values = by_way[way]
            mean, low, high = np.mean(values), min(values), max(values)
            bars.barh(place, mean, xerr=[[mean - low], [high - mean]], color=styles[way]["color"])
            beside = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
            bars.annotate(f"{mean:.3f}", (high, place), fontsize=9, **beside)
        bars.set(yticks=range(len(ways)), yticklabels=ways, xlim=(0, 1.12))
        bars.invert_yaxis()
    axes[-1, 1].set_xlabel("test accuracy")
    seeds = len(next(iter(results.values()))[ways[0]])
    figure.suptitle(f"Data that drift: mean of {seeds} seeds, whisker from lowest to highest")
    return figure
