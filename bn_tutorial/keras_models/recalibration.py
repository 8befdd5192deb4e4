"""Precise population statistics for any Keras model: `recalibrate`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import partial

import keras
import numpy as np
from tqdm import tqdm

from bn_tutorial.arguments import require_at_least
from bn_tutorial.keras_models.data import batches_of
from bn_tutorial.keras_models.model import (
    BatchNorm,
    Call,
    Kept,
    Watched,
    batch_norm_layers,
    is_plain,
    pooled,
    require_built,
    run_each,
    shortened,
    unchanged,
    watch,
)

TOOL = "recalibrate"


def recalibrate(
    model: keras.Model,
    dataset: object,
    batches: int | None = None,
    verbose: int | str = "auto",
) -> None:
    """Replace the moving statistics of each BN layer by those of the data (Algorithm 2).

    The weights are held still. All BN layers are measured in one pass, each after layers that
    normalise by batch statistics, as in training; everything else runs as at inference, so dropout
    is off. The variance is that of all values together: E[σ²] + Var[μ], weighted by the sizes of
    the batches. Nothing but the moving statistics changes; if anything goes wrong, or the run is
    interrupted, nothing does.

    A BN layer with `trainable = False` is frozen: it normalises by its own statistics and keeps
    them. A layer that the model always calls with `training=False` is measured like the others.

    Args:
        model: built, of any kind: Sequential, functional, nested, subclassed.
        dataset: what `fit` takes, with labels or without: arrays (one, or a list, tuple or dict
            for several inputs), pandas, a `tf.data.Dataset`, a `PyDataset`, a generator or another
            iterable of batches. Arrays are taken in batches of 60, and may be `(inputs, labels)`.
        batches: how many to use; None is all of them.
        verbose: 0 is silent, 1 or "auto" a progress bar, 2 a line at the end.

    Raises:
        TypeError: `model` is no Keras 3 model, or `dataset` is not what `fit` takes.
        RuntimeError: Keras does not run on TensorFlow.
        ValueError: the model is not built, has no BN layer to measure or can't run on a batch;
            `batches` is below 1; the data are empty, endless or don't fit the model; or a
            statistic is not a finite number.
    """
    layers = _layers_to_measure(model)
    if batches is not None:
        require_at_least(1, batches=batches)
    data, count = batches_of(model, dataset, TOOL, batches)
    quiet = verbose not in ("auto", 1)
    bar = tqdm(data, "recalibrating", count, unit=" batches", file=sys.stdout, disable=quiet)
    with unchanged(model) as kept:
        own = [layer for layer in layers if not is_plain(layer)]
        watched = watch(layers, lambda layer, _: layer.trainable)
        for layer in layers:  # by the batch alone, and where it is computed best
            vars(layer).update(renorm=False, synchronized=False)
        last, seen = _run(model, bar, watched, kept)
        statistics = {layer: _statistics(layer, calls) for layer, calls in watched.items()}
        if own:
            _require_momentum(model, own, last, watched, kept)
    _assign(statistics)
    if verbose == 2:
        print(f"recalibrated {len(statistics)} BN layers on {seen} batches")
    if verbose:
        _say_what_stays(model, statistics)


def _layers_to_measure(model: keras.Model) -> list[BatchNorm]:
    layers = batch_norm_layers(require_built(model, TOOL))
    frozen = [layer.name for layer in layers if not layer.trainable]
    if len(frozen) == len(layers):
        found = f"only frozen ones: {', '.join(frozen)}" if frozen else "none"
        raise ValueError(f"{TOOL}: expected a model with BatchNormalization, found {found}")
    return [layer for layer in layers if layer.trainable]


def _run(model: keras.Model, data: Iterable, watched: Watched, kept: Kept) -> tuple[tuple, int]:
    """Run the model on each batch; the last one, and how many they were."""

    def inputs() -> Iterator[tuple]:
        nonlocal last, seen
        for batch in data:
            last, seen = batch[:1], seen + 1
            yield last

    last, seen = (), 0
    try:
        for _ in run_each(partial(_measure, model, watched), inputs(), model, kept, TOOL):
            pass
    except Exception as error:
        error.add_note(f"{TOOL}: after batch {seen}; the model is as it was")
        raise
    return last, seen


def _measure(model: keras.Model, watched: Watched, batch: tuple) -> None:
    """As at inference, but for the layers that are watched."""
    watched.begin()
    model(batch[0], training=False)


def _statistics(layer: BatchNorm, calls: list[Call]) -> tuple[np.ndarray, np.ndarray] | None:
    """The mean and the biased variance of all calls; None if its own `call` keeps it frozen."""
    total = pooled(calls)
    if total.count < 2:
        raise ValueError(
            f'{TOOL}: layer "{layer.name}": expected 2 values a channel or more, '
            f"found {total.count}"
        )
    if not total.by_batch:
        return None
    if not (np.isfinite(total.mean).all() and np.isfinite(total.variance).all()):
        raise ValueError(
            f'{TOOL}: layer "{layer.name}": expected finite statistics, found NaN or infinity'
        )
    return total.mean, total.variance


def _require_momentum(
    model: keras.Model, layers: list[BatchNorm], batch: tuple, watched: Watched, kept: Kept
) -> None:
    """A class of somebody's own may follow its batches in another way; two equal ones show it."""
    moving = []
    for _ in run_each(partial(_measure, model, watched), [batch, batch], model, kept, TOOL):
        moving.append([(v.moving_mean.numpy(), v.moving_variance.numpy()) for v in layers])
    for layer, once, twice in zip(layers, *moving, strict=True):
        if not np.allclose(once, twice, rtol=1e-3, atol=1e-3):
            raise ValueError(
                f'{TOOL}: layer "{layer.name}": expected moving statistics that follow `momentum`, '
                f"found {type(layer).__name__}, whose own do not"
            )


def _assign(statistics: dict[BatchNorm, tuple[np.ndarray, np.ndarray] | None]) -> None:
    """All of them or, if interrupted, none."""
    values = {}
    for layer, found in statistics.items():
        if found is not None:
            deviation = np.sqrt(found[1] + layer.epsilon)
            names = ("moving_mean", "moving_variance", "renorm_mean", "moving_stddev",
                     "renorm_stddev")  # fmt: skip
            for name, value in zip(names, (*found, found[0], deviation, deviation), strict=True):
                if hasattr(layer, name):  # the last three with renorm=True
                    values[name, layer] = value
    before = {(name, layer): getattr(layer, name).numpy() for name, layer in values}
    try:
        for (name, layer), value in values.items():
            getattr(layer, name).assign(value)
    except BaseException:
        for (name, layer), value in before.items():
            getattr(layer, name).assign(value)
        raise


def _say_what_stays(
    model: keras.Model, statistics: dict[BatchNorm, tuple[np.ndarray, np.ndarray] | None]
) -> None:
    frozen = [layer.name for layer in batch_norm_layers(model) if statistics.get(layer) is None]
    if frozen:
        print(f"frozen, and left as they are: {shortened(frozen)}")
