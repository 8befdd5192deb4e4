"""Markdown, split into what is translated and what stays as it is.

A message is a whole thought: a paragraph, a list item, a heading, or a row of a table. Line breaks
inside a paragraph are no part of it, so that wrapping English text anew changes no message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

FENCE = re.compile(r"\s*(```|~~~)")
TABLE_ROW = re.compile(r"\s*\|")
ITEM = re.compile(r"(\s*(?:[-*+]|\d+\.)\s+)(.*)")
HEADING = re.compile(r"(\s*#{1,6}\s+)(.*)")
SUMMARY = re.compile(r"(\s*<details><summary>)(.*)(</summary>)\s*$")
TAG = re.compile(r"\s*(<!--.*-->|</?\w[^>]*>)\s*$")
ANCHOR = re.compile(r"\(\w[\w-]*\)=$")
FORMULA_BLOCK = re.compile(r"\s*\$\$")
# What a program writes into a text is its output, and outputs stay English.
WRITTEN_BY_PROGRAM = re.compile(r"<!-- measured: begin -->.*?<!-- measured: end -->", re.DOTALL)

CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
FORMULA = re.compile(r"\$\$.+?\$\$|\$[^$\n]+?\$")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]*)\)")


@dataclass(frozen=True)
class Piece:
    """A stretch of Markdown.

    Attributes:
        text: the message; empty if nothing in it is translated.
        before: what stands before the message: an indent, the mark of a list or a heading.
        after: what stands behind it, mostly the end of the line.
    """

    text: str
    before: str = ""
    after: str = ""

    def render(self, text: str) -> str:
        """The piece with this text for its message."""
        return self.before + text + self.after


def split(source: str) -> list[Piece]:
    """Markdown as pieces, in order."""
    pieces, position = [], 0
    for written in WRITTEN_BY_PROGRAM.finditer(source):
        pieces += _split_lines(source[position : written.start()])
        pieces.append(Piece("", written[0]))
        position = written.end()
    return pieces + list(_split_lines(source[position:]))


def translate(source: str, translation: Callable[[str], str]) -> str:
    """Markdown with each message replaced by its translation."""
    return "".join(
        piece.render(translation(piece.text) if piece.text else "") for piece in split(source)
    )


def has_words(text: str) -> bool:
    """Whether anything in it could be translated: not in code, formulas and addresses alone."""
    prose = LINK.sub(r"\2", FORMULA.sub("", CODE.sub("", text)))
    return bool(re.search(r"[^\W\d_]{2,}", prose))


def _split_lines(source: str) -> Iterator[Piece]:
    lines = re.findall(r"[^\n]*\n|[^\n]+", source)
    while lines:
        block = _take_block(lines)
        del lines[: len(block)]
        yield _piece(block)


def _take_block(lines: list[str]) -> list[str]:
    first = lines[0]
    if fence := FENCE.match(first):
        return _up_to(lines, lambda line: line.strip().startswith(fence[1]))
    if FORMULA_BLOCK.match(first):
        closed = first.strip().endswith("$$") and first.strip() != "$$"
        return lines[:1] if closed else _up_to(lines, lambda line: line.strip().endswith("$$"))
    if not first.strip() or any(kind.match(first) for kind in (HEADING, TABLE_ROW, SUMMARY, TAG)):
        return lines[:1]
    ends = (number for number, line in enumerate(lines[1:], start=1) if _begins_block(line))
    return lines[: next(ends, len(lines))]


def _begins_block(line: str) -> bool:
    kinds = (FENCE, FORMULA_BLOCK, TABLE_ROW, HEADING, SUMMARY, TAG, ITEM)
    return not line.strip() or any(kind.match(line) for kind in kinds)


def _up_to(lines: list[str], is_last: Callable[[str], bool]) -> list[str]:
    ends = (number for number, line in enumerate(lines[1:], start=2) if is_last(line))
    return lines[: next(ends, len(lines))]


def _piece(block: list[str]) -> Piece:
    whole = "".join(block)
    stays = (FENCE, FORMULA_BLOCK, TAG, ANCHOR)
    if not has_words(whole) or any(kind.match(whole) for kind in stays):
        return Piece("", whole)
    end = "\n" if whole.endswith("\n") else ""
    if summary := SUMMARY.match(whole):
        return Piece(summary[2], summary[1], summary[3] + end)
    mark = HEADING.match(block[0]) or ITEM.match(block[0])
    before = mark[1] if mark else re.match(r"\s*", whole)[0]
    lines = [block[0][len(before) :], *block[1:]]
    return Piece(" ".join(line.strip() for line in lines), before, end)
