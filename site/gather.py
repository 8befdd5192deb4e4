"""Lay out the sources of the site: the repository's own pages, as Sphinx wants them.

    python site/gather.py build/site-source

Nothing is executed and nothing of the package is imported; the standard library is enough. Pages
keep the paths they have in the repository, so the links between them work here as they do there.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CANVAS = "draw-a-digit"
FIRST_SCREEN_ENDS = "\n## What you need\n"
# Files that pages point to and that are no pages: readers download them.
FILES = (
    "LICENSE",
    "benchmarks/contenders.py",
    "benchmarks/speed.png",
    "notebooks/accuracy.png",
    "site/canvas.png",
)
PAGES = ("benchmarks/README.md", "data/README.md", "CONTRIBUTING.md", "CHANGELOG.md")


class GatherError(Exception):
    """A page is not as the site expects it."""


def split_readme(readme: str) -> tuple[str, str]:
    """The README's first screen, and the rest, with a title of its own."""
    first, found, rest = readme.partition(FIRST_SCREEN_ENDS)
    if not found:
        raise GatherError(f"README.md: expected the line {FIRST_SCREEN_ENDS.strip()!r}, found none")
    return first + "\n", f"# Set up and use\n{FIRST_SCREEN_ENDS}{rest}"


def point_to_pages(markdown: str) -> str:
    """Links to modules lead to the reference: `bn_tutorial/x.py` → `#bn_tutorial.x`.

    Those to the site lead to the digit that one draws.
    """

    def module(match: re.Match[str]) -> str:
        return f"](#{match[1].rstrip('/').removesuffix('.py').replace('/', '.')})"

    markdown = markdown.replace("](site/README.md)", "](draw.md)")
    return re.sub(r"\]\((?:\.\./)*(bn_tutorial(?:/\w+)*(?:\.py)?/?)\)", module, markdown)


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


def canvas(notebook: dict) -> str:
    """The canvas to draw on, from the output that notebook 2 was committed with."""
    found = [html for html in html_outputs(notebook) if f'data-bn-tutorial="{CANVAS}"' in html]
    if len(found) != 1:
        raise GatherError(f"notebook 2: expected one output with the canvas, found {len(found)}")
    return found[0]


def gather(target: Path) -> None:
    """Write the sources of the site to a folder; what was there goes first."""
    shutil.rmtree(target, ignore_errors=True)
    for name in FILES:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target / name)
    for name in PAGES:
        write(target / name, point_to_pages((ROOT / name).read_text(encoding="utf-8")))
    for path in sorted((ROOT / "notebooks").glob("**/[0-9][0-9]_*.ipynb")):
        notebook = json.dumps(describe_images(read_notebook(path)), ensure_ascii=False)
        write(target / path.relative_to(ROOT), notebook)
    first, rest = split_readme((ROOT / "README.md").read_text(encoding="utf-8"))
    tables_of_contents = (ROOT / "site" / "contents.md").read_text(encoding="utf-8")
    write(target / "index.md", point_to_pages(first) + tables_of_contents)
    write(target / "setup.md", point_to_pages(rest))
    for name in ("draw.md", "glossary.md"):  # they stand a folder higher in the site
        page = (ROOT / "site" / name).read_text(encoding="utf-8")
        write(target / name, page.replace("](../", "]("))
    (second,) = (ROOT / "notebooks").glob("02_*.ipynb")
    write(target / "canvas.html", canvas(read_notebook(second)))


def write(path: Path, text: str) -> None:
    """A text file, in a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Lay out the sources of the site.")
    parser.add_argument("target", type=Path, help="a folder; it is written anew")
    gather(parser.parse_args().target)
