"""Batch normalization in real layers: what shares its statistics, gradients, small batches."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bn_tutorial.figures.styles import COLORS, make_axes, make_panels, series_styles

SAMPLES, POSITIONS, CHANNELS = 4, 4, 6


SHARED = {  # width and height, in cells, of the numbers that share their statistics
    "batch": (1, SAMPLES * POSITIONS),
    "layer": (CHANNELS, 1),
    "group": (CHANNELS // 2, POSITIONS),
    "instance": (1, POSITIONS),
    "RMS": (CHANNELS, 1),
}


def plot_shared_statistics(*kinds: str) -> Figure:
    """Which numbers share their statistics: batch normalization and its neighbours.

    Each grid is a batch: a row for each position of each sample, a column for each channel.

    Args:
        kinds: some of "batch", "layer", "group", "instance", "RMS"; all, if none is named.
    """
    shared = {kind: SHARED[kind] for kind in kinds or SHARED}
    names = [f"{kind}:\n{width * height} numbers" for kind, (width, height) in shared.items()]
    title, size = (
        "Coloured: the numbers that share their statistics",
        (1.2 + 1.8 * len(shared), 4.2),
    )
    figure, axes = make_panels(title, names, "channels", "", size)
    for ax, (width, height) in zip(axes, shared.values(), strict=True):
        _draw_batch(ax)
        ax.add_patch(Rectangle((0, 0), width, height, facecolor=COLORS["naive BN"], alpha=0.55))
    axes[0].set_yticks(
        [POSITIONS * (sample + 0.5) for sample in range(SAMPLES)],
        [f"sample {sample + 1}" for sample in range(SAMPLES)],
    )
    words = {
        "batch": "one channel, all samples and positions",
        "layer": "one position of one sample, all channels",
        "group": "half of the channels of one sample, all positions",
        "instance": "one channel of one sample, all positions",
        "RMS": "as layer",
    }
    figure.set_label(
        f"A grid for each kind: {SAMPLES} samples with {POSITIONS} positions (rows) by {CHANNELS} "
        f"channels (columns). {'; '.join(f'{kind}: {words[kind]}' for kind in shared)}."
    )
    return figure


def _draw_batch(ax: Axes) -> None:
    rows = SAMPLES * POSITIONS
    for row in range(rows + 1):
        ax.axhline(row, color="0.2" if row % POSITIONS == 0 else "0.8", linewidth=1)
    for column in range(CHANNELS + 1):
        ax.axvline(column, color="0.8", linewidth=1)
    ax.set(xlim=(0, CHANNELS), ylim=(rows, 0), xticks=[])
    ax.grid(visible=False)


def plot_difference_errors(errors: Mapping[str, Mapping[float, float]]) -> Figure:
    """The error of central differences against their step, a line for each precision.

    Args:
        errors: by precision and by step, the largest error as a share of the largest gradient.
    """
    title, xlabel = "Central differences against the formula", "step of the differences"
    settings = {"xscale": "log", "yscale": "log"}
    figure, ax = make_axes(title, xlabel, "largest relative error", (7.5, 4), **settings)
    for (name, style), marker in zip(series_styles(errors).items(), cycle("os^Dv"), strict=False):
        ax.plot(*zip(*errors[name].items(), strict=True), marker=marker, label=name, **style)
    ax.legend()
    return figure
