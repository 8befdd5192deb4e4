"""The digits, and what batch normalization does: over which axis, to what shape, in which graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bn_tutorial.figures.styles import COLORS, make_panels, network_colors, show_image

SAMPLES, POSITIONS, CHANNELS = 4, 4, 6
# Width and height, in cells, of the numbers that share their statistics; and what they are.
SHARED = {
    "batch": (1, SAMPLES * POSITIONS, "one channel, all samples and positions"),
    "layer": (CHANNELS, 1, "one position of one sample, all channels"),
    "group": (CHANNELS // 2, POSITIONS, "half of the channels of one sample, all positions"),
    "instance": (1, POSITIONS, "one channel of one sample, all positions"),
    "RMS": (CHANNELS, 1, "as layer"),
}


def plot_digits(images: np.ndarray, titles: Sequence[object], title: str) -> Figure:
    """The first ten of some images, in a row; fewer, if there are fewer.

    Args:
        images: Images to choose from, float `[n, 784]` in [0, 1].
        titles: What to write above each image, `[n]`.
        title: Title of the figure.
    """
    drawn = [str(name) for name in titles[:10]]
    figure = plt.figure(figsize=(max(len(drawn), 4), 1.6), layout="constrained")
    axes = figure.subplots(1, max(len(drawn), 1), squeeze=False)[0]
    for ax in axes:
        ax.axis("off")
    for ax, image, name in zip(axes, images, drawn, strict=False):
        show_image(ax, image.reshape(28, 28), name)
    figure.suptitle(title)
    figure.set_label(f"{title}: {', '.join(drawn)}.")
    return figure


def plot_columns(values: np.ndarray) -> Figure:
    """A batch as a grid: an arrow down each column, to the mean and the variance it gives.

    Args:
        values: The batch, float `[batch, units]`, small enough to be read.
    """
    batch, units = values.shape
    figure, ax = plt.subplots(figsize=(1.5 * units + 2.5, 0.5 * batch + 1.6), layout="constrained")
    ax.imshow(np.zeros_like(values), cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        ax.text(column, row, f"{value:g}".replace("-", "−"), ha="center", va="center")
    color = COLORS["naive BN"]
    for column, (mean, variance) in enumerate(zip(values.mean(0), values.var(0), strict=True)):
        _draw_arrow(ax, (column + 0.3, -0.4), (column + 0.3, batch - 0.3), color, 1)
        text = f"mean {mean:g}\nvariance {variance:g}"
        ax.text(column, batch - 0.1, text, ha="center", va="top", color=color)
    ax.set_xticks(range(units), [f"unit {unit + 1}" for unit in range(units)])
    ax.set_yticks(range(batch), [f"sample {sample + 1}" for sample in range(batch)])
    ax.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    ax.set_xticks(np.arange(units + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(batch + 1) - 0.5, minor=True)
    ax.tick_params(which="minor", length=0)
    ax.grid(visible=False, which="major")
    ax.grid(visible=True, which="minor", color="0.7")
    ax.set(ylim=(batch + 0.9, -0.5), title="The statistics are taken down the columns")
    ax.spines[:].set_visible(False)
    figure.set_label(
        f"A grid of {batch} samples (rows) by {units} units (columns). An arrow runs down each "
        "column, over the batch, to the mean and the variance of that unit."
    )
    return figure


def plot_inputs_over_slope(
    activation_inputs: Mapping[str, np.ndarray], limit: float = 20
) -> Figure:
    """How activation inputs are spread, over the slope of the sigmoid they are fed to.

    Args:
        activation_inputs: Activation inputs by network, float of any shape.
        limit: Where the horizontal axis ends; what is beyond is drawn there.
    """
    title = "Where the activation inputs are, and where the sigmoid has a slope"
    labels = ("activation input", "share; slope")
    size = (5 * len(activation_inputs), 3.4)
    figure, axes = make_panels(title, activation_inputs, labels, size)
    z = np.linspace(-limit, limit, 400)
    slope = np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))) ** 2
    bins = np.arange(-limit, limit + 1)
    for ax, (name, color) in zip(axes, network_colors(activation_inputs).items(), strict=True):
        inputs = np.clip(np.ravel(activation_inputs[name]), -limit, limit)
        shares = np.full(inputs.size, 1 / inputs.size)
        ax.hist(inputs, bins, weights=shares, color=color, alpha=0.7, label="activation inputs")
        ax.plot(z, slope, color="black", label="slope of the sigmoid")
        ax.legend(loc="upper right", fontsize=9)
    return figure


def plot_two_graphs() -> Figure:
    """One layer of the graph that trains, and of the graph that predicts."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for ax, name in zip(axes, ("training", "prediction"), strict=True):
        ax.set(title=f"the graph for {name}", xlim=(0, 10), ylim=(0, 8))
        ax.axis("off")
        boxes = {7: "inputs", 5: "matrix product", 2.6: "normalise,\nscale, shift", 0.6: "sigmoid"}
        for height, text in boxes.items():
            _draw_box(ax, (3, height), text)
        _draw_box(ax, (7.8, 2.6), "pop_mean,\npop_var", COLORS["fixed BN"])
        for upper, lower in ((6.75, 5.3), (4.7, 3.15), (2.05, 0.9)):
            _draw_arrow(ax, (3, upper), (3, lower))
    _draw_box(axes[0], (7.8, 5), "mean and variance\nof the batch", COLORS["naive BN"])
    _draw_arrow(axes[0], (4.15, 5), (6.35, 5))
    _draw_arrow(axes[0], (6.4, 4.5), (3.95, 2.95))
    _draw_arrow(axes[0], (7.8, 4.5), (7.8, 3.1))
    _draw_arrow(axes[1], (6.9, 2.6), (3.9, 2.6))
    for ax, place, text in (
        (axes[0], (7.95, 3.6), "smoothed into"),
        (axes[1], (5.6, 2.75), "read"),
    ):
        ax.text(*place, text, color="0.3", ha="left", va="bottom", fontsize=9)
    figure.set_label(
        "Two diagrams of one layer: inputs, matrix product, normalise, sigmoid. The graph for "
        "training takes the mean and the variance of the batch, normalises by them, and smooths "
        "them into pop_mean and pop_var. The graph for prediction reads pop_mean and pop_var."
    )
    return figure


def _draw_box(ax: Axes, center: tuple[float, float], text: str, color: str = "black") -> None:
    style = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": color, "lw": 1.5}
    ax.text(*center, text, ha="center", va="center", color=color, bbox=style)


def _draw_arrow(
    ax: Axes,
    tail: tuple[float, float],
    head: tuple[float, float],
    color: str = "0.3",
    width: float = 1.5,
) -> None:
    ax.annotate("", head, tail, arrowprops={"arrowstyle": "-|>", "color": color, "lw": width})


def plot_shared_statistics(*kinds: str) -> Figure:
    """Which numbers share their statistics: batch normalization and its neighbours.

    Each grid is a batch: a row for each position of each sample, a column for each channel.

    Args:
        kinds: Some of "batch", "layer", "group", "instance", "RMS"; all, if none is named.
    """
    shared = {kind: SHARED[kind] for kind in kinds or SHARED}
    names = [f"{kind}:\n{width * height} numbers" for kind, (width, height, _) in shared.items()]
    title = "Coloured: the numbers that share their statistics"
    figure, axes = make_panels(title, names, ("channels", ""), (1.2 + 1.8 * len(shared), 4.2))
    rows = SAMPLES * POSITIONS
    for ax, (width, height, _) in zip(axes, shared.values(), strict=True):
        for row in range(rows + 1):
            ax.axhline(row, color="0.8" if row % POSITIONS else "0.2", linewidth=1)
        for column in range(CHANNELS + 1):
            ax.axvline(column, color="0.8", linewidth=1)
        ax.add_patch(Rectangle((0, 0), width, height, facecolor=COLORS["naive BN"], alpha=0.55))
        ax.set(xlim=(0, CHANNELS), ylim=(rows, 0), xticks=[])
        ax.grid(visible=False)
    middles = [POSITIONS * (sample + 0.5) for sample in range(SAMPLES)]
    axes[0].set_yticks(middles, [f"sample {sample + 1}" for sample in range(SAMPLES)])
    words = "; ".join(f"{kind}: {words}" for kind, (_, _, words) in shared.items())
    figure.set_label(
        f"A grid for each kind: {SAMPLES} samples with {POSITIONS} positions (rows) by {CHANNELS} "
        f"channels (columns). {words}."
    )
    return figure
