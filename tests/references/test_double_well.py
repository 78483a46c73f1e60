from __future__ import annotations

import numpy as np
import pytest
import torch

from agal_toolkit.geometry import Geometry, points
from agal_toolkit.references import DoubleWell, basin

WELLS = [DoubleWell(), DoubleWell(y_power=4)]


@pytest.mark.parametrize("well", WELLS)
def test_forces_are_differences_of_the_energy(well):
    positions = np.random.default_rng(0).uniform(-1.5, 1.5, size=(20, 2))
    step = 1e-5
    shift = step * np.eye(2)
    differences = -(
        well.energy(positions[:, None] + shift) - well.energy(positions[:, None] - shift)
    ) / (2 * step)
    np.testing.assert_allclose(well.forces(positions), differences, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("well", WELLS)
def test_forces_are_the_derivative_torch_takes(well):
    positions = torch.tensor(
        np.random.default_rng(1).uniform(-1.5, 1.5, size=(3, 7, 2)), requires_grad=True
    )
    (gradient,) = torch.autograd.grad(well.energy(positions).sum(), positions)
    np.testing.assert_allclose(
        well.forces(positions.detach().numpy()), -gradient.numpy(), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("well", WELLS)
def test_stationary_points_are_two_minima_and_a_barrier(well):
    left, barrier, right = np.sort(np.roots([40, 0, -20, 2]).real)  # dE/dx along y = 0
    stationary = np.array([[left, 0.0], [barrier, 0.0], [right, 0.0]])
    np.testing.assert_allclose(well.forces(stationary), 0, atol=1e-12)
    energies = well.energy(stationary)
    assert energies[0] < energies[2] < energies[1]
    np.testing.assert_allclose(stationary[:, 0], [-0.753, 0.102, 0.651], atol=1e-3)
    np.testing.assert_allclose(energies, [-3.961, 0.101, -1.140], atol=1e-3)


def test_the_two_powers_are_different_surfaces():
    assert DoubleWell().energy(np.array([0.0, 0.5])) == pytest.approx(1.0)
    assert DoubleWell(y_power=4).energy(np.array([0.0, 0.5])) == pytest.approx(0.25)
    assert DoubleWell() != DoubleWell(y_power=4)


@pytest.mark.parametrize("power", [0, 1, 3, -2, 2.0, True])
def test_a_power_without_a_lowest_point_is_refused(power):
    with pytest.raises(ValueError, match="even integer of at least 2"):
        DoubleWell(y_power=power)


def test_labels_one_particle_in_the_plane():
    (geometry,) = points([0.3, -0.4])
    labels = DoubleWell()(geometry)
    assert labels.energy == pytest.approx(10 * 0.3**4 - 10 * 0.3**2 + 2 * 0.3 + 4 * 0.4**2)
    assert labels.forces.shape == (1, 2)
    with pytest.raises(ValueError, match=r"shape \(2, 3\), expected \(1, 2\)"):
        DoubleWell()(Geometry(positions=np.zeros((2, 3)), numbers=[1, 1]))


def test_the_basin_holds_the_draws_below_the_threshold():
    well = DoubleWell()
    kept = basin(well, rng=np.random.default_rng(3))
    drawn = np.random.default_rng(3).uniform(-1.5, 1.5, size=(800, 2))
    np.testing.assert_array_equal(
        [geometry.positions[0] for geometry in kept], drawn[well.energy(drawn) < -2]
    )
    assert 40 < len(kept) < 160
    assert all(
        geometry.positions[0, 0] < 0 and geometry.origin["by"] == "uniform draw"
        for geometry in kept
    )


def test_an_empty_basin_names_its_threshold():
    with pytest.raises(ValueError, match=r"none of 10 draws .* below -9"):
        basin(DoubleWell(), count=10, threshold=-9.0, rng=np.random.default_rng(0))
