"""Export a notebook as one HTML file that needs nothing else: no script, font or style from afar.

Used as `jupyter nbconvert --to html_page.HtmlPage`. nbconvert's own page loads MathJax for the
formulas and two scripts more; here formulas become MathML, which browsers draw by themselves.
"""

from jinja2 import DictLoader, pass_context
from latex2mathml.converter import convert
from mistune.plugins.table import table_in_list
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

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
    """Markdown to HTML, with MathML for what stands between dollar signs."""

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

    @pass_context
    def markdown2html(self, context: object, source: str) -> str:  # noqa: ARG002
        """The filter nbconvert's templates call for each Markdown cell and output."""
        renderer = MathMLRenderer(escape=False, embed_images=True, anchor_link_text="")
        markdown = MarkdownWithMath(renderer=renderer)
        table_in_list(markdown)
        return markdown.render(source)
