"""The panel's pictures of a committee of ammonia, and the panel that shows them."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest
from ammonia_springs import Springs
from matplotlib.figure import Figure

from agal_toolkit import Reference, until
from agal_toolkit.dataset import Dataset
from agal_toolkit.references import NoMinimum
from agal_toolkit.widgets import Monitor
from studies.ammonia import study as ammonia
from studies.ammonia.recipes import KCAL, PRESETS, initial
from studies.ammonia.truth import load_truth
from studies.ammonia.view import AmmoniaView

SMOKE = PRESETS["smoke"]


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return load_truth(tmp_path_factory.mktemp("truth"), Springs(), SMOKE.truth)


@pytest.fixture(scope="module")
def panel(known):
    label = Springs()
    geometries = initial("thermal", SMOKE, known, 0)
    data = Dataset(geometries, [label(geometry) for geometry in geometries])
    loop = ammonia.loop("ours", SMOKE, known, 0, Reference(label))
    monitor = Monitor(
        {"adversarial": lambda report: until(loop.generations(data, None, report), count=2)},
        generations=2,
        view=AmmoniaView(known),
    )
    return monitor.finish()


def curves(axes):
    """Energies that are drawn along the paths, by the names in the legend."""
    return {
        line.get_label(): line.get_ydata()
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def bump(path, barrier):
    """The same images with energies that rise to a barrier, eV."""
    energies = barrier * np.sin(np.linspace(0, np.pi, len(path.images))) ** 2
    return replace(
        path,
        images=Dataset(
            path.images.geometries,
            [
                replace(labels, energy=e)
                for labels, e in zip(path.images.labels, energies, strict=True)
            ],
        ),
    )


def test_the_panel_draws_both_generations(panel):
    assert panel.state == "done"
    assert len(panel.runs["adversarial"]) == 2
    assert not panel._trouble.value
    assert base64.b64decode(panel._repr_mimebundle_()["image/png"]).startswith(b"\x89PNG")


def test_surface_structures_and_paths(panel, known):
    view, (first, second) = panel.view, panel.runs["adversarial"]
    left, right = Figure().subplots(1, 2)
    view.draw(left, right, (first, second), paths=True)
    assert left.get_xlabel().startswith("$Z")
    assert left.get_ylabel().startswith("$R")
    assert len(
        [line for line in left.lines if len(line.get_xdata()) == len(second.adversaries[0].path)]
    ) == len(second.adversaries)
    found = {
        f"committee {number}": path
        for number, turn in enumerate((first, second), 1)
        if (path := view.path(turn)) is not None
    }
    drawn = curves(right)
    assert drawn.keys() == {"DFT", *found}
    for name, path in {"DFT": known.path, **found}.items():
        np.testing.assert_allclose(drawn[name], (path.energies - path.energies[0]) / KCAL)
    assert drawn["DFT"].max() == pytest.approx(known.path.barrier / KCAL)
    assert known.path.barrier > 0


def test_each_loop_has_its_own_paths(panel, known, monkeypatch):
    """Two loops take turns in one panel, and a loop may be started again: generations of one number
    are not one another's.
    """
    first, second = panel.runs["adversarial"]
    other, again = replace(first), replace(first)
    barriers = {first: 0.2, second: 0.3, other: 0.4, again: 0.5}
    view = AmmoniaView(known)
    monkeypatch.setattr(view, "path", lambda generation: bump(known.path, barriers[generation]))
    monkeypatch.setattr(view, "surface", panel.view.surface)

    def highest(*generations):
        right = Figure().subplots()
        view.draw(Figure().subplots(), right, generations, paths=False)
        return {
            name: pytest.approx(energies.max() * KCAL)
            for name, energies in curves(right).items()
            if name != "DFT"
        }

    assert highest(first, second) == {"committee 1": 0.2, "committee 2": 0.3}
    assert highest(other) == {"committee 1": 0.4}
    assert highest(first) == {"committee 1": 0.2}
    assert highest(again) == {"committee 1": 0.5}


def test_a_committee_without_a_minimum_has_no_path(panel, known, monkeypatch):
    def fail(*_, **__):
        raise NoMinimum("it falls apart")

    monkeypatch.setattr("studies.ammonia.view.inversion_path", fail)
    view, right = AmmoniaView(known), Figure().subplots()
    view.draw(Figure().subplots(), right, panel.runs["adversarial"], paths=False)
    assert curves(right).keys() == {"DFT"}


def test_a_committee_is_asked_once(panel, monkeypatch):
    view, generations = panel.view, panel.runs["adversarial"]
    left, right = Figure().subplots(1, 2)
    monkeypatch.setattr(
        "agal_toolkit.committee.Committee.__call__",
        lambda *a, **k: pytest.fail("it was asked before"),
    )
    view.draw(left, right, generations, paths=False)
