"""Every notebook is its script's, and runs at preset `smoke`."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
import render

SCRIPTS = render.scripts()


def test_there_are_notebooks():
    assert [script.stem for script in SCRIPTS][:3] == [
        "01_double_well",
        "02_ammonia",
        "03_calibrated_attacks",
    ]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_notebook_has_the_cells_of_its_script(script: Path):
    assert render.sources(script.with_suffix(".ipynb")) == render.sources(script)


def test_the_app_is_its_script_and_holds_no_results():
    app = render.FOLDER / "app.ipynb"
    assert render.sources(app) == render.sources(app.with_suffix(".py"))
    assert not [cell for cell in nbformat.read(app, 4).cells if cell.get("outputs")]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_notebook_reads_well_without_running(script: Path):
    notebook = nbformat.read(script.with_suffix(".ipynb"), 4)
    outputs = [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]
    assert not [output for output in outputs if output.output_type == "error"]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 8
    assert not [output for output in outputs if render.WIDGET in output.get("data", {})]
    assert script.with_suffix(".ipynb").stat().st_size < 4_000_000


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_notebook_runs_at_preset_smoke(script: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AGAL_PRESET", "smoke")
    notebook = render.execute(render.read(script), preset="smoke")
    render.keep_pictures(notebook)
