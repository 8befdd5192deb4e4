"""Precise population statistics for any Keras model: `recalibrate`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import keras
import numpy as np
from tqdm import tqdm

from bn_tutorial.arguments import require_at_least
from bn_tutorial.keras_models.data import Batch, batches_of
from bn_tutorial.keras_models.model import (
    BatchNorm,
    Kept,
    batch_norm_layers,
    require_built,
    shortened,
    unchanged,
)
from bn_tutorial.keras_models.watching import Call, Watched, is_plain, pooled

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
        model: A built model of any kind: Sequential, functional, nested, subclassed.
        dataset: What `fit` takes, with labels or without: arrays (one, or a list, tuple or dict
            for several inputs), pandas, a `tf.data.Dataset`, a `PyDataset`, a generator or another
            iterable of batches. Arrays are taken in batches of 60, and may be `(inputs, labels)`.
        batches: How many to use; None is all of them.
        verbose: 0 is silent, 1 or "auto" a progress bar, 2 a line at the end.

    Raises:
        TypeError: `model` is no Keras 3 model, or `dataset` is not what `fit` takes.
        RuntimeError: Keras does not run on TensorFlow.
        ValueError: The model is not built, has no BN layer to measure or can't run on a batch;
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
        measured, used = _measured(layers, bar, kept)
    try:
        for layer, given in measured.items():
            _assign(layer, given)
    except BaseException:  # all of them or, if interrupted, none
        kept.restore()
        raise
    if verbose == 2:
        print(f"recalibrated {len(layers)} BN layers on {used} batches")
    frozen = [layer.name for layer in batch_norm_layers(model) if layer not in measured]
    if verbose and frozen:
        print(f"frozen, and left as they are: {shortened(frozen)}")


def _layers_to_measure(model: keras.Model) -> list[BatchNorm]:
    layers = batch_norm_layers(require_built(model, TOOL))
    trainable = [layer for layer in layers if layer.trainable]
    if not trainable:
        names = ", ".join(layer.name for layer in layers)
        found = f"only frozen ones: {names}" if layers else "none"
        raise ValueError(f"{TOOL}: expected a model with BatchNormalization, found {found}")
    return trainable


def _measured(
    layers: list[BatchNorm], data: Iterable[Batch], kept: Kept
) -> tuple[dict[BatchNorm, Call], int]:
    """What each layer was given that normalised by it, and in how many batches."""
    own = [layer for layer in layers if not is_plain(layer)]
    watched = Watched(kept, layers, lambda layer, _: layer.trainable, TOOL)
    for layer in layers:  # by the batch alone, and where it is computed best
        vars(layer).update(renorm=False, synchronized=False)
    used, last = 0, ()
    try:
        for batch, _ in watched.run(data):
            used, last = used + 1, batch
    except Exception as error:
        error.add_note(f"{TOOL}: after batch {used}; the model is as it was")
        raise
    totals = {layer: pooled(calls) for layer, calls in watched.items()}
    for layer, total in totals.items():
        _require_statistics(layer, total)
    if own:
        _require_momentum(own, last, watched)
    return {layer: total for layer, total in totals.items() if total.by_batch}, used


def _require_statistics(layer: BatchNorm, given: Call) -> None:
    """Enough values for a variance, and finite ones."""
    expected = ""
    if given.count < 2:
        expected = f"2 values a channel or more, found {given.count}"
    elif given.by_batch and not np.isfinite([given.mean, given.variance]).all():
        expected = "finite statistics, found NaN or infinity"
    if expected:
        raise ValueError(f'{TOOL}: layer "{layer.name}": expected {expected}')


def _require_momentum(layers: list[BatchNorm], batch: Batch, watched: Watched) -> None:
    """A class of somebody's own may follow its batches in another way; two equal ones show it."""
    once, twice = (
        [(layer.moving_mean.numpy(), layer.moving_variance.numpy()) for layer in layers]
        for _ in watched.run([batch, batch])
    )
    for layer, first, second in zip(layers, once, twice, strict=True):
        if not np.allclose(first, second, rtol=1e-3, atol=1e-3):
            raise ValueError(
                f'{TOOL}: layer "{layer.name}": expected moving statistics that follow `momentum`, '
                f"found {type(layer).__name__}, whose own do not"
            )


def _assign(layer: BatchNorm, given: Call) -> None:
    """Set the moving statistics and, with renorm=True, what else it keeps."""
    deviation = np.sqrt(given.variance + layer.epsilon)
    layer.moving_mean.assign(given.mean)
    layer.moving_variance.assign(given.variance)
    if getattr(layer, "renorm", False):
        layer.renorm_mean.assign(given.mean)
        layer.moving_stddev.assign(deviation)
        layer.renorm_stddev.assign(deviation)
