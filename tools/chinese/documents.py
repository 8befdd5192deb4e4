"""The texts that have a Chinese counterpart: where they are, and how one is made from the other."""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.chinese import markdown

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "benchmarks/README.md", "site/draw.md", "site/glossary.md")
TEXTS = "bn_tutorial/interactive/texts/*.en.json"  # what the canvas and the slider say
Translation = Callable[[str], str]
Texts = dict[str, "str | Texts"]


@dataclass(frozen=True)
class Document:
    """An English text.

    Attributes:
        english: its path from the project's folder, with slashes, such as "notebooks/01_….ipynb".
        root: the project's folder.
    """

    english: str
    root: Path = ROOT

    @property
    def name(self) -> str:
        """The path without folder notebooks/ and without suffixes; names the catalogue too."""
        stem = posixpath.splitext(self.english)[0].removesuffix(".en")
        return stem.removeprefix("notebooks/")

    @property
    def chinese(self) -> str:
        """The counterpart's path, from the project's folder."""
        return counterpart(self.english)

    @property
    def catalogue(self) -> Path:
        """The file with the messages and their translations."""
        return self.root / "translations" / "zh" / f"{self.name}.po"

    @property
    def is_notebook(self) -> bool:
        """Whether it has cells."""
        return self.english.endswith(".ipynb")

    @property
    def is_texts(self) -> bool:
        """Whether it is short texts by name, which a script puts on a page."""
        return self.english.endswith(".json")

    @property
    def chapter(self) -> Document | None:
        """Of solutions the exercises, whose messages they share."""
        if not self.name.startswith("solutions/"):
            return None
        return Document(self.english.replace("solutions/", ""), self.root)

    def read(self) -> str:
        """The English text, as it is in the file."""
        return (self.root / self.english).read_text(encoding="utf-8")

    def messages(self) -> dict[str, list[str]]:
        """Message → the cells or names it stands under, in order; that of a page is ""."""
        found: dict[str, list[str]] = {}
        for cell, source in self._sources():
            for piece in markdown.split(source):
                if piece.text:
                    found.setdefault(piece.text, []).append(cell)
        return found

    def make(self, translation: Translation) -> str:
        """The Chinese text: code, outputs and metadata as they are, links to the same places."""
        if self.is_texts:
            texts = _map_texts(json.loads(self.read()), translation)
            return json.dumps(texts, indent=2, ensure_ascii=False) + "\n"
        if not self.is_notebook:
            return self._render(self.read(), translation)
        notebook = json.loads(self.read())
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                text = self._render("".join(cell["source"]), translation)
                cell["source"] = re.findall(r"[^\n]*\n|[^\n]+", text)
        return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"

    def write(self, translation: Translation) -> Path:
        """Make the Chinese text and put it in its place."""
        path = self.root / self.chinese
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.make(translation), encoding="utf-8", newline="\n")
        return path

    def _sources(self) -> Iterator[tuple[str, str]]:
        if self.is_texts:
            yield from _named_texts(json.loads(self.read()))
            return
        if not self.is_notebook:
            yield "", self.read()
            return
        for cell in json.loads(self.read())["cells"]:
            if cell["cell_type"] == "markdown":
                yield cell["id"], "".join(cell["source"])

    def _render(self, source: str, translation: Translation) -> str:
        return self._relink(markdown.translate(source, translation))

    def _relink(self, text: str) -> str:
        """Links lead to the Chinese counterpart; from the line on languages, to the English one."""
        known = {document.english: document.chinese for document in documents(self.root)}
        known |= {chinese: english for english, chinese in known.items()}
        here, there = posixpath.dirname(self.english), posixpath.dirname(self.chinese)

        def relink(link: re.Match) -> str:
            mark, label, target = link.groups()
            target, separator, anchor = target.partition("#")
            if label.startswith("!["):
                label = markdown.LINK.sub(relink, label)
            if target and not re.match(r"[a-z]+:", target):
                path = posixpath.normpath(posixpath.join(here, target))
                ending = "/" if target.endswith("/") else ""
                target = posixpath.relpath(known.get(path, path), there or ".") + ending
            return f"{mark}[{label}]({target}{separator}{anchor})"

        return markdown.LINK.sub(relink, text)


def counterpart(english: str) -> str:
    """The path of the Chinese text, from the project's folder."""
    if english.startswith("notebooks/"):
        return english.replace("notebooks/", "notebooks/zh/", 1)
    stem, suffix = posixpath.splitext(english)
    return f"{stem.removesuffix('.en')}.zh{suffix}"


def documents(root: Path = ROOT) -> list[Document]:
    """All of them: notebooks, solutions, texts of the fragments, pages."""
    patterns = ("notebooks/*.ipynb", "notebooks/solutions/*.ipynb", TEXTS)
    paths = [
        path.relative_to(root).as_posix()
        for pattern in patterns
        for path in sorted(root.glob(pattern))
    ]
    return [Document(path, root) for path in [*paths, *PAGES] if os.path.exists(root / path)]


def _map_texts(texts: Texts, translation: Translation) -> Texts:
    return {
        name: _map_texts(text, translation) if isinstance(text, dict) else translation(text)
        for name, text in texts.items()
    }


def _named_texts(texts: Texts) -> Iterator[tuple[str, str]]:
    for name, text in texts.items():
        if isinstance(text, dict):
            yield from _named_texts(text)
        else:
            yield name, text
