"""Paths on surfaces whose saddles are known, and against ASE's band without ours."""

from __future__ import annotations

import helpers
import numpy as np
import pytest
from ammonia_springs import GROUND, SpringEnergy
from ase.calculators.lj import LennardJones
from ase.mep import NEB
from ase.optimize import FIRE

from agal_toolkit.analysis.paths import NudgedElasticBand, relaxed
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.potentials import Differentiable, PotentialCalculator
from agal_toolkit.references import DoubleWell, LabelCalculator
from studies.ammonia.inversion import inversion_path

LEFT, SADDLE, RIGHT = np.sort(
    np.roots([40, 0, -20, 2])
)  # where the slope of 10x^4 - 10x^2 + 2x is zero


def mueller_brown(geometry):
    """The surface of Mueller and Brown 1979 (Theor. Chim. Acta 53, 75), a hundredth of it."""
    ((x, y),) = geometry.positions
    energy, force = 0.0, np.zeros(2)
    for a, p, q, s, x0, y0 in (
        (-200, -1, 0, -10, 1, 0),
        (-100, -1, 0, -10, 0, 0.5),
        (-170, -6.5, 11, -6.5, -0.5, 1.5),
        (15, 0.7, 0.6, 0.7, -1, 1),
    ):
        u, v = x - x0, y - y0
        term = 0.01 * a * np.exp(p * u * u + q * u * v + s * v * v)
        energy += term
        force -= term * np.array([2 * p * u + q * v, q * u + 2 * s * v])
    return Labels(energy=energy, forces=force[None])


def test_a_straight_path_over_a_known_barrier():
    well, counted = DoubleWell(), helpers.Counted(helpers.well_potential())
    reports = []
    first, last = points([[LEFT, 0.0], [RIGHT, 0.0]])
    path = NudgedElasticBand(fmax=1e-4, spring=5.0)(counted, first, last, report=reports.append)
    assert path.converged
    assert path.positions.shape == (11, 1, 2)
    assert path.barrier == pytest.approx(
        float(well.energy(np.array([SADDLE, 0.0])) - well.energy(np.array([LEFT, 0.0]))), abs=1e-7
    )
    np.testing.assert_allclose(
        path.positions[np.argmax(path.energies), 0], [SADDLE, 0.0], atol=1e-4
    )
    np.testing.assert_allclose(path.energies, well.energy(path.positions[:, 0]), atol=1e-12)
    np.testing.assert_allclose(path.lengths[-1], RIGHT - LEFT, atol=1e-6)
    # The ends once, the images that move once before the first step and once after each.
    assert counted.calls == 2 + 9 * (1 + path.steps)
    assert reports[-1].done == path.steps
    assert reports[-1].total == 1000


def test_a_bent_path_over_a_published_saddle():
    """Minimum (-0.558, 1.442) at -146.70, saddle (-0.822, 0.624) at -40.66, minimum (-0.050,
    0.467).
    """
    surface = LabelCalculator(mueller_brown)
    first, last = (
        relaxed(surface, point, fmax=1e-4) for point in points([[-0.5, 1.4], [0.0, 0.5]])
    )
    np.testing.assert_allclose(first.positions[0], [-0.558, 1.442], atol=1e-3)
    path = NudgedElasticBand(images=7, fmax=5e-3, spring=1.0, steps=500)(surface, first, last)
    assert path.converged
    assert path.barrier == pytest.approx(1.4670 - 0.4066, abs=2e-4)
    np.testing.assert_allclose(
        path.positions[np.argmax(path.energies), 0], [-0.822, 0.624], atol=2e-3
    )
    assert np.linalg.norm(path.images.forces[int(np.argmax(path.energies))]) < 6e-3


@pytest.mark.parametrize("climb", [False, True])
def test_against_ases_band(climb):
    """The same steps as an NEB of ASE whose images have a calculator each."""
    potential = Differentiable(SpringEnergy())
    first = relaxed(potential, GROUND)
    last = first.moved(first.positions @ np.diag([1.0, 1.0, -1.0]) + [0.1, 0.0, 0.0])
    path = NudgedElasticBand(images=5, climb=climb, fmax=0.05)(potential, first, last)
    images = [first.to_ase() for _ in range(4)] + [last.to_ase()]
    for image in images:
        image.calc = PotentialCalculator(potential)
    band = NEB(images, k=0.1, method="improvedtangent")
    band.interpolate(apply_constraint=False)
    assert FIRE(band, logfile=None).run(fmax=0.05, steps=1000)
    if climb:
        band.climb = True
        assert FIRE(band, logfile=None).run(fmax=0.05, steps=1000)
    np.testing.assert_allclose(path.positions, [image.positions for image in images], atol=1e-10)
    np.testing.assert_allclose(
        path.energies, [image.get_potential_energy() for image in images], atol=1e-10
    )


def test_a_calculator_says_the_same_as_a_potential():
    potential = Differentiable(SpringEnergy())
    band = NudgedElasticBand(images=3, fmax=0.05)
    one, other = (
        inversion_path(model, ground=GROUND, band=band)
        for model in (potential, PotentialCalculator(potential))
    )
    np.testing.assert_allclose(one.positions, other.positions, atol=1e-12)


def test_unmovable_particles_stay(rng):
    fixed = Geometry(
        positions=GROUND.positions, numbers=GROUND.numbers, movable=[True, False, True, True]
    )
    path = inversion_path(
        Differentiable(SpringEnergy()), ground=fixed, band=NudgedElasticBand(images=3, fmax=0.05)
    )
    ends = path.positions[[0, -1], 1]
    np.testing.assert_allclose(path.positions[0, 1], GROUND.positions[1])
    np.testing.assert_allclose(path.positions[1, 1], ends.mean(0))


def test_a_band_that_has_not_converged_says_so():
    first, last = points([[LEFT, 0.3], [RIGHT, 0.0]])
    path = NudgedElasticBand(fmax=1e-6, steps=3)(helpers.well_potential(), first, last)
    assert not path.converged
    assert path.steps == 3
    assert path.energies.shape == (11,)
    with pytest.raises(RuntimeError, match=r"after 2 steps .* has a force of"):
        relaxed(helpers.well_potential(), first, fmax=1e-9, steps=2)


def test_interpolated_distances_keep_atoms_apart():
    """An atom passes another: on the straight line they would meet, and Lennard-Jones atoms would
    be flung away.
    """
    first = Geometry(positions=[[0.0, 0.0, 0.0], [-1.2, 0.05, 0.0]], numbers=[18, 18])
    last = first.moved([[0.0, 0.0, 0.0], [1.2, 0.05, 0.0]])
    closest = []
    for idpp in (False, True):
        path = NudgedElasticBand(images=5, steps=1, climb=False, idpp=idpp)(
            LennardJones(), first, last
        )
        closest.append(np.linalg.norm(path.positions[:, 1] - path.positions[:, 0], axis=-1).min())
    assert closest[1] > 1.0 > closest[0]


def test_what_is_refused():
    first, last = points([[LEFT, 0.0], [RIGHT, 0.0]])
    band = NudgedElasticBand()
    with pytest.raises(ValueError, match="no ends of one path"):
        band(helpers.well_potential(), first, Geometry(positions=last.positions, numbers=[1]))
    with pytest.raises(ValueError, match="start has 2 images, expected 11"):
        band(helpers.well_potential(), first, last, start=[first, last])
    with pytest.raises(ValueError, match="at least three images"):
        NudgedElasticBand(images=2)
