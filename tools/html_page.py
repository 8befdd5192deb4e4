"""The web page of a notebook, as one file that asks nothing of the network when it is read.

It is nbconvert's own page, except for what that leaves to scripts from elsewhere or leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from jinja2 import DictLoader
from latex2mathml.converter import convert
from mistune.plugins.table import table_in_list
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from traitlets.config import Config

# Without nbconvert's scripts, which are on other hosts, and with the texts that describe figures.
TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
<style>.jp-RenderedMarkdown .highlight pre { font-family: var(--jp-code-font-family); }</style>
{%- endblock -%}
{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output {{ extra_class }}">
<img src="data:image/png;base64,{{ output.data['image/png'] }}"
     width="{{ output | get_metadata('width', 'image/png') }}"
     alt="{{ (output | get_metadata('alt', 'image/png') or '') | escape_html }}">
</div>
{%- endblock -%}
"""
TAGS = {"remove_cell_tags": {"remove-cell"}, "remove_input_tags": {"hide-input"}}


class PageRenderer(IPythonRenderer):
    """Markdown to HTML, with formulas as MathML, which browsers draw without a script.

    Args:
        pages: Names of the notebooks that have a page; links to other notebooks become plain text.
    """

    def __init__(self, pages: Collection[str]) -> None:
        super().__init__(escape=False, anchor_link_text="")
        self.pages = pages

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A link, which leads from a notebook to a notebook's page."""
        name = url.removesuffix(".ipynb")
        if name == url or "://" in url:
            return super().link(text, url, title)
        return super().link(text, f"{name}.html", title) if name in self.pages else text

    def block_math(self, body: str) -> str:
        """$$…$$."""
        return convert(body, display="block")

    def inline_math(self, body: str) -> str:
        """$…$."""
        return convert(body)


def html_page(notebook: NotebookNode, pages: Collection[str] = ()) -> str:
    """The page of a notebook, which has the title and the language of its first heading.

    Args:
        notebook: The notebook with its outputs. Its cells tagged `remove-cell` are left out, and
            so is the code of those tagged `hide-input`.
        pages: Names of the notebooks that have a page in the same folder.
    """

    def markdown2html(source: str) -> str:
        markdown = MarkdownWithMath(renderer=PageRenderer(pages))
        table_in_list(markdown)
        return markdown.render(source)

    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading = re.search(r"^#+ (.*)$", text, re.MULTILINE)
    title = heading[1] if heading else "notebook"
    exporter = HTMLExporter(
        config=Config(TagRemovePreprocessor=TAGS),
        extra_loaders=[DictLoader({"page.html.j2": TEMPLATE})],
        template_file="page.html.j2",
        filters={"markdown2html": markdown2html},
        language_code="zh" if re.search("[\u4e00-\u9fff]", title) else "en",
    )
    titled = NotebookNode(notebook, metadata=NotebookNode(notebook.metadata, title=title))
    return exporter.from_notebook_node(titled)[0]
