"""What a translation must share with its message: formulas, code, links, numbers, and so on."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from markdown_it import MarkdownIt

from tools.chinese.markdown import CODE, FORMULA, LINK, TABLE_ROW

NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?%?")
TAG = re.compile(r"</?[A-Za-z][^>]*>|<!--.*?-->")
FIELD = re.compile(r"\{\w+\}")  # what a script fills in
FOOTNOTE = re.compile(r"\[\^[^\]]+\]")
CELL_BORDER = re.compile(r"(?<!\\)\|")
EMPHASIS = {"strong_open": "bold", "em_open": "italics"}

UNITS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"]
VALUES = {word: value for names in (UNITS, ORDINALS) for value, word in enumerate(names, start=1)}
VALUES |= {word: 10 * value for value, word in enumerate(TENS, start=2)}
VALUES |= {"a": 1, "once": 1, "twice": 2, "eleven": 11, "twelve": 12, "dozen": 12, "sixteen": 16}
FACTORS = {"hundred": 100, "thousand": 1000, "million": 10**6}


def form_problems(message: str, translation: str) -> list[str]:
    """What the two do not have in common and should."""
    ours, theirs = _parts(message), _parts(translation)
    problems = []
    for kind in ours:
        problems += _difference(kind, ours[kind], theirs[kind])
    problems += _number_problems(message, translation)
    if TABLE_ROW.match(message):
        expected, found = len(columns(message)), len(columns(translation))
        if expected != found:
            problems.append(f"columns: expected {expected}, found {found}")
    return problems


def columns(row: str) -> list[str]:
    """The cells of a row of a table; a border inside code or a formula is none."""
    hidden = CODE.sub(_same_length, row)
    hidden = FORMULA.sub(_same_length, hidden).strip()
    borders = [border.start() for border in CELL_BORDER.finditer(hidden)]
    pairs = zip(borders, borders[1:], strict=False)
    return [row.strip()[start + 1 : end].strip() for start, end in pairs]


def prose(text: str) -> str:
    """The text without code, formulas, fields, addresses and tags."""
    bare = FIELD.sub(" ", FORMULA.sub(" ", CODE.sub(" ", text)))
    return TAG.sub(" ", LINK.sub(r"\2", LINK.sub(r"\2", bare)))


def _parts(text: str) -> dict[str, Counter]:
    without_code = CODE.sub(" ", text)
    bare = FORMULA.sub(" ", without_code)
    links = [link for link in LINK.findall(bare) for link in [link, *LINK.findall(link[1])]]
    return {
        "code": Counter(code for _, code in CODE.findall(text)),
        "formula": Counter(FORMULA.findall(without_code)),
        "link": Counter(target for mark, _, target in links if not mark),
        "image": Counter(target for mark, _, target in links if mark),
        "tag": Counter(TAG.findall(bare)),
        "field": Counter(FIELD.findall(bare)),
        "footnote": Counter(FOOTNOTE.findall(bare)),
        "emphasis": _emphasis(text),
    }


def _emphasis(text: str) -> Counter:
    """Bold and italics as Markdown renders them, so that marks it does not see count as missing."""
    bare = FORMULA.sub("$x$", CODE.sub("`x`", text)).strip().strip("|")
    inline = MarkdownIt("commonmark").parseInline(bare)[0].children
    rendered = Counter(EMPHASIS[token.type] for token in inline if token.type in EMPHASIS)
    unseen = sum(token.content.count("**") for token in inline if token.type == "text")
    return rendered + Counter({"** that Markdown does not see": unseen})


def _difference(kind: str, expected: Counter, found: Counter) -> list[str]:
    missing = [f"{kind}: {part} is missing" for part in (expected - found).elements()]
    return missing + [f"{kind}: {part} is too much" for part in (found - expected).elements()]


def _number_problems(message: str, translation: str) -> list[str]:
    expected = Counter(NUMBER.findall(prose(message)))
    found = Counter(NUMBER.findall(prose(translation)))
    in_words = set(numbers_in_words(message))
    added = [number for number in found - expected if _value(number) not in in_words]
    missing = [f"number: {number} is missing" for number in (expected - found).elements()]
    return missing + [f"number: {number} is not in the English text" for number in added]


def numbers_in_words(message: str) -> Iterable[float]:
    """The values of English number words: of "five hundred" 5, 100 and 500."""
    value = 1.0
    for word in re.findall(r"[a-z]+", message.lower()):
        if word in VALUES:
            value = VALUES[word]
            yield value
        elif word.removesuffix("s") in FACTORS:
            factor = FACTORS[word.removesuffix("s")]
            value *= factor
            yield from (factor, value)
        elif word != "and":
            value = 1.0


def _value(number: str) -> float:
    return math.nan if "%" in number else float(number.replace(",", ""))


def _same_length(found: re.Match) -> str:
    return "x" * len(found[0])
