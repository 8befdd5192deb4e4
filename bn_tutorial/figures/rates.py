"""Accuracy over learning rates and initial weights, or depths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from bn_tutorial.figures.styles import make_panels


def plot_rate_grid(
    grids: Mapping[str, np.ndarray],
    rows: Sequence[float],
    rates: Sequence[float],
    title: str,
    row_label: str = "standard deviation\nof the initial weights",
) -> Figure:
    """Accuracy by learning rate and something else: a map for each network, one colour scale.

    Args:
        grids: by network, float `[rows, rates]`, in [0, 1]; NaN where the training diverged.
        rows: what the rows are: standard deviations of the weights, or depths.
        rates: learning rates, a column each.
        title: of the figure.
        row_label: what the rows are, in words.
    """
    figure, axes = make_panels(title, grids, "learning rate", row_label, (10, 3.6))
    for ax, grid in zip(axes, grids.values(), strict=True):
        image = ax.imshow(grid, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        for (row, column), accuracy in np.ndenumerate(grid):
            text = "×" if np.isnan(accuracy) else f"{accuracy:.2f}"
            color = "black" if accuracy > 0.5 else "white"
            ax.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
        ax.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        ax.set_yticks(range(len(rows)), [f"{row:g}" for row in rows])
        ax.grid(visible=False)
    figure.colorbar(image, ax=axes, label="test accuracy")
    return figure
