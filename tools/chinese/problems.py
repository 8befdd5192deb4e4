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
    """Problems of one catalogue, one line each, with notebook, cell and first words."""
    terms = read_glossary()
    wanted, problems = wanted_messages(document), []
    entries = {entry.msgid: entry for entry in read_catalogue(document.catalogue)}
    for message, cells in wanted.items():
        where = f"{document.name} {cells[0]}".strip()
        for problem in _entry_problems(message, entries.get(message), terms):
            problems.append(f"{where}: “{first_words(message)}”: {problem}")
    for message in entries.keys() - wanted.keys():
        problems.append(
            f"{document.name}: “{first_words(message)}”: no longer in the English text; "
            "run python -m tools.chinese --update"
        )
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


def _entry_problems(message: str, entry: polib.POEntry | None, terms: list[Term]) -> list[str]:
    if entry is None or entry.obsolete:
        return ["not in the catalogue, so the English text is new or has changed; run --update"]
    if entry.fuzzy:
        return ["stale: the English text has changed; mend the translation, drop the mark fuzzy"]
    if not entry.msgstr.strip():
        return ["not translated"]
    return translation_problems(message, entry.msgstr, terms)
