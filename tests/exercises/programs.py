"""The functions and classes that chapter 10 and its solutions define."""

import ast
from pathlib import Path

import keras
import nbformat
import numpy as np
import tensorflow as tf

from bn_tutorial import training

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def definitions(notebook):
    """What its cells define, by name; nothing else in them is run."""
    names = {"keras": keras, "np": np, "tf": tf, "training": training}
    for cell in nbformat.read(NOTEBOOKS / notebook, 4).cells:
        if cell.cell_type == "code":
            nodes = ast.parse(cell.source).body
            kept = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
            exec(compile(ast.Module(kept, []), notebook, "exec"), names)  # trusted: our own
    return names


UNSOLVED = definitions("10_write_it_yourself.ipynb")
SOLVED = definitions("solutions/10_write_it_yourself.ipynb")
# What each check of the museum is given, by its name in the notebooks.
EXHIBITS = {
    "check_stuck_at_chance": ["build_stuck"],
    "check_bad_in_evaluation": ["build_bad_in_evaluation"],
    "check_one_class": ["build_one_class"],
    "check_nan": ["standardize"],
    "check_batch_size": ["predict"],
    "check_checkpoint": ["save", "restore"],
    "check_frozen": ["fine_tune"],
    "check_last_batch": ["split"],
    "check_two_frameworks": ["to_keras"],
    "check_replicas": ["train_step"],
}
