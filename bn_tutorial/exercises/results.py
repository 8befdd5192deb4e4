"""What a check finds, how it says so, and where in the chapters to look."""

from __future__ import annotations

import functools
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

WIDTH = 92
AS_IT_WAS = "as it was"


@dataclass(frozen=True)
class CheckResult:
    """What a check found; printed, it is a text to read.

    Attributes:
        passed: Whether the function or the program does what it should.
        mistake: Short name of what is wrong; None if it passed.
        text: What was expected, what was found, and what the mistake looks like.
    """

    passed: bool
    mistake: str | None
    text: str

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__  # what a cell shows


class Mistaken(Exception):  # noqa: N818  # what it tells of is no error of the program
    """Ends a check: a mistake was found. Raised with its name, and what there is to say of it."""


def check(
    passed: str, failed: str, notebook: str, heading: str
) -> Callable[[Callable[..., str]], Callable[..., CheckResult]]:
    """Make a check of an examination: a function that reports, and never raises anything.

    An examination returns what there is to say of a success, and raises `Mistaken` otherwise. The
    check takes the same arguments, and `hint`: whether to name the section that speaks of it.
    `passed` and `failed` are templates with `{name}`, of the examination, `{text}` and `{mistake}`.
    """

    def decorate(examine: Callable[..., str]) -> Callable[..., CheckResult]:
        name = examine.__name__

        @functools.wraps(examine)
        def report(*given: object, hint: bool = False, **named: object) -> CheckResult:
            try:
                text = passed.format(name=name, text=examine(*given, **named))
                return CheckResult(True, None, _wrap(text))
            except Mistaken as mistaken:
                mistake, text = mistaken.args
            except (Exception, SystemExit) as error:  # whatever the reader's code raises
                said = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", str(error))  # TensorFlow's inner names
                said = textwrap.shorten(said, 300, placeholder=" …")
                mistake, text = "an exception", f"Your code raised {type(error).__name__}: {said}"
            text = failed.format(name=name, mistake=mistake, text=text)
            if hint:
                number = int(notebook[:2])
                text += f"\nWhere to look: notebook {number} ({notebook}.ipynb), “{heading}”."
            return CheckResult(False, mistake, _wrap(text))

        shown, keyword = inspect.signature(examine), inspect.Parameter.KEYWORD_ONLY
        parameters = [*shown.parameters.values(), inspect.Parameter("hint", keyword, default=False)]
        report.__signature__ = shown.replace(parameters=parameters, return_annotation=CheckResult)
        return report

    return decorate


check_function = functools.partial(check, "{name}: passed\n{text}", "{name}: {mistake}\n{text}")
check_program = functools.partial(check, "Mended. {text}", "Not mended ({mistake}). {text}")


def _wrap(text: str) -> str:
    """The same text in lines that a cell's output has room for."""
    return "\n".join(textwrap.fill(line, WIDTH) for line in text.split("\n"))
