"""Checks of the functions that a reader writes in notebook 8: which mistake is in them?

Each calls the function on small inputs of its own and recognises a mistake by the wrong numbers
that it gives: it holds a model of the function, puts mistakes in, one or two at a time, and
compares. Nothing is run but the function; its source is not looked at.
"""

from bn_tutorial.checks.backward_pass import backward
from bn_tutorial.checks.convolutional import convolution
from bn_tutorial.checks.folded_layer import folding
from bn_tutorial.checks.forward_pass import forward
from bn_tutorial.checks.population_statistics import population
from bn_tutorial.checks.results import CheckResult

__all__ = ["CheckResult", "backward", "convolution", "folding", "forward", "population"]
