"""An `assert` as a record of its slack: by how much it holds."""

from __future__ import annotations

import ast
import builtins
import json
import os
import sys
from collections.abc import Iterable, Set
from pathlib import Path

import numpy as np
from IPython.core.interactiveshell import InteractiveShell

OUTPUT = "BN_TUTORIAL_CLAIMS"  # the environment variable that names the file of records
HOLDS, FALLS = np.inf, -np.inf  # a fact without a number in it

# The functions that the rewritten asserts call, which know this module as `__slack__`.


def fact(value: object) -> float:
    """The slack of something that is true or not."""
    holds = np.all(value) if hasattr(value, "shape") else value
    return HOLDS if holds else FALLS


def less(smaller: object, larger: object, or_equal: bool) -> float:
    """The slack of `smaller < larger`, the least of all elements. Of sets it is a fact."""
    if isinstance(smaller, Set):
        return fact(smaller <= larger if or_equal else smaller < larger)
    least = _least(np.subtract(np.asarray(larger, float), np.asarray(smaller, float)))
    return np.nextafter(0.0, -1.0) if least == 0 and not or_equal else least


def equal(value: object, expected: object) -> float:
    """The slack of `value == expected`: a number if that is `pytest.approx` of a number."""
    if type(expected).__name__ == "ApproxScalar":
        return isclose(value, expected.expected, 0, expected.tolerance)
    return fact(np.all(value == expected))


def isclose(
    actual: object, desired: object, rtol: float = 1e-5, atol: float = 1e-8, **_: object
) -> float:
    """The slack of NumPy's function of that name: the share of its tolerance that is left."""
    actual, desired = np.asarray(actual), np.asarray(desired)
    same = (actual == desired) | (np.isnan(actual) & np.isnan(desired))
    with np.errstate(invalid="ignore", divide="ignore"):
        used = np.abs(actual - desired) / (atol + rtol * np.abs(desired))
    return _least(np.where(same, HOLDS, 1 - used))


allclose = isclose


def assert_allclose(
    actual: object, desired: object, rtol: float = 1e-7, atol: float = 0.0, **_: object
) -> float:
    """The same, with other tolerances unless told."""
    return isclose(actual, desired, rtol, atol)


def _least(slack: np.ndarray) -> float:
    """The least element; none at all holds, and NaN falls."""
    return float(np.min(np.where(np.isnan(slack), FALLS, slack), initial=HOLDS))


def every(slacks: Iterable[float]) -> float:
    """The slack of `all(...)`, and of a chain of comparisons."""
    return min(slacks, default=HOLDS)


def record(claim: str, slack: float) -> None:
    """Add a line to the file of records; other processes may do so, too."""
    line = json.dumps([os.environ.get("PYTEST_CURRENT_TEST", ""), claim, float(slack)])
    with Path(os.environ[OUTPUT]).open("a", encoding="utf-8") as records:
        records.write(line + "\n")


class RecordClaims(ast.NodeTransformer):
    """Asserts become calls that record and never raise, so that one run shows all claims."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:  # noqa: N802
        """`assert test` → `__slack__.record("test", <its slack>)`."""
        return self._recorded(node, node.test)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:  # noqa: N802
        """The same for `np.testing.assert_allclose`."""
        return self._recorded(node, node.value) if _name(node.value) == "assert_allclose" else node

    def _recorded(self, node: ast.stmt, test: ast.expr) -> ast.AST:
        code = f"__slack__.record({ast.unparse(test)!r}, {slack_of(test)})"
        return ast.copy_location(ast.parse(code).body[0], node)


def slack_of(test: ast.expr) -> str:
    """The code for the slack of a condition; one with `and` or `or` is a fact."""
    match test:
        case ast.Compare(left, ops, comparators):
            pairs = zip([left, *comparators], ops, comparators, strict=False)
            return f"__slack__.every([{', '.join(_comparison(*pair) for pair in pairs)}])"
        case ast.UnaryOp(ast.Not(), operand):
            return f"-{slack_of(operand)}"
        case ast.IfExp(condition, body, orelse):
            return f"({slack_of(body)} if {ast.unparse(condition)} else {slack_of(orelse)})"
        case ast.Call(_, [ast.GeneratorExp(element, loops)]) if _name(test) == "all":
            loop = ast.GeneratorExp(ast.Name(slack_of(element)), loops)
            return f"__slack__.every{ast.unparse(loop)}"
        case ast.Call(_, [ast.Compare() as inner]) if _name(test) == "all":
            return slack_of(inner)
        case ast.Call() if (name := _name(test)) in ("isclose", "allclose", "assert_allclose"):
            return ast.unparse(ast.Call(ast.Name(f"__slack__.{name}"), test.args, test.keywords))
    return f"__slack__.fact({ast.unparse(test)})"


def _comparison(left: ast.expr, op: ast.cmpop, right: ast.expr) -> str:
    """One of a chain: `a < b < c` is `a < b and b < c`, so that `b` is computed twice."""
    a, b = ast.unparse(left), ast.unparse(right)
    match op:
        case ast.Lt() | ast.LtE():
            return f"__slack__.less({a}, {b}, {isinstance(op, ast.LtE)})"
        case ast.Gt() | ast.GtE():
            return f"__slack__.less({b}, {a}, {isinstance(op, ast.GtE)})"
        case ast.Eq():
            return f"__slack__.equal({a}, {b})"
    return f"__slack__.fact({ast.unparse(ast.Compare(left, [op], [right]))})"


def _name(call: ast.expr) -> str | None:
    """`np.testing.assert_allclose(...)` → `assert_allclose`."""
    function = getattr(call, "func", None)
    return getattr(function, "attr", getattr(function, "id", None))


def watch(shell: InteractiveShell | None = None) -> None:
    """Let rewritten asserts find this module; from here on those of a kernel's cells are."""
    builtins.__slack__ = sys.modules[__name__]
    if shell:
        shell.ast_transformers.append(RecordClaims())
