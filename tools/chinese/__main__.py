"""Make the Chinese edition: notebooks/zh/, the *.zh.md, and what the fragments say.

Where a message is missing or stale, the edition shows the English paragraph.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Sequence

from tools.chinese.catalogues import chinese_text, translations, update_catalogue
from tools.chinese.checks import translation_problems
from tools.chinese.documents import Document, documents


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.chinese", description=__doc__)
    parser.add_argument("names", nargs="*", default=[""], help="such as 03, solutions/08, README")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--update", action="store_true", help="merge English texts into catalogues")
    action.add_argument("--check", action="store_true", help="print what is wrong with catalogues")
    action.add_argument("--stale", action="store_true", help="count what is shown in English")
    options = parser.parse_args(arguments)
    names = tuple(options.names)
    chosen = [document for document in documents() if document.name.startswith(names)]
    if not chosen:
        known = ", ".join(document.name for document in documents())
        parser.error(f"expected beginnings of: {known}; found: {' '.join(options.names)}")
    if options.check:
        found = [problem for document in chosen for problem in _problems(document)]
        print("\n".join(found) or "nothing is wrong")
        return 1 if found else 0
    for document in chosen:
        if options.update:
            update_catalogue(document)
        elif not options.stale:
            document.write(chinese_text(document))
    stale = {each.name: each.messages().keys() - translations(each).keys() for each in chosen}
    shown = ", ".join(f"{name} {len(messages)}" for name, messages in stale.items() if messages)
    print("Chinese messages that are missing or stale:", shown or "none")
    return 0


def _problems(document: Document) -> Iterator[str]:
    """A line for each, with file, cell and first words of the message."""
    known = translations(document)
    for message, places in document.messages().items():
        problems = ["missing or stale: run --update, translate, drop the mark fuzzy"]
        if message in known:
            problems = translation_problems(message, known[message])
        where = f"{document.name} {places[0]}".strip()
        words = textwrap.shorten(message, 60, placeholder=" …")
        yield from (f"{where}: “{words}”: {problem}" for problem in problems)


if __name__ == "__main__":
    sys.exit(main())
