"""A person plays an attack on ammonia in JupyterLab, turns the molecule, and clicks on a map of
structures.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
import render
from browser.labdriver import Lab, lab_cells
from PIL import Image

SETTING = f"""
import sys
sys.path.insert(0, {str(render.FOLDER)!r})
import numpy as np
from ase.build import molecule
import agal_toolkit as agal
from agal_toolkit.widgets import AttackPlayer
from studies.atlas import Atlas

rng = np.random.default_rng(0)
ammonia = agal.Geometry.from_ase(molecule("NH3"))
sizes = dict(features=8, filters=8, interactions=1, gaussians=8)
committee = agal.Committee(agal.Stacked(agal.SchNet([1, 7], [0, 1, 2], **sizes)))
seeds = [ammonia.moved(ammonia.positions + rng.normal(0, 0.05, (4, 3)), seed=k) for k in range(4)]
attack = agal.Attack(agal.Variance(), agal.Adam(0.03, 30), bound=agal.Ball(0.8))
adversaries = attack(committee, None, seeds, rng)
zero = float(committee.predict([ammonia]).energy.mean())
"""
PLAYER = """
labels = agal.Labels(energy=zero + 0.5, forces=np.zeros((4, 3)))
options = {"truth": lambda geometry: labels, "zero": zero, "unit": "kcal/mol"}
player = AttackPlayer(committee, adversaries, **options)
player
"""
PLACE = """
# where a click on the last corner lands, as shares of the map's width and height
print(*(atlas._figure.axes[0].transData.transform(corners[3]) / atlas._figure.bbox.size))
"""
ATLAS = """
corners = np.array([[0, 0], [4, 0], [0, 3], [4, 3]])
first = adversaries[0]
steps = [first.geometry.moved(p, by="attack", step=k) for k, p in enumerate(first.path)]
geometries = [a.geometry for a in adversaries] + steps
points = np.vstack([corners, rng.normal([2, 1.5], 0.4, (31, 2))])
energies = {"committee": committee.predict(geometries).energy.mean(0).numpy() * 23.06}
energies["DFT"] = np.linspace(0, 50, 35)
groups = ["kept"] * 4 + ["path of seed 0"] * 31
atlas = Atlas(points, geometries, groups, energies, unit="kcal/mol")
atlas
"""


@pytest.fixture
def lab(tmp_path):
    with lab_cells(tmp_path, (SETTING, PLAYER, ATLAS, PLACE), (1280, 1000)) as lab:
        yield lab


def shoot(lab: Lab, tmp_path: Path, name: str, index: int) -> None:
    """A screenshot, kept where AGAL_SCREENSHOTS says."""
    path = lab.screenshot(
        Path(os.environ.get("AGAL_SCREENSHOTS", tmp_path)) / f"molecules-{name}.png", index
    )
    assert path.stat().st_size > 20_000


def seen(lab: Lab, index: int) -> np.ndarray:
    """The pixels of the 3D view of a cell."""
    view = lab.output(index).locator("canvas").filter(visible=True).last
    return np.asarray(Image.open(io.BytesIO(view.screenshot())).convert("RGB")).astype(int)


def blue(pixels: np.ndarray) -> int:
    """How many pixels have nitrogen's colour: a molecule is drawn."""
    return int(((pixels[..., 2] > 150) & (pixels[..., 0] < 110)).sum())


def drawn(lab: Lab, index: int, before: np.ndarray | None = None) -> np.ndarray:
    """The 3D view once it shows a molecule, and another picture than before."""
    for _ in range(150):
        now = seen(lab, index)
        if blue(now) > 300 and (
            before is None
            or now.shape != before.shape
            or (np.abs(now - before).max(-1) > 40).sum() > 60
        ):
            return now
        lab.page.wait_for_timeout(200)
    raise AssertionError(f"the view of cell {index} shows nothing new")


@pytest.mark.timeout(420)
def test_a_person_plays_an_attack_and_clicks_on_a_map(lab: Lab, tmp_path: Path):
    player, atlas = lab.cell(text="player = AttackPlayer"), lab.cell(text="atlas = Atlas")
    lab.run_cell(0, timeout=200)
    lab.run_cell(player, timeout=90)
    lab.wait_text(re.compile("reference 11.5 kcal/mol"), player)
    first = drawn(lab, player)
    shoot(lab, tmp_path, "player", player)

    # a step of the slider, by keyboard: the numbers, the curves and the molecule change
    slider = lab.output(player).get_by_role("slider").last
    curves = lab.output(player).locator("img:not([hidden])").last
    before = curves.get_attribute("src")
    slider.focus()
    slider.press("Home")
    lab.wait_text(re.compile(r"^step 0$"), player)
    lab.wait_changed(curves, before)
    start = drawn(lab, player, first)

    # play runs on by itself
    lab.output(player).locator(".widget-play button").filter(
        visible=True
    ).first.click()  # nglview hides one of its own
    lab.wait_text(re.compile(r"^step 30$"), player, timeout=60)
    drawn(lab, player, start)

    # the force's uncertainty as colours; a drag turns the molecule
    lab.output(player).get_by_role("button", name="uncertainty").click()
    lab.wait_text(re.compile("for each atom"), player)
    lab.page.wait_for_timeout(500)
    shoot(lab, tmp_path, "uncertainty", player)
    lab.output(player).get_by_role("button", name="elements").click()
    here = drawn(lab, player)
    box = lab.output(player).locator("canvas").filter(visible=True).last.bounding_box()
    lab.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    lab.page.mouse.down()
    lab.page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.6 * box["height"], steps=5)
    lab.page.mouse.up()
    drawn(lab, player, here)

    # a click on a corner of the map shows that structure
    lab.run_cell(atlas, timeout=90)
    view = drawn(lab, atlas)
    canvas = lab.output(atlas).locator(".jupyter-matplotlib-canvas-div canvas").last
    lab.page.wait_for_timeout(1000)
    place = lab.cell(text="transData")
    lab.run_cell(place)
    across, up = map(float, lab.text(place).split())
    box = canvas.bounding_box()
    canvas.click(position={"x": across * box["width"], "y": (1 - up) * box["height"]})
    lab.wait_text(re.compile(r"^3, NH3$"), atlas)
    drawn(lab, atlas, view)
    lab.page.wait_for_timeout(1000)
    shoot(lab, tmp_path, "atlas", atlas)

    # the page is loaded anew: both are as they were
    lab.reload()
    drawn(lab, player)
    lab.wait_text(re.compile(r"^3, NH3$"), atlas)
    drawn(lab, atlas)
    lab.page.wait_for_timeout(1500)
    shoot(lab, tmp_path, "reloaded", player)
    assert lab.errors == []
    assert lab.outside == []
