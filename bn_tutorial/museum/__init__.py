"""The museum of broken programs: each check says whether a program is mended, or what hides.

A check takes what the reader wrote and the digits, runs it, and never raises. It is not content
with the symptom: it asks what the program should do, and knows the cures that only hide it.
"""

from bn_tutorial.museum.building import (
    check_bad_in_evaluation,
    check_one_class,
    check_stuck_at_chance,
)
from bn_tutorial.museum.loops import check_frozen, check_last_batch, check_replicas
from bn_tutorial.museum.statistics import check_batch_size, check_nan
from bn_tutorial.museum.transfer import check_checkpoint, check_two_frameworks, torch_state

__all__ = [
    "check_bad_in_evaluation",
    "check_batch_size",
    "check_checkpoint",
    "check_frozen",
    "check_last_batch",
    "check_nan",
    "check_one_class",
    "check_replicas",
    "check_stuck_at_chance",
    "check_two_frameworks",
    "torch_state",
]
