"""Batches out of whatever `fit` takes, and whether they fit a model's inputs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import keras
import tensorflow as tf

BATCH_SIZE = 60  # of arrays, which come without batches
Batch = tuple  # (inputs,), (inputs, labels) or (inputs, labels, sample weights)
Shape = tuple[int | None, ...]


class Inputs:
    """What a model expects of its inputs, as far as that can be known.

    Attributes:
        names: of a functional model's inputs.
        shapes: one each, or None if nothing is known. Of a subclassed model only the rank is: it
            may take other sizes than those that it was built with.
    """

    def __init__(self, model: keras.Model) -> None:
        self.names: list[str] = []
        self.shapes: list[Shape] | None = None
        if getattr(model, "inputs", None):
            self.names = [tensor.name for tensor in model.inputs]
            self.shapes = [tuple(tensor.shape) for tensor in model.inputs]
        else:
            built = (model.get_build_config() or {}).get("input_shape")
            if built is not None:
                self.shapes = [(None,) * len(shape) for shape in _shapes(built)]

    def mismatch(self, inputs: object) -> str:
        """What is expected and what is found, or nothing where they agree."""
        if self.shapes is None:
            return ""
        found = [tuple(part.shape) for part in self._in_order(inputs)]
        if len(found) != len(self.shapes):
            return f"expected {_count(len(self.shapes), 'input')}, found {len(found)}"
        for expected, shape in zip(self.shapes, found, strict=True):
            if not _fits(shape, expected):
                unbatched = ": are these data in batches?" if len(shape) < len(expected) else ""
                return f"expected inputs of shape {expected}, found {shape}{unbatched}"
        return ""

    def _in_order(self, inputs: object) -> list:
        if isinstance(inputs, dict) and set(self.names) <= set(inputs):
            return [inputs[name] for name in self.names]
        return [part for part in keras.tree.flatten(inputs) if part is not None]


def batches_of(
    model: keras.Model, dataset: object, tool: str, limit: int | None
) -> tuple[Iterator[Batch], int | None]:
    """The batches of a dataset, at most `limit`, each compared with what the model expects.

    Args:
        model: built.
        dataset: what `fit` takes as `x`, in the same meaning: an array or a pandas object, a list,
            tuple or dict of arrays for several inputs, a `tf.data.Dataset`, a `PyDataset`, a
            generator or another iterable of batches. Arrays may also come as `(inputs, labels)`,
            and batches as a list.
        tool: who asks, for messages.
        limit: how many at most; None is all.

    Returns:
        The batches, and how many they are, if that can be known.

    Raises:
        TypeError: `dataset` is none of these.
        ValueError: it is empty or endless, or its arrays or a batch don't fit the model.
    """
    inputs = Inputs(model)
    if _is_arrays(inputs, dataset):
        arrays = _labelled(inputs, keras.tree.map_structure(_array, dataset), tool)
        batches = list(_slices(arrays, tool))
    elif isinstance(dataset, keras.utils.PyDataset):
        batches = _Items(dataset)
    elif isinstance(dataset, str | bytes | keras.Model) or not isinstance(dataset, Iterable):
        raise TypeError(f"{tool}: expected data as `fit` takes it, found {type(dataset).__name__}")
    else:
        batches = dataset
    if limit is None and getattr(dataset, "cardinality", int)() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"{tool}: expected `batches` for a dataset without an end")
    try:
        length = len(batches) if limit is None else min(len(batches), limit)
    except TypeError:
        length = limit
    return _checked(inputs, map(_unpacked, itertools.islice(batches, limit)), tool), length


def size_of(batch: Batch) -> int:
    """How many samples a batch has."""
    return keras.tree.flatten(batch[0])[0].shape[0]


class _Items:
    """Those of a `PyDataset`, which in Keras 3.8 can't be iterated over."""

    def __init__(self, dataset: keras.utils.PyDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator:
        return (self.dataset[number] for number in range(len(self)))


def _is_arrays(inputs: Inputs, dataset: object) -> bool:
    """Whether these are arrays, which have no batches yet."""
    if isinstance(dataset, list) and len(dataset) != len(inputs.shapes or ()):
        return False  # a list of batches, unless there is one array for each input
    if isinstance(dataset, list) and any(isinstance(item, tuple | dict) for item in dataset):
        return False
    parts = keras.tree.flatten(dataset) if isinstance(dataset, list | tuple | dict) else [dataset]
    return (
        bool(parts)
        and all(part is None or _is_array(part) for part in parts)
        and (parts[0] is not None)
    )


def _labelled(inputs: Inputs, arrays: object, tool: str) -> Batch:
    """(inputs, ...) of arrays: as they are if they fit the model, else the first of a tuple."""
    if isinstance(arrays, list | tuple) and len(arrays) == 1:
        arrays = arrays[0]
    mismatch = inputs.mismatch(arrays)
    if not isinstance(arrays, tuple) or (not mismatch and inputs.shapes):
        if mismatch:
            raise ValueError(f"{tool}: {mismatch}")
        return (arrays,)
    first = inputs.mismatch(arrays[0])
    if first or len(arrays) > 3:
        raise ValueError(f"{tool}: {first or mismatch}")
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


def _checked(inputs: Inputs, batches: Iterable[Batch], tool: str) -> Iterator[Batch]:
    number = 0
    for number, batch in enumerate(batches, 1):
        if not all(_is_array(part) for part in _flat(batch[0])):
            found = type(_flat(batch[0])[0]).__name__
            raise ValueError(f"{tool}, batch {number}: expected arrays, found {found}")
        mismatch = inputs.mismatch(batch[0])
        if mismatch:
            raise ValueError(f"{tool}, batch {number}: {mismatch}")
        yield batch
    if not number:
        raise ValueError(f"{tool}: expected batches, found an empty dataset")


def _unpacked(batch: object) -> Batch:
    parts = keras.utils.unpack_x_y_sample_weight(batch)
    while parts[-1] is None and len(parts) > 1:
        parts = parts[:-1]
    return keras.tree.map_structure(_array, parts)


def _array(part: object) -> object:
    """NumPy's, of pandas' and SciPy's."""
    for convert in ("to_numpy", "toarray"):
        if hasattr(part, convert):
            return getattr(part, convert)()
    return part


def _is_array(part: object) -> bool:
    return len(getattr(part, "shape", ())) > 0


def _flat(nested: object) -> list:
    return keras.tree.flatten(nested) or [None]


def _shapes(built: object) -> Iterator[Shape]:
    """The shapes in a structure of them."""
    if isinstance(built, dict):
        built = [built[key] for key in sorted(built)]
    if all(size is None or isinstance(size, int) for size in built):
        yield tuple(built)
        return
    for part in built:
        yield from _shapes(part)


def _fits(shape: Shape, expected: Shape) -> bool:
    """As Keras sees it: an axis of size 1 at the end may be missing, or be one too many."""
    if len(shape) == len(expected) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == len(expected) - 1 and expected[-1] == 1:
        shape = (*shape, 1)
    return len(shape) == len(expected) and all(
        None in (found, size) or found == size for found, size in zip(shape, expected, strict=True)
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
