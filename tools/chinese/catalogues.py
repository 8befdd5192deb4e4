"""The catalogues: one file in gettext's format for each document, message by message."""

from __future__ import annotations

import difflib

import polib

from tools.chinese import markdown
from tools.chinese.documents import Document


def read_catalogue(document: Document) -> polib.POFile:
    """The catalogue of a document; an empty one if there is none."""
    if document.catalogue.exists():
        return polib.pofile(str(document.catalogue), wrapwidth=0)
    catalogue = polib.POFile(wrapwidth=0)
    catalogue.metadata = {"Language": "zh_CN", "Content-Type": "text/plain; charset=UTF-8"}
    return catalogue


def translations(document: Document) -> dict[str, str]:
    """Message → translation, for all that is translated and not stale."""
    known = translations(document.chapter) if document.chapter else {}
    translated = (entry for entry in read_catalogue(document) if entry.translated())
    return known | {entry.msgid: entry.msgstr for entry in translated}


def chinese_text(document: Document) -> str:
    """The document by its catalogue; a paragraph without a translation stays English."""
    known = translations(document)
    return document.make(lambda message, place: known.get(message, message), _chinese_anchor)


def _chinese_anchor(document: Document, anchor: str) -> str:
    """The anchor of a Chinese heading, by that of the English one; others are the same in both."""
    for message, translation in translations(document).items():
        if markdown.anchor(message) == anchor:
            return markdown.anchor(translation)
    return anchor


def update_catalogue(document: Document) -> None:
    """Bring the catalogue up to date with the English text, and write it.

    New messages are empty. Where a message has changed, its translation is kept, marked fuzzy, with
    the message it was made for. What is no longer in the text is dropped.
    """
    wanted, catalogue = document.messages(), read_catalogue(document)
    entries = {entry.msgid: entry for entry in catalogue if not entry.obsolete}
    gone = {text: entry for text, entry in entries.items() if text not in wanted and entry.msgstr}
    catalogue.clear()
    for message, places in wanted.items():
        entry = entries.get(message) or _changed_entry(message, gone)
        if not entry.fuzzy:
            entry.previous_msgid = None
        entry.occurrences = [(document.english, place) for place in dict.fromkeys(places)]
        catalogue.append(entry)
    document.catalogue.parent.mkdir(parents=True, exist_ok=True)
    document.catalogue.write_text(f"{catalogue}\n", encoding="utf-8", newline="\n")


def _changed_entry(message: str, gone: dict[str, polib.POEntry]) -> polib.POEntry:
    """The entry of the message that this one was; an empty one if none is alike."""
    alike = difflib.get_close_matches(message, gone, n=1)
    if not alike:
        return polib.POEntry(msgid=message)
    entry = gone.pop(alike[0])
    if not entry.fuzzy:
        entry.previous_msgid = entry.msgid
    entry.msgid, entry.flags = message, ["fuzzy"]
    return entry
