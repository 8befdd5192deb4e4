"""A slider over the recorded steps of a training: what the sigmoids are fed, as histograms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bn_tutorial.figures.styles import network_colors
from bn_tutorial.interactive.fragments import Fragment, encode_bytes, make_fragment
from bn_tutorial.training import History

BINS = 40
MOST_RECORDS = 120
MOST_UNITS = 255  # since a bar's height is a byte
SATURATED = 4  # beyond which the sigmoid's gradient is below 0.02
STYLE_COLORS = {"without BN": "plain", "naive BN": "naive", "fixed BN": "fixed"}  # by network


def slide_over_steps(histories: Mapping[str, History], language: str | None = None) -> Fragment:
    """A slider over the steps that `train` recorded; it moves a histogram for each network.

    The histograms count the units of the last hidden layer by what their activation is fed, the
    mean over the test set. They share their axes.

    Args:
        histories: What one training recorded, by the networks' names.
        language: "en" or "zh"; None takes the language of the page, if it is one of these, and
            English otherwise.

    Returns:
        A fragment that Jupyter shows as HTML. Of many records it has 120, evenly spaced.

    Raises:
        ValueError: there are no histories, or nothing is recorded in one; they differ in steps or
            units; there are more than 255 units, or numbers that are not finite; the language is
            unknown.
    """
    _require_histories(histories)
    first = next(iter(histories.values()))
    count = len(first.steps)
    kept = np.unique(np.linspace(0, count - 1, min(count, MOST_RECORDS)).round().astype(int))
    inputs = {name: history.activation_inputs[kept] for name, history in histories.items()}
    edges = _edges(list(inputs.values()))
    data = {
        "steps": first.steps[kept].tolist(),
        "units": first.activation_inputs.shape[1],
        "bins": BINS,
        "low": float(edges[0]),
        "high": float(edges[-1]),
        "ticks": _ticks(edges),
        "networks": {
            name: {
                "color": STYLE_COLORS.get(name, "other"),
                "counts": encode_bytes(_counts(inputs[name], edges).tobytes()),
                "accuracy": history.test_accuracy[kept].astype(float).round(4).tolist(),
                "beyond": (np.abs(inputs[name]) > SATURATED).sum(axis=1).tolist(),
            }
            for name, history in histories.items()
        },
    }
    last = f"{data['steps'][-1]:,}"
    values = {"units": data["units"], "last": last, "ranges": _ranges(inputs)}
    return make_fragment("slide-over-steps", data, _picture(inputs, edges, last), values, language)


def _require_histories(histories: Mapping[str, History]) -> None:
    if not histories:
        raise ValueError("histories must hold one history or more, found none")
    first_name, first = next(iter(histories.items()))
    for name, history in histories.items():
        inputs = history.activation_inputs
        if not len(history.steps):
            raise ValueError(f'the history of "{name}" must hold a record, found none')
        if (units := inputs.shape[1]) > MOST_UNITS:
            raise ValueError(f'"{name}" must have up to {MOST_UNITS} units, found {units}')
        if not np.isfinite(inputs).all() or not np.isfinite(history.test_accuracy).all():
            raise ValueError(f'the records of "{name}" must be finite numbers, found NaN or inf')
        alike = inputs.shape == first.activation_inputs.shape
        if not alike or not np.array_equal(history.steps, first.steps):
            raise ValueError(
                f'"{name}" must have the steps and units of "{first_name}", '
                f"{first.activation_inputs.shape} up to step {first.steps[-1]}; "
                f"found {inputs.shape} up to step {history.steps[-1]}"
            )


def _edges(inputs: list[np.ndarray]) -> np.ndarray:
    """Edges of the bins, over all values and at least from -5 to 5, so that ±4 is inside."""
    low = min(-SATURATED - 1.0, *(values.min() for values in inputs))
    high = max(SATURATED + 1.0, *(values.max() for values in inputs))
    return np.linspace(np.floor(low), np.ceil(high), BINS + 1)


def _ticks(edges: np.ndarray) -> list[int]:
    """Round numbers within the edges, about five."""
    ticks = MaxNLocator(5, integer=True).tick_values(edges[0], edges[-1])
    return [int(tick) for tick in ticks if edges[0] <= tick <= edges[-1]]


def _counts(inputs: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Numbers of units in each bin: `[records, units]` → uint8 `[records, bins]`."""
    return np.array([np.histogram(values, edges)[0] for values in inputs], np.uint8)


def _ranges(inputs: Mapping[str, np.ndarray]) -> str:
    """Where each network's values end up, in words that need no language."""
    ends = {name: values[-1] for name, values in inputs.items()}
    return "; ".join(f"{name}: {end.min():.1f} … {end.max():.1f}" for name, end in ends.items())


def _picture(inputs: Mapping[str, np.ndarray], edges: np.ndarray, last: str) -> Figure:
    """The histograms at the first record and at the last, the networks side by side."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots(2, len(inputs), sharex=True, squeeze=False)
    colors = network_colors(inputs)
    for column, (name, values) in zip(axes.T, inputs.items(), strict=True):
        for ax, when, record in zip(
            column, ("before step 1", f"after step {last}"), (0, -1), strict=True
        ):
            ax.hist(values[record], edges, color=colors[name])
            ax.set(title=f"{name}, {when}", ylabel="units")
        column[-1].set_xlabel("activation input")
    return figure
