"""Colours and lines that mean the same in every figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers can tell apart; one for each network, always.
COLORS = {
    "without BN": "#D55E00",
    "naive BN": "#0072B2",
    "fixed BN": "#009E73",
    "noisy BN": "#CC79A7",
}
SERIES_COLORS = ("#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", ":", "-.")


def network_colors(names: Iterable[str]) -> dict[str, str]:
    """A colour for each network: its own if it is known, else the next of matplotlib's cycle."""
    others = cycle(f"C{number}" for number in range(10))
    return {name: COLORS.get(name) or next(others) for name in dict.fromkeys(names)}


def series_styles(names: Iterable[object]) -> dict[object, dict[str, str]]:
    """Colour and line for each of any number of series, as options of `Axes.plot`.

    Seven colours and four kinds of line: the first 28 differ from one another.
    """
    styles = cycle(zip(cycle(SERIES_COLORS), cycle(LINE_STYLES), strict=False))
    pairs = zip(dict.fromkeys(names), styles, strict=False)
    return {name: {"color": color, "linestyle": line} for name, (color, line) in pairs}


def make_axes(
    title: str, xlabel: str, ylabel: str, size: tuple[float, float] = (7.5, 4.5), **settings: object
) -> tuple[Figure, Axes]:
    """A figure of `size` inches with one pair of axes; `settings` are those of `Axes.set`."""
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel, **settings)
    return figure, ax


def make_panels(
    title: str,
    names: Iterable[str],
    xlabel: str,
    ylabel: str,
    size: tuple[float, float],
    **settings: object,
) -> tuple[Figure, list[Axes]]:
    """A figure of `size` inches with a panel for each name, side by side, and one y-axis."""
    names = list(names)
    figure, (axes,) = plt.subplots(
        1, len(names), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for ax, name in zip(axes, names, strict=True):
        ax.set(title=name, xlabel=xlabel, **settings)
    axes[0].set_ylabel(ylabel)
    figure.suptitle(title)
    return figure, list(axes)


def mark(ax: Axes, values: Sequence[float]) -> None:
    """Ticks at these values of the x-axis, and nowhere else."""
    ax.set_xticks(values, [f"{value:g}" for value in values])
    ax.minorticks_off()


def draw_band(ax: Axes, x: np.ndarray, values: np.ndarray, **style: str) -> None:
    """The mean of several seeds, and a band from the lowest to the highest.

    Args:
        ax: to draw on.
        x: `[points]`.
        values: float `[seeds, points]`.
        style: options of `Axes.plot`.
    """
    (line,) = ax.plot(x, values.mean(axis=0), **style)
    low, high = values.min(axis=0), values.max(axis=0)
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.22, linewidth=0)
