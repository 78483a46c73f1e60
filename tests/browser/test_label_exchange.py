"""Labels made elsewhere: a file is downloaded in a browser, and its answers are uploaded."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from browser.labdriver import lab_page, lab_server, require_browser
from browser.looks import faint, misplaced, nameless

from agal_toolkit import DoubleWell, Geometry

LOOP = """
from functools import partial
import numpy as np
from agal_toolkit import *
from agal_toolkit.widgets import LabelExchange, Monitor

well = DoubleWell()
start = basin(well, rng=np.random.default_rng(7))[:20]
data = Dataset(start, [well(geometry) for geometry in start])
trainer = TorchTrainer(network=partial(MLP, 2, width=8), epochs=20, batch_size=16)
recipe = Recipe(trainer=trainer, sampler=FromDataset(100), selectors=[AtMost(12)], members=2)
exchange = LabelExchange(Loop(recipe, Reference(well)), data, "run")
monitor = Monitor({"by hand": exchange}, generations=1)
"""


@pytest.mark.timeout(600)
def test_a_file_goes_out_and_comes_back(tmp_path: Path):
    require_browser()
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    cells = [nbformat.v4.new_code_cell(text) for text in (LOOP.strip(), "monitor", "exchange")]
    content = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(content, tmp_path / "labels.ipynb")
    with (
        lab_server(tmp_path, timeout=180) as url,
        lab_page(url, "labels.ipynb", size=(1280, 900), timeout=180) as lab,
    ):
        for index in range(3):
            lab.run_cell(index, timeout=120)
        monitor, output = lab.output(1), lab.output(2)
        lab.wait_text("no structures to label yet: start the run", 2)
        monitor.get_by_role("button", name="Start").click()
        lab.wait_text("0 of 12 structures have labels, 12 missing", 2, timeout=90)
        with lab.page.expect_download() as download:
            output.get_by_role("button", name="Structures to label").click()
        assert download.value.suggested_filename == "generation-1.extxyz"
        download.value.save_as(tmp_path / "todo.extxyz")
        frames = read(tmp_path / "todo.extxyz", ":")
        assert len(frames) == 12
        for atoms in frames:
            label = DoubleWell()(Geometry(positions=atoms.positions[:, :2], numbers=[0]))
            forces = np.pad(label.forces, ((0, 0), (0, 1)))
            atoms.calc = SinglePointCalculator(atoms, energy=label.energy, forces=forces)
        stranger = frames[0].copy()
        stranger.positions[0, 0] += 1.0
        stranger.calc = SinglePointCalculator(stranger, **frames[0].calc.results)
        del stranger.info["agal_id"]
        write(tmp_path / "done.extxyz", [*frames[:4:-1], stranger, *frames[:4]])
        with lab.page.expect_file_chooser() as chooser:
            output.get_by_role("button", name="Labelled files").click()
        chooser.value.set_files(tmp_path / "done.extxyz")
        lab.wait_text("11 of 12 structures have labels, 1 missing (places 4 of the file", 2)
        lab.wait_text("structure 7 is none of the 12 geometries of generation 1", 2)
        assert (misplaced(output), nameless(output), faint(output)) == ([], [], [])
        lab.screenshot(Path(os.environ.get("AGAL_SCREENSHOTS", tmp_path)) / "label-exchange.png", 2)
        lab.reload()
        lab.wait_text("11 of 12 structures have labels, 1 missing", 2)
        lab.output(2).get_by_role("button", name="Use these labels").click()
        lab.wait_text("all 1 generations", 1, timeout=60)
        assert (tmp_path / "run" / "generation_000" / "labels.npz").exists()
        assert lab.errors == []
        assert lab.outside == []
