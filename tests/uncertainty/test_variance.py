"""Variances against plain numpy, and slopes that stay finite."""

from __future__ import annotations

import helpers
import numpy as np
import pytest
import torch

from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.geometry import Geometry
from agal_toolkit.uncertainty.variance import (
    atomic_sigma,
    component_variance,
    energy_variance,
    force_variance,
)


def made_up(rng, members=4):
    """A made-up prediction on geometries of 3, 1 and 2 atoms, as arrays and as tensors."""
    batch = Batch.of(
        [Geometry(positions=rng.normal(size=(n, 3)), numbers=[6] * n) for n in (3, 1, 2)]
    )
    energy, forces = rng.normal(size=(members, 3)), rng.normal(size=(members, 6, 3))
    return (
        batch,
        energy,
        forces,
        Prediction(torch.tensor(energy), torch.tensor(forces), torch.zeros(members, 3, 3, 3)),
    )


def test_variances_are_those_of_the_papers(rng):
    batch, energy, forces, prediction = made_up(rng)
    members = len(energy)
    np.testing.assert_allclose(
        energy_variance(prediction).numpy(), ((energy - energy.mean(0)) ** 2).sum(0) / (members - 1)
    )
    deviations = ((forces - forces.mean(0)) ** 2).sum(0) / (members - 1)
    np.testing.assert_allclose(component_variance(prediction).numpy(), deviations)
    right = [
        deviations[start:stop].sum() / (3 * (stop - start))
        for start, stop in ((0, 3), (3, 4), (4, 6))
    ]
    np.testing.assert_allclose(force_variance(prediction, batch).numpy(), right)
    np.testing.assert_allclose(atomic_sigma(prediction).numpy(), np.sqrt(deviations.sum(-1)))


@pytest.mark.parametrize(
    "measure",
    [
        energy_variance,
        component_variance,
        atomic_sigma,
        lambda p: force_variance(p, made_up(np.random.default_rng(0))[0]),
    ],
)
def test_one_member_cannot_disagree(measure, rng):
    prediction = made_up(rng, members=1)[3]
    with pytest.raises(
        ValueError, match="one member cannot disagree with itself: use a committee of at least two"
    ):
        measure(prediction)


def test_sigma_has_a_slope_where_members_agree():
    forces = torch.ones(3, 2, 3, dtype=torch.float64, requires_grad=True)
    prediction = Prediction(torch.zeros(3, 1), forces, torch.zeros(3, 1, 3, 3))
    sigma = atomic_sigma(prediction)
    assert (sigma <= 1e-12).all()
    (slope,) = torch.autograd.grad(sigma.sum(), forces)
    assert slope.isfinite().all()


def test_variances_keep_their_graph(rng):
    committee = helpers.mlp_committee()
    batch = committee.batch([Geometry(positions=[[0.3, 0.2]], numbers=[0])])
    positions = batch.positions.clone().requires_grad_()
    moved = batch.at(positions)
    (slope,) = torch.autograd.grad(
        force_variance(committee(moved, graph=True), moved).sum(), positions
    )

    def variance(x):
        point = batch.at(torch.tensor(x))
        return float(force_variance(committee(point), point).sum())

    np.testing.assert_allclose(
        slope.numpy(), helpers.slope(variance, batch.positions.numpy()), rtol=1e-6
    )


def test_a_single_precision_variance_survives_a_large_energy():
    energy = torch.tensor([[1e5 + 0.5], [1e5 - 0.5]], dtype=torch.float64)
    assert float(
        energy_variance(Prediction(energy, torch.zeros(2, 1, 3), torch.zeros(2, 1, 3, 3)))[0]
    ) == pytest.approx(0.5)
