"""A real browser: Chromium or Chrome, driven by selenium.

Without one the tests here are skipped, with a line that says how to get one. With
BN_TUTORIAL_BROWSER=required that is a failure: so CI cannot pass without having looked.
"""

import base64
import os
import re
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service

from tests.browser import jupyter_lab as lab
from tools.stages import BROWSERS

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
SCREEN, STRETCH = 900, 4000  # heights in CSS pixels: of a window, and of a part of a long page
HOW_TO_GET_ONE = (
    "no browser to test with: on Debian and Ubuntu, apt install chromium chromium-driver; "
    "elsewhere, Chrome and the chromedriver of the same version"
)
# Nothing but the page under test may use the network.
QUIET = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
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


def _first_found(names):
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def start_browser(tmp_path_factory):
    """A function that starts one more browser; all are closed at the end."""
    binary, driver = _first_found(BROWSERS), _first_found(["chromedriver"])
    if not (binary and driver):
        give_up(HOW_TO_GET_ONE)
    started = []

    def start(*arguments):
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for argument in (
            *QUIET,
            f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
            *arguments,
        ):
            options.add_argument(argument)
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options.add_argument("--no-sandbox")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        try:
            started.append(webdriver.Chrome(options, Service(driver)))
        except WebDriverException as error:
            give_up(f"{binary} does not start: {error.msg}")
        # Not every version gives a window without a screen the focus, which JupyterLab goes by.
        started[-1].execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
        started[-1].set_script_timeout(300)  # axe-core takes long on a slow machine
        return started[-1]

    yield start
    for driver_of_one in started:
        driver_of_one.quit()


@pytest.fixture(scope="session")
def _shared_browser(start_browser):
    return start_browser()


@pytest.fixture
def browser(_shared_browser):
    """The browser, wide, light, on an empty page, with empty logs."""
    _shared_browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    _shared_browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    _shared_browser.get("about:blank")
    for log in ("browser", "performance"):
        _shared_browser.get_log(log)
    return _shared_browser


@pytest.fixture(scope="session")
def resize():
    """Give the page a width and a height in CSS pixels; 360 is a telephone's width."""

    def change(browser, width, height=SCREEN):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    return change


@pytest.fixture(scope="session")
def screenshot():
    """Leave what the browser shows in build/screenshots, under this name."""

    def take(browser, name):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        image = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
        path = SCREENSHOTS / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}.png"
        path.write_bytes(base64.b64decode(image))

    return take


@pytest.fixture(scope="session")
def screenshots(screenshot, resize):
    """Leave all of a page in build/screenshots, as numbered stretches from top to end."""

    def take(browser, name, width):
        resize(browser, width, STRETCH)
        height = browser.execute_script("return document.documentElement.scrollHeight")
        for number, top in enumerate(range(0, height, STRETCH), 1):
            browser.execute_script("scrollTo(0, arguments[0])", top)
            screenshot(browser, f"{name}-{number}")
        browser.execute_script("scrollTo(0, 0)")
        resize(browser, width)

    return take


@pytest.fixture(scope="session")
def jupyter_lab(start_browser, tmp_path_factory):
    """JupyterLab, which shows a folder of its own; without a browser it isn't started."""
    with lab.serve(tmp_path_factory.mktemp("shown"), tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture
def open_notebook(jupyter_lab, browser, resize):
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
