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
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
TOLERANCES = {  # what NumPy's functions allow unless told: `rtol` and `atol`
    "isclose": (1e-5, 1e-8),
    "allclose": (1e-5, 1e-8),
    "assert_allclose": (1e-7, 0.0),
}

# The functions that the rewritten asserts call, which know this module as `__slack__`.


def fact(value: object) -> float:
    """The slack of something that is true or not."""
    holds = np.all(value) if hasattr(value, "shape") else value
    return HOLDS if holds else FALLS


def compare(sign: str, left: object, right: object) -> float:
    """The slack of `left < right` and its like; the least of all elements. Of sets it is a fact."""
    smaller, larger = (left, right) if "<" in sign else (right, left)
    if isinstance(smaller, Set):
        return fact(smaller <= larger if "=" in sign else smaller < larger)
    slack = np.subtract(np.asarray(larger, float), np.asarray(smaller, float))
    return _least(slack, zero_holds="=" in sign)


def equal(left: object, right: object) -> float:
    """The slack of `left == right`: a number if one side is `pytest.approx` of a number."""
    for value, expected in ((left, right), (right, left)):
        if type(expected).__name__ == "ApproxScalar" and np.isscalar(value):
            return close("isclose", value, expected.expected, 0, expected.tolerance)
    return fact(np.all(left == right))


def close(
    name: str,
    actual: object,
    desired: object,
    rtol: float | None = None,
    atol: float | None = None,
    **_: object,
) -> float:
    """The slack of NumPy's function of that name: the share of its tolerance that is left."""
    actual, desired = np.asarray(actual), np.asarray(desired)
    rtol = TOLERANCES[name][0] if rtol is None else rtol
    atol = TOLERANCES[name][1] if atol is None else atol
    same = (actual == desired) | (np.isnan(actual) & np.isnan(desired))
    with np.errstate(invalid="ignore", divide="ignore"):
        used = np.abs(actual - desired) / (atol + rtol * np.abs(desired))
    return _least(np.where(same, HOLDS, 1 - used), zero_holds=True)


def _least(slack: np.ndarray, zero_holds: bool) -> float:
    """The least element; none at all holds, NaN falls, and so does 0 where it must be more."""
    least = float(np.min(np.where(np.isnan(slack), FALLS, slack), initial=HOLDS))
    return np.nextafter(0.0, -1.0) if least == 0 and not zero_holds else least


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
            return f"__slack__.every(({''.join(f'{_comparison(*pair)}, ' for pair in pairs)}))"
        case ast.UnaryOp(ast.Not(), operand):
            return f"-{slack_of(operand)}"
        case ast.IfExp(condition, body, orelse):
            return f"({slack_of(body)} if {ast.unparse(condition)} else {slack_of(orelse)})"
        case ast.Call(_, [ast.GeneratorExp(element, loops)]) if _name(test) == "all":
            loop = ast.GeneratorExp(ast.Name(slack_of(element)), loops)
            return f"__slack__.every{ast.unparse(loop)}"
        case ast.Call(_, [ast.Compare() as inner]) if _name(test) == "all":
            return slack_of(inner)
        case ast.Call(_, arguments, keywords) if (name := _name(test)) in TOLERANCES:
            arguments = [ast.Constant(name), *arguments]
            return ast.unparse(ast.Call(ast.Name("__slack__.close"), arguments, keywords))
    return f"__slack__.fact({ast.unparse(test)})"


def _comparison(left: ast.expr, op: ast.cmpop, right: ast.expr) -> str:
    """One of a chain: `a < b < c` is `a < b and b < c`, so that `b` is computed twice."""
    arguments = f"{ast.unparse(left)}, {ast.unparse(right)}"
    if isinstance(op, ast.Eq):
        return f"__slack__.equal({arguments})"
    if type(op) in COMPARISONS:
        return f"__slack__.compare({COMPARISONS[type(op)]!r}, {arguments})"
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
