"""The panel's pictures of a committee of ammonia, and the panel that shows them."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from ammonia_springs import Springs
from matplotlib.figure import Figure

from agal_toolkit import Reference, until
from agal_toolkit.dataset import Dataset
from agal_toolkit.studies import ammonia
from agal_toolkit.studies.ammonia_recipes import KCAL, PRESETS, initial
from agal_toolkit.studies.ammonia_truth import truth
from agal_toolkit.widgets import Monitor
from agal_toolkit.widgets.ammonia_view import AmmoniaView

FAST = PRESETS["fast"]


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return truth(tmp_path_factory.mktemp("truth"), Springs(), FAST.truth)


@pytest.fixture(scope="module")
def panel(known):
    label = Springs()
    geometries = initial("thermal", FAST, known, 0)
    data = Dataset(geometries, [label(geometry) for geometry in geometries])
    loop = ammonia.loop("ours", FAST, known, 0, Reference(label))
    monitor = Monitor({"adversarial": lambda report: until(loop.generations(data, None, report), count=2)}, generations=2, view=AmmoniaView(known))
    return monitor.finish()


def test_the_panel_draws_both_generations(panel):
    assert panel.state == "done" and len(panel.runs["adversarial"]) == 2
    assert not panel._trouble.value
    assert base64.b64decode(panel._repr_mimebundle_()["image/png"]).startswith(b"\x89PNG")


def test_surface_structures_and_paths(panel, known):
    view, (first, second) = panel.view, panel.runs["adversarial"]
    left, right = Figure().subplots(1, 2)
    view.draw(left, right, second, paths=True)
    assert left.get_xlabel().startswith("$Z") and left.get_ylabel().startswith("$R")
    assert len([line for line in left.lines if len(line.get_xdata()) == len(second.adversaries[0].path)]) == len(second.adversaries)
    names = [text.get_text() for text in right.get_legend().get_texts()]
    found = [turn for turn in (first, second) if view.path(turn) is not None]
    assert any("DFT" in name for name in names) and sum("committee" in name for name in names) == len(found)
    highest = max(np.nanmax(line.get_ydata()) for line in right.lines if len(line.get_xdata()) == len(known.path.images))
    assert highest >= known.path.barrier / KCAL - 1e-6


def test_a_committee_is_asked_once(panel, monkeypatch):
    view, (first, _) = panel.view, panel.runs["adversarial"]
    left, right = Figure().subplots(1, 2)
    monkeypatch.setattr("agal_toolkit.committee.Committee.__call__", lambda *a, **k: pytest.fail("it was asked before"))
    view.draw(left, right, first, paths=False)
