"""Export a notebook as one HTML file that needs nothing else: no script, font or style from afar.

Used as `jupyter nbconvert --to html_page.HtmlPage`. nbconvert's own page loads MathJax for the
formulas and two scripts more; here formulas become MathML, which browsers draw by themselves.
Links to other notebooks lead to their pages: those beside this one, and those that the environment
variable BN_TUTORIAL_PAGES names because they are about to be made. Other notebooks have no link.
"""

import os
import re
from pathlib import Path

from jinja2 import DictLoader, pass_context
from latex2mathml.converter import convert
from mistune.plugins.table import table_in_list
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

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
     alt="{{ (output | get_metadata('alt', 'image/png') or '') | escape_html }}">
</div>
{%- endblock -%}
"""


class MathMLRenderer(IPythonRenderer):
    """Markdown to HTML, with MathML for what stands between dollar signs.

    Args:
        pages: names of the notebooks that have a page.
        options: nbconvert's own.
    """

    def __init__(self, pages: set[str], **options: object) -> None:
        super().__init__(**options)
        self.pages = pages

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A link; to a notebook's page, or none if it has no page."""
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

    def _html_embed_images(self, html: str) -> str:
        """Without images HTML stays as it is.

        nbconvert would close what only closes further down, such as `<details>` above Markdown.
        """
        return super()._html_embed_images(html) if "<img" in html else html


class HtmlPage(HTMLExporter):
    """nbconvert's page in JupyterLab's looks, without its scripts."""

    export_from_notebook = None
    template_file = "page.html.j2"

    def __init__(self, **options: object) -> None:
        super().__init__(extra_loaders=[DictLoader({"page.html.j2": TEMPLATE})], **options)

    def from_notebook_node(
        self, notebook: NotebookNode, resources: dict | None = None, **options: object
    ) -> tuple[str, dict]:
        """The page; its title is the notebook's, and it says which language it is in."""
        folder = Path((resources or {}).get("metadata", {}).get("path") or ".")
        self.pages = {path.stem for path in folder.glob("[0-9]*.html")}
        self.pages |= set(os.environ.get("BN_TUTORIAL_PAGES", "").split())
        title = title_of(notebook)
        titled = NotebookNode(notebook, metadata=NotebookNode(notebook.metadata, title=title))
        self.language_code = "zh" if re.search("[\u4e00-\u9fff]", title) else "en"
        return super().from_notebook_node(titled, resources, **options)

    @pass_context
    def markdown2html(self, context: object, source: str) -> str:  # noqa: ARG002
        """The filter nbconvert's templates call for each Markdown cell and output."""
        renderer = MathMLRenderer(self.pages, escape=False, embed_images=True, anchor_link_text="")
        markdown = MarkdownWithMath(renderer=renderer)
        table_in_list(markdown)
        return markdown.render(source)


def title_of(notebook: NotebookNode) -> str:
    """The first heading, or "notebook"."""
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = (re.search(r"^#+ (.*)$", text, re.MULTILINE) for text in texts)
    return next((heading[1] for heading in headings if heading), "notebook")
