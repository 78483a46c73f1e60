"""A person runs a loop, looks at its structures, attacks one and compares promises in one panel."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from browser.labdriver import Lab, lab_cells

SETTING = """
import numpy as np
from functools import partial
from ase.build import molecule
from ase.calculators.emt import EMT
import agal_toolkit as agal
from agal_toolkit.potentials import DensityNet
from agal_toolkit.selection import AtMost
from agal_toolkit.widgets import Workbench

reference = agal.Reference(EMT())
rng = np.random.default_rng(0)
def shaken(k):
    atoms = molecule("C2H6")
    atoms.rattle(0.05, seed=k)
    return agal.Geometry.from_ase(atoms)
data = reference.labelled([shaken(k) for k in range(12)]).reserving(4, rng)
trainer = agal.TorchTrainer(
    network=partial(DensityNet, (1, 6), channels=4, hidden=16), epochs=20, optimizer="muon")
recipe = agal.Recipe(
    trainer=trainer, sampler=agal.FromDataset(6), members=3,
    attack=agal.Attack(agal.Variance(), agal.Adam(0.01, 10), bound=agal.Ball(0.4)),
    selectors=(AtMost(3),), folds=agal.Folds(train=1.0, valid=0.0))
"""
PANEL = """
bench = Workbench(
    data, directory="run", loop=agal.Loop(recipe, reference), generations=2, review=True)
bench
"""


@pytest.fixture
def lab(tmp_path):
    with lab_cells(tmp_path, (SETTING, PANEL), (1280, 1100)) as lab:
        yield lab


@pytest.mark.timeout(400)
def test_a_study_in_one_panel(lab: Lab, tmp_path: Path):
    shots = Path(os.environ.get("AGAL_SCREENSHOTS", tmp_path))
    lab.run_cell(0, timeout=120)
    lab.run_cell(1, timeout=60)
    output = lab.output(1)

    def see(part: str) -> None:
        output.get_by_role("button", name=part, exact=True).click()

    lab.wait_text(re.compile("12 structures, 0 generations"), 1)
    output.get_by_role("button", name="Start").click()
    for generation in (1, 2):
        see("review")
        lab.wait_text(re.compile(f"generation {generation}: 0 accepted"), 1, timeout=90)
        if generation == 1:
            output.get_by_role("button", name="Reject").first.click()
            lab.screenshot(shots / "bench-review.png", 1)
        output.get_by_role("button", name="Accept the rest").first.click()
        output.get_by_role("button", name="Done").first.click()
    lab.wait_text(re.compile("24 structures, 2 generations"), 1, timeout=90)
    see("run")
    lab.wait_text(re.compile("done"), 1)
    lab.page.wait_for_timeout(1500)
    lab.screenshot(shots / "bench-run.png", 1)
    see("structures")
    lab.page.wait_for_timeout(2000)
    lab.screenshot(shots / "bench-structures.png", 1)
    see("attack")
    lab.wait_text(re.compile("C2H6, as it is before an attack"), 1, timeout=60)
    output.locator("button.mod-danger:visible").click()
    lab.wait_text(re.compile("The kept structure"), 1, timeout=90)
    lab.page.wait_for_timeout(1500)
    lab.screenshot(shots / "bench-attack.png", 1)
    see("promises")
    lab.page.wait_for_timeout(1500)
    lab.screenshot(shots / "bench-promises.png", 1)

    # the page is loaded anew: everything is still there
    lab.reload()
    lab.wait_text(re.compile("24 structures, 2 generations"), 1)
    see("attack")
    lab.wait_text(re.compile("The kept structure"), 1)
    assert lab.errors == []
    assert lab.outside == []
