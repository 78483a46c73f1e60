"""Every notebook is its script's, and runs at preset `smoke`."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
import render

SCRIPTS = render.scripts()


def test_there_are_notebooks():
    assert [script.stem for script in SCRIPTS][:4] == [
        "01_double_well",
        "02_ammonia",
        "03_calibrated_attacks",
        "04_water",
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
    notebook = render.execute(render.read(script, unattended=True), preset="smoke")
    render.keep_pictures(notebook)
    assert render.sources(script) == [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_no_cell_waits_for_a_panel(script: Path):
    """While a cell runs, the buttons of a panel are dead."""
    waits = re.compile(r"\.(finish|wait|settle|start)\(")
    code = [source for kind, source in render.sources(script) if kind == "code"]
    assert not [source for source in code if waits.search(source)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_is_a_lesson_first(script: Path):
    cells = render.sources(script)
    first, text = cells[0][1], "\n".join(source for kind, source in cells if kind == "markdown")
    assert [word for word in ("**Goal.**", "**Time.**", "**You need**") if word not in first] == []
    assert "# The record of the study" in text
    assert text.count("**What do you expect?**") >= 4
    assert text.count("<details>") == text.count("</details>") >= 3
    blanks = [source for kind, source in cells if kind == "code" and "= ...  #" in source]
    assert 2 <= len(blanks) <= 3
    assert all("lesson.check(" in source for source in blanks)
    assert max(len(line) for _, source in cells for line in source.splitlines()) <= 100
