"""Colours, lines and axes that mean the same in every figure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
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
    "with BN": "#009E73",  # where no other kind of BN is near
    "noisy BN": "#CC79A7",
}
SERIES_COLORS = ("#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", ":", "-.")
MARKERS = "os^Dv"


def network_colors(names: Iterable[str]) -> dict[str, str]:
    """A colour for each network: its own if it is known, else the next of matplotlib's cycle."""
    others = cycle(f"C{number}" for number in range(10))
    return {name: COLORS.get(name) or next(others) for name in dict.fromkeys(names)}


def series_styles(names: Iterable[object], marked: bool = False) -> dict[object, dict[str, str]]:
    """Colour and line for each of any number of series, as options of `Axes.plot`.

    Seven colours and four kinds of line: the first 28 differ from one another. Where they are
    `marked`, each series has a marker, too.
    """
    options = {"color": SERIES_COLORS, "linestyle": LINE_STYLES}
    if marked:
        options["marker"] = MARKERS
    looks = zip(*map(cycle, options.values()), strict=False)
    styles = zip(dict.fromkeys(names), looks, strict=False)
    return {name: dict(zip(options, look, strict=True)) for name, look in styles}


def make_axes(
    title: str, xlabel: str, ylabel: str, size: tuple[float, float] = (7.5, 4.5), **settings: object
) -> tuple[Figure, Axes]:
    """A figure of `size` inches with one pair of axes; `settings` are those of `Axes.set`."""
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel, **settings)
    return figure, ax


def make_panels(
    title: str,
    names: Collection[str],
    labels: tuple[str, str],
    size: tuple[float, float],
    **settings: object,
) -> tuple[Figure, list[Axes]]:
    """A figure of `size` inches with a panel for each name, side by side, and one y-axis."""
    figure = plt.figure(figsize=size, layout="constrained")
    (axes,) = figure.subplots(1, len(names), sharey=True, squeeze=False)
    for ax, name in zip(axes, names, strict=True):
        ax.set(title=name, xlabel=labels[0], **settings)
    axes[0].set_ylabel(labels[1])
    figure.suptitle(title)
    return figure, list(axes)


def draw_band(ax: Axes, x: Sequence[float], values: np.ndarray, **style: object) -> None:
    """Draw the mean of several seeds, and a band from the lowest to the highest.

    Args:
        ax: Axes to draw on.
        x: Places on the horizontal axis, `[points]`.
        values: Values above them, float `[seeds, points]`.
        style: Options of `Axes.plot`.
    """
    (line,) = ax.plot(x, values.mean(axis=0), **style)
    low, high = values.min(axis=0), values.max(axis=0)
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.22, linewidth=0)


def draw_bands(
    ax: Axes, results: Mapping[str, Mapping[float, Sequence[float]]], label: str
) -> None:
    """Draw a band for each series, by series and x; `label` is a template with the name in `{}`."""
    for name, style in series_styles(results, marked=True).items():
        values = np.array(list(results[name].values())).T
        draw_band(ax, list(results[name]), values, label=label.format(name), **style)


def mark(ax: Axes, values: Iterable[float]) -> None:
    """Put ticks at these values of the x-axis, and nowhere else."""
    values = sorted(values)
    ax.set_xticks(values, [f"{value:g}" for value in values])
    ax.minorticks_off()


def show_image(ax: Axes, image: np.ndarray, title: str, cmap: str = "gray_r") -> None:
    """Draw one or more images, float `[28, width]` in [0, 1], without ticks."""
    ax.imshow(image, cmap=cmap, vmin=0, vmax=1)
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(visible=False)
