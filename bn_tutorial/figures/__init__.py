"""The pictures of the notebooks, and what a figure of one's own is drawn with.

Each `plot_` function draws one figure and returns it. What one notebook draws once stands there.
"""

from bn_tutorial.figures.concepts import (
    plot_columns,
    plot_digits,
    plot_inputs_over_slope,
    plot_shared_statistics,
    plot_two_graphs,
)
from bn_tutorial.figures.results import (
    plot_accuracy,
    plot_accuracy_bands,
    plot_accuracy_by_training_batch,
    plot_activation_inputs,
    plot_by_layer,
    plot_rate_grid,
)
from bn_tutorial.figures.styles import (
    COLORS,
    draw_band,
    draw_bands,
    make_axes,
    make_panels,
    mark,
    series_styles,
    show_image,
)

__all__ = [
    "COLORS",
    "draw_band",
    "draw_bands",
    "make_axes",
    "make_panels",
    "mark",
    "plot_accuracy",
    "plot_accuracy_bands",
    "plot_accuracy_by_training_batch",
    "plot_activation_inputs",
    "plot_by_layer",
    "plot_columns",
    "plot_digits",
    "plot_inputs_over_slope",
    "plot_rate_grid",
    "plot_shared_statistics",
    "plot_two_graphs",
    "series_styles",
    "show_image",
]
