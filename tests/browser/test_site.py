"""The built site, as a reader meets it; `make browser` builds it first."""

import gzip
import http.server
import os
import re
import subprocess
import threading
from functools import cache, partial
from pathlib import Path
from urllib.parse import quote_plus, unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.conftest import ROOT, SCREENSHOTS, give_up, resize, screenshot
from tests.browser.fragments import Part
from tests.browser.handwriting import HANDWRITING
from tests.browser.logs import console_errors, network

SITE = ROOT / "build" / "site"
AXE = ROOT / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
WIDTHS = {"narrow": 360, "wide": 1280}
THEMES = ("light", "dark")
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]  # 2.2, A and AA
WHAT_A_THEME_CHANGES = ["color-contrast", "link-in-text-block"]  # of its rules
FIRST_PAGES = {"index.html", "draw.html", "notebooks/01_naive_batch_norm.html", "zh/index.html"}
# Of pages that come from one template, or have what the English ones have, a few stand for all.
ALIKE = ("reference/", "zh/notebooks/solutions/")
OF_THE_ALIKE = (
    "reference/bn_tutorial/index.html",
    "reference/bn_tutorial/batch_norm/index.html",
    "zh/notebooks/solutions/03_what_batch_norm_buys.html",
)


def pages():
    return sorted(path for path in SITE.glob("**/*.html") if "_static" not in path.parts)


def pages_to_walk():
    for name in (path.relative_to(SITE).as_posix() for path in pages()):
        if not any(part in name for part in ALIKE) or name.endswith(OF_THE_ALIKE):
            yield pytest.param(name, marks=[pytest.mark.smoke] if name in FIRST_PAGES else [])


@cache
def read(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def links(page):
    """The addresses for a reader to follow."""
    return [link["href"] for link in page.select("a[href]")]


def embedded(page):
    """The addresses that the browser asks unbidden, such as of scripts, styles and connections."""
    sources = [tag["src"] for tag in page.select(":is(script, img, iframe, source)[src]")]
    others = page.select("link[href]:not([rel=canonical], [rel=alternate])")
    return sources + [link["href"] for link in others]


def target_of(page, link):
    """The file and the anchor to which a link on the page of this path leads; None if elsewhere."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    return (path / "index.html" if path.is_dir() else path), unquote(parts.fragment)


@pytest.fixture(scope="module", autouse=True)
def _built(started_browser):  # noqa: ARG001 - without a browser there is no need of a site
    if not (SITE / "index.html").exists():
        pytest.fail("there is no site in build/site: make site", pytrace=False)


@pytest.fixture(scope="module")
def address():
    """Where the site is served."""
    handler = partial(QuietHandler, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing: pytest's output is for failures."""


def choose_theme(browser, theme):
    """As the theme's own button does, which keeps the choice from page to page."""
    browser.execute_script(
        "const still = '<style>* {transition: none !important}</style>';"
        "document.head.insertAdjacentHTML('beforeend', still);"
        "for (const name of ['theme', 'mode'])"
        "  { document.documentElement.dataset[name] = arguments[0];"
        "    localStorage.setItem(name, arguments[0]); }",
        theme,
    )


def open_page(browser, url):
    browser.get(url)
    wait = WebDriverWait(browser, 60)
    wait.until(lambda b: b.execute_script("return document.readyState") == "complete")
    browser.execute_async_script(
        "const done = arguments[0], typeset = window.MathJax?.startup?.promise;"
        "Promise.resolve(typeset).then(() => done());"
    )


def wait_for_tab_stops(browser):
    """The theme lets the keyboard scroll what is too wide, a moment after the width has changed."""
    without = (
        "return ![...document.querySelectorAll('pre')]"
        "  .some(pre => pre.scrollWidth > pre.clientWidth && pre.tabIndex < 0)"
    )
    WebDriverWait(browser, 30).until(lambda b: b.execute_script(without))


def wider_than_the_page(browser):
    """How many pixels the page can be scrolled sideways."""
    return browser.execute_script(
        "const root = document.documentElement; return root.scrollWidth - root.clientWidth;"
    )


@pytest.mark.parametrize("name", list(pages_to_walk()))
def test_page_at_both_widths_and_in_both_themes(name, browser, address, axe):
    open_page(browser, f"{address}/{name}")
    for theme in THEMES:
        choose_theme(browser, theme)
        for label, width in WIDTHS.items():
            resize(browser, width)
            assert wider_than_the_page(browser) <= 0, f"{name} at {width} pixels"
            screenshot(browser, f"site-{name.removesuffix('.html')}-{label}-{theme}")
        wait_for_tab_stops(browser)
        assert axe(browser, WHAT_A_THEME_CHANGES if theme == "dark" else WCAG) == []
    assert not browser.find_elements(By.CSS_SELECTOR, "mjx-merror, .MathJax_Error")
    unseen = browser.execute_script(
        # MyST-NB's alternative text for an image that has none is its file.
        "const unseen = ({alt, naturalWidth}) => !alt || alt.endsWith('.png') || !naturalWidth;"
        "return [...document.querySelectorAll('article img')].filter(unseen).map(i => i.src);"
    )
    assert unseen == []
    asked, failed = network(browser)
    elsewhere = {url for url in asked if urlsplit(url).scheme in {"http", "https", "ws", "wss"}}
    assert {f"http://{urlsplit(url).netloc}" for url in elsewhere} == {address}
    assert failed == []
    assert console_errors(browser) == []


@pytest.fixture(scope="module")
def axe():
    """A function that gives axe-core's findings: WCAG 2.2 A and AA, or some of its rules."""
    if not AXE.exists():
        give_up("axe-core is not there: install Node.js with npm, then make browser")
    source = AXE.read_text(encoding="utf-8")

    def examine(browser, rules=WCAG):
        browser.execute_script(source)
        violations = browser.execute_async_script(
            "const [runOnly, done] = arguments;"
            "axe.run({runOnly})"
            "  .then(results => done(results.violations), error => done([String(error)]));",
            rules,
        )
        return [
            (found["id"], node["target"], node["failureSummary"])
            for found in violations
            for node in found["nodes"]
        ]

    return examine


def test_axe_finds_what_it_looks_for(browser, axe):
    browser.get(
        "data:text/html,<html lang=en><title>t</title><p style='color:silver'>pale</p><img>"
    )
    assert {found for found, _, _ in axe(browser)} >= {"color-contrast", "image-alt"}
    assert {found for found, _, _ in axe(browser, WHAT_A_THEME_CHANGES)} == {"color-contrast"}


@pytest.mark.smoke
def test_links_inside_the_site_lead_somewhere_and_nothing_is_embedded_from_elsewhere():
    site = {path.resolve(): read(path) for path in pages()}
    anchors = {
        path: {tag.get("id") or tag.get("name") for tag in page.select("[id], a[name]")}
        for path, page in site.items()
    }
    wrong = []
    for path, page in site.items():
        unasked = [link for link in embedded(page) if not link.startswith("data:")]
        wrong += [(path, link) for link in unasked if not target_of(path, link)]
        for link in links(page) + unasked:
            file, anchor = target_of(path, link) or (path, "")
            if not file.exists() or (file in site and anchor not in {"", *anchors[file]}):
                wrong.append((path, link))
    assert wrong == []
    assert sum(len(links(page)) for page in site.values()) > 1_000


@pytest.mark.smoke
def test_each_notebook_has_its_page_with_all_its_figures():
    for path in (ROOT / "notebooks").glob("**/[0-9][0-9]_*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        figures = sum(
            "image/png" in output.get("data", {}) and "text/html" not in output.get("data", {})
            for cell in notebook.cells
            for output in cell.get("outputs", [])
        )
        name = path.relative_to(ROOT / "notebooks").with_suffix(".html")
        chinese = name.parts[0] == "zh"
        folder = SITE / "zh" / "notebooks" if chinese else SITE / "notebooks"
        page = (folder / (name.relative_to("zh") if chinese else name)).read_text(encoding="utf-8")
        assert page.count("_images/") >= figures, path
        assert "Traceback" not in page


REPOSITORY = "https://github.com/OWNER/NAME"
BUTTONS = {  # what an address may stand before
    f"{REPOSITORY}/blob/main/": "?plain=1",
    "https://colab.research.google.com/github/OWNER/NAME/blob/main/": "",
    "https://mybinder.org/v2/gh/OWNER/NAME/main?urlpath=tree/": "",
}


@pytest.mark.parametrize(("language", "notebooks"), [("en", "notebooks"), ("zh", "notebooks/zh")])
def test_with_an_address_each_notebook_offers_itself(language, notebooks, tmp_path):
    """With the address alone; an empty branch is none."""
    environment = ROOT / "build" / "site-environment"
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    settings = {"BN_TUTORIAL_REPOSITORY": REPOSITORY, "BN_TUTORIAL_BRANCH": ""}
    options = ["--fail-on-warning", "--quiet", "--tag", language, "--conf-dir", "site"]
    options += ["--doctree-dir", f"build/site-doctrees/{language}"]  # all but the pages is there
    sources = f"build/site-source/{language}"
    command = [python, "-m", "sphinx", *options, sources, tmp_path / "site"]
    subprocess.run(command, cwd=ROOT, env=os.environ | settings, check=True)
    for path in (tmp_path / "site").glob("**/*.html"):
        offered = {link for link in links(read(path)) if "OWNER" in link} - {REPOSITORY}
        name = path.relative_to(tmp_path / "site").with_suffix(".ipynb")
        if name.parts[0] != "notebooks":
            assert not offered, name
            continue
        own = f"{notebooks}/{name.relative_to('notebooks').as_posix()}"
        assert (ROOT / own).exists()
        assert offered == {start + own + end for start, end in BUTTONS.items()}, name


def search(browser, page, words):
    """The addresses that a search finds."""
    open_page(browser, f"{page}?q={quote_plus(words)}")
    done = (By.CSS_SELECTOR, "#search-results .search-summary")
    WebDriverWait(browser, 30).until(
        lambda b: b.find_elements(*done) and b.find_element(*done).text
    )
    found = browser.find_elements(By.CSS_SELECTOR, "#search-results li a")
    assert console_errors(browser) == []
    return [link.get_attribute("href") for link in found]


@pytest.mark.parametrize(
    ("page", "words", "expected"),
    [
        ("search", "population statistics", "02_fixed_batch_norm"),
        ("search", "batch_norm_wrapper", "batch_norm"),
        ("search", "validation loss", "symptoms"),
        ("zh/search", "总体统计量", "zh/notebooks/02_fixed_batch_norm"),
        ("zh/search", "内部协变量偏移", "zh/notebooks/03_what_batch_norm_buys"),
        ("zh/search", "softmax", "zh/notebooks/01_naive_batch_norm"),
    ],
)
def test_search(page, words, expected, browser, address):
    assert any(expected in url for url in search(browser, f"{address}/{page}.html", words))


@pytest.mark.parametrize(
    ("page", "words", "first"),
    [
        ("search", "population statistics", {"glossary", "notebooks/02_fixed_batch_norm"}),
        ("search", "momentum", {"glossary", "notebooks/02_fixed_batch_norm", "questions"}),
        ("zh/search", "总体", {"zh/notebooks/02_fixed_batch_norm", "zh/glossary"}),
    ],
)
def test_what_one_reads_is_found_before_what_one_looks_up(page, words, first, browser, address):
    found = [urlsplit(url).path for url in search(browser, f"{address}/{page}.html", words)]
    names = list(dict.fromkeys(path.strip("/").removesuffix(".html") for path in found))
    assert set(names[:2]) & first, names[:5]
    is_reference = ["reference/" in name for name in names]
    assert is_reference == sorted(is_reference)


@pytest.mark.parametrize(("page", "words"), [("search", "variance"), ("zh/search", "总体统计量")])
def test_excerpts_are_of_the_text_alone(page, words, browser, address):
    resize(browser, WIDTHS["narrow"])
    search(browser, f"{address}/{page}.html", words)
    excerpts = (By.CSS_SELECTOR, "#search-results p.context")
    WebDriverWait(browser, 30).until(lambda b: len(b.find_elements(*excerpts)) > 3)
    texts = [node.get_property("textContent") for node in browser.find_elements(*excerpts)]
    unwanted = ("\\", "$", "System Settings")
    assert [text for text in texts if any(part in text for part in unwanted)] == []
    assert wider_than_the_page(browser) <= 0


def test_code_is_taken_away(browser, address):
    browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite"], "origin": address}
    )
    open_page(browser, f"{address}/notebooks/02_fixed_batch_norm.html")
    cell = next(
        cell
        for cell in browser.find_elements(By.CSS_SELECTOR, "article .cell_input")
        if "STEPS = " in cell.text
    )
    button = cell.find_element(By.CSS_SELECTOR, ".copy")
    browser.execute_script("arguments[0].click()", button)
    WebDriverWait(browser, 60).until(lambda _: button.text == "copied" or button.text == "")
    taken = browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert taken.startswith("SEED = 0\nSTEPS = 10_000")


def test_the_search_index_is_for_the_page_that_searches():
    for path in pages():
        scripts = [script["src"] for script in read(path).select("script[src]")]
        assert any("searchindex" in src for src in scripts) == (path.name == "search.html"), path
        assert len(read(path).select("meta[name=viewport]")) == 1, path
        assert read(path).select_one("meta[name=description]")["content"].strip(), path


def test_chinese_search_finds_nothing_where_nothing_is(browser, address):
    assert search(browser, f"{address}/zh/search.html", "蜻蜓点水") == []


@pytest.mark.smoke
def test_search_from_the_disk(browser):
    assert search(browser, (SITE / "search.html").as_uri(), "covariate")


@pytest.mark.parametrize("name", ["index.html", "draw.html", "notebooks/05_real_layers.html"])
def test_switch_leads_to_the_same_page_of_the_other_language(name, browser, address):
    resize(browser, WIDTHS["narrow"])
    open_page(browser, f"{address}/{name}")
    browser.find_element(By.CSS_SELECTOR, ".language-switch").click()
    WebDriverWait(browser, 30).until(lambda b: b.current_url == f"{address}/zh/{name}")
    WebDriverWait(browser, 30).until(lambda b: b.find_elements(By.CSS_SELECTOR, ".language-switch"))
    browser.find_element(By.CSS_SELECTOR, ".language-switch").click()
    WebDriverWait(browser, 30).until(lambda b: b.current_url == f"{address}/{name}")


def test_switch_leads_to_the_section_that_is_read(browser, address):
    open_page(browser, f"{address}/notebooks/05_real_layers.html")
    headings = browser.find_elements(By.CSS_SELECTOR, "article section[id]")
    browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", headings[5])
    browser.find_element(By.CSS_SELECTOR, ".language-switch").click()
    WebDriverWait(browser, 30).until(
        lambda b: "/zh/" in b.current_url and "#@" not in b.current_url
    )
    section = browser.find_elements(By.CSS_SELECTOR, "article section[id]")[5]
    assert unquote(urlsplit(browser.current_url).fragment) == section.get_attribute("id")


def test_each_page_names_its_language_and_its_counterpart():
    for path in pages():
        name, page = path.relative_to(SITE).as_posix(), read(path)
        assert page.html["lang"] == ("zh-CN" if name.startswith("zh/") else "en"), name
        counterparts = {
            link["hreflang"]: target_of(path, link["href"])[0]
            for link in page.select("link[rel=alternate]")
        }
        english = SITE / name.removeprefix("zh/")
        chinese = SITE / "zh" / name.removeprefix("zh/")
        both = {"en": english.resolve(), "zh-CN": chinese.resolve()}
        assert counterparts == (both if chinese.exists() else {}), name


@pytest.mark.parametrize("name", ["search", "notebooks/01_naive_batch_norm"])
def test_around_a_chinese_text_all_is_chinese(name, browser, address):
    """What the theme says, seen and unseen; only names stay, and what leads to the English page."""
    open_page(browser, f"{address}/zh/{name}.html")
    said = browser.execute_script(
        "const said = [], unseen = 'article, .toc-entry, script, style, .language-switch, kbd';"
        "for (const element of document.body.querySelectorAll('*')) {"
        "  if (element.closest(unseen)) continue;"
        "  const names = ['title', 'aria-label', 'placeholder', 'data-bs-original-title'];"
        "  said.push(...names.map(name => element.getAttribute(name)));"
        "  said.push(...[...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data));"
        "}"
        "return said.filter(text => text?.trim());"
    )
    assert len(said) > 20
    english = [text for text in said if re.search("[A-Za-z]", text)]
    assert [text for text in english if not re.search("[\u4e00-\u9fff]", text)] == []


def test_the_canvas_speaks_the_language_of_its_page(browser, address):
    for folder in ("", "zh/"):
        open_page(browser, f"{address}/{folder}draw.html")
        root = browser.find_element(By.CSS_SELECTOR, "[data-bn-tutorial=draw-a-digit]")
        said = Part(browser, root).one(".clear").text
        assert said
        assert bool(re.search("[\u4e00-\u9fff]", said)) == bool(folder)


def test_by_keyboard(browser, address):
    resize(browser, WIDTHS["wide"])
    open_page(browser, f"{address}/index.html")
    browser.switch_to.active_element.send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.ENTER)  # over the menus
    assert browser.current_url.endswith("#main-content")
    reached = set()
    for _ in range(90):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        focused = browser.execute_script(  # in a fragment, what has the focus there
            "const { activeElement: active } = document;"
            "return active.shadowRoot?.activeElement ?? active;"
        )
        if focused.tag_name == "body":  # past the end
            break
        outline = focused.value_of_css_property("outline-style")
        shadow = focused.value_of_css_property("box-shadow")
        assert (outline, shadow) != ("none", "none"), focused.get_attribute("outerHTML")
        reached.add(focused.get_attribute("href"))
    assert f"{address}/notebooks/01_naive_batch_norm.html" in reached


@pytest.mark.smoke
@pytest.mark.parametrize(("folder", "picture"), [("", "canvas.png"), ("zh/", "canvas.zh.png")])
def test_a_digit_drawn_on_the_page(folder, picture, browser, address):
    """The README's pictures are the screenshots that this leaves."""
    resize(browser, 820, 1200)
    open_page(browser, f"{address}/{folder}draw.html")
    choose_theme(browser, "light")
    part = Part(browser, browser.find_element(By.CSS_SELECTOR, "[data-bn-tutorial=draw-a-digit]"))
    part.one(".clear").click()
    label, strokes = next(drawn for drawn in HANDWRITING if drawn[0] == 3)
    part.draw(strokes)
    assert part.answers()[1] == str(label)
    part.root.screenshot(str(SCREENSHOTS / picture))


def test_a_choice_of_colours_closes_its_menu(browser, address):
    resize(browser, WIDTHS["wide"])
    open_page(browser, f"{address}/train.html")
    browser.find_element(By.CSS_SELECTOR, ".theme-switch-button").click()
    choice = browser.find_element(By.CSS_SELECTOR, ".theme-change-button[data-mode=dark]")
    WebDriverWait(browser, 10).until(lambda _: choice.is_displayed())
    choice.click()
    WebDriverWait(browser, 10).until(lambda _: not choice.is_displayed())
    assert browser.execute_script("return document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("folder", ["", "zh/"])
def test_the_landing_page_leads_back_to_what_was_read_last(folder, browser, address):
    chapter = f"{address}/{folder}notebooks/02_fixed_batch_norm.html"
    open_page(browser, f"{address}/{folder}index.html")
    browser.execute_script("localStorage.clear(); location.reload()")
    assert not browser.find_elements(By.CSS_SELECTOR, ".start a[href*='#']")
    open_page(browser, chapter)
    section = browser.find_elements(By.CSS_SELECTOR, "article section section[id]")[3]
    browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", section)
    anchor = section.get_attribute("id")
    open_page(browser, f"{address}/{folder}index.html")
    back = browser.find_element(By.CSS_SELECTOR, ".start a[href*='#']").get_attribute("href")
    assert unquote(back) == f"{chapter}#{anchor}"


def test_without_scripts_text_and_figures_are_there(browser, address):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(f"{address}/notebooks/02_fixed_batch_norm.html")
        text = browser.find_element(By.TAG_NAME, "article").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert len(text) > 5_000


@pytest.mark.parametrize("folder", ["", "zh"])
def test_from_the_disk(folder, browser):
    open_page(browser, (SITE / folder / "notebooks" / "01_naive_batch_norm.html").as_uri())
    assert browser.find_elements(By.CSS_SELECTOR, "mjx-container")
    asked, failed = network(browser)
    assert {urlsplit(url).scheme for url in asked} <= {"file", "data", "blob"}
    assert failed == []


class CompressingHandler(QuietHandler):
    """Serves as a web server does, compressed."""

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if not path.exists():
            self.send_error(404)
            return
        body = gzip.compress(path.read_bytes())
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


CHAPTERS = [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))]


@pytest.mark.parametrize(
    ("name", "most", "requests"),
    [("index", 400_000, 18), *((f"notebooks/{name}", 900_000, 60) for name in CHAPTERS)],
)
def test_weight(name, most, requests, browser):
    """What a visitor who comes for the first time is sent, in bytes and in answers."""
    handler = partial(CompressingHandler, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.execute_cdp_cmd("Network.clearBrowserCache", {})
        open_page(browser, f"http://127.0.0.1:{server.server_port}/{name}.html")
        asked = browser.execute_script(
            "return [...performance.getEntriesByType('navigation'),"
            " ...performance.getEntriesByType('resource')].map(e => [e.name, e.encodedBodySize])"
        )
        server.shutdown()
    sent = [(url, size) for url, size in asked if url.startswith("http")]
    assert sum(size for _, size in sent) <= most, sorted(sent, key=lambda each: -each[1])[:8]
    assert len(sent) <= requests
