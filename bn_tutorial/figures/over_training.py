"""What `training.train` records, against the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bn_tutorial.figures.styles import (
    LINE_STYLES,
    draw_band,
    make_axes,
    make_panels,
    network_colors,
)
from bn_tutorial.training import History


def plot_accuracy(
    histories: Mapping[str, History], title: str, ylim: tuple[float, float] = (0.8, 1)
) -> Figure:
    """Test accuracy against training steps, a line for each history."""
    figure, ax = make_axes(title, "training steps", "test accuracy", ylim=ylim)
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
        groups: by network and variant; the histories of a group differ by their seed alone. A
            network has one colour, a variant one style of line.
        title: of the figure.
        ylim: of the accuracy.
    """
    figure, ax = make_axes(title, "training steps", "test accuracy", ylim=ylim)
    colors = network_colors(network for network, _ in groups)
    variants = dict.fromkeys(variant for _, variant in groups)
    lines = dict(zip(variants, cycle(LINE_STYLES), strict=False))
    for (network, variant), histories in groups.items():
        accuracies = np.array([history.test_accuracy for history in histories])
        style = {"color": colors[network], "linestyle": lines[variant]}
        draw_band(ax, histories[0].steps, accuracies, label=f"{network}, {variant}", **style)
    ax.legend(loc="lower right")
    return figure


def plot_activation_inputs(histories: Mapping[str, History], units: int = 5) -> Figure:
    """What the first units of the last hidden layer are fed: a row a unit, a column a history.

    The axes of a row are shared, so that its two curves can be compared.
    """
    shared = {"sharex": True, "sharey": "row", "squeeze": False}
    size = (8, 2 * units)
    figure, axes = plt.subplots(units, len(histories), figsize=size, layout="constrained", **shared)
    colors = network_colors(histories)
    for column, (name, history) in enumerate(histories.items()):
        axes[0, column].set_title(name)
        axes[-1, column].set_xlabel("training steps")
        for unit in range(units):
            inputs = history.activation_inputs[:, unit]
            axes[unit, column].plot(history.steps, inputs, color=colors[name], linewidth=1)
            axes[unit, 0].set_ylabel(f"unit {unit + 1}")
    figure.suptitle("Activation inputs of the second hidden layer, mean over the test set")
    return figure


def plot_percentiles(histories: Mapping[str, History], unit: int, title: str) -> Figure:
    """The {15, 50, 85}th percentiles of one unit's activation input over training, side by side.

    Args:
        histories: by network; their observations are percentiles, `[records, 3, units]`.
        unit: which one, from 0.
        title: of the figure.
    """
    title += "\nits median, and its 15th (dashed) and 85th (dotted) percentile"
    size = (4 * len(histories), 3.6)
    figure, axes = make_panels(title, histories, "training steps", "activation input", size)
    colors = network_colors(histories)
    for ax, (name, history) in zip(axes, histories.items(), strict=True):
        for rank, style in enumerate(("--", "-", ":")):
            values = history.observations[:, rank, unit]
            ax.plot(history.steps, values, style, color=colors[name], linewidth=1)
    return figure
