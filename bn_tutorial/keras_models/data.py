"""Batches out of whatever `fit` takes, and whether they fit a model's inputs."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator

import keras
import tensorflow as tf

BATCH_SIZE = 60  # of arrays, which come without batches
Batch = tuple  # (inputs,), (inputs, labels) or (inputs, labels, sample weights)
Shape = tuple[int | None, ...]


def batches_of(
    model: keras.Model, dataset: object, tool: str, limit: int | None
) -> tuple[Iterator[Batch], int | None]:
    """The batches of a dataset, at most `limit`, and how many they are, if that can be known.

    Args:
        model: Built; each batch is compared with what it expects.
        dataset: What `fit` takes as `x`, in the same meaning, and what `recalibrate` names beside
            it; batches may come as a list.
        tool: Who asks, for messages.
        limit: None is all.

    Raises:
        TypeError: `dataset` is none of these.
        ValueError: It is empty or endless, or its arrays or a batch don't fit the model.
    """
    inputs = Inputs(model)
    if _is_arrays(inputs, dataset):
        batches = list(_slices(_labelled(inputs, _as_arrays(dataset), tool), tool))
    elif isinstance(dataset, keras.utils.PyDataset):
        batches = map(dataset.__getitem__, range(len(dataset)))  # Keras 3.8 can't iterate over it
    elif isinstance(dataset, str | bytes | keras.Model) or not isinstance(dataset, Iterable):
        raise TypeError(f"{tool}: expected data as `fit` takes it, found {type(dataset).__name__}")
    else:
        batches = dataset
    if limit is None and getattr(dataset, "cardinality", int)() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"{tool}: expected `batches` for a dataset without an end")
    counted = dataset if isinstance(dataset, keras.utils.PyDataset) else batches
    length = operator.length_hint(counted, -1)
    length = limit if length < 0 else min(length, limit or length)
    return _checked(inputs, itertools.islice(batches, limit), tool), length


def size_of(batch: Batch) -> int:
    """How many samples a batch has."""
    return keras.tree.flatten(batch[0])[0].shape[0]


class Inputs:
    """What a model expects of its inputs, as far as that can be known.

    Of a subclassed model only ranks are: it may take other sizes than those it was built with.
    """

    def __init__(self, model: keras.Model) -> None:
        self.names: list[str] = []  # of a functional model's inputs
        self.shapes: list[Shape] | None = None  # one for each input
        if getattr(model, "inputs", None):
            self.names = [tensor.name for tensor in model.inputs]
            self.shapes = [tuple(tensor.shape) for tensor in model.inputs]
        else:
            built = (model.get_build_config() or {}).get("input_shape")
            if built is not None:
                ranks = keras.tree.flatten(keras.tree.map_shape_structure(len, built))
                self.shapes = [(None,) * rank for rank in ranks]

    def mismatch(self, inputs: object) -> str:
        """What is expected and what is found, or nothing where they agree."""
        parts = [part for part in keras.tree.flatten(inputs) if part is not None]
        if self.names and isinstance(inputs, dict) and set(self.names) <= set(inputs):
            parts = [inputs[name] for name in self.names]
        if not parts or not all(map(_is_array, parts)):
            return f"expected arrays, found {type(parts[0] if parts else inputs).__name__}"
        found = [tuple(part.shape) for part in parts]
        if self.shapes is None or (
            len(found) == len(self.shapes) and all(map(_fits, found, self.shapes))
        ):
            return ""
        expected, there = (" and ".join(map(str, shapes)) for shapes in (self.shapes, found))
        unbatched = len(found[0]) < len(self.shapes[0])
        hint = ": are these data in batches?" if unbatched else ""
        return f"expected inputs of shape {expected}, found {there}{hint}"


def _is_arrays(inputs: Inputs, dataset: object) -> bool:
    """Whether these are arrays, which have no batches yet."""
    if isinstance(dataset, list) and (
        len(dataset) != len(inputs.shapes or ())  # a list of batches, not one array for each input
        or any(isinstance(item, tuple | dict) for item in dataset)
    ):
        return False
    parts = keras.tree.flatten(dataset) if isinstance(dataset, list | tuple | dict) else [dataset]
    first = parts[0] if parts else None
    return first is not None and all(part is None or _is_array(part) for part in parts)


def _labelled(inputs: Inputs, arrays: object, tool: str) -> Batch:
    """(inputs, ...) of arrays: as they are if they fit the model, else the first of a tuple."""
    if isinstance(arrays, list | tuple) and len(arrays) == 1:
        arrays = arrays[0]
    mismatch = inputs.mismatch(arrays)
    if isinstance(arrays, tuple) and (mismatch or not inputs.shapes):
        mismatch = inputs.mismatch(arrays[0]) or (mismatch if len(arrays) > 3 else "")
    else:
        arrays = (arrays,)
    if mismatch:
        raise ValueError(f"{tool}: {mismatch}")
    return arrays


def _slices(arrays: Batch, tool: str) -> Iterator[Batch]:
    lengths = sorted({part.shape[0] for part in keras.tree.flatten(arrays) if part is not None})
    if len(lengths) > 1:
        raise ValueError(f"{tool}: expected arrays of one length, found {lengths}")
    starts = list(range(0, lengths[0], BATCH_SIZE))
    if len(starts) > 1 and lengths[0] - starts[-1] == 1:
        starts.pop()  # one sample has no variance, so it joins the others
    for start, end in itertools.zip_longest(starts, starts[1:]):
        yield keras.tree.map_structure(
            lambda part, at=slice(start, end): None if part is None else part[at], arrays
        )


def _checked(inputs: Inputs, batches: Iterable, tool: str) -> Iterator[Batch]:
    """(inputs, ...) of each batch."""
    number = 0
    for number, batch in enumerate(batches, 1):
        parts = keras.utils.unpack_x_y_sample_weight(batch)
        while parts[-1] is None and len(parts) > 1:
            parts = parts[:-1]
        arrays = _as_arrays(parts)
        mismatch = inputs.mismatch(arrays[0])
        if mismatch:
            raise ValueError(f"{tool}, batch {number}: {mismatch}")
        yield arrays
    if not number:
        raise ValueError(f"{tool}: expected batches, found an empty dataset")


def _as_arrays(parts: object) -> object:
    """With NumPy's arrays in the place of pandas' and SciPy's."""

    def converted(part: object) -> object:
        for convert in ("to_numpy", "toarray"):
            if hasattr(part, convert):
                return getattr(part, convert)()
        return part

    return keras.tree.map_structure(converted, parts)


def _is_array(part: object) -> bool:
    return len(getattr(part, "shape", ())) > 0


def _fits(shape: Shape, expected: Shape) -> bool:
    """As Keras sees it: an axis of size 1 at the end may be missing, or be one too many."""
    if len(shape) == len(expected) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == len(expected) - 1 and expected[-1] == 1:
        shape = (*shape, 1)
    return tf.TensorShape(shape).is_compatible_with(expected)
