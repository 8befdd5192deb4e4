"""The glossary: for each English term its Chinese, once and for all."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from tools.chinese.documents import ROOT
from tools.chinese.form import prose

# Titles of papers stay English: italics that are a link, or that have several capitals.
TITLE = re.compile(
    r"\[\*[^\]]*\*\]\(http[^)]*\)|\*\[[^\]]*\]\(http[^)]*\)\*"
    r"|(?<!\*)\*(?!\*)[^*]*[A-Z][^*]+[A-Z][^*]*\*(?!\*)"
)
PATH = ROOT / "translations" / "zh" / "glossary.csv"


@dataclass(frozen=True)
class Term:
    """A row of the glossary.

    Attributes:
        english: the term, in lower case unless it is a name.
        chinese: the translations allowed; the first is the usual one.
        forbidden: translations that were decided against.
        note: for the translator.
    """

    english: str
    chinese: tuple[str, ...]
    forbidden: tuple[str, ...] = ()
    note: str = ""

    @property
    def pattern(self) -> re.Pattern:
        """Finds the term as a whole word, in the plural and in the forms of a verb."""
        words = re.escape(self.english).replace(r"\ ", r"[ \-]")
        ending = "(?:e|es|ed|ing)" if self.english.endswith("e") else "(?:s|es|ed|ing)?"
        stem = words.removesuffix("e") if self.english.endswith("e") else words
        return re.compile(rf"\b{stem}{ending}\b", re.IGNORECASE)


def read_glossary(path: Path = PATH) -> list[Term]:
    """The terms, longest first, so that one inside another is not taken for itself."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    terms = [
        Term(
            row["english"],
            tuple(filter(None, row["chinese"].split("|"))),
            tuple(filter(None, row["forbidden"].split(";"))),
            row["note"],
        )
        for row in rows
    ]
    return sorted(terms, key=lambda term: -len(term.english))


def glossary_problems(message: str, translation: str, terms: list[Term]) -> list[str]:
    """Terms that are translated otherwise than the glossary says; terms come longest first."""
    found = _terms_in(message, terms)
    problems = []
    for term in found:
        if not any(allowed.lower() in translation.lower() for allowed in term.chinese):
            problems.append(f"glossary: {term.english} is {' or '.join(term.chinese)}")
        for wrong in term.forbidden:
            if wrong in _without_allowed(translation, wrong, found):
                problems.append(f"glossary: {term.english} is {term.chinese[0]}, not {wrong}")
    return problems


def _terms_in(message: str, terms: list[Term]) -> list[Term]:
    english = prose(TITLE.sub(" ", message))
    found = []
    for term in terms:
        english, count = term.pattern.subn(" | ", english)
        if count:
            found.append(term)
    return found


def _without_allowed(translation: str, wrong: str, terms: list[Term]) -> str:
    """Without the translations of terms that hold the forbidden word rightly."""
    for allowed in (allowed for term in terms for allowed in term.chinese):
        if wrong in allowed:
            translation = translation.replace(allowed, "")
    return translation
