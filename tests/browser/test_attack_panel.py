"""A person attacks structures in JupyterLab with settings of her own, and plays what happened."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from browser.labdriver import Lab, lab_cells

SETTING = """
import numpy as np
from ase.build import molecule
from ase.calculators.lj import LennardJones
from agal_toolkit import Committee, Dataset, Geometry, Labels
from agal_toolkit.widgets import AttackPanel

def member(energy=1.0, length=1.0):
    return LennardJones(epsilon=0.1 * energy, sigma=1.5 * length, rc=6.0, smooth=True)

def cluster(seed):
    atoms = molecule("C2H6")
    atoms.rattle(0.05, seed=seed)
    return Geometry.from_ase(atoms)

def truth(geometry):
    said = Committee.from_calculators([member()]).predict([geometry])
    return Labels(energy=float(said.energy), forces=said.forces[0].numpy())

committee = Committee.from_calculators([member(0.9, 1.01), member(1.1, 0.99), member(1.05, 1.02)])
seeds = [cluster(k) for k in range(6)]
data = Dataset(seeds, [truth(g) for g in seeds])
"""
PANEL = """
panel = AttackPanel(committee, seeds, data, truth=truth)
panel.gradient = "two force calls"
panel
"""


@pytest.fixture
def lab(tmp_path):
    with lab_cells(tmp_path, (SETTING, PANEL), (1280, 900)) as lab:
        yield lab


@pytest.mark.timeout(300)
def test_a_person_attacks_a_structure_and_plays_it(lab: Lab, tmp_path: Path):
    lab.run_cell(0, timeout=120)
    lab.run_cell(1, timeout=60)
    output, shots = lab.output(1), Path(os.environ.get("AGAL_SCREENSHOTS", tmp_path))
    lab.wait_text(re.compile("C2H6, as it is before an attack"), 1)
    lab.screenshot(shots / "attack-panel-before.png", 1)
    output.get_by_role("button", name="Attack").click()
    lab.wait_text(re.compile("The kept structure"), 1, timeout=90)
    lab.wait_text(re.compile(r"reference .* at step"), 1, timeout=60)

    # another structure, another objective, a radius by keyboard
    output.get_by_label("structure").select_option("3: C2H6")
    output.get_by_label("objective").select_option("doubt alone")
    radius = output.get_by_label("radius")
    radius.fill("0.4")
    radius.press("Enter")
    output.get_by_role("button", name="Attack").click()
    lab.wait_text(re.compile(r"step \d+ of 60"), 1, timeout=90)
    attacks = output.get_by_label("attack")
    attacks.wait_for(timeout=90_000)
    assert attacks.locator("option").count() == 2
    lab.page.wait_for_timeout(1500)
    path = lab.screenshot(shots / "attack-panel.png", 1)
    assert path.stat().st_size > 20_000
    assert output.get_by_role("button", name="Attack").is_enabled()

    # the page is loaded anew: the attacks are still there
    lab.reload()
    lab.wait_text(re.compile("The kept structure"), 1)
    assert lab.output(1).get_by_label("attack").locator("option").count() == 2
    assert lab.errors == []
    assert lab.outside == []
