"""Search for Chinese words: without blanks between words, pairs of characters take their place.

Sphinx's own Chinese search needs jieba for the index, but has nothing that splits what a reader
types, and asks for a stemmer that it does not define.
"""

import re

from sphinx.search import SearchLanguage

RUN = re.compile(r"[A-Za-z0-9_]+|[\u4e00-\u9fff]+")


class ChineseSearch(SearchLanguage):
    """总体统计量 is found by 总体, 体统, 统计 and 计量; Latin words are found as they are."""

    lang = "zh"
    language_name = "Chinese"
    js_splitter_code = r"""
function splitQuery(query) {
  const pairs = (run) => Array.from(run.slice(1), (_, i) => run.slice(i, i + 2));
  return (query.match(/[A-Za-z0-9_]+|[\u4e00-\u9fff]+/g) || [])
    .flatMap((run) => (/\w/.test(run) || run.length < 2 ? [run] : pairs(run)));
}
"""

    def split(self, input: str) -> list[str]:  # noqa: A002 - Sphinx's name
        """As `splitQuery` does in the browser."""
        words = []
        for run in RUN.findall(input):
            if run.isascii() or len(run) < 2:
                words.append(run)
            else:
                words += [run[i : i + 2] for i in range(len(run) - 1)]
        return words

    def stem(self, word: str) -> str:
        """No stems; the browser asks for small letters."""
        return word.lower()
