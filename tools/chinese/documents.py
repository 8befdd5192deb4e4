"""The texts that have a Chinese counterpart: where they are, and how one is made from the other."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tools.chinese import markdown

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ("notebooks/*.ipynb", "notebooks/solutions/*.ipynb")
TEXTS = "bn_tutorial/interactive/texts/*.en.json"  # what the fragments say
SITE_PAGES = (
    f"site/{name}.md" for name in ("index", "train", "draw", "glossary", "symptoms", "questions")
)
PAGES = ("README.md", "benchmarks/README.md", *SITE_PAGES)
Translation = Callable[[str, str], str]  # of a message, and the cell or name it stands under
Anchors = Callable[["Document", str], str]  # of a document and the anchor of one of its headings


@dataclass(frozen=True)
class Document:
    """An English text, by its path from the project's folder: "notebooks/01_….ipynb"."""

    english: str

    @property
    def name(self) -> str:
        """The path without folder notebooks/ and without suffixes; names the catalogue too."""
        return re.sub(r"^notebooks/|(\.en)?\.\w+$", "", self.english)

    @property
    def chinese(self) -> str:
        """The counterpart's path, from the project's folder."""
        if self.english.startswith("notebooks/"):
            return self.english.replace("notebooks/", "notebooks/zh/", 1)
        return re.sub(r"(\.en)?(\.\w+)$", r".zh\2", self.english)

    @property
    def catalogue(self) -> Path:
        """The file with the messages and their translations."""
        return ROOT / "translations" / "zh" / f"{self.name}.po"

    @property
    def chapter(self) -> Document | None:
        """Of solutions the exercises, whose messages they share."""
        english = self.english.replace("/solutions/", "/")
        return Document(english) if english != self.english else None

    def messages(self) -> dict[str, list[str]]:
        """Message → the cells or names it stands under, in order; that of a page is "".

        Solutions leave out what stands in the chapter.
        """
        found = {}

        def note(message: str, place: str) -> str:
            found.setdefault(message, []).append(place)
            return message

        self.make(note)
        shared = self.chapter.messages() if self.chapter else {}
        return {message: places for message, places in found.items() if message not in shared}

    def make(self, translation: Translation, anchors: Anchors = lambda _, anchor: anchor) -> str:
        """The Chinese text: code and outputs as they are, links to the same places."""

        def translate(source: str, place: str) -> str:
            chinese = markdown.translate(source, lambda message: translation(message, place))
            return markdown.LINK.sub(lambda link: self._relink(link, anchors), chinese)

        text = (ROOT / self.english).read_text(encoding="utf-8")
        if self.english.endswith(".md"):
            return translate(text, "")
        content = json.loads(text)
        if self.english.endswith(".json"):
            content = _translate_texts(content, "", translation)
            return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        for cell in content["cells"]:
            if cell["cell_type"] == "markdown":
                chinese = translate("".join(cell["source"]), cell["id"])
                cell["source"] = chinese.splitlines(keepends=True)
            for figure in figures_of(cell):
                figure["alt"] = translation(figure["alt"], cell["id"])
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    def write(self, chinese: str) -> None:
        """Put the Chinese text in its place."""
        path = ROOT / self.chinese
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(chinese, encoding="utf-8", newline="\n")

    def _relink(self, link: re.Match, anchors: Anchors) -> str:
        """Links lead to the Chinese counterpart; from the line on languages, to the English one."""
        mark, label, target = link.groups()
        label = markdown.LINK.sub(lambda inner: self._relink(inner, anchors), label)
        path, separator, anchor = target.partition("#")
        if ":" not in path:
            folder = posixpath.dirname(self.english)
            there = posixpath.normpath(posixpath.join(folder, path)) if path else self.english
            chinese = self._counterparts.get(there, there)
            if anchor and chinese in self._counterparts:
                anchor = anchors(Document(there), anchor)
            if path:
                here = posixpath.dirname(self.chinese) or "."
                path = posixpath.relpath(chinese, here) + "/" * path.endswith("/")
        return f"{mark}[{label}]({path}{separator}{anchor})"

    @cached_property
    def _counterparts(self) -> dict[str, str]:
        chinese = {document.english: document.chinese for document in documents()}
        pictures = (path.relative_to(ROOT).as_posix() for path in ROOT.glob("site/*.zh.png"))
        chinese |= {picture.replace(".zh.png", ".png"): picture for picture in pictures}
        return chinese | {chinese: english for english, chinese in chinese.items()}


def figures_of(cell: dict) -> list[dict]:
    """The metadata of a cell's figures that are described in words, for whoever can't see them."""
    outputs = cell.get("outputs", [])
    images = (output.get("metadata", {}).get("image/png", {}) for output in outputs)
    return [image for image in images if "alt" in image]


def documents() -> list[Document]:
    """All of them: notebooks, solutions, texts of the fragments, pages."""
    paths = (path for pattern in (*NOTEBOOKS, TEXTS, *PAGES) for path in sorted(ROOT.glob(pattern)))
    return [Document(path.relative_to(ROOT).as_posix()) for path in paths]


def _translate_texts(texts: dict | str, name: str, translation: Translation) -> dict | str:
    if isinstance(texts, str):
        return translation(texts, name)
    return {key: _translate_texts(text, key, translation) for key, text in texts.items()}
