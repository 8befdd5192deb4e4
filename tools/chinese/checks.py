"""What is wrong with a translation: what it lost or added, how it is set, its terms."""

from __future__ import annotations

import csv
import re
from collections import Counter
from functools import cache

from markdown_it import MarkdownIt

from tools.chinese.documents import ROOT
from tools.chinese.markdown import CODE_OR_FORMULA, LINK

# What a translation has as often as its message, in any order.
KEPT = re.compile(
    rf"""
    {CODE_OR_FORMULA.pattern}
    | !\[ | (?<=\]\()[^()\s]*(?=\))                  # of an image; where a link leads
    | </?[A-Za-z][^>]*> | <!--.*?--> | \[\^[^\]]+\]  # tags and footnotes
    | \{{\w+\}}                                      # what a script fills in
    | (?<![A-Za-z\d])\d+(?:,\d{{3}})*(?:\.\d+)?%?    # numbers
    | \*+ | (?<!\\)\|                                # emphasis; columns
    """,
    re.VERBOSE,
)
HAN = "[\u3400-\u4dbf\u4e00-\u9fff]"
WIDE = "[，。：；？！（）、《》]"
# Titles of papers and labels of figures stay English.
TITLE = re.compile(rf"(?<!\*)\*(?=[^*]*[A-Za-z])(?:(?!{HAN})[^*])+\*(?!\*)")
# Code, formulas and titles are set like Latin letters; one of these stands for each.
STAND_IN = "\ue000"
LATIN = f"[A-Za-z0-9%\u00b1\u0370-\u03ff{STAND_IN}]"
TYPOGRAPHY = {
    "no blank beside Latin, code or formula": rf"{HAN}\**{LATIN}|(?:{LATIN}|\))\**{HAN}",
    "blank between Chinese characters": rf"{HAN}\** +\**{HAN}",
    "blank beside full-width punctuation": rf"(?<!\|) {WIDE}|{WIDE} (?!\|)",
    "half-width in Chinese": rf"{HAN}\** *[,;:?!(]|{HAN}\**[.)]|[,;:?!(] *\**{HAN}",
    "half-width beside full-width": f"{WIDE}[,.;:?!]|[,.;:?!]{WIDE}",
    "quotation marks other than “”": '["「」『』]',
    "full-width letter, digit or blank": "[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\u3000]",
    "line break, two blanks, or one at an end": r"\n|  |^ | $",
    "no Chinese": rf"^(?!.*{HAN}).*\b[a-z]{{4,}}\b.*",
    "left in English": r"\b[a-z]+(?:[ ,]+[a-z]+){4}\b",
}
# The table of STYLE.md, as far as a pattern can tell; 答 stays where the reader draws a digit.
GAME = "你写|手写|写一个|写的|画|同伴|玩"
WORDING = {
    "a chapter is 第 3 章, the next one 下一章": r"笔记本 ?\d|[上下]一本",
    "a model 判为, 预测为 or 给出": (
        rf"^(?!.*(?:{GAME})).*(?:BN|网络)[^，。；：]{{0,6}}(?:答(?!案)|回答)"
    ),
    "two numbers are 前者为…，后者为…": r"[\d%] 对 [\d−-]",
    "without BN is 不用 BN 的网络": r"(?:没有|无|不带|未用|不使用) ?BN ?的网络",
    "powers are 幂律增长": r"幂次增长|(?:是|变成|变为|按)[^，。；]{0,6}幂(?!律)",
    "所用的…是… is *what we use is*": r"所用的[^，。；：？]*是",
}
PAIRS = ("“”", "（）", "()", "《》")
ENDINGS = {".": "[。！？；：…]", ":": "：", "?": "？"}
BEHIND_ENDING = r"[ *|)）”\"']*$"


def translation_problems(message: str, translation: str) -> list[str]:
    """What is wrong with one translation."""
    expected = Counter(part[0] for part in KEPT.finditer(message))
    found = Counter(part[0] for part in KEPT.finditer(translation))
    problems = [f"{part} is missing" for part in expected - found]
    problems += [f"{part} is too much" for part in found - expected]
    for mark, wide in ENDINGS.items():
        ends = re.search(re.escape(mark) + BEHIND_ENDING, message)
        if ends and not re.search(wide + BEHIND_ENDING, translation):
            problems.append(f"{mark} at the end is missing")
    return problems + _typography_problems(translation) + _glossary_problems(message, translation)


def _typography_problems(translation: str) -> list[str]:
    bare = LINK.sub(r"\2", LINK.sub(r"\2", CODE_OR_FORMULA.sub(STAND_IN, translation)))
    bare = TITLE.sub(STAND_IN, bare)
    problems = []
    for problem, pattern in (TYPOGRAPHY | WORDING).items():
        for place in re.finditer(pattern, bare):
            around = bare[max(0, place.start() - 6) : place.end() + 6].replace(STAND_IN, "·")
            problems.append(f"{problem}: {around}")
    problems += [f"not in pairs: {a}{b}" for a, b in PAIRS if bare.count(a) != bare.count(b)]
    if "*" in MarkdownIt().renderInline(CODE_OR_FORMULA.sub("`x`", translation)):
        problems.append("emphasis that Markdown does not see, for want of a blank beside it")
    return problems


@cache
def read_glossary() -> list[tuple[re.Pattern, list[str], list[str]]]:
    """What finds each English term, its translations, and those that were decided against.

    The longest come first, so that a term inside another is not taken for itself.
    """
    with (ROOT / "translations/zh/glossary.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: -len(row["english"]))
    glossary = []
    for row in rows:
        stem = re.escape(row["english"].removesuffix("e")).replace(r"\ ", "[ -]+")
        term = re.compile(rf"\b{stem}(?:e|s|es|ed|ing)?\b", re.IGNORECASE)
        forbidden = re.findall("[^;]+", row["forbidden"])
        glossary.append((term, row["chinese"].split("|"), forbidden))
    return glossary


def _glossary_problems(message: str, translation: str) -> list[str]:
    for title in TITLE.findall(translation):
        message = message.replace(title, " ")
    english, problems = KEPT.sub(" ", message), []
    for term, allowed, forbidden in read_glossary():
        if word := term.search(english):
            english = term.sub("|", english)
            if not any(chinese.lower() in translation.lower() for chinese in allowed):
                problems.append(f"{word[0]} is {' or '.join(allowed)}")
            rest = re.sub("|".join(map(re.escape, allowed)), " ", translation)
            wrong = [chinese for chinese in forbidden if chinese in rest]
            problems += [f"{word[0]} is {allowed[0]}, not {chinese}" for chinese in wrong]
    return problems
