"""Where attacks start."""

from __future__ import annotations

import helpers
import numpy as np
import pytest

from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.sampling import FromDataset, Rattle


def test_the_data_themselves(rng):
    data = helpers.well_data(rng, 12)
    assert FromDataset()(None, data, rng) == list(data)
    assert FromDataset(99)(None, data, rng) == list(data)
    some = FromDataset(5)(None, data, rng)
    where = [list(data).index(g) for g in some]
    assert len(set(where)) == 5 and where == sorted(where)


@pytest.mark.parametrize("normal", [False, True], ids=["uniform", "normal"])
def test_a_rattle_has_its_distribution(normal, rng):
    data = helpers.well_data(rng, 50)
    rattled = Rattle(0.2, normal=normal, copies=40)(None, data, rng)
    assert len(rattled) == 2000
    shift = np.concatenate([g.positions - data[g.origin["seed"]].positions for g in rattled])
    assert shift.std() == pytest.approx(0.2 if normal else 0.2 / np.sqrt(3), rel=0.05)
    assert abs(shift.mean()) < 0.01
    assert (np.abs(shift).max() > 0.2) == normal
    assert {g.origin["by"] for g in rattled} == {"rattle"}


def test_a_rattle_leaves_fixed_atoms_alone(rng):
    geometry = Geometry(positions=rng.normal(size=(4, 3)), numbers=[6] * 4, movable=[True, False, True, False])
    data = Dataset([geometry], [Labels(energy=0.0, forces=np.zeros((4, 3)))])
    for moved in Rattle(0.3, copies=5)(None, data, rng):
        still = moved.positions == geometry.positions
        np.testing.assert_array_equal(still.all(1), [False, True, False, True])
        np.testing.assert_array_equal(moved.movable, geometry.movable)


def test_the_same_generator_gives_the_same_seeds(rng):
    data = helpers.well_data(rng, 10)
    for sampler in (FromDataset(4), Rattle(0.1)):
        one, other = (sampler(None, data, np.random.default_rng(3)) for _ in range(2))
        assert [g.digest() for g in one] == [g.digest() for g in other]


def test_what_a_rattle_refuses():
    for wrong in ({"amplitude": 0.0}, {"amplitude": 0.1, "copies": 0}):
        with pytest.raises(ValueError, match=r"Rattle\(amplitude=.*: both must be positive"):
            Rattle(**wrong)
