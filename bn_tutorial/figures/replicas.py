"""Batches that are shared among replicas, and what it costs to synchronize them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from bn_tutorial.figures.styles import draw_band, make_axes, mark, series_styles


def plot_accuracy_by_replicas(
    results: Mapping[str, Mapping[int, Sequence[float]]], batch_size: int
) -> Figure:
    """Accuracy against the number of replicas: a line for each way to predict, a band over seeds.

    Args:
        results: by way and by number of replicas, one accuracy for each seed.
        batch_size: of the global batch.
    """
    title = "Each replica normalises its own share (band: lowest to highest seed)"
    xlabel = "replicas (samples in a share)"
    figure, ax = make_axes(title, xlabel, "test accuracy", xscale="log")
    for way, style in series_styles(results).items():
        counts = np.array(list(results[way]))
        values = np.array([results[way][count] for count in counts]).T
        draw_band(ax, counts, values, label=way, marker="o", **style)
    labels = [f"{count}\n({batch_size // count})" for count in counts]
    ax.set_xticks(counts, labels)
    ax.minorticks_off()
    ax.legend(loc="lower left")
    return figure


def plot_populations(
    populations: np.ndarray, joined: np.ndarray, predicted: np.ndarray, units: int = 20
) -> Figure:
    """Each replica's population means around their average, beside the predicted spread.

    Args:
        populations: float `[replicas, units]`: each replica's own `pop_mean`.
        joined: float `[units]`: the mean over replicas.
        predicted: float `[units]`: the standard deviation that noise of the shares gives.
        units: how many to draw, the first ones.
    """
    title = "What each replica believes of the population"
    ylabel = "pop_mean minus the replicas' average"
    figure, ax = make_axes(title, "unit of the first layer", ylabel, (9, 4))
    places = np.arange(units)
    style = {"fmt": "none", "color": "0.5", "capsize": 4, "label": "predicted standard deviation"}
    ax.errorbar(places, np.zeros(units), yerr=predicted[:units], **style)
    for number, values in enumerate(populations - joined):
        first = {"label": "other replicas"} if number == 1 else {}
        style = {"marker": "x", "color": "#0072B2", **first}
        if number == 0:
            style = {"marker": "o", "color": "#D55E00", "label": "first replica (the checkpoint's)"}
        ax.plot(places, values[:units], linestyle="none", markersize=5, **style)
    ax.set_xticks(places)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def plot_all_reduce(
    seconds: Mapping[int, float], model: Callable[[np.ndarray], np.ndarray]
) -> Figure:
    """Time of an all-reduce against its size, and the fitted model; both axes logarithmic.

    Args:
        seconds: measured, by size in bytes.
        model: bytes → seconds.
    """
    title = "One all-reduce between two processes of this machine"
    figure, ax = make_axes(title, "bytes", "milliseconds", (7, 4), xscale="log", yscale="log")
    sizes = np.array(list(seconds))
    line = np.geomspace(sizes.min(), sizes.max(), 100)
    ax.plot(line, 1e3 * model(line), color="0.4", label="latency + bytes / bandwidth")
    ax.plot(sizes, 1e3 * np.array(list(seconds.values())), "o", color="#0072B2", label="measured")
    ax.legend()
    return figure


def plot_cost(shares: Mapping[str, Mapping[int, float]]) -> Figure:
    """What synchronized BN adds to a step, computed and not measured, against workers.

    Args:
        shares: by the kind of all-reduce and by number of workers, the added time over the step's.
    """
    title = "On paper: what synchronized BN adds to a step of ResNet-50"
    ylabel = "added time, % of the step"
    figure, ax = make_axes(title, "workers", ylabel, (7, 4), xscale="log", yscale="log")
    for name, style in series_styles(shares).items():
        percent = 100 * np.array(list(shares[name].values()))
        ax.plot(list(shares[name]), percent, marker="o", label=name, **style)
    mark(ax, list(next(iter(shares.values()))))
    ax.legend()
    return figure
