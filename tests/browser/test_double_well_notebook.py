"""A person opens the double well in JupyterLab, plays with the attack, runs the loops, stops them,
reloads the page and goes on.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import nbformat
import pytest
import render
from browser.labdriver import Lab, lab_page, lab_server, require_browser

NOTEBOOK = "01_double_well"


@pytest.fixture
def lab(tmp_path):
    """The notebook, not executed, at preset smoke, beside the committed results and the studies."""
    require_browser()
    for folder in ("results", "studies"):
        shutil.copytree(render.FOLDER / folder, tmp_path / folder)
    nbformat.write(render.read(render.FOLDER / f"{NOTEBOOK}.py"), tmp_path / f"{NOTEBOOK}.ipynb")
    with (
        lab_server(tmp_path, env={"AGAL_PRESET": "smoke"}) as url,
        lab_page(url, f"{NOTEBOOK}.ipynb", size=(1280, 1000)) as lab,
    ):
        yield lab


def shoot(lab: Lab, tmp_path: Path, name: str, index: int) -> None:
    """A screenshot, kept where AGAL_SCREENSHOTS says."""
    path = lab.screenshot(
        Path(os.environ.get("AGAL_SCREENSHOTS", tmp_path)) / f"{NOTEBOOK}-{name}.png", index
    )
    assert path.stat().st_size > 20_000


def pictures(lab: Lab, index: int) -> list[str]:
    return [picture.get_attribute("src") for picture in lab.output(index).locator("img").all()]


def changes(lab: Lab, index: int, before: list[str], timeout: float = 30) -> list[str]:
    """The pictures of a cell, once one of them is another than before."""
    end = time.monotonic() + timeout
    while (now := pictures(lab, index)) == before:
        assert time.monotonic() < end, f"no picture of cell {index} changed within {timeout} s"
        lab.page.wait_for_timeout(100)
    return now


@pytest.mark.timeout(300)
def test_a_person_uses_the_notebook(lab: Lab, tmp_path: Path):
    explorer, panel = lab.cell(text="AttackExplorer(committee"), lab.cell(text="panel = Monitor(")
    runs = [index for index, cell in enumerate(lab.cells()) if cell.runs]
    for index in runs[: runs.index(explorer) + 1]:
        lab.run_cell(index, timeout=90)

    # the attack: a click drops a point, which is pushed; a slider changes the attack
    canvas = (
        lab.output(explorer).locator("canvas").last
    )  # ipympl puts its rubber band above the picture
    canvas.wait_for(state="visible", timeout=20_000)
    lab.page.wait_for_timeout(1000)
    before = pictures(lab, explorer)
    box = canvas.bounding_box()
    canvas.click(position={"x": 0.3 * box["width"], "y": 0.5 * box["height"]})
    before = changes(lab, explorer, before)
    lab.page.wait_for_timeout(3000)
    before = pictures(lab, explorer)
    shoot(lab, tmp_path, "explorer", explorer)
    slider = lab.output(explorer).get_by_role("slider").first
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    changes(lab, explorer, before)

    # the loops: start, and the page stays alive
    for index in runs[runs.index(explorer) + 1 : runs.index(panel) + 1]:
        lab.run_cell(index, timeout=90)

    def press(name: str) -> None:
        lab.output(panel).locator("button", has_text=name).click()

    before = pictures(lab, panel)
    press("Start")
    lab.wait_text(re.compile(r"^running$"), panel)
    lab.run_cell(lab.cell(text="well = agal.DoubleWell()"), timeout=20)
    lab.wait_text(re.compile(r"^running$"), panel, timeout=1)
    before = changes(lab, panel, before, timeout=60)
    shoot(lab, tmp_path, "running", panel)

    # stop: said within a second, and nothing new starts
    press("Stop")
    pressed = time.monotonic()
    lab.wait_text(re.compile(r"^stopp(ing|ed)$"), panel, timeout=5)
    said = time.monotonic() - pressed
    lab.wait_text(re.compile(r"^stopped$"), panel, timeout=10)
    lab.page.wait_for_timeout(1000)
    still = pictures(lab, panel)
    lab.page.wait_for_timeout(1500)
    assert pictures(lab, panel) == still
    assert said < 1.0, f"the panel said so after {said:.2f} s"

    # go on, reload the page meanwhile, pause and resume
    press("Start")
    lab.wait_text(re.compile(r"^running$"), panel)
    lab.reload()
    lab.wait_text(re.compile(r"^(running|done)$"), panel, timeout=20)
    press("Pause")
    lab.wait_text(re.compile(r"^paused$"), panel, timeout=20)
    press("Resume")
    lab.wait_text(re.compile(r"^(running|done)$"), panel)
    lab.wait_text(re.compile(r"^done$"), panel, timeout=150)
    shoot(lab, tmp_path, "done", panel)

    # to the end
    for index in runs[runs.index(panel) + 1 :]:
        lab.run_cell(index, timeout=60)
    dynamics = lab.cell(text="lesson.show_dynamics(")
    assert "last committee: " in lab.text(dynamics)
    shoot(lab, tmp_path, "dynamics", dynamics)
    assert lab.errors == []
    assert lab.outside == []
