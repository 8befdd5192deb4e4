"""Markdown, split into what is translated and what stays as it is.

A message is a whole thought: a paragraph, a list item, a heading, or a row of a table. Line breaks
inside a paragraph are no part of it, so that wrapping English text anew changes no message.
"""

from __future__ import annotations

import re
from collections.abc import Callable

CODE_OR_FORMULA = re.compile(
    r"(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)|\$\$.+?\$\$|\$[^$\n]+?\$"
)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]*)\)")

ITEM = r"(?:[-*+]|\d+\.)\s"
TAG = r"(?:<!--.*-->|</?\w[^>]*>)[ ]*$"
# A paragraph goes on until one of these begins a line.
BEGINNING = rf"[ ]*(?:```|~~~|\$\$|\||\#{{1,6}}\s|{ITEM}|<details><summary>|{TAG}|$)"
BLOCK = re.compile(
    rf"""
    (?P<measured><!--\ measured:\ begin\ -->(?s:.*?)<!--\ measured:\ end\ -->)
    | ^[ ]*(?P<fence>```|~~~)(?s:.*?)^[ ]*(?P=fence).*$
    | ^[ ]*\$\$(?s:.+?)\$\$[ ]*$
    | ^[ ]*{TAG}
    | ^\(\w[\w-]*\)=$                                             # what MyST links to
    | ^(?P<before>[ ]*(?:{ITEM}[ ]*|(?P<line>\#{{1,6}}\s+|<details><summary>))?)
      (?P<text>(?(line).*?|.+(?:\n(?!{BEGINNING}).+)*))
      (?P<after>(?:</summary>)?[ ]*)$
    """,
    re.VERBOSE | re.MULTILINE,
)


# Of what a program wrote, and of code, these are messages too.
HEADING = re.compile(r"^(#{1,6} )(.+)$", re.MULTILINE)
COMMENT = re.compile(r"(?<=\S)( +# )(.+)$", re.MULTILINE)


def translate(source: str, translation: Callable[[str], str]) -> str:
    """Markdown with each message replaced by its translation."""

    def translated(block: re.Match) -> str:
        if block["measured"] or block["fence"]:
            pattern = HEADING if block["measured"] else COMMENT
            return pattern.sub(lambda part: part[1] + translation(part[2]), block[0])
        prose = LINK.sub(r"\2", CODE_OR_FORMULA.sub("", block["text"] or ""))
        if not re.search(r"[^\W\d_]{2,}", prose):  # formulas, code and numbers alone
            return block[0]
        message = " ".join(line.strip() for line in block["text"].split("\n"))
        return block["before"] + translation(message) + block["after"]

    return BLOCK.sub(translated, source)


def anchor(heading: str) -> str:
    """The anchor that MyST gives a heading, as GitHub does."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
