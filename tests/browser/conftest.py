"""A real browser: Chromium or Chrome, driven by selenium.

Without one the tests here are skipped, with a line that says how to get one. With
BN_TUTORIAL_BROWSER=required that is a failure: so CI cannot pass without having looked.
"""

import os
import re
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.browser import jupyter_lab as lab
from tests.browser.fragments import Part
from tools.stages import BROWSERS

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
PAGE = """<!doctype html><html lang="{language}" data-theme="{theme}"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>page</title><body>{body}</body></html>"""
SCREEN, STRETCH = 900, 4000  # heights in CSS pixels: of a window, and of a part of a long page
HOW_TO_GET_ONE = (
    "no browser to test with: on Debian and Ubuntu, apt install chromium chromium-driver; "
    "elsewhere, Chrome and the chromedriver of the same version"
)
QUIET = (  # besides what chromedriver asks of it, which keeps it off the network
    "--headless=new",
    "--disable-gpu",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",
)


def pytest_collection_modifyitems(items):
    """All here needs a browser, and is for `make test-all`, but for the tests marked `smoke`."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if not item.get_closest_marker("smoke"):
                item.add_marker(pytest.mark.slow)


def give_up(reason):
    """Skip a test, or fail it where a browser is required."""
    if os.environ.get("BN_TUTORIAL_BROWSER") == "required":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def started_browser(tmp_path_factory):
    """One browser for all tests."""
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if not (binary and driver):
        give_up(HOW_TO_GET_ONE)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(argument)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        browser = webdriver.Chrome(options, Service(driver))
    except WebDriverException as error:
        give_up(f"{binary} does not start: {error.msg}")
    # Not every version gives a window without a screen the focus, which JupyterLab goes by.
    browser.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    browser.set_script_timeout(300)  # cells and axe-core take long on a slow machine
    yield browser
    browser.quit()


@pytest.fixture
def browser(started_browser):
    """The browser, wide, light, on an empty page, with empty logs."""
    started_browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    started_browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    started_browser.get("about:blank")
    for log in ("browser", "performance"):
        started_browser.get_log(log)
    return started_browser


def resize(browser, width, height=SCREEN):
    """Give the page a width and a height in CSS pixels; 360 is a telephone's width."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def screenshot(browser, name):
    """Leave what the browser shows in build/screenshots, under this name."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}.png"
    browser.save_screenshot(str(path))


def screenshots(browser, name, width):
    """Leave all of a page in build/screenshots, as numbered stretches from top to end."""
    resize(browser, width, STRETCH)
    height = browser.execute_script("return document.documentElement.scrollHeight")
    for number, top in enumerate(range(0, height, STRETCH), 1):
        browser.execute_script("scrollTo(0, arguments[0])", top)
        screenshot(browser, f"{name}-{number}")
    browser.execute_script("scrollTo(0, 0)")
    resize(browser, width)


@pytest.fixture
def show(browser, tmp_path):
    """Open a page with these fragments, and return the page's parts, one for each fragment."""

    def open_page(*fragments, language="en", theme="light", anchor=""):
        path = tmp_path / "page.html"
        page = PAGE.format(language=language, theme=theme, body="<hr>".join(fragments))
        path.write_text(page, encoding="utf-8")
        browser.get(path.as_uri() + anchor)
        assert browser.get_log("browser") == []
        roots = browser.find_elements(By.CSS_SELECTOR, "[data-bn-tutorial]")
        return [Part(browser, root) for root in roots]

    return open_page


@pytest.fixture(scope="session")
def jupyter_lab(started_browser, tmp_path_factory):
    """JupyterLab, which shows a folder of its own; without a browser it isn't started."""
    with lab.serve(tmp_path_factory.mktemp("shown"), tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture
def open_notebook(jupyter_lab, browser):
    """A function that opens a copy of any notebook in JupyterLab, with other parameters."""
    opened = []

    def open_copy(path, **parameters):
        copy = jupyter_lab.folder / f"{path.parent.name}_{path.name}"
        lab.prepare(path, copy, **parameters)
        resize(browser, 1280)
        opened.append(lab.Notebook(browser, jupyter_lab, copy))
        return opened[-1]

    yield open_copy
    if opened:  # the last one is still on the page
        opened[-1].close()
