"""The site's settings, for Sphinx. `site/README.md` says which of them you may want to change."""

import html
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "site"))

# The English site by default; `sphinx --tag zh` makes the Chinese one, in a folder of it.
CHINESE = "tags" in globals() and "zh" in tags  # noqa: F821 - Sphinx defines it

project = "Batch normalization in TensorFlow 2"
html_title = "TensorFlow 2 中的批量归一化" if CHINESE else project
language = "zh_CN" if CHINESE else "en"
(release,) = re.findall(
    r'__version__ = "(.+)"', (ROOT / "bn_tutorial" / "__init__.py").read_text(encoding="utf-8")
)

# Where the repository is published, such as https://github.com/OWNER/NAME; empty: nowhere yet.
repository = os.environ.get("BN_TUTORIAL_REPOSITORY", "").rstrip("/")
branch = os.environ.get("BN_TUTORIAL_BRANCH") or "main"
# Where the site itself is published: a full address, with a slash at its end.
site = os.environ.get("BN_TUTORIAL_SITE", "")
html_baseurl = f"{site}zh/" if site and CHINESE else site

extensions = ["myst_nb"]
if CHINESE:  # the English site's, a folder higher: it has 24 MB
    mathjax_path = "../../_static/mathjax/tex-chtml.js"
else:  # the docstrings are English
    extensions += ["sphinx-mathjax-offline", "autoapi.extension", "sphinx.ext.napoleon"]
root_doc = "index"
exclude_patterns = ["canvas.html", "experiment*.html"]

# Notebooks are shown as they were committed.
nb_execution_mode = "off"
nb_render_markdown_format = "gfm"
nb_code_prompt_show = "显示代码" if CHINESE else "Show the code"
nb_code_prompt_hide = "隐藏代码" if CHINESE else "Hide the code"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_url_schemes = {"http": None, "https": None, "en": "../{{path}}"}  # en: of the English site

# The reference comes from the source alone.
autoapi_dirs = [str(ROOT / "bn_tutorial")]
autoapi_root = "reference"
autoapi_options = ["members", "show-module-summary", "show-inheritance"]
autoapi_add_toctree_entry = False
autoapi_member_order = "bysource"
autoapi_keep_files = True
autodoc_typehints = "signature"
default_role = "code"  # docstrings put names between single backquotes

html_theme = "sphinx_book_theme"
# What is shown with a link to the site.
PICTURE = ROOT / "site" / ("canvas.zh.png" if CHINESE else "canvas.png")
html_static_path = [str(ROOT / "site" / "static"), str(PICTURE)]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_context = {"default_mode": "auto"}
html_favicon = str(ROOT / "site" / "static" / "favicon.svg")
html_logo = html_favicon
templates_path = [str(ROOT / "site" / "templates")]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_last_updated_fmt = "%Y-%m-%d"
html_search_scorer = str(ROOT / "site" / "search_order.js")
html_use_index = not CHINESE
pygments_style = "a11y-high-contrast-light"
html_theme_options = {
    "show_toc_level": 2,
    "footer_content_items": ["about.html"],
    "logo": {"text": html_title},
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navigation_with_keys": False,
    "article_header_end": ["language_switch.html", "article-header-buttons.html"],
    "search_bar_text": "搜索……" if CHINESE else "Search...",
    "navbar_start": [],  # the search stands in the sidebar
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
if repository:
    html_theme_options |= {
        "repository_url": repository,
        "repository_branch": branch,
        "path_to_docs": "",
        "use_repository_button": True,
        "use_source_button": True,
        "launch_buttons": {
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        },
    }


def has_counterpart(page: str) -> bool:
    """Whether a page is there in both languages."""
    sources = ROOT / "build" / "site-source"
    folders = (sources / "en", sources / "zh")
    both = (any((f / f"{page}{suffix}").exists() for suffix in (".md", ".ipynb")) for f in folders)
    return page == "search" or all(both)


def add_counterpart(_app: object, page: str, _template: str, context: dict, _tree: object) -> None:
    """For the templates: where a page is in each language, and where its switch leads."""
    both = has_counterpart(page)
    there = f"{page}.html" if both else "index.html"
    switch = context["pathto"](f"../{there}" if CHINESE else f"zh/{there}", 1)
    address = {"en": f"{site}{page}.html", "zh-CN": f"{site}zh/{page}.html"}
    if not site:  # no address yet: relative links, to the other page and to itself
        here = f"{page.rpartition('/')[2]}.html"
        address = {"en": switch, "zh-CN": here} if CHINESE else {"en": here, "zh-CN": switch}
    context["switch_to"] = switch
    context["switch_language"] = "en" if CHINESE else "zh-CN"
    context["alternates"] = address if both else {}


def describe(_app: object, page: str, _template: str, context: dict, _tree: object) -> None:
    """For search engines and for whoever is sent a link: what the page is about, and a picture."""
    paragraph = re.search(r"<p>(.+?)</p>", context.get("body", ""), re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]+>", "", paragraph[1])) if paragraph else html_title
    context["description"] = " ".join(text.split())[:200]
    context["picture"] = f"{site}_static/{PICTURE.name}" if site else ""
    context["repository"] = repository
    if page == "index":
        context["docstitle"] = ""  # its own title is the site's


def lighten(app: object, exception: Exception | None) -> None:
    """Take out of the pages what the theme brings and nothing here needs.

    Its icons are a megabyte and a half of JavaScript, of which we use a dozen, in site.css; the
    search's index is for the page that searches; and there is one viewport.
    """
    if exception:
        return
    unused = ["fontawesome", "graphviz"]
    search = ["searchtools", "language_data", "searchindex"]
    viewport = r'<meta name="viewport"[^>]*>'
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for name in unused + search * (path.name != "search.html"):
            text = re.sub(rf"<(script|link) [^>]*/?{name}\.[^>]*>(</script>)?\n?", "", text)
        if first := re.search(viewport, text):
            text = text[: first.end()] + re.sub(viewport, "", text[first.end() :])
        path.write_text(text, encoding="utf-8")
    (Path(app.outdir) / "_static" / "scripts" / "fontawesome.js").unlink(missing_ok=True)
    style = Path(app.outdir) / "_static" / "styles" / "pydata-sphinx-theme.css"
    names = r'(?:\.fa-[a-z0-9-]+,?)+\{--fa:"[^"]*"\}'  # of two thousand icons
    style.write_text(re.sub(names, "", style.read_text("utf-8")), encoding="utf-8")


def point_to_files(_app: object, page: str, _template: str, context: dict, _tree: object) -> None:
    """For the buttons of a notebook: Chinese ones are in a folder of their own in the repository.

    Other pages keep the button that leads to the repository alone: most are put together from
    several files, or have another name there.
    """
    for group in context["header_buttons"]:
        buttons = group.get("buttons", [])
        if not page.startswith("notebooks/"):
            buttons[:] = [one for one in buttons if one.get("label") != "source-file-button"]
        elif CHINESE:
            for one in buttons:
                one["url"] = one["url"].replace("/notebooks/", "/notebooks/zh/")


def setup(app: object) -> None:
    """Called by Sphinx."""
    from chinese_search import ChineseSearch

    app.add_search_language(ChineseSearch)
    app.connect("html-page-context", add_counterpart)
    app.connect("html-page-context", describe)
    app.connect("build-finished", lighten)
    app.connect("html-page-context", point_to_files, priority=502)  # the theme's buttons: 501
