"""Lay out the sources of the site: the repository's own pages, as Sphinx wants them.

    python site/gather.py build/site-source

Nothing is executed and nothing of the package is imported; the standard library is enough. Each
language has a folder. In it, pages keep the paths that the English ones have in the repository, so
the links between them work here as they do there, and a page and its translation share a name.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Fragments of HTML by the file that a page takes in: the notebook's number, and the kind.
FRAGMENTS = {"canvas.html": ("02", "draw-a-digit"), "experiment.html": ("01", "train-here")}
# Files that pages point to and that are no pages: readers download them.
FILES = (
    "LICENSE",
    "benchmarks/contenders.py",
    "benchmarks/speed.png",
    "examples/train_on_workers.py",
)


# Of the glossary, words that everybody knows or that stand on every line: they get no links.
PLAIN_WORDS = (
    "article",
    "paper",
    "batch",
    "step",
    "seed",
    "bias",
    "epoch",
    "graph",
    "channel",
    "unit",
    "variance",
)
# Where in Markdown no link can begin: code, formulas, links, headings, tables, tags.
NO_LINKS = re.compile(
    r"(```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\[[^\]]*\]\([^)]*\)|^#.*?$|^\|.*?$|<[^>]*>)",
    re.M | re.S,
)


class GatherError(Exception):
    """A page is not as the site expects it."""


@dataclass(frozen=True)
class Edition:
    """The site in one language.

    Attributes:
        language: the name of its folder.
        suffix: what its pages' names end in.
        notebooks: the folder its notebooks are in.
        rest: the title of the page that has the README from its commands on.
        pages: other pages; those that are not translated are in the English edition alone. What is
            in the folder `site` stands a folder higher here.
    """

    language: str
    suffix: str
    notebooks: str
    rest: str
    pages: tuple[str, ...]


EDITIONS = (
    Edition(
        language="en",
        suffix=".md",
        notebooks="notebooks",
        rest="Set up and use",
        pages=(
            *("site/index", "site/train", "site/draw", "site/glossary"),
            *("site/symptoms", "site/questions"),
            *("benchmarks/README", "data/README", "examples/README", "CONTRIBUTING", "CHANGELOG"),
        ),
    ),
    Edition(
        language="zh",
        suffix=".zh.md",
        notebooks="notebooks/zh",
        rest="安装与使用",
        pages=(
            *("site/index", "site/train", "site/draw", "site/glossary"),
            *("site/symptoms", "site/questions", "benchmarks/README"),
        ),
    ),
)


def split_readme(readme: str, edition: Edition) -> tuple[str, str]:
    """The README's table of chapters, and what follows it, with a title of its own.

    The paragraph that says how to build the site is left out.
    """
    readme = re.sub(r"^`make site`(.+\n)+\n", "", readme, flags=re.M)
    rows = re.findall(r"^\|.*\n", readme.partition("\n## ")[0], flags=re.M)
    _, found, rest = readme.partition("\n```\n")
    if not (rows and found):
        missing = "a block of commands" if rows else "a table of chapters"
        raise GatherError(f"README{edition.suffix}: expected {missing} before the first heading")
    return "".join(rows), f"# {edition.rest}\n{found}{rest}"


def point_to_pages(markdown: str, edition: Edition) -> str:
    """Links to files of the repository lead to pages of the site.

    In English `bn_tutorial/x.py` becomes `#bn_tutorial.x`, in the reference. Other languages have
    no reference and fewer pages; there `en:` leads to the English one. Links to the site itself
    lead to the digit that one draws.
    """

    def module(match: re.Match[str]) -> str:
        name = match[1].rstrip("/").removesuffix(".py")
        if edition.language == "en":
            return f"](#{name.replace('/', '.')})"
        return f"](en:reference/{name}/index.html)"

    markdown = markdown.replace("](site/README.md)", "](draw.md)")
    markdown = re.sub(r"\]\((?:\.\./)*(bn_tutorial(?:/\w+)*(?:\.py)?/?)\)", module, markdown)
    if edition.language == "en":
        return markdown
    markdown = markdown.replace(f"{edition.notebooks}/", "notebooks/")
    markdown = markdown.replace("](../../", "](../")  # its notebooks are a folder higher here
    markdown = re.sub(rf"{re.escape(edition.suffix)}(?=[#)])", ".md", markdown)
    untranslated = set(EDITIONS[0].pages) - set(edition.pages)
    english_alone = "|".join(name.removeprefix("site/") for name in sorted(untranslated))
    return re.sub(rf"\]\((?:\.\./)*({english_alone})\.md\)", r"](en:\1.html)", markdown)


def glossary_terms(glossary: str) -> dict[str, str]:
    """The glossary's terms, as they are written there, by their anchors."""
    found = re.findall(r"^\((.+)\)=\n\n### `?(.+?)`?$", glossary, flags=re.M)
    return {anchor: term for anchor, term in found if anchor not in PLAIN_WORDS}


def link_terms(notebook: dict, terms: dict[str, str]) -> dict:
    """Where a chapter first uses a term in its prose, the term leads to the glossary."""
    left = dict(terms)
    for cell in notebook["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        parts = NO_LINKS.split("".join(cell["source"]))
        for anchor, term in list(left.items()):
            word = re.compile(rf"(?<![\w\\-]){re.escape(term.removesuffix('s'))}s?(?![A-Za-z-])")
            for number in range(0, len(parts), 2):  # between them is what NO_LINKS found
                link = rf"[\g<0>](../glossary.md#{anchor})"
                parts[number], linked = word.subn(link, parts[number], count=1)
                if linked:
                    parts = NO_LINKS.split("".join(parts))
                    del left[anchor]
                    break
        cell["source"] = "".join(parts).splitlines(keepends=True)
    return notebook


def describe_images(notebook: dict) -> dict:
    """The alternative text of each figure, where MyST-NB looks for it: in the cell's metadata."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            text = output.get("metadata", {}).get("image/png", {}).get("alt")
            if text:
                cell["metadata"]["mystnb"] = {"image": {"alt": text}}
    return notebook


def read_notebook(path: Path) -> dict:
    """A notebook as nested dictionaries."""
    return json.loads(path.read_text(encoding="utf-8"))


def html_outputs(notebook: dict) -> Iterator[str]:
    """Each HTML output of a notebook."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            yield "".join(output.get("data", {}).get("text/html", ""))


def fragment(notebook: dict, kind: str) -> str:
    """A fragment to try things on, from the output that the notebook was committed with."""
    found = [html for html in html_outputs(notebook) if f'data-bn-tutorial="{kind}"' in html]
    if len(found) != 1:
        raise GatherError(f"expected one output with the fragment {kind}, found {len(found)}")
    return found[0]


def gather(target: Path, edition: Edition) -> None:
    """Write the sources of one edition to a folder; what was there goes first."""
    shutil.rmtree(target, ignore_errors=True)
    for name in FILES:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target / name)
    folder = ROOT / edition.notebooks
    terms = glossary_terms(read_page("site/glossary", edition))
    for path in sorted([*folder.glob("[0-9]*.ipynb"), *folder.glob("solutions/[0-9]*.ipynb")]):
        content = describe_images(read_notebook(path))
        name = path.relative_to(folder)
        if len(name.parts) == 1:  # solutions are read after their chapter
            content = link_terms(content, terms)
        notebook = json.dumps(content, ensure_ascii=False)
        up = "../" * len(name.parts)  # an address after `en:` counts from the edition's folder
        pointed = point_to_pages(notebook, edition).replace("](en:", f"](en:{up}")
        write(target / "notebooks" / name, pointed)
    table, rest = split_readme(read_page("README", edition), edition)
    write(target / "setup.md", rest)
    for name in edition.pages:
        text = read_page(name, edition)
        if name.startswith("site/"):
            text = text.replace("](../README.md)", "](setup.md)").replace("](../", "](")
        write(target / f"{name.removeprefix('site/')}.md", text)
    contents = (ROOT / "site" / f"contents{edition.suffix}").read_text(encoding="utf-8")
    landing = (target / "index.md").read_text(encoding="utf-8")
    write(target / "index.md", landing.replace("<!-- chapters -->\n", table) + contents)
    for name, (number, kind) in FRAGMENTS.items():
        (path,) = folder.glob(f"{number}_*.ipynb")
        write(target / name, fragment(read_notebook(path), kind))
    experiment = (target / "experiment.html").read_text(encoding="utf-8")
    write(target / "experiment-small.html", experiment.replace('"small":false', '"small":true'))


def read_page(name: str, edition: Edition) -> str:
    """A page in the edition's language, with the links that it has in the site."""
    text = (ROOT / f"{name}{edition.suffix}").read_text(encoding="utf-8")
    return point_to_pages(text, edition)


def write(path: Path, text: str) -> None:
    """A text file, in a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Lay out the sources of the site.")
    parser.add_argument("target", type=Path, help="a folder; each language is written anew in it")
    arguments = parser.parse_args()
    for one in EDITIONS:
        gather(arguments.target / one.language, one)
