"""What is wrong with a catalogue: messages that are missing or stale, and their translations."""

from __future__ import annotations

import polib

from tools.chinese.catalogues import read_catalogue, wanted_messages
from tools.chinese.documents import Document
from tools.chinese.form import form_problems
from tools.chinese.glossary import Term, glossary_problems, read_glossary
from tools.chinese.typography import language_problems, typography_problems

FIRST_WORDS = 60  # so many characters name a message


def problems_of(document: Document) -> list[str]:
    """All problems of one catalogue, one line each, with notebook, cell and first words."""
    return [*stale_messages(document), *wrong_translations(document)]


def stale_messages(document: Document) -> list[str]:
    """A line for each message that has no translation of its present text.

    The page shows the English paragraph there, as gettext does.
    """
    wanted, problems = wanted_messages(document), []
    entries = {entry.msgid: entry for entry in read_catalogue(document.catalogue)}
    for message, cells in wanted.items():
        if problem := _why_stale(entries.get(message)):
            problems.append(_line(document, cells, message, problem))
    for message in entries.keys() - wanted.keys():
        problem = "no longer in the English text; run python -m tools.chinese --update"
        problems.append(_line(document, [""], message, problem))
    return problems


def wrong_translations(document: Document) -> list[str]:
    """A line for each problem of a translation that is shown."""
    terms, problems = read_glossary(), []
    entries = {entry.msgid: entry for entry in read_catalogue(document.catalogue)}
    for message, cells in wanted_messages(document).items():
        if not _why_stale(entry := entries.get(message)):
            found = translation_problems(message, entry.msgstr, terms)
            problems += [_line(document, cells, message, problem) for problem in found]
    return problems


def translation_problems(message: str, translation: str, terms: list[Term]) -> list[str]:
    """Problems of one translation."""
    return [
        *form_problems(message, translation),
        *typography_problems(message, translation),
        *language_problems(message, translation),
        *glossary_problems(message, translation, terms),
    ]


def first_words(message: str) -> str:
    """The beginning of a message, to find it by."""
    if len(message) <= FIRST_WORDS:
        return message
    return message[:FIRST_WORDS].rsplit(" ", 1)[0] + " …"


def _line(document: Document, cells: list[str], message: str, problem: str) -> str:
    where = f"{document.name} {cells[0]}".strip()
    return f"{where}: “{first_words(message)}”: {problem}"


def _why_stale(entry: polib.POEntry | None) -> str:
    """Why a message stays English; empty if it is translated."""
    if entry is None or entry.obsolete:
        return "not in the catalogue, so the English text is new or has changed; run --update"
    if entry.fuzzy:
        return "stale: the English text has changed; mend the translation, drop the mark fuzzy"
    return "" if entry.msgstr.strip() else "not translated"
