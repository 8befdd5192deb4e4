"""JupyterLab with settings of its own, and notebooks that are opened and run in it.

What a notebook shows is read from the page, not asked of the kernel.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import nbformat
from jupyter_server.serverapp import list_running_servers
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser import logs

PATIENCE = 300  # seconds; a slow machine may take long, a good one does not wait

# JupyterLab asks elsewhere for its news and its versions; the extension manager is read-only below.
LAB_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    }
}
# What the scripts below start with.
CELLS = """
    const lab = window.jupyterapp, panel = lab?.shell.currentWidget;
    const cells = panel?.content?.widgets ?? [];
"""
# The kernel is idle before the last cells are in the page: JupyterLab adds these one by one.
READY = """
    return panel?.context?.path === arguments[0] && panel.context.isReady
        && panel.sessionContext.session?.kernel?.status === "idle"
        && cells.every((cell) => !cell.isPlaceholder() && cell.node.isConnected);
"""
# A command has ended when what came of it has been drawn, too.
COMMAND = """
    const [command, done] = arguments;
    lab.commands.execute(command).then(
        () => requestAnimationFrame(() => requestIdleCallback(() => done(null))),
        (error) => done(String(error)),
    );
"""
CODE_CELLS = """
    return [...cells.keys()].filter((number) => cells[number].model.type === "code"
        && cells[number].model.sharedModel.getSource().includes(arguments[0]));
"""
FIGURES = """
    const figures = [...document.querySelectorAll(".jp-RenderedImage.jp-OutputArea-output img")];
    return figures.length === arguments[0] && figures.every((figure) => figure.complete)
        ? figures : null;
"""
FRAGMENT = """
    const [root, ...others] = document.querySelectorAll(`[data-bn-tutorial="${arguments[0]}"]`);
    return others.length === 0 && root?.shadowRoot ? root : null;
"""
OUTPUT = """
    const outputs = cells[arguments[0]].node.querySelectorAll(".jp-OutputArea-output");
    return [...outputs].map((output) => output.textContent).join(" ");
"""
COMPLAINTS = """
    const ofErrors = ["error", "stderr"].map(
        (name) => `[data-mime-type="application/vnd.jupyter.${name}"]`);
    return [...document.querySelectorAll(ofErrors.join())].map((output) => output.textContent);
"""


class Server(NamedTuple):
    """A JupyterLab that runs: its address, and the folder that it shows."""

    url: str
    folder: Path


@contextlib.contextmanager
def serve(folder, home):
    """JupyterLab on a free port, which shows `folder`; at the end it and its kernels are stopped.

    Its settings and its log are in the folder `home`; nothing of the user's is read.
    """
    config = home / "config/labconfig"
    config.mkdir(parents=True)
    overrides = config / "default_setting_overrides.json"
    overrides.write_text(json.dumps(LAB_SETTINGS), encoding="utf-8")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON"))}
    own = {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    log = home / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0",
                "--ip=127.0.0.1", "--IdentityProvider.token=", "--expose-app-in-browser",
                "--LabApp.extension_manager=readonly", f"--ServerApp.root_dir={folder}",
            ],
            stdout=output, stderr=subprocess.STDOUT, env=kept | own,
        )  # fmt: skip

    def address(_):
        if server.poll() is not None:
            raise RuntimeError(f"JupyterLab ended at once:\n{log.read_text(errors='replace')}")
        return next(list_running_servers(home / "data/runtime"), {}).get("url")

    try:
        yield Server(WebDriverWait(None, PATIENCE, 0.1).until(address), folder)
    finally:
        server.terminate()  # it ends its kernels, and they end by themselves without it
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def prepare(source, target, **parameters):
    """A copy with other parameters, and without outputs: those seen later are made here."""
    notebook = load_notebook_node(str(source))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if parameters:
        notebook = parameterize_notebook(notebook, parameters)
    nbformat.write(notebook, target)


class Notebook:
    """A notebook of the server's folder, opened in JupyterLab; its cells go by their numbers."""

    def __init__(self, browser, server, path):
        self.browser = browser
        name = path.relative_to(server.folder).as_posix()
        browser.get(f"{server.url}lab/tree/{quote(name)}?reset")
        self.wait_until(lambda: self.script(READY, name), f"{name} is ready")

    def script(self, code, *arguments):
        """What a script returns that knows the notebook's `cells`."""
        return self.browser.execute_script(CELLS + code, *arguments)

    def wait_until(self, condition, what):
        """Wait until the condition holds, and return what it returns; say what didn't happen."""
        return WebDriverWait(self.browser, PATIENCE, 0.1).until(lambda _: condition(), what)

    def do(self, command):
        """One of JupyterLab's own commands; those that run cells end when these have run."""
        error = self.browser.execute_async_script(CELLS + COMMAND, command)
        assert error is None, f"{command}: {error}"

    def cell(self, text):
        """The number of the one code cell with this text in its source."""
        (number,) = self.script(CODE_CELLS, text)
        return number

    def select(self, cell):
        code = "panel.content.activeCellIndex = arguments[0]; panel.content.deselectAll()"
        self.script(code, cell)

    def run(self, cell, what="run-cell"):
        """Run this cell alone, or with `run-all-above` or `run-all-below` others with it."""
        self.select(cell)
        self.do(f"notebook:{what}")

    def write(self, cell, source):
        self.script("cells[arguments[0]].model.sharedModel.setSource(arguments[1])", cell, source)

    def wait_for_output(self, cell, pattern):
        """Wait until what stands below a cell has this pattern in it; returns the match."""

        def output():
            return " ".join(self.script(OUTPUT, cell).split())

        try:
            return self.wait_until(lambda: re.search(pattern, output()), pattern)
        except TimeoutException:
            raise AssertionError(f"no {pattern!r} in {output()!r}") from None

    def wait_for_figures(self, count):
        """Wait until there are so many figures in the page, all loaded; returns them."""
        return self.wait_until(lambda: self.script(FIGURES, count), f"there are {count} figures")

    def wait_for_fragment(self, kind):
        """Wait until the page's one fragment of this kind is alive; returns its root."""
        return self.wait_until(lambda: self.script(FRAGMENT, kind), f"{kind} is there and alive")

    def assert_nothing_went_wrong(self):
        """No cell and no console has complained, and no other host was asked for anything."""
        assert self.script(COMPLAINTS) == []
        assert logs.console_errors(self.browser) == []
        asked = map(urlsplit, logs.network(self.browser)[0])
        hosts = {part.hostname for part in asked if part.scheme in ("http", "https", "ws", "wss")}
        assert hosts == {"127.0.0.1"}

    def close(self):
        """Save it, so that the page can be left, and end its kernel."""
        self.do("docmanager:save")
        self.script("return panel.sessionContext.shutdown()")
        self.browser.get("about:blank")
