"""A person opens a notebook as it is committed, trusted as the README's first command trusts it:
Run All, the panel's buttons meanwhile, save and reload in mid-run, a narrow window, the dark theme,
a restart of the kernel.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import render
from browser import looks
from browser.labdriver import Lab, lab_page, lab_server, require_browser

WELL, AMMONIA, ATTACKS = "01_double_well", "02_ammonia", "03_calibrated_attacks"
WATER = "04_water"
# Notebook 7.6 says this of any notebook when it opens
NOTEBOOK_7 = "pageerror: Cannot read properties of undefined (reading 'schema')"


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A copy of a notebook with its committed outputs, beside what it reads; preset smoke."""
    require_browser()
    name, app = request.param
    for folder in ("results", "studies"):
        shutil.copytree(render.FOLDER / folder, tmp_path / folder)
    notebook = Path(shutil.copy(render.FOLDER / f"{name}.ipynb", tmp_path))
    server = lab_server(tmp_path, {"AGAL_PRESET": "smoke"}, app=app, trusted=[notebook])
    with server as url, lab_page(url, notebook.name, app=app) as lab:
        yield lab


def shoot(lab: Lab, tmp_path: Path, name: str, index: int | None = None) -> None:
    """A screenshot, kept where AGAL_SCREENSHOTS says."""
    file = f"{Path(lab.notebook).stem}-{name}.png"
    path = lab.screenshot(Path(os.environ.get("AGAL_SCREENSHOTS", tmp_path)) / file, index)
    assert path.stat().st_size > 20_000


def panels(lab: Lab) -> dict[int, str]:
    """The cells that show widgets: index -> first line."""
    return {
        index: cell.source.splitlines()[0]
        for index, cell in enumerate(lab.cells())
        if lab.output(index).locator(".jupyter-widgets").count()
    }


def run_all(lab: Lab, panel: int) -> list[int]:
    """Press Run All and wait for the panel, whose stored picture was there before; the cells that
    are on their way.
    """
    runs = [index for index, cell in enumerate(lab.cells()) if cell.runs]
    lab.run_all(timeout=None)
    lab.wait_executed([index for index in runs if index <= panel], timeout=200)
    lab.output(panel).get_by_role("button").first.wait_for(timeout=20_000)
    return runs


class Steering:
    """The buttons and the badge of a Monitor."""

    def __init__(self, lab: Lab, index: int) -> None:
        self._lab, self._index = lab, index

    def press(self, name: str) -> None:
        self._lab.output(self._index).locator("button", has_text=name).click()

    def says(self, words: str, timeout: float) -> None:
        """Wait until the badge has one of these words, given as ``one|two``."""
        self._lab.wait_text(re.compile(rf"^({words})$"), self._index, timeout=timeout)


@pytest.mark.timeout(420)
@pytest.mark.parametrize(
    "lab",
    [
        pytest.param((WELL, "lab"), id="double-well-lab"),
        pytest.param((WELL, "notebook"), id="double-well-notebook-7"),
        pytest.param((AMMONIA, "lab"), id="ammonia-lab", marks=pytest.mark.slow),
    ],
    indirect=True,
)
def test_the_loops_of_a_notebook_are_steered(lab: Lab, tmp_path: Path):
    panel = lab.cell(text="panel = Monitor(")
    steering = Steering(lab, panel)
    runs = run_all(lab, panel)

    # during Run All: the run starts as soon as the kernel hears, and obeys from then on
    steering.press("Start")
    steering.says("running|done", timeout=120)
    steering.press("Pause")
    steering.says("pausing|paused", timeout=8)
    steering.says("paused", timeout=20)
    lab.wait_executed(runs, timeout=200)
    steering.press("Resume")
    steering.says("running|done", timeout=20)
    shoot(lab, tmp_path, "running", panel)

    # save and reload in mid-run: the panel is alive
    lab.reload()
    steering.says("running|done", timeout=30)
    steering.press("Stop")
    steering.says("stopping|stopped", timeout=8)
    steering.says("stopped", timeout=20)

    # cells that ran before know what has been finished, and the panel goes on meanwhile
    steering.press("Start")
    steering.says("running|done", timeout=20)
    lab.run_cell(next(index for index in runs if index > panel), timeout=60)
    steering.says("running|done", timeout=20)

    # a restart of the kernel: the panel does not say that something runs
    lab.restart()
    lab.page.wait_for_timeout(1000)
    output = lab.output(panel)
    words = output.inner_text()
    assert "running" not in words or "Run this cell again" in words
    assert [error for error in lab.errors if error != NOTEBOOK_7] == []
    assert lab.outside == []


@pytest.mark.timeout(420)
@pytest.mark.parametrize(
    ("lab", "last"),
    [
        pytest.param((WELL, "lab"), "panel = Monitor(", id="double-well"),
        pytest.param((AMMONIA, "lab"), "panel = Monitor(", id="ammonia", marks=pytest.mark.slow),
        pytest.param(
            (ATTACKS, "lab"), "panel = TargetPanel(", id="attacks", marks=pytest.mark.slow
        ),
        pytest.param((WATER, "lab"), "explorer = gallery", id="water", marks=pytest.mark.slow),
    ],
    indirect=["lab"],
)
def test_the_panels_of_a_notebook_look_well(lab: Lab, last: str, tmp_path: Path):
    end = lab.cell(text=last)
    for index, cell in enumerate(lab.cells()[: end + 1]):
        if cell.runs:
            lab.run_cell(index, timeout=200)
    lab.page.wait_for_timeout(1000)
    shown = panels(lab)
    assert end in shown
    lab.page.set_viewport_size({"width": 900, "height": 1000})
    lab.page.wait_for_timeout(500)
    wrong = []
    for theme in ("light", "dark"):
        if theme == "dark":
            lab.darken()
        for index, name in shown.items():
            shoot(lab, tmp_path, f"{theme}-{index}", index)
            output = lab.output(index)
            found = looks.faint(output)
            if theme == "light":
                found += looks.misplaced(output) + looks.nameless(output)
            wrong += [f"{name}, {theme}: {sentence}" for sentence in found]
    assert wrong == []
    assert lab.errors == []
    assert lab.outside == []
