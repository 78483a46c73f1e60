"""A person reviews structures in a browser, by keys and by buttons, alone and in a running loop."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from browser.labdriver import Lab, lab_page, lab_server, require_browser, voila_server, web_page
from browser.looks import faint, misplaced, nameless
from render import FOLDER

SETTING = """
import numpy as np
from ase.build import molecule
from ase.calculators.lj import LennardJones
from agal_toolkit import Committee, Dataset, Geometry, Labels
from agal_toolkit.attack import Adversary
from agal_toolkit.loop import Proposal
from agal_toolkit.selection import Candidate
from agal_toolkit.widgets import Review

def moved(by, seed):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(by, seed=seed)
    return Geometry.from_ase(atoms)

def candidate(k):
    start, end = moved(0.02, k), moved(0.15, k)
    path = np.array([start.positions, end.positions])
    adversary = Adversary(seed=k, geometry=end, path=path, losses=np.zeros(2), kept=1, reached=True)
    return Candidate(end, k, 0.0, adversary)

pairs = ((0.9, 1.01), (1.1, 0.99), (1.05, 1.02))
members = [LennardJones(epsilon=0.01 * e, sigma=1.4 * s, rc=6.0, smooth=True) for e, s in pairs]
committee = Committee.from_calculators(members)
known = [moved(0.05, k) for k in range(50, 53)]
labels = [Labels(energy=float(k), forces=np.zeros((9, 3))) for k in range(3)]

def proposal(count):
    chosen = tuple(candidate(k) for k in range(count))
    data = Dataset(known, labels)
    return Proposal(index=0, dataset=data, committee=committee, candidates=chosen)
"""
REVIEW = "panel = Review(proposal({count}), target=0.1)\npanel"
RESULT = "print(panel.reviewed)"
LOOP = """
from functools import partial
from agal_toolkit import *
from agal_toolkit.widgets import Monitor

well = DoubleWell()
start = basin(well, rng=np.random.default_rng(7))[:20]
data = Dataset(start, [well(geometry) for geometry in start])
trainer = TorchTrainer(network=partial(MLP, 2, width=8), epochs=20, batch_size=16)
attack = Attack(BoltzmannVariance(kT=5.0), Adam(0.05, 4))
recipe = Recipe(trainer=trainer, sampler=FromDataset(4), attack=attack, members=2)
review = Review()
loop = Loop(recipe, Reference(well), review=review)
monitor = Monitor(loop, data, "run", generations=1)
"""
SHOTS = os.environ.get("AGAL_SCREENSHOTS")


def notebook(folder: Path, *sources: str) -> Path:
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in sources]
    content = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(content, folder / "review.ipynb")
    return folder / "review.ipynb"


@contextmanager
def opened(folder: Path, *sources: str, app: str = "lab"):
    require_browser()
    notebook(folder, *sources)
    with (
        lab_server(folder, timeout=180, app=app) as url,
        lab_page(url, "review.ipynb", size=(1280, 900), timeout=180, app=app) as lab,
    ):
        yield lab


def into(where) -> None:
    """Click beside the controls, as a person does before using keys."""
    where.get_by_text("Click here, then keys").click()


def clean(lab: Lab) -> None:
    # Notebook 7's own
    own = "pageerror: Cannot read properties of undefined (reading 'schema')"
    assert [error for error in lab.errors if error != own] == []
    assert lab.outside == []


@pytest.mark.timeout(600)
def test_ten_candidates_by_keys_and_by_buttons(tmp_path: Path):
    with opened(tmp_path, SETTING, REVIEW.format(count=10), RESULT) as lab:
        lab.run_cell(0, timeout=120)
        lab.run_cell(1, timeout=60)
        cells = len(lab.cells())
        output, keyboard = lab.output(1), lab.page.keyboard
        lab.wait_text("0 accepted, 0 rejected, 10 of 10 left", 1)
        into(output)
        keyboard.type("aar2nu")  # u takes the 2 back
        lab.wait_text("2 accepted, 1 rejected, 7 of 10 left", 1)
        lab.wait_text("4 of 10, C2H6O", 1)
        keyboard.press("t")
        keyboard.type("a ring? a note")  # letters that are keys elsewhere
        keyboard.press("Enter")
        keyboard.press("1")
        lab.wait_text("2 accepted, 2 rejected, 6 of 10 left", 1)
        lab.screenshot(Path(SHOTS or tmp_path) / "review-half.png", 1)
        assert (misplaced(output), nameless(output)) == ([], [])
        assert output.locator("canvas").filter(visible=True).count() == 1

        # the page is saved and loaded anew: verdicts and keys are still there
        lab.reload()
        lab.wait_text("2 accepted, 2 rejected, 6 of 10 left", 1)
        output = lab.output(1)
        into(output)
        keyboard.press("p")
        lab.wait_text("4 of 10, C2H6O", 1)
        lab.wait_text("rejected: broken molecule", 1)
        keyboard.press("n")
        output.get_by_role("button", name=re.compile("Reject$")).click()
        keyboard.type("a")  # a click on a button leaves the keys where they are
        lab.wait_text("3 accepted, 3 rejected, 4 of 10 left", 1)
        done = output.get_by_role("button", name="Done")
        assert done.is_disabled()
        output.get_by_role("button", name="Accept the rest").click()
        output.get_by_role("button", name="Undo").click()
        lab.wait_text("4 of 10 left", 1)
        output.get_by_role("button", name="4 known already").click()
        keyboard.type("aaad")
        lab.wait_text("6 accepted, 4 rejected, done", 1)
        assert len(lab.cells()) == cells  # "a" made no cell, "d" deleted none
        lab.screenshot(Path(SHOTS or tmp_path) / "review-done.png", 1)
        lab.darken()
        assert faint(output) == []
        lab.screenshot(Path(SHOTS or tmp_path) / "review-dark.png", 1)
        lab.run_cell(2)
        rejected = "{2: '', 3: 'broken molecule', 4: '', 6: 'known already'}"
        assert f"Reviewed(rejected={rejected}, notes={{3: 'a ring? a note'}})" in lab.text(2)
        clean(lab)


@pytest.mark.timeout(600)
def test_a_loop_waits_for_the_panel_and_stops_at_once(tmp_path: Path):
    with opened(tmp_path, SETTING, LOOP, "monitor", "review", "print('free')") as lab:
        for index, limit in ((0, 120), (1, 60), (2, 60), (3, 60)):
            lab.run_cell(index, timeout=limit)
        lab.wait_text("nothing to review yet", 3)
        monitor, output = lab.output(2), lab.output(3)
        monitor.get_by_role("button", name="Start").click()
        lab.wait_text("0 accepted, 0 rejected, 4 of 4 left", 3, timeout=90)
        lab.wait_text(re.compile("waiting for a person's review"), 2)
        lab.run_cell(4, timeout=10)  # no cell is blocked meanwhile
        into(output)
        lab.page.keyboard.type("a1")
        lab.wait_text("1 accepted, 1 rejected, 2 of 4 left", 3)
        began = time.monotonic()
        monitor.get_by_role("button", name="Stop").click()
        lab.wait_text("stopped", 2, timeout=10)
        print(f"stopped after {time.monotonic() - began:.2f} s")
        lab.wait_text("the run was stopped", 3)
        monitor.get_by_role("button", name="Start").click()
        lab.wait_text("1 accepted, 1 rejected, 2 of 4 left", 3, timeout=60)
        into(output)
        lab.page.wait_for_timeout(1000)
        lab.screenshot(Path(SHOTS or tmp_path) / "review-plane.png", 3)
        lab.page.keyboard.type("aad")
        lab.wait_text("3 accepted, 1 rejected, done", 3)
        lab.wait_text("all 1 generations", 2, timeout=60)
        folder = tmp_path / "run" / "generation_000"
        assert (folder / "review.json").exists()
        assert not (folder / "review.scratch").exists()
        clean(lab)


@pytest.mark.timeout(600)
def test_keys_work_in_notebook_7(tmp_path: Path):
    with opened(tmp_path, SETTING, REVIEW.format(count=3), app="notebook") as lab:
        lab.run_cell(0, timeout=120)
        lab.run_cell(1, timeout=60)
        lab.wait_text("3 of 3 left", 1)
        cells = len(lab.cells())
        into(lab.output(1))
        lab.page.keyboard.type("a2ad")
        lab.wait_text("2 accepted, 1 rejected, done", 1)
        assert len(lab.cells()) == cells
        lab.screenshot(Path(SHOTS or tmp_path) / "review-notebook7.png", 1)
        clean(lab)


@pytest.mark.timeout(600)
def test_keys_work_in_voila(tmp_path: Path):
    require_browser()
    path, env = notebook(tmp_path, SETTING, REVIEW.format(count=3)), {"JUPYTER_PATH": str(FOLDER)}
    with (
        voila_server(path, ["--template=offline"], env, timeout=180) as url,
        web_page(url, path.name, size=(1280, 900)) as page,
    ):
        page.wait_text("3 of 3 left", timeout=120)
        into(page.page)
        page.page.keyboard.type("a2ad")
        page.wait_text("2 accepted, 1 rejected, done")
        page.screenshot(Path(SHOTS or tmp_path) / "review-voila.png")
        clean(page)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_candidates_at_a_persons_pace(tmp_path: Path):
    """One key each 1.5 s: a hundred verdicts in less than three minutes."""
    with opened(tmp_path, SETTING, REVIEW.format(count=100), RESULT) as lab:
        lab.run_cell(0, timeout=120)
        lab.run_cell(1, timeout=60)
        lab.wait_text("100 of 100 left", 1)
        into(lab.output(1))
        began, keys = time.monotonic(), "aaa1aaar2a" * 10
        for k, key in enumerate(keys):
            lab.page.keyboard.press(key)
            lab.wait_text(re.compile(rf"{99 - k} of 100 left"), 1, timeout=3)
            left = began + 1.5 * (k + 1) - time.monotonic()
            lab.page.wait_for_timeout(max(0.0, 1000 * left))
        lab.page.keyboard.press("d")
        lab.wait_text("70 accepted, 30 rejected, done", 1)
        seconds = time.monotonic() - began
        print(f"a hundred candidates in {seconds:.0f} s")
        assert seconds < 180
        clean(lab)
