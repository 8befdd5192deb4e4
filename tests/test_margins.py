"""The slack of a claim, and which claims are close to failing."""

import ast
import builtins

import numpy as np
import pytest

from tools.margins import claims
from tools.margins.claims import FALLS, HOLDS, RecordClaims
from tools.margins.report import ENOUGH, margins
from tools.margins.runs import RUNS, Outcome


def slacks_of(source, monkeypatch, **names):
    """What the asserts of a piece of code record."""
    recorded = []
    monkeypatch.setattr(builtins, "__slack__", claims, raising=False)
    monkeypatch.setattr(claims, "record", lambda claim, slack: recorded.append((claim, slack)))
    tree = RecordClaims().visit(ast.parse(source))
    exec(compile(tree, "<claims>", "exec"), {"np": np, "pytest": pytest, **names})
    return recorded


@pytest.mark.parametrize(
    ("test", "slack"),
    [
        ("a < b", 0.5),
        ("b < a", -0.5),
        ("b > a", 0.5),
        ("a + 0.1 <= b", 0.4),
        ("0 < a < b", 0.25),
        ("abs(a - b) < 0.75", 0.25),
        ("np.array([a, b]) > 0.125", 0.125),
        ("np.all(np.array([a, b]) > 0.125)", 0.125),
        ("all(x > 0.125 for x in (b, a))", 0.125),
        ("a is not None or a.nothing < 1", HOLDS),
        ("not a > b", 0.5),
        ("{a, b} >= {a}", HOLDS),
        ("{a} > {a}", FALLS),
        ("a > 0.125 if b else a > 1", 0.125),
        ("np.isclose(a, b, atol=1, rtol=0)", 0.5),
        ("np.allclose([a, b], [a, b])", HOLDS),
        ("a == pytest.approx(0.5, abs=0.5)", 0.5),
        ("a == 0.25", HOLDS),
        ("[a] == [b]", FALLS),
        ("a in (1, 2)", FALLS),
        ("a is not None", HOLDS),
        ("not []", HOLDS),
        ("a < float('nan')", FALLS),
    ],
)
def test_slack(test, slack, monkeypatch):
    ((_, found),) = slacks_of(f"assert {test}", monkeypatch, a=0.25, b=0.75)
    assert found == slack


def test_what_is_equal_is_not_less(monkeypatch):
    ((_, slack),) = slacks_of("assert a < a", monkeypatch, a=0.875)
    assert -1e-300 < slack < 0
    ((_, slack),) = slacks_of("assert a <= a", monkeypatch, a=0.875)
    assert slack == 0


def test_numpys_own_assertion_is_recorded_and_does_not_raise(monkeypatch):
    source = "np.testing.assert_allclose([1.0, 3.0], [1.0, 2.0], rtol=0, atol=0.5)"
    assert [slack for _, slack in slacks_of(source, monkeypatch)] == [-1]


def outcomes(*slacks, run=RUNS[0]):
    return [Outcome("01", run, {"a > b": slack}, []) for slack in slacks]


def test_a_margin_is_in_standard_deviations():
    (found,) = margins(outcomes(0.1, 0.2, 0.3))
    assert found.deviations == pytest.approx(2)
    assert found.deviations < ENOUGH


def test_the_spread_is_pooled_and_the_closest_kind_of_run_counts():
    few = outcomes(0.05, run=RUNS[-1])  # one run has no spread of its own
    (found,) = margins(outcomes(0.9, 1.0, 1.1) + few)
    assert found.kind == RUNS[-1].kind
    assert found.deviations == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("slacks", "expected"),
    [((HOLDS, HOLDS), np.inf), ((HOLDS, FALLS), -np.inf), ((0.5, 0.5), np.inf)],
)
def test_facts_hold_or_fall(slacks, expected):
    (found,) = margins(outcomes(*slacks))
    assert found.deviations == expected


def test_a_claim_that_fell_once_is_too_close_whatever_its_spread():
    (found,) = margins(outcomes(*[1.0] * 50, -0.001))
    assert found.deviations <= 0
