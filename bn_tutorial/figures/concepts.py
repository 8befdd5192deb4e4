"""Pictures of what batch normalization does: over which axis, to what shape, in which graph."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bn_tutorial.figures.styles import COLORS, make_axes, make_panels, network_colors


def plot_columns(values: np.ndarray) -> Figure:
    """A batch as a grid: an arrow down each column, to the mean and the variance it gives.

    Args:
        values: float `[batch, units]`, small enough to be read.
    """
    batch, units = values.shape
    figure, ax = plt.subplots(figsize=(1.5 * units + 2.5, 0.5 * batch + 1.6), layout="constrained")
    ax.imshow(np.zeros_like(values), cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        ax.text(column, row, f"{value:g}", ha="center", va="center")
    for column, (mean, variance) in enumerate(zip(values.mean(0), values.var(0), strict=True)):
        arrow = {"arrowstyle": "-|>", "color": COLORS["naive BN"]}
        ax.annotate("", (column + 0.3, batch - 0.3), (column + 0.3, -0.4), arrowprops=arrow)
        below = {"ha": "center", "va": "top", "color": COLORS["naive BN"]}
        ax.text(column, batch - 0.1, f"mean {mean:g}\nvariance {variance:g}", **below)
    ax.set_xticks(range(units), [f"unit {unit + 1}" for unit in range(units)])
    ax.set_yticks(range(batch), [f"sample {sample + 1}" for sample in range(batch)])
    ax.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    ax.set_xticks(np.arange(units + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(batch + 1) - 0.5, minor=True)
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
        activation_inputs: by network, float of any shape. What is beyond the limit is drawn at it.
        limit: of the horizontal axis.
    """
    title, size = (
        "Where the inputs are, and where the sigmoid has a slope",
        (5 * len(activation_inputs), 3.4),
    )
    ylabel = "share of the inputs; slope"
    figure, axes = make_panels(title, activation_inputs, "activation input", ylabel, size)
    z = np.linspace(-limit, limit, 400)
    slope = np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))) ** 2
    colors = network_colors(activation_inputs)
    for ax, (name, inputs) in zip(axes, activation_inputs.items(), strict=True):
        clipped, bins = np.clip(np.ravel(inputs), -limit, limit), np.arange(-limit, limit + 1)
        style = {"color": colors[name], "alpha": 0.7, "label": "inputs"}
        ax.hist(clipped, bins, weights=np.full(clipped.size, 1 / clipped.size), **style)
        ax.plot(z, slope, color="black", label="slope of the sigmoid")
    axes[-1].legend(loc="upper right", fontsize=9)
    return figure


def plot_step_at_right_angle(weights: np.ndarray, step: np.ndarray) -> Figure:
    """One step of gradient descent on the weights of a unit before BN, in the plane of the two.

    Args:
        weights: float `[inputs]`.
        step: float `[inputs]`: what is added to them.
    """
    length = np.linalg.norm(weights)
    along = step @ weights / length
    across = np.sqrt(max(step @ step - along**2, 0))
    title = "The step is at right angles to the weights"
    limits = {"xlim": (-0.05 * length, 1.25 * length), "ylim": (-0.15 * length, 1.15 * length)}
    figure, ax = make_axes(title, "along the weights", "across them", (6.5, 4.2), **limits)
    ax.set_aspect("equal")
    angle, label = np.linspace(-0.3, 1.2, 200), f"all weights of length {length:.2f}"
    ax.plot(length * np.cos(angle), length * np.sin(angle), ":", color="0.5", label=label)
    ends = {
        "weights": ((0, 0), (length, 0), "#0072B2"),
        "step": ((length, 0), (length + along, across), "#D55E00"),
        "weights after the step": ((0, 0), (length + along, across), "#009E73"),
    }
    for name, (tail, head, color) in ends.items():
        ax.annotate("", head, tail, arrowprops={"arrowstyle": "-|>", "color": color, "lw": 2})
        size = np.hypot(head[0] - tail[0], head[1] - tail[1])
        ax.plot([], [], color=color, label=f"{name}, length {size:.2f}")
    figure.legend(loc="outside right upper", fontsize=9)
    return figure


def plot_two_graphs() -> Figure:
    """One layer of the graph that trains, and of the graph that predicts."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for ax, name in zip(axes, ("training", "prediction"), strict=True):
        ax.set(title=f"the graph for {name}", xlim=(0, 10), ylim=(0, 8))
        ax.axis("off")
        _draw_box(ax, (3, 7), "inputs")
        _draw_box(ax, (3, 5), "matrix product")
        _draw_box(ax, (3, 2.6), "normalise,\nscale, shift")
        _draw_box(ax, (3, 0.6), "sigmoid")
        _draw_box(ax, (7.8, 2.6), "pop_mean,\npop_var", COLORS["fixed BN"])
        for upper, lower in ((6.5, 5.5), (4.5, 3.3), (1.9, 1.1)):
            _draw_arrow(ax, (3, upper), (3, lower))
    _draw_box(axes[0], (7.8, 5), "mean and variance\nof the batch", COLORS["naive BN"])
    _draw_arrow(axes[0], (4.5, 5), (5.9, 5))
    _draw_arrow(axes[0], (6.2, 4.3), (4.4, 3.1))
    _draw_arrow(axes[0], (7.8, 4.3), (7.8, 3.3), "assign")
    _draw_arrow(axes[1], (6.4, 2.6), (4.5, 2.6), "read")
    figure.set_label(
        "Two diagrams of one layer: inputs, matrix product, normalise, sigmoid. The graph for "
        "training takes the mean and the variance of the batch, normalises by them, and assigns "
        "pop_mean and pop_var. The graph for prediction reads pop_mean and pop_var."
    )
    return figure


def _draw_box(ax: Axes, center: tuple[float, float], text: str, color: str = "black") -> None:
    style = {
        "boxstyle": "round,pad=0.4",
        "facecolor": "white",
        "edgecolor": color,
        "linewidth": 1.5,
    }
    ax.text(*center, text, ha="center", va="center", color=color, bbox=style)


def _draw_arrow(
    ax: Axes, tail: tuple[float, float], head: tuple[float, float], text: str = ""
) -> None:
    ax.annotate("", head, tail, arrowprops={"arrowstyle": "-|>", "color": "0.3", "lw": 1.5})
    middle = (tail[0] + head[0]) / 2 + 0.15, (tail[1] + head[1]) / 2 + 0.15
    ax.text(*middle, text, color="0.3", ha="left", va="bottom", fontsize=9)
