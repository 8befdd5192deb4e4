"""A Keras model: its BN layers, what it was compiled with, and how it is left as it was.

Keras has no public name for some of what this needs. The private ones are used here and in `graph`
alone: here `Layer._flatten_layers`, `Model._compile_config`, `Optimizer._trainable_variables` and
the state that `shared_seed` finds; there the class `Functional`, its `_nodes_by_depth`, and
`Sequential._functional`. The tests of these tools run with the oldest and the newest Keras 3 that
README names.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterable, Iterator

import keras
import tensorflow as tf

if tuple(map(int, keras.__version__.split(".")[:2])) < (3, 8):
    raise ImportError(f"{__package__}: expected Keras 3.8 or newer, found {keras.__version__}")

BatchNorm = keras.layers.BatchNormalization


def layers_of(layer: keras.Layer) -> list[keras.Layer]:
    """The layers inside a model or a layer, at any depth, each once."""
    return layer._flatten_layers(include_self=False)


def batch_norm_layers(model: keras.Model) -> list[BatchNorm]:
    """The BN layers of a model, those of models and layers inside it too, each once."""
    return [layer for layer in layers_of(model) if isinstance(layer, BatchNorm)]


def require_built(model: object, tool: str) -> keras.Model:
    """The model, if it is one of Keras 3 on TensorFlow, built with all its BN layers."""
    if not isinstance(model, keras.Model):
        found = f"{type(model).__module__}.{type(model).__name__}".removeprefix("builtins.")
        raise TypeError(f"{tool}: expected a Keras 3 model, found {found}")
    if keras.backend.backend() != "tensorflow":
        found = keras.backend.backend()
        raise RuntimeError(f"{tool}: expected Keras on TensorFlow, found Keras on {found}")
    if not model.built:
        raise ValueError(f"{tool}: expected a model that is built; call it on a batch first")
    for layer in batch_norm_layers(model):
        if not layer.built:
            raise ValueError(f'{tool}: expected layers that are built; "{layer.name}" is not')
    return model


def changed_since_fit(model: keras.Model) -> set[int]:
    """The ids of the variables that `fit` trains although they are frozen, or the other way round.

    It goes on with what was trainable when it built its step; there are none if it has not.
    """
    optimizer = getattr(model, "optimizer", None)
    step = getattr(model, "train_function", None)
    if step is None or model.run_eagerly or not optimizer.built:
        return set()
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # mixed precision, Keras 3.8
    return {*map(id, optimizer._trainable_variables)} ^ {*map(id, model.trainable_variables)}


class Kept:
    """What running a model may move: its variables, and the attributes of its layers.

    Layers keep losses, counters and the like in plain attributes, so these are kept too.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.variables: dict[int, tuple] = {}
        self.add([*model.variables, *model.metrics_variables, *shared_seed()])
        self.attributes = [
            (vars(each), {name: (value, _contents(value)) for name, value in vars(each).items()})
            for each in [model, *layers_of(model)]
        ]

    def add(self, variables: Iterable) -> None:
        """Keep these as well, as they are now."""
        for variable in variables:
            if id(variable) not in self.variables:
                self.variables[id(variable)] = variable, variable.numpy()

    def restore(self) -> None:
        """Put everything back."""
        for variable, value in self.variables.values():
            variable.assign(value)
        for attributes, before in self.attributes:
            for name in attributes.keys() - before.keys():
                del attributes[name]
            for name, (value, contents) in before.items():
                attributes[name] = value
                _put_back(value, contents)


@contextlib.contextmanager
def unchanged(model: keras.Model) -> Iterator[Kept]:
    """Whatever happens to the model meanwhile is undone, also when interrupted."""
    kept = Kept(model)
    try:
        yield kept
    finally:
        kept.restore()


@contextlib.contextmanager
def inlined() -> Iterator[None]:
    """A `tf.function` inside a model runs as plain Python, so that it remembers nothing of this."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def in_short(error: Exception) -> str:
    """What an error says, without Keras's colours, frames and lists of arguments."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split("Arguments received by")[0]
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    parts = [part for part in parts if part and not part.startswith("Exception encountered")]
    said = parts[-1] if "in user code" in text else parts[0] if parts else type(error).__name__
    return said if len(said) < 300 else said[:300] + " …"


def shortened(names: list[str]) -> str:
    """All names, or the first, the last and how many."""
    few = len(names) < 4
    return ", ".join(names) if few else f"{names[0]}, …, {names[-1]} ({len(names)} layers)"


def shared_seed() -> list[keras.Variable]:
    """The state that all random operations without a seed of their own share."""
    from keras.src.backend.common import global_state

    seed = global_state.get_global_attribute("global_seed_generator")
    return [seed.state] if seed is not None else []


def compile_options(model: keras.Model) -> dict[str, object]:
    """What a model was compiled with beside its loss to judge its outputs; metrics as copies."""
    names = ("loss_weights", "metrics", "weighted_metrics")
    config = getattr(getattr(model, "_compile_config", None), "config", {})
    return {name: keras.tree.map_structure(_anew, config.get(name)) for name in names}


def _anew(option: object) -> object:
    """A metric like this one, None if it can't be copied; anything else as it is."""
    if not isinstance(option, keras.Metric):
        return option
    with contextlib.suppress(Exception):
        return type(option).from_config(option.get_config())
    return None


def _contents(value: object) -> list | None:
    """What is in a list, a set or a dictionary (keys and values in turn); None of anything else."""
    if isinstance(value, dict):
        return list(itertools.chain(*value.items()))
    return list(value) if isinstance(value, list | set) else None


def _put_back(value: object, contents: list | None) -> None:
    """Past the methods of Keras's own lists, which follow what is put in."""
    if contents is None or [*map(id, _contents(value))] == [*map(id, contents)]:
        return
    if isinstance(value, list):
        list.__setitem__(value, slice(None), contents)
    elif isinstance(value, set):
        set.clear(value)
        set.update(value, contents)
    else:
        dict.clear(value)
        dict.update(value, zip(contents[::2], contents[1::2], strict=True))
