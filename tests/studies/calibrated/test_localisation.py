"""Where things sit in a structure: numbers that are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from studies.calibrated.localisation import internal_share, participation

MASSES = np.array([15.999, 1.008, 1.008])
WATER = np.array([[0.0, 0.0, 0.0], [0.9572, 0.0, 0.0], [-0.24, 0.9266, 0.0]])


def test_participation_of_known_sizes():
    assert participation(np.full(7, 0.3)) == pytest.approx(1.0)
    assert participation([0, 0, 2.0, 0]) == pytest.approx(0.25)
    assert participation([1.0, 1.0, 0, 0]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="none does"):
        participation(np.zeros(3))


@pytest.fixture
def waters(rng):
    return np.stack(
        [Rotation.random(random_state=i).apply(WATER) + rng.normal(0, 5, 3) for i in range(10)]
    )


def test_moves_of_rigid_molecules_change_no_shape(waters, rng):
    axis, shift = rng.normal(size=(10, 1, 3)), rng.normal(size=(10, 1, 3))
    assert internal_share(
        np.cross(axis, waters) + shift, waters, MASSES, forces=False
    ) == pytest.approx(0.0, abs=1e-12)


def test_stretches_of_bonds_are_internal(waters):
    """Opposite pulls along a bond, balanced in force and in torque: nothing else but a change of
    shape.
    """
    arms = waters[:, 1] - waters[:, 0]
    pulls = np.stack([-arms, arms, np.zeros_like(arms)], 1)
    assert internal_share(pulls, waters, MASSES, forces=True) == pytest.approx(1.0)


def test_random_forces_share_as_degrees_of_freedom_do(rng):
    """Noise that is white in mass-weighted coordinates puts three of nine shares inside a water,
    and none inside a single atom.
    """
    many = np.stack([Rotation.random(random_state=i).apply(WATER) for i in range(400)])
    noise = rng.normal(size=(40, *many.shape)) * np.sqrt(MASSES)[:, None]
    assert internal_share(noise, many, MASSES, forces=True) == pytest.approx(1 / 3, abs=0.01)
    assert internal_share(
        rng.normal(size=(4, 1, 3)), rng.normal(size=(4, 1, 3)), [16.0], forces=True
    ) == pytest.approx(0.0, abs=1e-12)


def test_shares_do_not_depend_on_orientation(waters, rng):
    forces, turn = rng.normal(size=waters.shape), Rotation.random(random_state=3).as_matrix()
    assert internal_share(forces @ turn, waters @ turn, MASSES, forces=True) == pytest.approx(
        internal_share(forces, waters, MASSES, forces=True)
    )


def test_seen_from_midway_a_turn_of_any_angle_leaves_shapes_alone(rng):
    """The difference of a molecule's ends is a small rotation of their middle (Cayley)."""
    start = rng.normal(size=(2, 3, 3))
    masses = np.array([16.0, 1.0, 1.0])
    centred = start - (start * masses[:, None]).sum(1, keepdims=True) / masses.sum()
    end = centred @ Rotation.from_rotvec([0.3, -0.6, 0.4]).as_matrix().T
    assert internal_share(
        end - centred, (end + centred) / 2, masses, forces=False
    ) == pytest.approx(0.0, abs=1e-12)
    assert internal_share(end - centred, end, masses, forces=False) > 0.01
