"""Where hints lead; how results are told."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from bn_tutorial import checks
from bn_tutorial.checks import (
    backward_pass,
    convolutional,
    folded_layer,
    forward_pass,
    normalizing,
    population_statistics,
    smoothing,
)
from bn_tutorial.checks.mistakes import Mistake, Place, agree, recognise
from bn_tutorial.checks.results import WIDTH
from bn_tutorial.museum.verdicts import WHERE_TO_LOOK

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
MODULES = (
    backward_pass,
    convolutional,
    folded_layer,
    forward_pass,
    normalizing,
    population_statistics,
    smoothing,
)
PLACES = {
    *(value for module in MODULES for value in vars(module).values() if type(value) is Place),
    *WHERE_TO_LOOK.values(),
}
CHECKS = (checks.forward, checks.population, checks.backward, checks.convolution, checks.folding)


@pytest.mark.parametrize("place", sorted(PLACES, key=str), ids=str)
def test_hints_lead_to_sections_that_exist(place):
    notebook = nbformat.read(NOTEBOOKS / f"{place.notebook}.ipynb", as_version=4)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert place.heading in re.findall(r"^#+ (.*)$", prose, re.MULTILINE)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_an_unwritten_function(check):
    def unwritten(*arguments):
        raise NotImplementedError

    for hint in (False, True):
        result = check(unwritten, hint=hint)
        assert not result.passed
        assert result.mistake == "not written yet"
        assert ("Where to look: notebook" in " ".join(str(result).split())) == hint


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_whatever_is_raised_is_told(check):
    def wild(*arguments):
        raise BaseException("anything")

    result = check(wild)
    assert result.mistake == "an exception"
    assert "BaseException: anything" in str(result)
    assert max(map(len, str(result).splitlines())) <= WIDTH


def test_agreement_is_relative_to_the_largest_number():
    right = np.array([1000.0, 0.001])
    assert agree(right + 0.05, right)
    assert not agree(right + 0.2, right)
    assert not agree(right + np.nan, right)
    assert not agree(right[:1], right)


def test_one_mistake_is_preferred_to_two():
    place = Place("01_naive_batch_norm", "The formula")
    plus, times, both = (
        Mistake("plus", "", place, {"shift": 1.0}),
        Mistake("times", "", place, {"scale": 2.0}),
        Mistake("both", "", place, {"scale": 2.0, "shift": 1.0}),
    )

    def model(scale=1.0, shift=0.0):
        return scale * np.arange(3.0) + shift

    found = model(2.0, 1.0)
    assert recognise(found, model, [plus, times]) == (plus, times)
    assert recognise(found, model, [plus, times, both]) == (both,)
    assert recognise(found + 9.0, model, [plus, times]) == ()
