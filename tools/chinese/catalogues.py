"""The catalogues: one file in gettext's format for each document, message by message."""

from __future__ import annotations

import difflib
from pathlib import Path

import polib

from tools.chinese.documents import Document

ALIKE = (
    0.6  # of two messages, at least so much must be the same for one to be a change of the other
)
METADATA = {
    "Language": "zh_CN",
    "MIME-Version": "1.0",
    "Content-Type": "text/plain; charset=UTF-8",
    "Content-Transfer-Encoding": "8bit",
}


def wanted_messages(document: Document) -> dict[str, list[str]]:
    """Message → its cells; solutions leave out what stands in the chapter's catalogue."""
    shared = document.chapter.messages() if document.chapter else {}
    return {text: cells for text, cells in document.messages().items() if text not in shared}


def read_catalogue(path: Path) -> polib.POFile:
    """The catalogue in a file; an empty one if there is none."""
    return polib.pofile(str(path), wrapwidth=0) if path.exists() else polib.POFile(wrapwidth=0)


def translations(document: Document) -> dict[str, str]:
    """Message → translation, for all that is translated and not stale."""
    found = translations(document.chapter) if document.chapter else {}
    for entry in read_catalogue(document.catalogue):
        if entry.translated():
            found[entry.msgid] = entry.msgstr
    return found


def update_catalogue(document: Document) -> polib.POFile:
    """Bring the catalogue up to date with the English text, and write it.

    New messages are empty. Where a message has changed, its translation is kept, marked fuzzy, with
    the message it was made for. What is no longer in the text is dropped.

    Returns:
        The catalogue.
    """
    old = {entry.msgid: entry for entry in read_catalogue(document.catalogue) if not entry.obsolete}
    wanted = wanted_messages(document)
    vanished = {text: entry for text, entry in old.items() if text not in wanted and entry.msgstr}
    new = polib.POFile(wrapwidth=0)
    new.metadata = dict(METADATA)
    for text, cells in wanted.items():
        entry = old.get(text) or _changed_entry(text, vanished)
        if not entry.fuzzy:
            entry.previous_msgid = None
        entry.occurrences = [(document.english, cell) for cell in dict.fromkeys(cells)]
        new.append(entry)
    document.catalogue.parent.mkdir(parents=True, exist_ok=True)
    document.catalogue.write_text(f"{new}\n", encoding="utf-8", newline="\n")
    return new


def differing_translations(chosen: list[Document]) -> list[str]:
    """Messages that stand in several catalogues, and aren't translated the same in each.

    The texts of the fragments are not compared: on a button the words may have to be fewer.
    """
    found: dict[str, set[str]] = {}
    for document in (document for document in chosen if not document.is_texts):
        for message, translation in translations(document).items():
            found.setdefault(message, set()).add(translation)
    return [f"{text}: {sorted(several)}" for text, several in found.items() if len(several) > 1]


def _changed_entry(text: str, vanished: dict[str, polib.POEntry]) -> polib.POEntry:
    """The entry of the message that this one was, or an empty one."""
    alike = difflib.get_close_matches(text, vanished, n=1, cutoff=ALIKE)
    if not alike:
        return polib.POEntry(msgid=text)
    before = vanished.pop(alike[0])
    previous = before.previous_msgid if before.fuzzy else before.msgid
    return polib.POEntry(
        msgid=text,
        msgstr=before.msgstr,
        tcomment=before.tcomment,
        previous_msgid=previous,
        flags=["fuzzy"],
    )
