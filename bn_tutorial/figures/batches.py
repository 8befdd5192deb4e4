"""Accuracy against the size and the make-up of batches, in training and in the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure

from bn_tutorial.figures.styles import COLORS, draw_band, make_axes, mark, series_styles


def plot_accuracy_by_batch_size(accuracies: Mapping[int, float], one_class: float) -> Figure:
    """Accuracy of one trained network against the size of the batches it is tested in.

    Args:
        accuracies: by batch size.
        one_class: the accuracy where all the samples of a batch are of one class.
    """
    title = "Naive BN: the same weights, tested in batches of different sizes"
    settings = {"xscale": "log", "ylim": (0, 1.1)}
    figure, ax = make_axes(title, "samples in a test batch", "test accuracy", (7.5, 4), **settings)
    ax.plot(*zip(*accuracies.items(), strict=True), "o-", color=COLORS["naive BN"], label="mixed")
    ax.plot(60, one_class, "s", color="black", label="60 of one class")
    for size, accuracy in accuracies.items():
        place = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center"}
        ax.annotate(f"{accuracy:.3f}", (size, accuracy), **place)
    ax.annotate(f"{one_class:.3f}", (60, one_class), (8, -4), textcoords="offset points")
    ax.legend(loc="lower right")
    return figure


def plot_accuracy_by_training_batch(
    results: Mapping[str, Mapping[int, Sequence[float]]], samples: int, what: str = "statistics"
) -> Figure:
    """Accuracy against the size of the training batches, a line and a band for each kind.

    Args:
        results: by kind and by size, one accuracy for each seed.
        samples: how many each network was trained on.
        what: the kinds are of: "statistics" it is measured with, or "normalization".
    """
    title = f"Trained on {samples:,} samples (band: lowest to highest seed)"
    figure, ax = make_axes(title, "samples in a training batch", "test accuracy", xscale="log")
    for (kind, style), marker in zip(series_styles(results).items(), cycle("os^Dv"), strict=False):
        sizes = list(results[kind])
        values = np.array(list(results[kind].values())).T
        draw_band(ax, sizes, values, label=f"{kind} {what}", marker=marker, **style)
    mark(ax, sizes)
    ax.legend(loc="lower right")
    return figure


def plot_accuracy_by_make_up(
    by_make_up: Mapping[str, Mapping[int, Sequence[float]]], population: Sequence[float]
) -> Figure:
    """Accuracy against the size of the test batch, by what the batch is made of.

    Args:
        by_make_up: by make-up and by size, one accuracy for each seed, with batch statistics.
        population: with population statistics, one accuracy for each seed; drawn as a level line.
    """
    title = f"The same weights, by who shares the batch (means of {len(population)} seeds)"
    settings = {"xscale": "log", "ylim": (0, 1.05)}
    figure, ax = make_axes(title, "samples in a test batch", "test accuracy", **settings)
    styles = series_styles(by_make_up)
    for (make_up, style), marker in zip(styles.items(), cycle("os^Dv"), strict=False):
        sizes = list(by_make_up[make_up])
        values = np.array(list(by_make_up[make_up].values())).T
        label = f"batch statistics, {make_up}"
        draw_band(ax, sizes, values, label=label, marker=marker, **style)
        for size, mean in zip(sizes, values.mean(axis=0), strict=True):
            place = {"xytext": (0, -15), "textcoords": "offset points", "ha": "center"}
            ax.annotate(f"{mean:.2f}", (size, mean), fontsize=9, **place)
    label = f"population statistics, any batch: {np.mean(population):.3f}"
    ax.axhline(np.mean(population), color="black", linewidth=1.5, label=label)
    mark(ax, sorted({size for by_size in by_make_up.values() for size in by_size}))
    ax.legend(loc="center right")
    return figure
