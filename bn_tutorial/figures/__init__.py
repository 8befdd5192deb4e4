"""Every picture of the notebooks, by subject. Each function draws one figure and returns it."""

from bn_tutorial.figures.batches import (
    plot_accuracy_by_batch_size,
    plot_accuracy_by_make_up,
    plot_accuracy_by_training_batch,
)
from bn_tutorial.figures.concepts import (
    plot_columns,
    plot_inputs_over_slope,
    plot_step_at_right_angle,
    plot_two_graphs,
)
from bn_tutorial.figures.deep_networks import (
    plot_accuracy_by_decay,
    plot_along_gradient,
    plot_by_layer,
    plot_growth,
)
from bn_tutorial.figures.digits import plot_answers, plot_digits
from bn_tutorial.figures.over_training import (
    plot_accuracy,
    plot_accuracy_bands,
    plot_activation_inputs,
    plot_percentiles,
)
from bn_tutorial.figures.population import (
    plot_drift,
    plot_estimates_by_count,
    plot_population_estimates,
    plot_smoothing,
)
from bn_tutorial.figures.rates import plot_rate_grid
from bn_tutorial.figures.real_layers import plot_difference_errors, plot_shared_statistics
from bn_tutorial.figures.replicas import (
    plot_accuracy_by_replicas,
    plot_all_reduce,
    plot_cost,
    plot_populations,
)
from bn_tutorial.figures.styles import COLORS

__all__ = [
    "COLORS",
    "plot_accuracy",
    "plot_accuracy_bands",
    "plot_accuracy_by_batch_size",
    "plot_accuracy_by_decay",
    "plot_accuracy_by_make_up",
    "plot_accuracy_by_replicas",
    "plot_accuracy_by_training_batch",
    "plot_activation_inputs",
    "plot_all_reduce",
    "plot_along_gradient",
    "plot_answers",
    "plot_by_layer",
    "plot_columns",
    "plot_cost",
    "plot_difference_errors",
    "plot_digits",
    "plot_drift",
    "plot_estimates_by_count",
    "plot_growth",
    "plot_inputs_over_slope",
    "plot_percentiles",
    "plot_population_estimates",
    "plot_populations",
    "plot_rate_grid",
    "plot_shared_statistics",
    "plot_smoothing",
    "plot_step_at_right_angle",
    "plot_two_graphs",
]
