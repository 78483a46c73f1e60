"""Drive a real JupyterLab, Notebook 7 or Voila in the system's Chromium.

    with lab_server(folder) as url, lab_page(url, "01_double_well.ipynb") as lab:
        lab.run_all()
        lab.output(lab.cell(tag="panel")).get_by_role("button", name="Stop").click()
        lab.wait_text("stopped")

The state of cells is read from the front-end's own model, which ``--LabApp.expose_app_in_browser``
puts on the page; what a person would see or press is reached through Playwright's locators. Waiting
is for execution counts and texts, never for a kernel that calls itself idle: it says so between two
cells, too. Everything the page writes to its
console and every request that leaves this machine is kept, for the test to judge.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbformat.sign import NotebookNotary

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

CHROMIUM_FLAGS = (
    "--no-sandbox",  # Chromium refuses its sandbox when run as root
    # software WebGL 2
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-dev-shm-usage",  # containers give /dev/shm a few megabytes
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-quic", "--no-first-run",
    "--hide-scrollbars",
    # a page that _expose has changed comes from no network, and may not speak to a local one
    "--disable-features=LocalNetworkAccessChecks",
)  # fmt: skip

_LOCAL = re.compile(r"(https?|wss?)://(127\.0\.0\.1|localhost)[:/]|data:|blob:|about:")

_SETTINGS = {
    # A windowed notebook takes cells that are out of sight off the page, and a locator would wait
    # for them in vain.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}

_PANEL = (
    "[...window.jupyterapp.shell.widgets('main')].find(w => w.content?.widgets &&"
    " w.context?.sessionContext)"
)

_CONNECTED = (
    f"() => window.jupyterapp?.shell && {_PANEL}?.sessionContext.session?.kernel?.connectionStatus"
    " === 'connected'"
)

_CELLS = f"""() => {_PANEL}.content.widgets.map(cell => {{
    const outputs = cell.outputArea?.model;
    let error = null;
    for (let i = 0; i < (outputs?.length ?? 0); i++)
        if (outputs.get(i).type === 'error') error = outputs.get(i).toJSON();
    return {{
        kind: cell.model.type,
        source: cell.model.sharedModel.getSource(),
        tags: cell.model.getMetadata('tags') ?? [],
        count: cell.model.executionCount ?? null,
        error: error && (error.traceback.join('\\n') || error.ename + ': ' + error.evalue),
    }};
}})"""

_TEXT = f"""index => {{
    const outputs = {_PANEL}.content.widgets[index].outputArea?.model?.toJSON() ?? [];
    return outputs.map(o => [].concat(o.text ?? o.data?.['text/plain'] ?? []).join('')).join('');
}}"""


class CellError(RuntimeError):
    """A cell raised; the message is the kernel's traceback."""


def find_chromium() -> str | None:
    """The path of the system's Chromium (``AGAL_CHROMIUM``, or the first of the usual names), or
    None.
    """
    asked = os.environ.get("AGAL_CHROMIUM")
    return asked or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )


def require_browser() -> str:
    """The path of Chromium. Without one the test is skipped, or fails where
    ``AGAL_REQUIRE_BROWSER`` is set.
    """
    chromium, reason = find_chromium(), None
    if importlib.util.find_spec("playwright") is None:
        reason = "no playwright: pip install playwright (the extra `test` has it)"
    elif chromium is None:
        reason = (
            "no Chromium: install the system's (Debian: apt-get install chromium) or set"
            " AGAL_CHROMIUM to its path"
        )
    elif not os.access(chromium, os.X_OK):
        reason = f"AGAL_CHROMIUM is {chromium}, which cannot be run: give the path of a Chromium"
    if reason is None:
        return chromium
    if os.environ.get("AGAL_REQUIRE_BROWSER"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _until(
    true: Callable[[], bool],
    timeout: float,
    what: Callable[[], str],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Ask `true` every 50 ms for at most `timeout` seconds; `what` says what was waited for."""
    end = time.monotonic() + timeout
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout:g} s for {what()}")
        pause(0.05)


@contextmanager
def lab_server(
    root: str | Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
    app: str = "lab",
    trusted: Iterable[Path] = (),
) -> Iterator[str]:
    """A JupyterLab of this interpreter on a free port of localhost, serving the folder `root`;
    gives its address.

    Args:
        root: the folder that holds the notebooks; kernels start there.
        env: variables for the server and its kernels, beside this process's own, e.g.
            ``{"AGAL_PRESET": "smoke"}``.
        timeout: seconds to start in.
        app: "lab", or "notebook" for Notebook 7.
        trusted: notebooks whose stored outputs are trusted, as after ``jupyter trust``.

    Raises:
        RuntimeError: the server ended before it answered; the message ends with its log.
        TimeoutError: it did not answer in time.
    """
    module, options = {
        "lab": ("jupyterlab", "LabApp"),
        "notebook": ("notebook", "JupyterNotebookApp"),
    }[app]
    port = _free_port()
    arguments = [
        "--allow-root",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        "--IdentityProvider.token=", f"--ServerApp.root_dir={Path(root).resolve()}",
        f"--{options}.expose_app_in_browser=True", f"--{options}.extension_manager=readonly",
        f"--{options}.news_url=",
        f"--{options}.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    with _serving(module, arguments, port, "api", env or {}, timeout, trusted) as url:
        yield url


@contextmanager
def voila_server(
    notebook: Path, arguments: Iterable[str], env: Mapping[str, str], timeout: float = 60
) -> Iterator[str]:
    """A Voila of this interpreter on a free port of localhost; gives the address of the notebook as
    an app. `arguments` are Voila's; the others and what is raised are as for `lab_server`.
    """
    port = _free_port()
    options = ["--Voila.ip=127.0.0.1", f"--port={port}", *arguments, str(notebook)]
    with _serving("voila", options, port, "voila/static/voila.js", env, timeout) as url:
        yield url


@contextmanager
def _serving(
    module: str,
    arguments: Iterable[str],
    port: int,
    asked: str,
    env: Mapping[str, str],
    timeout: float,
    trusted: Iterable[Path] = (),
) -> Iterator[str]:
    """Run ``python -m module`` with nobody's own settings until the page `asked` answers."""
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="agal-lab-") as private:
        for name, content in _SETTINGS.items():
            file = Path(private, "config", "lab", "user-settings", f"{name}.jupyterlab-settings")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(content))
        Path(private, "data").mkdir()
        notary = NotebookNotary(data_dir=f"{private}/data")
        for path in trusted:
            notary.sign(nbformat.read(path, 4))
        # MPLBACKEND would keep figures out of the notebook
        inherited = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
        variables = inherited | {
            # nobody's own settings, extensions or profiles
            "JUPYTER_CONFIG_DIR": f"{private}/config",
            "JUPYTER_DATA_DIR": f"{private}/data",
            "JUPYTER_RUNTIME_DIR": f"{private}/runtime",
            "IPYTHONDIR": f"{private}/ipython",
            "JUPYTER_PREFER_ENV_PATH": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        } | dict(env)  # fmt: skip
        log = Path(private, "log")
        with log.open("w") as stream:
            server = subprocess.Popen(
                [sys.executable, "-m", module, "--no-browser", *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=variables,
            )

        def answers() -> bool:
            if server.poll() is not None:
                raise RuntimeError(
                    f"{module} ended with status {server.returncode}:\n{log.read_text()[-4000:]}"
                )
            try:
                with urllib.request.urlopen(f"{url}/{asked}", timeout=2):
                    return True
            except OSError:
                return False

        try:
            _until(
                answers,
                timeout,
                lambda: f"{module} to answer at {url}:\n{log.read_text()[-4000:]}",
            )
            yield url
        finally:
            server.terminate()  # it ends its kernels, too
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@dataclass(frozen=True)
class Cell:
    """A cell as the front-end knows it: `count` is None while it runs or before it ever ran,
    `error` its traceback or None.
    """

    kind: str
    source: str
    tags: list[str]
    count: int | None
    error: str | None

    @property
    def runs(self) -> bool:
        """Whether running the notebook executes it: front-ends pass over text and empty cells."""
        return self.kind == "code" and bool(self.source.strip())


@dataclass(frozen=True)
class Lab:
    """A notebook open in a browser.

    Attributes:
        page: Playwright's page, for whatever is not below.
        notebook: the notebook's path under the server's folder.
        console: every line of the browser's console so far, as "level: text"; exceptions of the
            page are "pageerror".
        outside: the address of every request that was not to localhost.
    """

    page: Page
    notebook: str
    console: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[str]:
        """What the console got as errors, and exceptions of the page."""
        return [line for line in self.console if line.startswith(("error:", "pageerror:"))]

    # -- cells

    def cells(self) -> list[Cell]:
        """All cells, in order."""
        return [Cell(**cell) for cell in self.page.evaluate(_CELLS)]

    def cell(self, *, tag: str | None = None, text: str | None = None) -> int:
        """The index of the one cell that has this tag, or of the first whose source contains
        `text`.
        """
        found = [
            i
            for i, c in enumerate(self.cells())
            if (tag is None or tag in c.tags) and (text is None or text in c.source)
        ]
        if not found or (tag is not None and len(found) > 1):
            raise LookupError(
                f"{len(found)} cells of {self.notebook} with tag={tag!r}, text={text!r}: {found}"
            )
        return found[0]

    def run_cell(self, index: int, timeout: float | None = 60) -> None:
        """Execute one cell and wait for its end; `timeout` None returns at once.

        Raises:
            CellError: the cell raised.
            TimeoutError: it did not end in time.
        """
        self._forget([index])
        self.page.evaluate(f"index => {{ {_PANEL}.content.activeCellIndex = index; }}", index)
        self._command("notebook:run-cell")
        if timeout is not None:
            self.wait_executed([index], timeout)

    def run_all(self, timeout: float | None = 300) -> None:
        """Execute every cell and wait for the last; `timeout` None returns at once. Raises as
        `run_cell` does.
        """
        indices = [index for index, cell in enumerate(self.cells()) if cell.runs]
        self._forget(indices)
        self._command("notebook:run-all-cells")
        if timeout is not None:
            self.wait_executed(indices, timeout)

    def wait_executed(self, indices: Iterable[int], timeout: float = 60) -> None:
        """Wait until each of these cells, started before, has an execution count. Raises as
        `run_cell` does.
        """
        waiting = set(indices)

        def done() -> bool:
            cells = self.cells()
            for index in sorted(i for i in waiting if cells[i].count is not None):
                if cells[index].error:
                    raise CellError(f"cell {index} of {self.notebook}:\n{cells[index].error}")
                waiting.remove(index)
            return not waiting

        self._until(
            done,
            timeout,
            lambda: f"the cells {sorted(waiting)} of {self.notebook}; console: {self.console[-5:]}",
        )

    def text(self, index: int) -> str:
        """What a cell printed or returned, as plain text."""
        return self.page.evaluate(_TEXT, index)

    # -- what a person sees

    def output(self, index: int) -> Locator:
        """The output area of a cell; widgets are found in it by role, text or class."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-Cell-outputArea")

    def wait_text(
        self, text: str | re.Pattern[str], index: int | None = None, timeout: float = 30
    ) -> None:
        """Wait until `text` is to be seen, in the output of one cell or anywhere on the page.

        Playwright looks twice a second: for a number that runs, give a pattern of all that may
        follow.
        """
        where = self.page if index is None else self.output(index)
        where.get_by_text(text).first.wait_for(state="visible", timeout=1000 * timeout)

    def wait_changed(self, picture: Locator, before: str | None, timeout: float = 30) -> str:
        """Wait until an image's source differs from `before`; gives the new one."""
        self._until(
            lambda: picture.get_attribute("src") not in (None, before),
            timeout,
            lambda: f"{picture} to change",
        )
        return picture.get_attribute("src")

    def screenshot(self, path: str | Path, index: int | None = None) -> Path:
        """Save the page as a PNG, with the cell `index` scrolled to where it can be seen."""
        if index is not None:
            self.page.locator(".jp-Notebook .jp-Cell").nth(index).evaluate(
                "cell => cell.scrollIntoView({block: 'start'})"
            )
            self.page.wait_for_timeout(300)  # images and canvases follow a scroll a few frames late
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)
        return Path(path)

    # -- the session

    def reload(self, timeout: float = 60) -> None:
        """Load the page anew, as a person would; the kernel goes on."""
        self._command("docmanager:save")  # an unsaved notebook would ask before it goes
        saved = f"() => !{_PANEL}.context.model.dirty"
        self._until(lambda: self.page.evaluate(saved), timeout, lambda: self._waited("be saved"))
        self.page.reload()
        self._wait_ready(timeout)

    def restart(self) -> None:
        """Restart the kernel, as a person would; nothing is run again."""
        self._command("notebook:restart-kernel")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self.page.wait_for_timeout(500)  # the old connection still stands for a moment
        self._wait_ready(60)

    def darken(self) -> None:
        """Choose the dark theme."""
        self._command("apputils:change-theme", {"theme": "JupyterLab Dark"})
        self.page.locator("body[data-jp-theme-light=false]").wait_for(state="attached")
        self.page.wait_for_timeout(500)  # colours fade to their new values

    def interrupt(self) -> None:
        """Press the interrupt button."""
        self._command("notebook:interrupt-kernel")

    def _forget(self, indices: list[int]) -> None:
        # A notebook rendered before has the very counts that a fresh kernel gives again
        self.page.evaluate(
            f"is => is.forEach(i => {{ {_PANEL}.content.widgets[i].model.executionCount ="
            " null; })",
            indices,
        )

    def _command(self, name: str, arguments: Mapping[str, str] | None = None) -> None:
        # its promise is not awaited: for a run it ends with the cells, and the page would be deaf
        # until then
        self.page.evaluate(
            "([name, given]) => { window.jupyterapp.commands.execute(name, given); }",
            [name, dict(arguments or {})],
        )

    def _until(self, true: Callable[[], bool], timeout: float, what: Callable[[], str]) -> None:
        # Playwright hands over console lines and requests only while it waits itself
        _until(
            true, timeout, what, pause=lambda seconds: self.page.wait_for_timeout(1000 * seconds)
        )

    def _wait_ready(self, timeout: float) -> None:
        self._until(
            lambda: self.page.evaluate(_CONNECTED),
            timeout,
            lambda: self._waited("open with a kernel"),
        )

    def _waited(self, what: str) -> str:
        # dialogs are the page's last text
        return (
            f"{self.notebook} to {what}; the page ends with: {self.page.inner_text('body')[-300:]}"
        )


@contextmanager
def lab_page(
    url: str,
    notebook: str,
    size: tuple[int, int] = (1280, 1000),
    timeout: float = 60,
    app: str = "lab",
) -> Iterator[Lab]:
    """A notebook of a running JupyterLab, opened in a fresh headless Chromium, its kernel
    connected.

    Args:
        url: what `lab_server` gave.
        notebook: its path under the server's folder.
        size: width and height of the window in pixels.
        timeout: seconds to load in.
        app: that of the server.
    """
    path = {"lab": f"lab/tree/{notebook}?reset", "notebook": f"notebooks/{notebook}"}[app]
    with web_page(f"{url}/{path}", notebook, size) as lab:
        lab._wait_ready(timeout)
        yield lab


@contextmanager
def lab_cells(
    folder: Path, cells: Iterable[str], size: tuple[int, int] = (1280, 1000)
) -> Iterator[Lab]:
    """A new notebook with these cells, in a JupyterLab of its own that serves `folder`."""
    require_browser()
    spec = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    made = [nbformat.v4.new_code_cell(source.strip()) for source in cells]
    notebook = nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": spec})
    nbformat.write(notebook, folder / "cells.ipynb")
    with lab_server(folder) as url, lab_page(url, "cells.ipynb", size) as lab:
        yield lab


def _expose(route: Route) -> None:
    # Notebook 7.6 passes over its own option of this name
    answer = route.fetch()
    hidden, shown = ('"exposeAppInBrowser": ' + value for value in ("false", "true"))
    route.fulfill(response=answer, body=answer.text().replace(hidden, shown))


@contextmanager
def web_page(url: str, notebook: str, size: tuple[int, int] = (1280, 1000)) -> Iterator[Lab]:
    """A page opened in a fresh headless Chromium, whatever serves the notebook."""
    chromium = require_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        context = browser.new_context(viewport={"width": size[0], "height": size[1]})
        try:
            lab = Lab(context.new_page(), notebook)
            lab.page.on(
                "console", lambda message: lab.console.append(f"{message.type}: {message.text}")
            )
            lab.page.on("pageerror", lambda error: lab.console.append(f"pageerror: {error}"))
            for kind in ("request", "websocket"):
                lab.page.on(
                    kind,
                    lambda request: _LOCAL.match(request.url) or lab.outside.append(request.url),
                )
            lab.page.route("**/notebooks/*", _expose)
            lab.page.goto(url, timeout=180_000)
            yield lab
        finally:
            context.close()
            browser.close()
