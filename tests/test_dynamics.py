"""Langevin dynamics samples the distribution it should."""

from __future__ import annotations

import helpers
import numpy as np
import pytest

from agal_toolkit.dynamics import ensemble, langevin
from agal_toolkit.geometry import Geometry, points
from agal_toolkit.potentials import Differentiable
from agal_toolkit.references import DoubleWell


def test_each_quadratic_coordinate_holds_half_a_kT(rng):
    stiffness, kT = np.array([1.0, 4.0]), 0.3
    potential = Differentiable(helpers.Harmonic(tuple(stiffness)))
    ran = langevin(potential, points([[0.5, 0.0]])[0], kT=kT, timestep=0.1, steps=1000, friction=0.5, replicas=300, rng=rng)
    late = ran.positions[ran.times > 20][:, :, 0]
    held = 0.5 * stiffness * (late**2).mean((0, 1))
    np.testing.assert_allclose(held, kT / 2, rtol=0.05)
    assert ran.energies[ran.times > 20].mean() == pytest.approx(kT, rel=0.05)


def test_a_double_well_is_visited_as_boltzmann_says(rng):
    well, kT = DoubleWell(), 3.0
    ran = langevin(helpers.well_potential(well), points([[-0.7, 0.0]])[0], kT=kT, timestep=0.03, steps=1600, friction=1.0, replicas=400, every=20, rng=rng)
    late = ran.positions[ran.times > 12].reshape(-1, 2)
    edges = np.linspace(-1.25, 1.15, 9)
    grid = np.linspace(-2.5, 2.5, 5001)
    density = np.exp(-well.energy(np.column_stack([grid, 0 * grid])) / kT)
    density /= density.sum()
    expected = np.array([density[(grid >= a) & (grid < b)].sum() for a, b in zip(edges[:-1], edges[1:], strict=True)])
    found = np.histogram(late[:, 0], edges)[0] / len(late)
    np.testing.assert_allclose(found, expected, atol=0.015)
    assert expected.min() > 0.03
    assert late[:, 1].var() == pytest.approx(kT / 8, rel=0.05)


def test_frames_times_and_energies(rng):
    heard = []
    ran = langevin(helpers.well_potential(), points([[-0.7, 0.1]])[0], kT=0.5, timestep=0.02, steps=50, friction=1.0, replicas=3, every=10, rng=rng, report=heard.append)
    np.testing.assert_allclose(ran.times, np.arange(0, 51, 10) * 0.02)
    assert ran.positions.shape == (6, 3, 1, 2) and ran.energies.shape == (6, 3)
    np.testing.assert_allclose(ran.energies, DoubleWell().energy(ran.positions[:, :, 0]), rtol=1e-12)
    assert (ran.positions[0] == [-0.7, 0.1]).all()
    assert not np.allclose(ran.positions[-1, 0], ran.positions[-1, 1])
    assert [(e.done, e.total) for e in heard] == [(k, 50) for k in range(0, 51, 10)]


def test_the_same_generator_gives_the_same_trajectory():
    def run():
        return langevin(helpers.well_potential(), points([[0.0, 0.0]])[0], kT=0.5, timestep=0.02, steps=30, friction=1.0, replicas=2, rng=np.random.default_rng(4))

    assert run().positions.tobytes() == run().positions.tobytes()


def test_without_friction_an_oscillator_swings():
    ran = langevin(Differentiable(helpers.Harmonic()), points([[1.0, 0.0]])[0], kT=1e-12, timestep=0.05, steps=400, friction=1e-9, every=1, rng=np.random.default_rng(0))
    np.testing.assert_allclose(ran.positions[:, 0, 0, 0], np.cos(ran.times), atol=0.01)


def test_heavy_particles_are_slow(rng):
    light, heavy = (
        langevin(Differentiable(helpers.Harmonic()), points([[1.0, 1.0]])[0], kT=1e-9, timestep=0.05, steps=20, friction=0.0, masses=np.array([m]), rng=rng).positions[-1, 0, 0]
        for m in (1.0, 100.0)
    )
    np.testing.assert_allclose(light, np.cos(1.0), atol=1e-3)
    np.testing.assert_allclose(heavy, np.cos(0.1), atol=1e-3)


def test_an_unmovable_particle_stays_and_the_others_do_not(rng):
    molecule = helpers.molecule(rng, 4)
    geometry = Geometry(positions=molecule.positions, numbers=molecule.numbers, movable=[True, False, True, False])
    ran = langevin(Differentiable(helpers.PairEnergy()), geometry, kT=0.1, timestep=0.5, steps=20, friction=0.05, replicas=3, every=5, rng=rng)
    moved = np.abs(ran.positions - geometry.positions).max((0, 1, 3))
    assert (moved > 0).tolist() == [True, False, True, False]


def test_the_padding_of_a_model_surface_stays_zero(rng):
    seen = []

    def energy(batch):
        assert batch.dimension == 2
        return helpers.Harmonic()(batch)

    class Watched(ensemble.Langevin):
        """ASE's integrator, whose atoms we look at."""

        def step(self, *args, **kwargs):
            result = super().step(*args, **kwargs)
            seen.append(np.abs(self.atoms.positions[:, 2]).max() + np.abs(self.atoms.get_momenta()[:, 2]).max())
            return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "Langevin", Watched)
        langevin(Differentiable(energy), points([[0.1, 0.2]])[0], kT=0.5, timestep=0.05, steps=10, friction=1.0, replicas=4, rng=rng)
    assert len(seen) == 10 and max(seen) == 0.0
