"""How Chinese is set: punctuation, blanks, quotation marks; and that it is Chinese."""

from __future__ import annotations

import re

from tools.chinese.form import columns
from tools.chinese.markdown import CODE, FORMULA, LINK, TABLE_ROW

CHINESE = "\u3400-\u4dbf\u4e00-\u9fff"
FULL_WIDTH = "，。：；？！（）、《》"
# Code and formulas are set like Latin letters; one of these stands for each.
STAND_IN = "\ue000"
LATIN = f"A-Za-z0-9%\u00b1\u0370-\u03ff{STAND_IN}"
NAMES = ["sigmoid", "logit", "logits", "softmax", "tanh", "dropout", "all", "reduce"]
NAMES += ["scikit", "learn", "van"]

RULES = {
    "no blank between Chinese and Latin, digits, code or formulas": (
        f"[{CHINESE}][{LATIN}]|[{LATIN})][{CHINESE}]"
    ),
    "blank between Chinese characters": f"[{CHINESE}] +[{CHINESE}]",
    "blank beside full-width punctuation": f" [{FULL_WIDTH}]|[{FULL_WIDTH}] ",
    "half-width punctuation in Chinese": (
        f"[{CHINESE}] *[,;:?!(]|[{CHINESE}][.)]|[,;:?!(] *[{CHINESE}]"
    ),
    "half-width punctuation beside full-width": f"[{FULL_WIDTH}][,.;:?!]|[,.;:?!][{FULL_WIDTH}]",
    'quotation marks other than “”, in pairs: " or 「」': '["「」『』]',
    "full-width letter, digit or blank": "[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\u3000]",
    "two blanks": "  ",
}
PAIRS = ("“”", "（）", "()", "《》")
ENDINGS = {".": "。！？；：…", ":": "：", "?": "？", "!": "！", "": ""}
SENTENCE_ENDS = ".:?!。：？！；，,;…"


def typography_problems(message: str, translation: str) -> list[str]:
    """What in the translation is not set as STYLE.md says, with the place where it is."""
    cells = columns if TABLE_ROW.match(message) else lambda text: [text]
    problems = [] if translation == translation.strip() else ["blank at an end"]
    if "\n" in translation or "\t" in translation:
        problems.append("line break or tab")
    ours, theirs = cells(message), cells(translation)
    for part in theirs:
        problems += _rule_problems(part)
    for original, part in zip(ours, theirs, strict=False):
        problems += _ending_problems(original, part)
    return problems


def language_problems(message: str, translation: str) -> list[str]:
    """English that was left, unless it is names and titles."""
    cells = columns if TABLE_ROW.match(message) else lambda text: [text]
    problems = []
    for part in cells(translation):
        text = _without_titles(_bare(part))
        few = 4 if _if_chinese(part) else 1  # English words in a row that are too many
        words = re.split(f"[^A-Za-z '’-]+|[{CHINESE}]", text)
        for run in words:
            ordinary = [word for word in re.findall(r"\b[a-z]{2,}\b", run) if word not in NAMES]
            if len(ordinary) >= few:
                problems.append(f"left in English: {run.strip()}")
    return problems


def visible(text: str) -> str:
    """The text without the marks of Markdown, with a stand-in for code and formulas."""
    bare = _without_titles(_bare(text))
    bare = re.sub(rf"([{FULL_WIDTH}…”])(\*+) (?=[{CHINESE}{LATIN}])", r"\1\2", bare)
    bare = re.sub(r" (\*+)(?=[“（《])", r"\1", bare)
    return re.sub(r"\*+", "", bare)


def _bare(text: str) -> str:
    bare = FORMULA.sub(STAND_IN, CODE.sub(STAND_IN, text))
    return LINK.sub(r"\2", LINK.sub(r"\2", bare))


def _without_titles(text: str) -> str:
    """With a stand-in for italics that are English: titles of papers."""
    return re.sub(rf"(?<!\*)\*[^*{CHINESE}]+\*(?!\*)", STAND_IN, text)


def _rule_problems(text: str) -> list[str]:
    if not _if_chinese(text):
        return []
    seen = visible(text)
    problems = []
    for name, pattern in RULES.items():
        for found in re.finditer(pattern, seen):
            around = seen[max(0, found.start() - 6) : found.end() + 6].replace(STAND_IN, "·")
            problems.append(f"{name}: {around}")
    unpaired = [pair for pair in PAIRS if seen.count(pair[0]) != seen.count(pair[1])]
    return problems + [f"not in pairs: {pair}" for pair in unpaired]


def _ending_problems(message: str, translation: str) -> list[str]:
    if not _if_chinese(translation):
        return []
    ours, theirs = _ending(message), _ending(translation)
    allowed = ENDINGS.get(ours)
    if allowed is None or (theirs and theirs in allowed) or (not theirs and not allowed):
        return []
    return [f"ends with {theirs or 'nothing'}, the English with {ours or 'nothing'}"]


def _ending(text: str) -> str:
    last = _bare(text).rstrip(" ”\"'’)）*")[-1:]
    return last if last in SENTENCE_ENDS else ""


def _if_chinese(text: str) -> str:
    return "".join(re.findall(f"[{CHINESE}]", text))
