"""The truth's own dynamics: boxes of the right density, and steps that keep what they should."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units

pytest.importorskip("openmm", reason="OpenMM is in the extra `references`")

from agal_toolkit.geometry import Geometry
from agal_toolkit.references.amoeba import whole
from studies.water.dynamics import WaterDynamics, packed


@pytest.fixture(scope="module")
def box():
    return packed(64, np.random.default_rng(0))


@pytest.fixture(scope="module")
def relaxed(box):
    """A frame of a packed box that was relaxed, with its velocities."""
    (frame,) = WaterDynamics()(box, 1, 40.0, 1, relax=60)
    return frame


def test_a_packed_box_has_its_density(box):
    volume = np.linalg.det(box.cell)
    assert 64 * 18.01528 * units._amu * 1e3 / (volume * 1e-24) == pytest.approx(0.997, rel=1e-6)
    waters = whole(box).reshape(-1, 3, 3)
    assert len(waters) == 64
    oxygen = waters[:, 0]
    steps = (oxygen[:, None] - oxygen) @ np.linalg.inv(box.cell)
    distances = np.linalg.norm((steps - np.round(steps)) @ box.cell, axis=-1)
    assert distances[~np.eye(64, dtype=bool)].min() > 2.5
    with pytest.raises(ValueError, match="must be positive"):
        packed(0, np.random.default_rng(0))


def test_long_and_short_steps_keep_the_energy_and_agree(relaxed):
    """r-RESPA as run against half a femtosecond for everything: the same total energy, and the same
    way for some femtoseconds.
    """
    runs = {}
    for timestep, inner in ((2.0, 8), (0.5, 1)):
        dynamics = WaterDynamics(timestep=timestep, inner=inner, friction=0.0)
        runs[timestep] = list(dynamics(relaxed.geometry, 4, 6.0, 1, velocities=relaxed.velocities))
        total = [frame.potential + frame.kinetic for frame in runs[timestep]]
        assert np.ptp(total) < 4e-4 * 192
    apart = np.abs(runs[2.0][-1].geometry.positions - runs[0.5][-1].geometry.positions).max()
    moved = np.abs(runs[2.0][-1].geometry.positions - relaxed.geometry.positions).max()
    assert apart < 0.05 * moved
    assert runs[2.0][-1].time == 24.0


def test_a_thermostat_heats_and_a_seed_repeats(relaxed):
    """Strong friction brings the box from rest to its temperature; the same seed gives the same
    noise.
    """
    still = np.zeros_like(relaxed.velocities)
    dynamics = WaterDynamics(temperature=300.0, friction=100.0)
    first, again = ([*dynamics(relaxed.geometry, 3, 20.0, 7, velocities=still)] for _ in range(2))
    assert 200 < first[-1].temperature < 400
    np.testing.assert_array_equal(first[-1].geometry.positions, again[-1].geometry.positions)


def test_what_cannot_be_simulated_is_refused(relaxed):
    with pytest.raises(ValueError, match="simulate a larger box"):
        next(WaterDynamics()(packed(27, np.random.default_rng(0)), 1, 10.0, 1))
    with pytest.raises(ValueError, match="O H H"):
        next(
            WaterDynamics()(
                Geometry(positions=np.eye(3), numbers=[1, 1, 8], cell=13 * np.eye(3), pbc=True),
                1,
                10.0,
                1,
            )
        )
    with pytest.raises(ValueError, match="must be positive"):
        WaterDynamics(timestep=0.0)
    with pytest.raises(ValueError, match="a positive time apart"):
        next(WaterDynamics()(relaxed.geometry, 1, 0.0, 1))
    with pytest.raises(ValueError, match=r"velocities have shape \(3, 3\)"):
        next(WaterDynamics()(relaxed.geometry, 1, 10.0, 1, velocities=np.zeros((3, 3))))
