"""UiO-66's cells against its chemistry and ASE; loadings, and the committed starts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from agal_toolkit.geometry import Geometry
from agal_toolkit.references import XTB
from studies.uio66 import structures
from studies.uio66.structures import (
    DRY,
    LIQUID,
    LOADINGS,
    SYSTEMS,
    conventional,
    file_of,
    packed,
    primitive,
    start,
    weight_percent,
)


def counts(geometry: Geometry, one: int, other: int, longest: float) -> list[int]:
    """How many neighbours of an element each atom of another element has, sorted."""
    i, j = neighbor_list("ij", geometry.to_ase(), longest)
    chosen = (geometry.numbers[i] == one) & (geometry.numbers[j] == other)
    per_atom = np.bincount(i[chosen], minlength=len(geometry))
    return sorted(per_atom[geometry.numbers == one].tolist())


def neighbour_distances(geometry: Geometry) -> list[np.ndarray]:
    """The sorted distances of each atom to its neighbours within 4 angstrom."""
    i, d = neighbor_list("id", geometry.to_ase(), 4.0)
    return [np.sort(d[i == atom]) for atom in range(len(geometry))]


def test_the_primitive_cell_is_uio66():
    """Zr6O4(OH)4(C8H4O4)6: Zr has eight oxygens, four hydrogens sit on mu3 oxygens."""
    cell = primitive()
    assert dict(zip(*np.unique(cell.numbers, return_counts=True), strict=True)) == {
        1: 4 + 24,
        6: 48,
        8: 4 + 4 + 24,
        40: 6,
    }
    assert cell.origin == {"system": DRY}
    assert counts(cell, 40, 8, 2.6) == [8] * 6
    assert counts(cell, 1, 8, 1.2) == [0] * 24 + [1] * 4
    assert counts(cell, 8, 40, 2.6) == [1] * 24 + [3] * 8
    heights = 1 / np.linalg.norm(np.linalg.inv(cell.cell), axis=0)
    np.testing.assert_allclose(heights, 12.06, atol=0.005)


@pytest.mark.parametrize("system", [DRY, "UiO-66 + 5 H2O"])
def test_the_conventional_cell_is_the_same_crystal(system):
    small = packed(system)
    large = conventional(small)
    assert len(large) == 4 * len(small)
    np.testing.assert_allclose(large.cell, np.diag(np.diag(large.cell)), atol=1e-5)
    np.testing.assert_allclose(np.diag(large.cell), 20.88, atol=0.005)
    assert np.linalg.det(large.cell) == pytest.approx(4 * np.linalg.det(small.cell), rel=1e-12)
    assert large.origin["system"] == system
    distances = neighbour_distances(small)
    for atom, found in enumerate(neighbour_distances(large)):
        np.testing.assert_allclose(found, distances[atom % len(small)], atol=1e-8)


def test_loadings_end_at_45_per_cent():
    """42 x 18.015 / 1664.06 = 0.4547, with masses summed by hand."""
    assert LOADINGS[0] == 0
    assert len(LOADINGS) == 10
    assert np.ptp(np.diff(LOADINGS)) <= 1
    assert weight_percent(LOADINGS[-1]) == pytest.approx(45.47, abs=0.02)
    assert len(set(SYSTEMS)) == 11


@pytest.mark.parametrize("system", SYSTEMS)
def test_systems_are_packed_by_name(system):
    one = packed(system)
    assert one.origin["system"] == system
    if system == LIQUID:
        assert len(one) == 192
    else:
        waters = 0 if system == DRY else int(system.split()[2])
        assert len(one) == 114 + 3 * waters
        np.testing.assert_array_equal(one.positions[:114], primitive().positions)


def test_a_system_is_always_packed_alike():
    assert packed("UiO-66 + 19 H2O").digest() == packed("UiO-66 + 19 H2O").digest()


def test_other_systems_are_refused():
    for function in (packed, file_of):
        with pytest.raises(ValueError, match=r"no system 'UiO-66 \+ 6 H2O': choose one of UiO-66,"):
            function("UiO-66 + 6 H2O")


def test_a_start_is_made_once(tmp_path, monkeypatch):
    """A box with one water stands for the framework; its energy falls and its file is read."""
    pytest.importorskip("tblite", reason="tblite is in the extra `references`")
    water = structures.water()
    box = Geometry(
        positions=water.positions * 1.1 + 5,
        numbers=water.numbers,
        cell=10.5 * np.eye(3),
        pbc=True,
        origin={"system": DRY},
    )
    monkeypatch.setattr(structures, "packed", lambda system: box)
    made = start(DRY, tmp_path)
    label, end = XTB("GFN1-xTB"), made[0]
    assert made.labels[0].energy < label(box).energy - 0.05
    assert np.abs(made.labels[0].forces).max() < 0.1
    again = label(end)
    assert again.energy == pytest.approx(made.labels[0].energy, abs=1e-8)
    np.testing.assert_allclose(again.forces, made.labels[0].forces, atol=1e-7)
    np.testing.assert_allclose(again.stress, made.labels[0].stress, atol=1e-8)
    assert dict(end.origin) == {"by": "relaxed for a few steps", "system": DRY}
    monkeypatch.setattr(structures, "relaxed", lambda *_: pytest.fail("it was made again"))
    assert start(DRY, tmp_path).digest() == made.digest()


@pytest.mark.parametrize("system", [s for s in SYSTEMS if file_of(s).exists()])
def test_committed_starts_are_their_systems(system):
    """Relaxed structures have the atoms of the packed ones, near them, and waters are whole."""
    (geometry,), (label,) = (lambda data: (data.geometries, data.labels))(start(system))
    before = packed(system)
    np.testing.assert_array_equal(geometry.numbers, before.numbers)
    np.testing.assert_allclose(geometry.cell, before.cell, atol=1e-10)
    moved = np.linalg.norm(geometry.positions - before.positions, axis=1)
    assert moved.max() < 3.0
    assert geometry.origin["system"] == system
    waters = geometry.positions[0 if system == LIQUID else 114 :].reshape(-1, 3, 3)
    lengths = np.linalg.norm(waters[:, 1:] - waters[:, :1], axis=-1)
    assert ((lengths > 0.9) & (lengths < 1.1)).all()
    assert np.linalg.norm(label.forces, axis=1).max() < 1.5
    assert label.stress is not None


@pytest.mark.slow
def test_a_label_of_the_framework_hardly_depends_on_how_its_cell_is_written(rng):
    """Atoms moved by whole vectors, all atoms moved together, and other vectors of one lattice.

    The first changes nothing; the others 4 micro-eV per atom, which XTB's docstring says.
    """
    pytest.importorskip("tblite", reason="tblite is in the extra `references`")
    written = primitive()
    label = XTB("GFN1-xTB")
    right = label(written)
    cell, x = written.cell, written.positions
    others = np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 1]]) @ cell
    cases = [
        (written.moved(x + rng.integers(-1, 2, (114, 3)) @ cell), 1e-6, 1e-6),
        (written.moved(x + [0.37, 0.61, 0.13] @ cell), 1e-3, 1e-4),
        (replace(written, cell=others), 1e-3, 1e-4),
    ]
    for moved, energy, force in cases:
        found = label(moved)
        assert found.energy == pytest.approx(right.energy, abs=energy)
        np.testing.assert_allclose(found.forces, right.forces, atol=force)
        np.testing.assert_allclose(found.stress, right.stress, atol=1e-6)
