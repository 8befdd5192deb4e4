"""The reader's function is called; whatever it does becomes arrays, or a mistake in words."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from bn_tutorial.checks.mistakes import Mistaken

Arguments = Mapping[str, object]
Shapes = Mapping[str, Sequence[int]]

# What an exception says, and what to say to that.
ADVICE = {
    r"has no attribute '(assign\w*)'": (
        "The arguments are tensors, not variables, and can't be assigned to. Return the new value."
    ),
    r"(?s)Tensor'? object has no attribute '(\w+)'": (
        "The arguments are TensorFlow tensors, and tensors have no such method. The functions of "
        "`tf` and of NumPy take them. (`.numpy()` makes an array, and ends the gradient.)"
    ),
    r"as input #\d+\(zero-based\) was expected to be a \w+ tensor but is a \w+ tensor": (
        "A float32 and a float64 meet. The arguments are float32; arrays of NumPy are float64 "
        "unless they were made from one of the arguments."
    ),
    r"(?i)incompatible shapes|could not be broadcast|required broadcastable shapes": (
        "Two shapes do not fit. Look at the shape of your mean: it should "
        "have one number for each unit, or channel."
    ),
    r"does not support item assignment": ("A tensor can't be changed in place. Compute a new one."),
    r"(?i)ndims must be|matmul": ("`@` is a matrix product. `*` multiplies number by number."),
    r"positional arguments?": "It is called with the arguments above, by position.",
}


def call(function: Callable, arguments: Arguments, returns: Shapes) -> dict[str, np.ndarray]:
    """What the function returns for these arguments, by name, as float64 arrays.

    Args:
        function: the reader's.
        arguments: what it is given, in this order, by position.
        returns: the names of its results, in order, and their shapes.

    Raises:
        Mistaken: it returns nothing, raises, or its results are not numbers of these shapes.
    """
    result = run(function, arguments)
    results = [result] if len(returns) == 1 else _several(result, returns)
    return {
        name: _as_array(value, name, shape)
        for value, (name, shape) in zip(results, returns.items(), strict=True)
    }


def run(function: Callable, arguments: Arguments) -> object:
    """What the function returns, as it is.

    Raises:
        Mistaken: it returns nothing, is no function, or raises whatever it may be.
    """
    if not callable(function):
        kind = type(function).__name__
        raise Mistaken(
            "not a function", f"Expected a function, found {kind}. Leave its brackets out."
        )
    try:
        result = function(*arguments.values())
    except KeyboardInterrupt:
        raise
    except NotImplementedError:
        result = None
    except BaseException as error:  # sys.exit() in an exercise must not end the notebook
        raise Mistaken("an exception", _told(error, arguments)) from None
    if result is None or result is NotImplemented:
        raise Mistaken(
            "not written yet", "The function returns nothing. Write its body, then run both cells."
        )
    return result


def _told(error: BaseException, arguments: Arguments) -> str:
    raised = "".join(traceback.format_exception_only(error)).strip()
    raised = " ".join(raised.split("[Op:")[0].split())[:400]
    raised = re.sub(r"^(\w+\.)+", "", raised)  # the module of its type
    raised = re.sub(r"\{\{.*?\}\}\s*", "", raised)  # a node's name, which the reader never gave
    shown = ", ".join(f"{name} {_shown(value)}" for name, value in arguments.items())
    advice = [text for pattern, text in ADVICE.items() if re.search(pattern, raised)][:1]
    return "\n".join([f"Called with {shown},", f"it raised {raised}", *advice])


def _shown(value: object) -> str:
    return str(list(value.shape)) if isinstance(value, tf.Tensor) else repr(value)


def _several(result: object, returns: Shapes) -> Sequence[object]:
    names = ", ".join(returns)
    if not isinstance(result, tuple | list):
        found = f"one {type(result).__name__}"
    elif len(result) != len(returns):
        found = f"{len(result)}"
    elif all(value is None for value in result):
        raise Mistaken("not written yet", "Each of the results is None.")
    else:
        return result
    raise Mistaken("number of results", f"Expected {len(returns)} results, {names}; found {found}.")


def _as_array(value: object, name: str, shape: Sequence[int]) -> np.ndarray:
    if value is None:
        raise Mistaken("a result is missing", f"`{name}` is None; expected a tensor {list(shape)}.")
    try:
        array = np.asarray(value)
    except KeyboardInterrupt:
        raise
    except BaseException:  # a ragged list, a symbolic tensor
        array = np.asarray(None)
    if array.dtype not in (np.float32, np.float64):
        found = type(value).__name__ if array.dtype.kind in "OU" else array.dtype.name
        raise Mistaken(
            "dtype", f"`{name}` should be float32 as `inputs` is (float64 will do); found {found}."
        )
    if array.shape != tuple(shape):
        raise Mistaken(
            "shape",
            f"`{name}` should have the shape {list(shape)}, found {list(array.shape)}."
            + ("" if array.shape else " A mean or a sum without an axis is a single number."),
        )
    if not np.all(np.isfinite(array)):
        bad = np.flatnonzero(~np.isfinite(array).reshape(-1, array.shape[-1]).all(axis=0))
        raise Mistaken(
            "NaN",
            f"`{name}` holds NaN or infinity, first in unit {bad[0]}. Is something divided by 0, "
            "or the root taken of a negative number?",
        )
    return array.astype(np.float64)
