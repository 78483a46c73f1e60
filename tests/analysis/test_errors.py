"""Errors and surfaces against plain numpy."""

from __future__ import annotations

import helpers
import numpy as np
import pytest
from ase.data import chemical_symbols

from agal_toolkit.analysis.errors import RmseBelow, rmse, sigma_and_error
from agal_toolkit.analysis.grids import Grid, Surface
from agal_toolkit.batch import Prediction
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Labels
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


def test_errors_of_molecules_and_crystals_by_quantity_and_element(rng):
    committee = helpers.pair_committee()
    geometries = [helpers.molecule(rng, 3), helpers.crystal(rng)]
    small, large = map(len, geometries)
    prediction = committee.predict(geometries)
    forces, stress = prediction.forces.mean(0).numpy(), prediction.stress.mean(0).numpy()[1]
    off, strain = np.array([0.1, -0.3, 0.2]), np.diag([0.1, 0.2, -0.3])
    energies = prediction.energy.mean(0).numpy() + np.array([0.6, -1.2])
    labels = [
        Labels(energy=energies[0], forces=None),
        Labels(energy=energies[1], forces=forces[small:] + off, stress=stress + strain),
    ]
    errors = committee.errors(Dataset(geometries, labels))
    assert errors["energy"].mae == pytest.approx(0.9)
    assert errors["energy"].rmse == pytest.approx(np.sqrt((0.36 + 1.44) / 2))
    per_atom = np.array([0.6 / small, 1.2 / large])
    assert errors["energy per atom"][:3] == pytest.approx(
        (per_atom.mean(), np.sqrt((per_atom**2).mean()), 2)
    )
    assert errors["forces"][:3] == pytest.approx((0.2, np.sqrt(0.14 / 3), 3 * large))
    assert errors["stress"][:3] == pytest.approx((0.6 / 9, np.sqrt(0.14 / 9), 9))
    elements = [name for name in errors if name.startswith("forces on")]
    assert sum(errors[name].values for name in elements) == 3 * large
    numbers = {chemical_symbols[z] for z in geometries[1].numbers if z}
    assert {name.split()[-1] for name in elements} == numbers
    lines = str(errors).splitlines()
    assert lines[0].split() == ["error", "MAE", "RMSE", "unit", "values"]
    assert lines[3].split() == ["forces", "200", "216", "meV/Å", str(3 * large)]
    energy_only = Dataset(geometries[:1], labels[:1])
    assert set(committee.errors(energy_only)) == {"energy", "energy per atom"}


def test_predictions_that_are_not_finite_are_errors_that_are_not(rng):
    class Broken:
        def __call__(self, batch, *, graph=False):
            prediction = helpers.well_potential()(batch)
            return Prediction(prediction.energy, prediction.forces * np.nan, prediction.stress)

    data = helpers.well_data(rng, 3)
    errors = Committee([Broken(), helpers.well_potential()]).errors(data)
    assert errors["energy"].rmse == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(errors["forces"].mae)
    assert set(errors) == {"energy", "energy per atom", "forces"}
