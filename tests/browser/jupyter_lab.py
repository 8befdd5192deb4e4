"""JupyterLab with settings of its own, and notebooks that are opened and run in it.

Any notebook will do: `prepare` makes a copy with other parameters and without outputs, `serve`
shows the folder, `Notebook` opens one and does what a reader does. What it tells is read from the
page, not asked of the kernel.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import nbformat
import psutil
from jupyter_server.serverapp import list_running_servers
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
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
# The kernel is idle before the last cells are in the page: JupyterLab adds these one by one.
READY = """
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.context?.path === arguments[0] && panel.context.isReady
        && panel.sessionContext.session?.kernel?.status === "idle"
        && panel.content.widgets.every((cell) => !cell.isPlaceholder() && cell.node.isConnected);
"""
# A command has ended well when what came of it has been drawn, too.
START_COMMAND = """
    const ended = (window.endedCommands ??= []);
    const number = ended.push(null) - 1;
    window.jupyterapp.commands.execute(arguments[0]).then(
        () => requestAnimationFrame(() => requestIdleCallback(() => { ended[number] = "well"; })),
        (error) => { ended[number] = String(error); },
    );
    return number;
"""
CODE_CELLS = """
    const cells = window.jupyterapp.shell.currentWidget.content.widgets;
    return cells.filter((cell) => cell.model.type === "code"
        && cell.model.sharedModel.getSource().includes(arguments[0])).map((cell) => cell.node);
"""
SELECT = """
    const notebook = window.jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = notebook.widgets.findIndex((cell) => cell.node === arguments[0]);
    notebook.deselectAll();
"""
ACTIVE_CELL = """
    const {node} = window.jupyterapp.shell.currentWidget.content.activeCell;
    return node.isConnected ? node : null;
"""
OUTPUT = ".jp-OutputArea-output"
COMPLAINTS = (
    '[data-mime-type="application/vnd.jupyter.error"], '
    '[data-mime-type="application/vnd.jupyter.stderr"]'
)
TEXTS = """
    const [root, selector] = arguments;
    return [...(root ?? document).querySelectorAll(selector)].map((node) => node.textContent);
"""
FIGURES = """
    const figures = [...document.querySelectorAll(".jp-RenderedImage.jp-OutputArea-output img")];
    return figures.length === arguments[0] && figures.every((figure) => figure.complete)
        ? figures : null;
"""
FRAGMENT = """
    const [root, ...others] = document.querySelectorAll("[data-bn-tutorial]");
    return others.length === 0 && root?.dataset.bnTutorial === arguments[0] && root.shadowRoot
        ? root : null;
"""
SOURCE_IS = """
    const cells = window.jupyterapp.shell.currentWidget.content.widgets;
    const {model} = cells.find((cell) => cell.node === arguments[0]);
    return model.sharedModel.getSource() === arguments[1];
"""


@dataclass(frozen=True)
class Server:
    """A JupyterLab that runs: its address, the folder that it shows, and its process."""

    url: str
    folder: Path
    process: psutil.Process


@contextlib.contextmanager
def serve(folder, home):
    """Start JupyterLab on a free port; at the end it is stopped, and its kernels with it.

    Args:
        folder: what it shows.
        home: a folder for its settings and its log; nothing of the user's is read.
    """
    config = home / "config/labconfig"
    config.mkdir(parents=True)
    overrides = config / "default_setting_overrides.json"
    overrides.write_text(json.dumps(LAB_SETTINGS), encoding="utf-8")
    log = home / "log"
    with log.open("wb") as output:
        started = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0",
                "--ip=127.0.0.1", "--IdentityProvider.token=", "--expose-app-in-browser",
                "--LabApp.extension_manager=readonly", f"--ServerApp.root_dir={folder}",
            ],
            stdout=output, stderr=subprocess.STDOUT, env=_own_settings(home),
        )  # fmt: skip
    process = psutil.Process(started.pid)
    try:
        yield Server(_address(started, home, log), folder, process)
    finally:
        _stop(process)
        started.wait()


def _own_settings(home):
    """The environment without the user's Jupyter: the kernel `python3` is that of this Python."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON"))}
    folders = {
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "IPYTHONDIR": home / "ipython",
    }
    return kept | {name: str(path) for name, path in folders.items()}


def _address(started, home, log):
    def running(process):
        if process.poll() is not None:
            raise RuntimeError(f"JupyterLab ended at once:\n{log.read_text(errors='replace')}")
        return next(list_running_servers(home / "runtime"), None)

    return WebDriverWait(started, PATIENCE, 0.1).until(running)["url"]


def _stop(process):
    """Ask it to stop, which ends its kernels; kill what is left of them all."""
    everyone = [process, *process.children(recursive=True)] if process.is_running() else []
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
    for one in psutil.wait_procs(everyone, timeout=20)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(everyone, timeout=20)


def prepare(source, target, **parameters):
    """A copy without outputs, so that what is seen later was made here.

    Args:
        source: the notebook.
        target: the copy; its folder is made.
        parameters: what its parameters become.
    """
    notebook = load_notebook_node(str(source))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if parameters:
        notebook = parameterize_notebook(notebook, parameters)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


class Notebook:
    """A notebook that is open in JupyterLab, in a browser."""

    def __init__(self, browser, server, path):
        """Open it, and wait for its kernel.

        Args:
            browser: the driver.
            server: where JupyterLab runs.
            path: of the notebook, in the server's folder.
        """
        self.browser = browser
        name = path.relative_to(server.folder).as_posix()
        browser.get(f"{server.url}lab/tree/{quote(name)}?reset")
        self.wait_until(lambda: browser.execute_script(READY, name), f"{name} is ready")

    def wait_until(self, condition, what):
        """Wait until the condition holds, and return what it returns; say what didn't happen."""
        return WebDriverWait(self.browser, PATIENCE, 0.1).until(lambda _: condition(), what)

    def start(self, command):
        """Start one of JupyterLab's own commands; returns a number, for `finish`."""
        return self.browser.execute_script(START_COMMAND, command)

    def finish(self, number):
        """Wait until this command has ended; for commands that run cells, until these have run."""
        get = "return window.endedCommands[arguments[0]]"
        ended = self.wait_until(lambda: self.browser.execute_script(get, number), "a command ends")
        assert ended == "well"

    def do(self, command):
        """One of JupyterLab's own commands, from start to end."""
        self.finish(self.start(command))

    def run_all(self):
        """Run all cells."""
        self.do("notebook:run-all-cells")

    def cell(self, text):
        """The one code cell with this text in its source, as the page's element."""
        (found,) = self.browser.execute_script(CODE_CELLS, text)
        return found

    def select(self, cell):
        """Make this cell the active one, in view."""
        self.browser.execute_script(SELECT, cell)
        self.bring_into_view(cell)

    def bring_into_view(self, element):
        """Scroll the notebook until this stands in the middle of the window."""
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)

    def run(self, cell):
        """Run this cell alone."""
        self.select(cell)
        self.do("notebook:run-cell")

    def run_above(self, cell):
        """Run all cells above this one."""
        self.select(cell)
        self.do("notebook:run-all-above")

    def run_from(self, cell):
        """Run this cell and all below it."""
        self.select(cell)
        self.do("notebook:run-all-below")

    def add_below(self, cell, source):
        """A new cell below this one; returns its element."""
        self.select(cell)
        self.do("notebook:insert-cell-below")
        added = self.wait_until(
            lambda: self.browser.execute_script(ACTIVE_CELL), "the new cell is in the page"
        )
        self.type_over(added, source)
        return added

    def type_over(self, cell, source):
        """Replace what stands in a cell, in its editor."""
        self.select(cell)
        editor = cell.find_element(By.CSS_SELECTOR, ".cm-content")
        control = Keys.COMMAND if sys.platform == "darwin" else Keys.CONTROL
        actions = ActionChains(self.browser).click(editor)
        actions.key_down(control).send_keys("a").key_up(control).perform()
        # In one piece, as from the clipboard: of single keys the editor would indent the lines.
        self.browser.execute_cdp_cmd("Input.insertText", {"text": source})
        self.wait_until(
            lambda: self.browser.execute_script(SOURCE_IS, cell, source), "the cell has the text"
        )

    def output(self, cell):
        """What stands below a cell, its lines and spaces made single spaces."""
        texts = self.browser.execute_script(TEXTS, cell, OUTPUT)
        return " ".join(" ".join(texts).split())

    def wait_for_output(self, cell, pattern):
        """Wait until what stands below a cell has this pattern in it; returns the match."""
        try:
            return self.wait_until(lambda: re.search(pattern, self.output(cell)), pattern)
        except TimeoutException:
            raise AssertionError(f"no {pattern!r} in {self.output(cell)!r}") from None

    def wait_for_figures(self, count):
        """Wait until there are so many figures in the page, all loaded; returns them."""
        return self.wait_until(
            lambda: self.browser.execute_script(FIGURES, count), f"there are {count} figures"
        )

    def wait_for_fragment(self, kind):
        """Wait until the page's one fragment of HTML is of this kind, and its script has run.

        Returns:
            the fragment's root.
        """
        return self.wait_until(
            lambda: self.browser.execute_script(FRAGMENT, kind), f"{kind} is there and alive"
        )

    def complaints(self):
        """What cells wrote to standard error, and their errors."""
        return self.browser.execute_script(TEXTS, None, COMPLAINTS)

    def console_errors(self):
        """What the browser's console has had of errors since it was asked last."""
        return logs.console_errors(self.browser)

    def hosts(self):
        """The hosts that were asked for something since this was asked last."""
        asked, _ = logs.network(self.browser)
        parts = map(urlsplit, asked)
        return {part.hostname for part in parts if part.scheme in ("http", "https", "ws", "wss")}

    def close(self):
        """Save it, so that the page can be left, and end its kernel."""
        self.do("docmanager:save")
        self.browser.execute_script(
            "return window.jupyterapp.shell.currentWidget.sessionContext.shutdown()"
        )
        self.browser.get("about:blank")
