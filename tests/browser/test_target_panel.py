"""A person chooses an error in JupyterLab, sends structures there, and sees the true error."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import render
from browser.labdriver import Lab, lab_cells

SETTING = f"""
import sys
sys.path.insert(0, {str(render.FOLDER)!r})
import numpy as np
from ase.build import bulk
from ase.calculators.lj import LennardJones
from agal_toolkit import LBFGS, Attack, Committee, Dataset, Geometry, HessianVector, Labels
from agal_toolkit import TargetError
from studies.calibrated.target_panel import TargetPanel

def member(energy=1.0, length=1.0):
    return LennardJones(epsilon=0.0104 * energy, sigma=3.4 * length, rc=6.0, smooth=True)

def argon(seed):
    atoms = bulk("Ar", a=5.3, cubic=True).repeat(2)
    atoms.rattle(0.12, seed=seed)
    return Geometry.from_ase(atoms)

def truth(geometry):
    said = Committee.from_calculators([member()]).predict([geometry])
    return Labels(energy=float(said.energy), forces=said.forces[0].numpy())

pairs = ((0.9, 1.01), (1.1, 0.99), (1.05, 1.02), (0.95, 0.98))
committee = Committee.from_calculators([member(*pair) for pair in pairs])
known = [argon(k) for k in range(100, 104)]
aside = Dataset(known, [truth(g) for g in known], ["calibration"] * len(known))
committee = committee.calibrated(aside, "linear")
heldout = float(committee.calibration.atomic_variance(committee.predict(known)).sqrt().mean())
"""
PANEL = """
attack = Attack(TargetError(1.0), LBFGS(20), HessianVector(), start=0.0)
panel = TargetPanel(committee, [argon(k) for k in range(5)], truth, attack, heldout)
panel
"""


@pytest.fixture
def lab(tmp_path):
    with lab_cells(tmp_path, (SETTING, PANEL), (1280, 900)) as lab:
        yield lab


@pytest.mark.timeout(300)
def test_a_person_chooses_an_error_and_gets_it(lab: Lab, tmp_path: Path):
    lab.run_cell(0, timeout=120)
    lab.run_cell(1, timeout=60)
    output = lab.output(1)
    lab.wait_text(re.compile("1.50 times the error"), 1)
    output.get_by_role("button", name="Attack").click()
    lab.wait_text(re.compile(r"structure 1: target .* found"), 1, timeout=90)
    curves = output.locator("img:not([hidden])").last
    before = curves.get_attribute("src")

    # the slider by keyboard: the target moves, and what it is in held-out errors is said
    slider = output.get_by_role("slider").last
    slider.focus()
    for _ in range(100):
        slider.press("ArrowRight")
        if output.get_by_text(re.compile(r"^(1\.[7-9]|2)\d* times the error")).count():
            break
    lab.wait_text(re.compile(r"^(1\.[7-9]|2)\d* times the error"), 1)
    output.get_by_role("button", name="Attack").click()
    lab.wait_text(re.compile(r"structure 2: target .* found"), 1, timeout=90)
    lab.wait_changed(curves, before)
    lab.page.wait_for_timeout(1500)
    path = lab.screenshot(
        Path(os.environ.get("AGAL_SCREENSHOTS", tmp_path)) / "target-panel.png", 1
    )
    assert path.stat().st_size > 20_000
    assert output.locator("canvas").filter(visible=True).count() >= 1
    assert output.get_by_role("button", name="Attack").is_enabled()

    # the page is loaded anew: what was found is still there
    lab.reload()
    lab.wait_text(re.compile(r"structure 2: target .* found"), 1)
    assert lab.errors == []
    assert lab.outside == []
