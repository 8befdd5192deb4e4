"""The pictures of the notebooks, by subject. Each function draws one figure and returns it."""

from bn_tutorial.figures.accuracies import (
    plot_accuracy_by_batch_size,
    plot_accuracy_by_make_up,
    plot_accuracy_by_training_batch,
    plot_drift,
    plot_estimates_by_count,
    plot_rate_grid,
)
from bn_tutorial.figures.concepts import (
    plot_columns,
    plot_inputs_over_slope,
    plot_shared_statistics,
    plot_two_graphs,
)
from bn_tutorial.figures.curves import (
    plot_accuracy,
    plot_accuracy_bands,
    plot_activation_inputs,
    plot_by_layer,
    plot_growth,
    plot_percentiles,
    plot_population_estimates,
    plot_smoothing,
)
from bn_tutorial.figures.digits import plot_answers, plot_digits
from bn_tutorial.figures.styles import COLORS, draw_band, series_styles

__all__ = [
    "COLORS",
    "draw_band",
    "plot_accuracy",
    "plot_accuracy_bands",
    "plot_accuracy_by_batch_size",
    "plot_accuracy_by_make_up",
    "plot_accuracy_by_training_batch",
    "plot_activation_inputs",
    "plot_answers",
    "plot_by_layer",
    "plot_columns",
    "plot_digits",
    "plot_drift",
    "plot_estimates_by_count",
    "plot_growth",
    "plot_inputs_over_slope",
    "plot_percentiles",
    "plot_population_estimates",
    "plot_rate_grid",
    "plot_shared_statistics",
    "plot_smoothing",
    "plot_two_graphs",
    "series_styles",
]
