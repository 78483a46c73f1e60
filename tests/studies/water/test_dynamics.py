"""The truth's own dynamics: boxes of the right density, and steps that keep what they should."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units

pytest.importorskip("openmm", reason="OpenMM is in the extra `references`")

from agal_toolkit.geometry import Geometry
from agal_toolkit.references.amoeba import whole
from studies.water.dynamics import Barostat, WaterDynamics, packed


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


def test_moves_of_the_volume_have_the_distribution_of_an_ideal_gas():
    """Moves of N particles without forces: V has a gamma distribution of shape N + 1, P / kT."""
    barostat, kT, molecules = Barostat(pressure=1e-3), 0.025, 8
    rng, volume, volumes = np.random.default_rng(0), 200.0, []
    for _ in range(60_000):
        new = volume + rng.uniform(-100, 100)
        if new > 0 and rng.random() < barostat.ratio(0.0, volume, new, molecules, kT):
            volume = new
        volumes.append(volume)
    mean, spread = (molecules + 1) * kT / 1e-3, np.sqrt(molecules + 1) * kT / 1e-3
    assert np.mean(volumes) == pytest.approx(mean, rel=0.03)
    assert np.std(volumes) == pytest.approx(spread, rel=0.05)


def test_a_box_under_pressure_shrinks(relaxed):
    """Two hundred thousand bar for a moment; the molecules stay whole, and a seed repeats."""
    barostat = Barostat(pressure=2e5 * units.bar, every=5)
    runs = [
        list(WaterDynamics()(relaxed.geometry, 2, 40.0, 3, barostat=barostat)) for _ in range(2)
    ]
    last = runs[0][-1].geometry
    assert np.linalg.det(last.cell) < np.linalg.det(relaxed.geometry.cell)
    bonds = last.positions.reshape(-1, 3, 3)
    lengths = np.linalg.norm(bonds[:, 1:] - bonds[:, :1], axis=-1)
    assert 0.8 < lengths.min() < lengths.max() < 1.2
    np.testing.assert_array_equal(last.positions, runs[1][-1].geometry.positions)
    np.testing.assert_array_equal(last.cell, runs[1][-1].geometry.cell)
    # never too small for the cutoff
    assert np.diag(last.cell).min() >= 12.0
