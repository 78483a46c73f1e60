"""The pictures of a generation, chosen by its data."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import molecule, pair_committee, well_data
from matplotlib.figure import Figure

from agal_toolkit import Dataset, Labels
from agal_toolkit.loop.generation import Generation
from agal_toolkit.selection import Candidate
from agal_toolkit.widgets import Monitor
from agal_toolkit.widgets.energies import is_surface
from agal_toolkit.widgets.generation_views import (
    PlaneView,
    StructuresView,
    cached_per_generation,
    view_of,
)


@pytest.fixture
def molecules(rng):
    geometries = [molecule(rng) for _ in range(4)]
    return Dataset(
        geometries,
        [Labels(energy=k - 40.0, forces=rng.normal(size=(5, 3))) for k in range(4)],
    )


@pytest.fixture
def generation(molecules):
    outcomes = [*molecules.labels[:3], None]
    candidates = tuple(
        Candidate(geometry, 0, float("nan"), outcome=outcome)
        for geometry, outcome in zip(molecules, outcomes, strict=True)
    )
    return Generation(
        index=0, dataset=molecules, committee=pair_committee(2), candidates=candidates, metrics={}
    )


def test_the_data_choose_the_view(rng, molecules):
    assert is_surface(well_data(rng))
    assert not is_surface(molecules)
    assert not is_surface([*well_data(rng), *molecules])
    assert not is_surface([])
    assert isinstance(view_of(well_data(rng)), PlaneView)
    view = view_of(molecules)
    assert isinstance(view, StructuresView)
    assert view.zero == -40.0


def test_candidates_and_the_most_uncertain_molecule(generation):
    view, (left, right) = StructuresView(), Figure().subplots(1, 2)
    view.prepare([generation])
    view.draw(left, right, [generation], True)
    assert [text.get_text() for text in left.get_legend().get_texts()] == [
        "energies of the data",
        "kept",
    ]
    expected = generation.committee.predict(list(generation.dataset)).energy.mean(0).numpy() + 40.0
    np.testing.assert_allclose(left.lines[0].get_xdata(), expected)  # above -40 eV, the lowest
    assert "eV/Å" in left.get_ylabel()
    assert len(right.collections) == 1  # the molecule
    assert "C5: " in right.texts[-1].get_text()


def test_a_monitor_of_molecules_needs_no_view(generation):
    monitor = Monitor({"attack": lambda report: iter([generation])}, generations=1).finish()
    assert isinstance(monitor.view, StructuresView)
    assert monitor._maps.error is None
    assert monitor._curves.error is None


def test_a_generation_is_computed_once(generation):
    calls = []
    cached = cached_per_generation(lambda generation: calls.append(generation) or np.pi)
    assert cached(generation) == cached(generation) == np.pi
    assert calls == [generation]
