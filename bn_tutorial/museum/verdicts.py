"""How a check of the museum comes to its verdict, and where it says to look."""

from __future__ import annotations

from collections.abc import Callable

from bn_tutorial.checks.mistakes import Mistaken, Place
from bn_tutorial.checks.results import CheckResult, wrap

AS_IT_WAS = "as it was"
ERROR = "an error"

WHERE_TO_LOOK = {
    "stuck_at_chance": Place("01_naive_batch_norm", "The formula"),
    "bad_in_evaluation": Place("02_fixed_batch_norm", "Two kinds of statistics"),
    "one_class": Place("01_naive_batch_norm", "One sample at a time"),
    "nan": Place("06_across_machines", "2. Synchronized, by hand"),
    "batch_size": Place("04_statistics_at_test_time", "Who shares your batch?"),
    "checkpoint": Place("02_fixed_batch_norm", "Save"),
    "frozen": Place("04_statistics_at_test_time", "Frozen layers in Keras"),
    "last_batch": Place("04_statistics_at_test_time", "Small batches"),
    "two_frameworks": Place("02_fixed_batch_norm", "The same things by other names"),
    "replicas": Place("06_across_machines", "3. Whose population?"),
}


class NotMendedError(Mistaken):
    """A program is not mended."""


def judge(exhibit: str, hint: bool, examine: Callable[[], str]) -> CheckResult:
    """Run an examination and report it; nothing that the reader's code raises gets through.

    Args:
        exhibit: one of `WHERE_TO_LOOK`.
        hint: whether a program that is not mended is told where to look.
        examine: returns the text for a program that is mended, and raises `NotMendedError` for one
            that is not.
    """
    try:
        return CheckResult(True, None, wrap(f"Mended. {examine()}"))
    except NotMendedError as verdict:
        mistake, text = verdict.name, verdict.text
    except (Exception, SystemExit) as error:  # noqa: BLE001, whatever the reader's code raises
        words = " ".join(str(error).split())
        words = words if len(words) <= 300 else f"{words[:300]} …"
        mistake, text = ERROR, f"Your code raised {type(error).__name__}: {words}"
    text = wrap(f"Not mended ({mistake}). {text}")
    if hint:
        place = WHERE_TO_LOOK[exhibit]
        text += f"\nWhere to look: notebook {place.notebook}, section “{place.heading}”."
    return CheckResult(False, mistake, text)
