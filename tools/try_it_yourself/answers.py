"""The answers as they stand in the notebooks, and the numbers in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np

from tools.try_it_yourself.questions import Results

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
TITLE, NEXT = "## Try it yourself\n", "\n## "
# A question, and its answer in a form that is folded on code-hosting pages, in JupyterLab and in
# nbconvert's HTML: blank lines around the Markdown, and all of it indented into the list's item.
ITEM = re.compile(
    r"(?P<index>\d+)\. (?P<question>[^\n]+)\n\n"
    r"   <details><summary>Answer</summary>\n\n"
    r"(?P<answer>(?:   [^\n]+\n|\n)+?)\n"
    r"   </details>\n"
)
NUMBER = re.compile(r"(?<![\w.,])(\d[\d,]*(?:\.\d+)?)(?:·10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?")
SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


@dataclass(frozen=True)
class Answer:
    """A question of a notebook and the answer below it, both Markdown.

    `given` are numbers that need no script: the question's, and the notebook's parameters.
    """

    question: str
    text: str
    given: tuple[float, ...]


def read_answers(path: Path) -> dict[str, Answer]:
    """Those of a notebook by number, such as "01.2".

    Raises:
        ValueError: something in *Try it yourself* is not a question with an answer, as in `ITEM`.
    """
    notebook = nbformat.read(path, as_version=4)
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    section = prose.split(TITLE)[1].split(NEXT)[0]
    left = ITEM.sub("", section).strip()
    if left:
        raise ValueError(f"{path.name}: expected questions with folded answers, found {left!r}")
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    parameters = [number.value for number in numbers_in(cell.source.replace("_", ""))]
    answers = {}
    for item in ITEM.finditer(section):
        given = (*parameters, *(number.value for number in numbers_in(item["question"])))
        text = re.sub(r"^   ", "", item["answer"], flags=re.MULTILINE)
        answers[f"{path.name[:2]}.{item['index']}"] = Answer(item["question"], text, given)
    return answers


@dataclass(frozen=True)
class Quoted:
    """A number as it is written: its value, and by how much it may be rounded."""

    text: str
    value: float
    rounding: float


def numbers_in(text: str) -> Iterator[Quoted]:
    """The numbers in a text, such as 0.97, 40,000 and 5·10⁻³."""
    for match in NUMBER.finditer(text):
        digits = match[1].rstrip(",").replace(",", "")
        power = 10.0 ** int((match[2] or "⁰").translate(SUPERSCRIPTS))
        decimals = len(digits.partition(".")[2])
        yield Quoted(match[0], float(digits) * power, 0.5 * 10.0**-decimals * power)


def without_a_source(answer: Answer, results: Results) -> list[str]:
    """The numbers of an answer that are neither given nor what its script returned.

    A share may stand as percent or points. What stands in code is a setting, and isn't looked at,
    and neither are links.
    """
    prose = re.sub(r"`[^`]*`|\[[^\]]*\]\([^)]*\)", " ", answer.text)
    returned = list(_numbers_of(results))
    return [
        quoted.text
        for quoted in numbers_in(prose)
        if quoted.value not in answer.given and not _is_among(quoted, returned)
    ]


def _is_among(quoted: Quoted, returned: Iterable[float]) -> bool:
    near = quoted.rounding * (1 + 1e-6)
    return any(
        abs(quoted.value - scale * abs(value)) <= near for value in returned for scale in (1, 100)
    )


def _numbers_of(results: Results) -> Iterator[float]:
    """Each number in results, those within names and texts too."""
    for name, result in results.items():
        for text in (name, result):
            if isinstance(text, str):
                yield from (number.value for number in numbers_in(text))
        if not isinstance(result, str):
            yield from np.ravel(result)
