"""Colours and lines that mean the same in every figure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes

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
