"""`python -m tools.chinese`: make the Chinese edition, update its catalogues, or check them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tools.chinese import __doc__ as description
from tools.chinese.catalogues import differing_translations, translations, update_catalogue
from tools.chinese.documents import Document, documents
from tools.chinese.problems import problems_of, stale_messages


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.chinese",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as 03, solutions/08, README")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--update", action="store_true", help="merge the English texts of today")
    action.add_argument("--check", action="store_true", help="print what is wrong")
    action.add_argument("--stale", action="store_true", help="count what is shown in English")
    options = parser.parse_args(arguments)
    chosen = [
        document
        for document in documents()
        if not options.names or any(document.name.startswith(name) for name in options.names)
    ]
    if not chosen:
        known = ", ".join(document.name for document in documents())
        parser.error(f"expected beginnings of: {known}; found: {' '.join(options.names)}")
    if options.update:
        return _update(chosen)
    if options.stale:
        return _count_stale(chosen)
    return _check(chosen) if options.check else _make(chosen)


def _update(chosen: list[Document]) -> int:
    for document in chosen:
        catalogue = update_catalogue(document)
        fuzzy, empty = len(catalogue.fuzzy_entries()), len(catalogue.untranslated_entries())
        print(f"{document.name}: {len(catalogue)} messages, {fuzzy} stale, {empty} empty")
    return 0


def _count_stale(chosen: list[Document]) -> int:
    counts = {document.name: len(stale_messages(document)) for document in chosen}
    shown = [f"{name} {count}" for name, count in counts.items() if count]
    print("Chinese messages that are missing or stale:", ", ".join(shown) or "none")
    return 0


def _check(chosen: list[Document]) -> int:
    found = [problem for document in chosen for problem in problems_of(document)]
    found += [f"translated differently: {text}" for text in differing_translations(chosen)]
    print("\n".join(found) or "nothing is wrong")
    return 1 if found else 0


def _make(chosen: list[Document]) -> int:
    for document in chosen:
        known = translations(document)
        document.write(lambda text, known=known: known.get(text, text))
        missing = len(document.messages().keys() - known.keys())
        print(f"{document.chinese}" + (f": {missing} messages stay English" if missing else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
