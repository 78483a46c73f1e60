"""The criteria of stable simulations on frames made by hand, and on simulations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import units
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.dynamics import Watch, nve
from agal_toolkit.geometry import Geometry
from agal_toolkit.potentials import Differentiable
from studies.ammonia.stability import physical, stable_interval

KCAL = units.kcal / units.mol


def triangle(side):
    """Ammonia whose hydrogens form an equilateral triangle with this side."""
    return Geometry(
        positions=[
            [0, 0, 0],
            [side / 2, 0.3, 0.4],
            [side, 0, 0],
            [side / 2, side * np.sqrt(0.75), 0],
        ],
        numbers=[1, 7, 1, 1],
    )


def reason(geometry, energy=0.0, **limits):
    """The first criterion that a structure with this energy above the ground state breaks."""
    batch = Batch.of([geometry])
    said = Prediction(
        torch.tensor([energy - 10.0]).double(), torch.zeros(4, 3), torch.zeros(1, 3, 3)
    )
    return next((stop.name for stop in physical(-10.0, **limits) if bool(stop(batch, said))), None)


@pytest.mark.parametrize(
    ("side", "energy", "found"),
    [
        (1.6, 0.0, None),
        (0.81, 0.1, None),
        (2.54, 0.3, None),
        (0.79, 0.0, "H-H below 0.8 A"),
        (2.56, 0.0, "H-H above 2.55 A"),
        (1.6, -0.09 * KCAL, None),
        (1.6, -0.11 * KCAL, f"energy below {-10 - 0.1 * KCAL:g} eV"),
    ],
)
def test_each_criterion(side, energy, found):
    assert reason(triangle(side), energy) == found


def test_limits_may_be_others():
    assert reason(triangle(1.6), -1e-6, tolerance=0.0).startswith("energy below")
    assert reason(triangle(1.6), longest=1.5) == "H-H above 1.5 A"


def test_only_hydrogens_count_and_every_pair_of_them():
    positions = triangle(1.6).positions.copy()
    positions[1] = positions[0] + 1e-3
    assert reason(triangle(1.6).moved(positions)) is None
    for one, other in ((0, 2), (0, 3), (2, 3)):
        positions = triangle(1.6).positions.copy()
        positions[one] = positions[other] + [0, 0, 0.7]
        assert reason(triangle(1.6).moved(positions)) == "H-H below 0.8 A"


def test_simulations_that_end_and_one_that_does_not():
    """Without forces, hydrogens meet, fly apart, or stay."""
    still = np.zeros((4, 3))
    meeting, leaving = still.copy(), still.copy()
    meeting[2, 0], leaving[2, 0] = -0.1, 0.1
    flat = Differentiable(lambda batch: 0.0 * batch.sum(batch.positions.square().sum(-1)))
    ran = nve(
        flat,
        [triangle(1.6)] * 3,
        0.0,
        timestep=1.0,
        steps=20,
        velocities=[meeting, still, leaving],
        watch=Watch(every=1, stops=physical(0.0)),
    )
    assert [frames.reason for frames in ran] == ["H-H below 0.8 A", None, "H-H above 2.55 A"]


@trials(max_examples=20)
@given(st.integers(1, 700), st.data())
def test_wilsons_interval(runs, data):
    stable = data.draw(st.integers(0, runs))
    p, z = stable / runs, 1.959963984540054
    middle, half = (
        (p + z**2 / (2 * runs)) / (1 + z**2 / runs),
        z / (1 + z**2 / runs) * np.sqrt(p * (1 - p) / runs + z**2 / (4 * runs**2)),
    )
    np.testing.assert_allclose(
        stable_interval(stable, runs), [middle - half, middle + half], atol=1e-9
    )


def test_nothing_is_no_fraction():
    with pytest.raises(ValueError, match="at least one"):
        stable_interval(0, 0)
