"""An `assert` as a record of its slack: by how much it holds."""

from __future__ import annotations

import ast
import builtins
import json
import os
from collections.abc import Callable, Iterable

import numpy as np
from IPython.core.interactiveshell import InteractiveShell

OUTPUT = "BN_TUTORIAL_CLAIMS"  # the environment variable that names the file of records
HOLDS, FALLS = np.inf, -np.inf  # a fact without a number in it
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
CLOSE = {"isclose": 1e-8, "allclose": 1e-8, "assert_allclose": 0.0}  # the default of `atol`
RTOL = {"isclose": 1e-5, "allclose": 1e-5, "assert_allclose": 1e-7}


class Slack:
    """The functions that the rewritten asserts call; each returns a slack, a float."""

    @staticmethod
    def fact(value: object) -> float:
        """Of something that is true or not."""
        holds = np.all(value) if hasattr(value, "shape") else value
        return HOLDS if holds else FALLS

    @staticmethod
    def compare(sign: str, left: object, right: object) -> float:
        """Of `left < right` and its like; the least of all elements."""
        smaller, larger = (left, right) if "<" in sign else (right, left)
        slack = np.subtract(np.asarray(larger, float), np.asarray(smaller, float))
        return _least(slack, zero_holds="=" in sign)

    @staticmethod
    def equal(left: object, right: object) -> float:
        """Of `left == right`: a number only if one side is `pytest.approx` of a number."""
        for value, expected in ((left, right), (right, left)):
            if type(expected).__name__ == "ApproxScalar" and np.isscalar(value):
                return Slack.close("isclose", value, expected.expected, 0, expected.tolerance)
        return Slack.fact(np.all(left == right))

    @staticmethod
    def close(
        name: str,
        actual: object,
        desired: object,
        rtol: float | None = None,
        atol: float | None = None,
        **_: object,
    ) -> float:
        """Of NumPy's `isclose`, `allclose` and `assert_allclose`: the share of tolerance left."""
        actual, desired = np.asarray(actual), np.asarray(desired)
        rtol = RTOL[name] if rtol is None else rtol
        atol = CLOSE[name] if atol is None else atol
        same = (actual == desired) | (np.isnan(actual) & np.isnan(desired))
        with np.errstate(invalid="ignore", divide="ignore"):
            used = np.abs(actual - desired) / (atol + rtol * np.abs(desired))
        return _least(np.where(same, HOLDS, 1 - used), zero_holds=True)

    @staticmethod
    def every(slacks: Iterable[float]) -> float:
        """Of `all(...)`, and of `and`."""
        return min(slacks, default=HOLDS)

    @staticmethod
    def both(*parts: Callable[[], float]) -> float:
        """Of `and`: what comes after a part that falls is not looked at."""
        slack = HOLDS
        for part in parts:
            slack = min(slack, part())
            if slack < 0:
                break
        return slack

    @staticmethod
    def either(*parts: Callable[[], float]) -> float:
        """Of `or`: what comes after a part that is true is not looked at."""
        slack = FALLS
        for part in parts:
            slack = max(slack, part())
            if slack == HOLDS:
                break
        return slack

    @staticmethod
    def record(claim: str, slack: float) -> None:
        """Add a line to the file of records; other processes may do so, too."""
        line = json.dumps([os.environ.get("PYTEST_CURRENT_TEST", ""), claim, float(slack)])
        with open(os.environ[OUTPUT], "a", encoding="utf-8") as records:  # noqa: PTH123
            records.write(line + "\n")


def _least(slack: np.ndarray, zero_holds: bool) -> float:
    """The least element; none at all holds, NaN falls, and so does 0 where it must be more."""
    least = float(np.min(np.where(np.isnan(slack), FALLS, slack), initial=HOLDS))
    return np.nextafter(0.0, -1.0) if least == 0 and not zero_holds else least


class RecordClaims(ast.NodeTransformer):
    """Asserts become calls that record and never raise, so that one run shows all claims."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:  # noqa: N802
        """`assert test` → `__slack__.record("test", <its slack>)`."""
        recorded = _call("record", ast.Constant(ast.unparse(node.test)), slack_of(node.test))
        return ast.fix_missing_locations(ast.copy_location(ast.Expr(recorded), node))

    def visit_Expr(self, node: ast.Expr) -> ast.AST:  # noqa: N802
        """The same for `np.testing.assert_allclose`."""
        if isinstance(node.value, ast.Call) and _name(node.value) == "assert_allclose":
            return self.visit_Assert(ast.copy_location(ast.Assert(node.value), node))
        return node


def slack_of(test: ast.expr) -> ast.expr:
    """The expression for the slack of a condition."""
    match test:
        case ast.Compare(left, ops, comparators):
            return _comparisons(left, ops, comparators)
        case ast.BoolOp(op, values):
            parts = [ast.Lambda(_NO_ARGUMENTS, slack_of(value)) for value in values]
            return _call("both" if isinstance(op, ast.And) else "either", *parts)
        case ast.UnaryOp(ast.Not(), operand):
            return ast.UnaryOp(ast.USub(), slack_of(operand))
        case ast.IfExp(condition, body, orelse):
            return ast.IfExp(condition, slack_of(body), slack_of(orelse))
        case ast.Call(_, [ast.GeneratorExp() as loop]) if _name(test) == "all":
            return _call("every", ast.GeneratorExp(slack_of(loop.elt), loop.generators))
        case ast.Call(_, [inner]) if _name(test) == "all" and isinstance(inner, ast.Compare):
            return slack_of(inner)
        case ast.Call(_, args, keywords) if _name(test) in CLOSE:
            return _call("close", ast.Constant(_name(test)), *args, keywords=keywords)
    return _call("fact", test)


def _comparisons(left: ast.expr, ops: list, comparators: list[ast.expr]) -> ast.expr:
    """`a < b < c` is `a < b and b < c`; what stands between is computed twice."""
    slacks = []
    for op, right in zip(ops, comparators, strict=True):
        if type(op) in COMPARISONS:
            slacks.append(_call("compare", ast.Constant(COMPARISONS[type(op)]), left, right))
        elif isinstance(op, ast.Eq):
            slacks.append(_call("equal", left, right))
        else:
            slacks.append(_call("fact", ast.Compare(left, [op], [right])))
        left = right
    return _call("every", ast.Tuple(slacks, ast.Load()))


_NO_ARGUMENTS = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])


def _name(call: ast.expr) -> str | None:
    """`np.testing.assert_allclose(...)` → `assert_allclose`."""
    function = getattr(call, "func", None)
    return getattr(function, "attr", getattr(function, "id", None))


def _call(function: str, *arguments: ast.expr, keywords: Iterable[ast.keyword] = ()) -> ast.Call:
    slack = ast.Name("__slack__", ast.Load())
    return ast.Call(ast.Attribute(slack, function, ast.Load()), list(arguments), list(keywords))


def watch(shell: InteractiveShell) -> None:
    """From here on the asserts of this kernel's cells are recorded."""
    builtins.__slack__ = Slack
    shell.ast_transformers.append(RecordClaims())
