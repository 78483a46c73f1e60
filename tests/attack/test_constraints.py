"""Guards."""

from __future__ import annotations

import helpers
import numpy as np
import pytest

from agal_toolkit.attack import LBFGS, Apart, Attack, Ball, BondLengths, Variance
from agal_toolkit.batch import Batch
from agal_toolkit.geometry import Geometry


def test_particles_and_images_are_kept_apart():
    pair = [[0.1, 0, 0], [0.8, 0, 0]]
    cell = np.eye(3) * 6.0
    geometries = [
        Geometry(positions=pair, numbers=[1, 1]),
        Geometry(positions=[[0.1, 0, 0], [0.9, 0, 0]], numbers=[1, 1]),
        Geometry(positions=[[0.1, 0, 0], [5.5, 0, 0]], numbers=[1, 1], cell=cell, pbc=True),
        Geometry(positions=[[0.1, 0, 0], [5.5, 0, 0]], numbers=[1, 1]),
        Geometry(positions=[[0.0, 0, 0]], numbers=[1], cell=np.eye(3) * [0.7, 9, 9], pbc=True),
    ]
    assert Apart(0.75)(Batch.of(geometries)).tolist() == [False, True, False, True, False]
    with pytest.raises(ValueError, match="positive distance"):
        Apart(0.0)


def test_bonds_and_what_lies_between_them_and_hydrogen_bonds():
    """O-H at a bond's length or far away is sound; squeezed, stretched, or in between is not; other
    pairs do not matter.
    """

    def water(length, **cell):
        return Geometry(
            positions=[[0.1, 0, 0], [0.1 + length, 0, 0], [0.1, 0.96, 0]], numbers=[8, 1, 1], **cell
        )

    periodic = {"cell": np.diag([2.0, 9.0, 9.0]), "pbc": True}
    geometries = [
        water(0.96),
        water(0.84),
        water(1.16),
        water(1.39),
        water(1.41),
        water(0.96, **periodic),
        water(0.7, **periodic),
    ]
    assert BondLengths()(Batch.of(geometries)).tolist() == [
        True,
        False,
        False,
        False,
        True,
        True,
        False,
    ]
    assert BondLengths((1, 7), 0.9, 1.1, 1.3)(Batch.of([water(0.5)])).all()
    with pytest.raises(ValueError, match="shortest < longest"):
        BondLengths((1, 8), 1.2, 1.1)


def test_an_attack_ends_where_the_guard_holds():
    seed = helpers.molecule(np.random.default_rng(5), 5)
    nearest = min(
        np.linalg.norm(a - b) for k, a in enumerate(seed.positions) for b in seed.positions[:k]
    )
    (found,) = Attack(
        Variance(), LBFGS(15), start=0.0, bound=Ball(1.0), guard=Apart(0.9 * nearest)
    )(helpers.pair_committee(), None, [seed], np.random.default_rng(0))
    x = found.geometry.positions
    assert min(np.linalg.norm(a - b) for k, a in enumerate(x) for b in x[:k]) >= 0.9 * nearest
