"""Pairs and their images against ASE's neighbour list."""

from __future__ import annotations

import helpers
import numpy as np
import pytest
import torch
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st

from agal_toolkit.batch import Batch
from agal_toolkit.geometry import Geometry, points
from agal_toolkit.potentials import neighbours as module
from agal_toolkit.potentials.neighbours import Pairs, neighbours

CUTOFF = 3.3


def rattled(atoms, rng, amount=0.1) -> Geometry:
    atoms.rattle(amount, rng=rng)
    return Geometry.from_ase(atoms)


def spread(rng, atoms: int, edge: float) -> np.ndarray:
    return rng.uniform(0, edge, (atoms, 3))


def skewed(rng) -> np.ndarray:
    return np.diag([2.6, 3.1, 4.0]) + rng.normal(0, 0.5, (3, 3))


def flat(rng) -> Geometry:
    """A strip in two dimensions, periodic along one of them."""
    return Geometry(
        positions=rng.uniform(0, 3, (5, 2)),
        numbers=[6] * 5,
        cell=[[2.9, 0.3], [0.0, 0.0]],
        pbc=[True, False],
    )


GEOMETRIES = {
    "molecule": lambda rng: rattled(molecule("CH3CH2OH"), rng),
    "one atom": lambda rng: Geometry(positions=[[1.0, 2.0, 3.0]], numbers=[1]),
    "molecule longer than the cutoff": lambda rng: Geometry(
        positions=spread(rng, 40, 12.0), numbers=[6] * 40
    ),
    "cluster": lambda rng: Geometry(positions=spread(rng, 200, 14.0), numbers=[6] * 200),
    "crystal": lambda rng: helpers.crystal(rng, (4, 3, 3)),
    "cell of one atom": lambda rng: rattled(bulk("Al"), rng),
    "skewed cell smaller than the cutoff": lambda rng: Geometry(
        positions=spread(rng, 3, 3.0), numbers=[6] * 3, cell=skewed(rng), pbc=True
    ),
    "left-handed cell": lambda rng: Geometry(
        positions=spread(rng, 3, 3.0), numbers=[6] * 3, cell=skewed(rng)[[1, 0, 2]], pbc=True
    ),
    "slab": lambda rng: rattled(fcc111("Al", (2, 1, 3)), rng),
    "slab in a cell": lambda rng: rattled(fcc111("Al", (1, 2, 2), vacuum=4.0), rng),
    "wire": lambda rng: Geometry(
        positions=spread(rng, 4, 3.0),
        numbers=[6] * 4,
        cell=[[0, 0, 0], [0.4, 2.2, 0.1], [0, 0, 0]],
        pbc=[False, True, False],
    ),
    "atoms far outside their cell": lambda rng: Geometry(
        positions=spread(rng, 6, 30.0) - 15.0, numbers=[6] * 6, cell=skewed(rng) * 1.3, pbc=True
    ),
    "open atoms in a cell": lambda rng: Geometry(
        positions=spread(rng, 6, 5.0), numbers=[6] * 6, cell=np.eye(3) * 4, pbc=False
    ),
}


def directed(pairs: Pairs, batch: Batch, cutoff: float = CUTOFF) -> list[np.ndarray]:
    """For each geometry (2 P, 4 + 2 d), sorted: both directions of each pair within the cutoff as
    i, j, shift, vector, distance.
    """
    r = pairs.vectors(batch)
    shift = torch.zeros_like(r) if pairs.shift is None else pairs.shift
    start = (batch.counts.cumsum(0) - batch.counts)[batch.owner]
    out = []
    for b in range(len(batch)):
        mine = (batch.owner[pairs.first] == b) & (r.norm(dim=-1) < cutoff)
        i, j = (
            (pairs.first - start[pairs.first])[mine, None],
            (pairs.second - start[pairs.second])[mine, None],
        )
        d = r[mine].norm(dim=-1)[:, None]
        both = torch.cat(
            [
                torch.cat([i, j, shift[mine], r[mine], d], 1),
                torch.cat([j, i, -shift[mine], -r[mine], d], 1),
            ]
        )
        out.append(sorted_rows(both.numpy()))
    return out


def sorted_rows(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(np.round(rows, 6).T[::-1])]


def expected(geometry: Geometry, cutoff: float = CUTOFF) -> np.ndarray:
    i, j, shift, vector, distance = neighbor_list("ijSDd", geometry.to_ase(), cutoff)
    d = geometry.dimension
    return sorted_rows(np.column_stack([i, j, shift[:, :d], vector[:, :d], distance]))


def check(geometries, cutoff=CUTOFF):
    batch = Batch.of(geometries)
    for listed, geometry in zip(
        directed(neighbours(batch, cutoff), batch, cutoff), geometries, strict=True
    ):
        np.testing.assert_allclose(listed, expected(geometry, cutoff), atol=1e-9)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_pairs_are_those_of_ase(name, rng):
    check([GEOMETRIES[name](rng)])


def test_one_list_for_a_batch_of_everything(rng):
    geometries = [make(rng) for make in GEOMETRIES.values()]
    check(geometries)
    check(geometries[::-1], 5.0)


def test_two_dimensions(rng):
    check([flat(rng)])
    check([Geometry(positions=rng.uniform(0, 5, (9, 2)), numbers=[6] * 9)] * 2)


@given(
    st.integers(0, 10**6),
    st.integers(1, 7),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.floats(0.8, 5.0),
)
def test_any_cell_and_boundary(seed, atoms, pbc, cutoff):
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(2.0, 5.0, 3)) + rng.uniform(-0.8, 0.8, (3, 3))
    open_too = Geometry(positions=spread(rng, atoms, 4.0), numbers=[6] * atoms)
    check(
        [
            open_too,
            Geometry(
                positions=spread(rng, atoms, 6.0), numbers=[6] * atoms, cell=cell, pbc=list(pbc)
            ),
            open_too,
        ],
        cutoff,
    )


def test_molecules_need_no_library(rng, monkeypatch):
    monkeypatch.setattr(module, "NeighborList", None)
    pairs = neighbours(
        Batch.of([helpers.molecule(rng), helpers.molecule(rng, 1), helpers.molecule(rng, 3)]), 20.0
    )
    assert pairs.first.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 6, 6, 7]
    assert pairs.second.tolist() == [1, 2, 3, 4, 2, 3, 4, 3, 4, 4, 7, 8, 8]
    assert pairs.shift is None
    assert len(neighbours(Batch.of(points([[0.0, 0.0], [1.0, 1.0]])), 3.0)) == 0


@pytest.mark.parametrize("cells", [False, True], ids=["one cell", "cells of their own"])
def test_a_list_holds_for_members_that_see_different_positions(cells, rng):
    geometries = [
        GEOMETRIES[name](rng)
        for name in (
            "molecule longer than the cutoff",
            "skewed cell smaller than the cutoff",
            "cell of one atom",
            "slab",
            "cluster",
        )
    ]
    batch = Batch.of(geometries)
    displaced = batch.positions + torch.tensor(rng.normal(0, 0.3, (3, *batch.positions.shape)))
    displaced[2] = displaced[0]
    cell = batch.cell
    if cells:
        cell = batch.cell @ (
            torch.eye(3, dtype=torch.float64)
            + torch.tensor(rng.normal(0, 0.05, (3, len(batch), 3, 3)))
        )
    pairs = neighbours(batch.at(displaced, cell), CUTOFF)
    for m in range(3):
        mine = batch.at(displaced, cell).member(m)
        for b, listed in enumerate(directed(pairs, mine)):
            moved = Geometry(
                positions=displaced[m][batch.owner == b].numpy(),
                numbers=geometries[b].numbers,
                cell=mine.cell[b].numpy(),
                pbc=geometries[b].pbc,
            )
            np.testing.assert_allclose(listed, expected(moved), atol=1e-9)


class Turning(module.NeighborList):
    """A library that gives every second pair, as it may, in the other direction."""

    calls = 0

    def compute(self, *args):
        pairs, shift = super().compute(*args)
        Turning.calls += 1
        turned = (np.arange(len(pairs)) + Turning.calls) % 2 == 0
        return np.where(turned[:, None], pairs[:, ::-1], pairs), np.where(
            turned[:, None], -shift, shift
        )


def test_a_pair_of_two_members_counts_once_whatever_its_direction(rng, monkeypatch):
    monkeypatch.setattr(module, "NeighborList", Turning)
    test_a_list_holds_for_members_that_see_different_positions(False, rng)
    assert Turning.calls > 4


def test_vectors_of_members(rng):
    batch = Batch.of([GEOMETRIES["cell of one atom"](rng), GEOMETRIES["molecule"](rng)])
    moved = batch.positions + torch.tensor(rng.normal(0, 0.1, (2, *batch.positions.shape)))
    pairs = neighbours(batch.at(moved), CUTOFF)
    assert len(pairs.vectors(batch.at(moved))) == 2
    for m in range(2):
        torch.testing.assert_close(
            pairs.vectors(batch.at(moved))[m], pairs.vectors(batch.at(moved[m]))
        )


def test_vectors_follow_positions_and_cell(rng):
    batch = Batch.of([GEOMETRIES["skewed cell smaller than the cutoff"](rng)])
    pairs = neighbours(batch, CUTOFF)
    assert torch.autograd.gradcheck(
        lambda x, cell: pairs.vectors(batch.at(x, cell)),
        (batch.positions.requires_grad_(), batch.cell.requires_grad_()),
    )


@pytest.mark.parametrize("name", ["molecule", "crystal"])
def test_what_is_no_number_stays_in_its_geometry(name, rng):
    geometries = [helpers.molecule(rng, 4), GEOMETRIES[name](rng), GEOMETRIES["slab"](rng)]
    batch = Batch.of(geometries)
    positions = batch.positions.clone()
    positions[6] = torch.nan
    pairs = neighbours(batch.at(positions), CUTOFF)
    r = pairs.vectors(batch.at(positions)).norm(dim=-1)
    strange = batch.owner[pairs.first[r.isnan()]]
    assert len(strange)
    assert (strange == 1).all()
    listed = directed(pairs, batch.at(positions))
    for b in (0, 2):
        np.testing.assert_allclose(listed[b], expected(geometries[b]), atol=1e-9)


@pytest.mark.parametrize("name", ["cluster", "crystal", "cell of one atom", "slab"])
def test_what_is_no_number_in_one_member_leaves_the_others_their_images(name, rng):
    geometry = GEOMETRIES[name](rng)
    batch = Batch.of([geometry])
    moved = batch.positions.repeat(3, 1, 1)
    moved[1, 0, 0], moved[2, -1] = torch.nan, torch.inf
    pairs = neighbours(batch.at(moved), CUTOFF)
    np.testing.assert_allclose(directed(pairs, batch)[0], expected(geometry), atol=1e-9)
    for m, atom in ((1, 0), (2, len(geometry) - 1)):
        lost = ~pairs.vectors(batch.at(moved))[m].isfinite().all(-1)
        assert set(pairs.first[lost].tolist()) | set(pairs.second[lost].tolist()) == set(
            range(len(geometry))
        )
        assert ((pairs.first == atom) | (pairs.second == atom))[lost].all()


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        ([[1, 0, 0], [0, 1, 0], [1, 1, 0]], True),
        ([[1, 0, 0], [0, 1, 0], [1, 1, 1e-9]], True),
        ([[1, 0, 0], [2, 0, 0], [0, 0, 0]], [True, True, False]),
        ([[0, 1, 0], [1, 0, 0], [0, 2, 0]], [True, False, True]),
    ],
)
def test_a_cell_without_a_volume_is_refused(cell, pbc, rng):
    flat = Geometry(positions=[[0, 0, 0], [0.3, 0.3, 0.3]], numbers=[13] * 2, cell=cell, pbc=pbc)
    with pytest.raises(
        ValueError,
        match=(
            r"the periodic cell vectors \[\[.* of geometry 1 of the batch lie in one plane or line:"
            r" give a cell with a volume, or pbc=False"
        ),
    ):
        neighbours(Batch.of([helpers.molecule(rng), flat]), 1.0)


def test_atoms_at_the_same_place_are_named(rng):
    x = rng.normal(0, 2, (4, 3))
    x[3] = x[1] + 1e-9
    batch = Batch.of([helpers.molecule(rng), Geometry(positions=x, numbers=[6] * 4)])
    pairs = neighbours(batch, CUTOFF)
    with pytest.raises(
        ValueError,
        match="particles 1 and 3 of geometry 1 of the batch are at the same place: move them apart",
    ):
        pairs.distances(pairs.vectors(batch), batch)
