"""Errors and surfaces against plain numpy."""

from __future__ import annotations

import helpers
import numpy as np
import pytest

from agal_toolkit.analysis.errors import RmseBelow, rmse, sigma_and_error
from agal_toolkit.analysis.grids import Grid, Surface
from agal_toolkit.references import DoubleWell
from agal_toolkit.uncertainty.variance import force_variance


def test_rmse_is_of_the_mean_energy(rng):
    committee, data = helpers.mlp_committee(), helpers.well_data(rng, 30)
    mean = committee.predict(data.geometries).energy.numpy().mean(0)
    assert rmse(committee, data) == pytest.approx(np.sqrt(((mean - data.energies) ** 2).mean()))
    low = data.energies <= 1.0
    assert 0 < low.sum() < 30
    assert RmseBelow(1.0)(committee, data) == pytest.approx(
        np.sqrt(((mean - data.energies)[low] ** 2).mean())
    )
    assert RmseBelow(1.0, unit=0.5)(committee, data) == pytest.approx(
        2 * RmseBelow(1.0)(committee, data)
    )


def test_sigma_and_error_of_structures_of_different_sizes(rng):
    committee = helpers.pair_committee()
    geometries = [helpers.molecule(rng, 3), helpers.molecule(rng, 5)]
    prediction = committee.predict(geometries)
    from agal_toolkit.dataset import Dataset
    from agal_toolkit.geometry import Labels

    data = Dataset(geometries, [Labels(energy=0.0, forces=np.ones((n, 3))) for n in (3, 5)])
    sigma, error = sigma_and_error(committee, data)
    forces = prediction.forces.numpy()
    for i, part in enumerate((slice(0, 3), slice(3, 8))):
        assert sigma[i] == pytest.approx(np.sqrt(forces[:, part].var(0, ddof=1).mean()))
        assert error[i] == pytest.approx(np.sqrt(((forces[:, part].mean(0) - 1.0) ** 2).mean()))


def test_a_grid_runs_along_x_first():
    grid = Grid(limit=1.0, points=3)
    assert grid.positions[:3].tolist() == [[-1, -1], [0, -1], [1, -1]]
    well = DoubleWell()
    data = grid.labelled(well)
    assert len(data) == 9
    assert data.energies[2] == pytest.approx(float(well.energy(np.array([1.0, -1.0]))))


def test_a_surface_is_the_prediction_at_each_point():
    committee, grid = helpers.mlp_committee(), Grid(points=5)
    surface = Surface.of(committee, grid)
    prediction = committee.predict(grid.geometries)
    np.testing.assert_allclose(surface.energy.ravel(), prediction.energy.mean(0).numpy())
    np.testing.assert_allclose(
        surface.sigma.ravel() ** 2,
        force_variance(prediction, committee.batch(grid.geometries)).numpy(),
    )
