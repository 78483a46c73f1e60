"""Objectives against the papers' formulas in plain numpy."""

from __future__ import annotations

import helpers
import numpy as np
import pytest
import torch

from agal_toolkit.attack import BoltzmannVariance, EnergyVariance, Variance
from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels, points

SIZES = (3, 1, 2)


def made_up(rng, offset=0.0, members=4):
    """A batch, a prediction, and energies and force variances in numpy."""
    batch = Batch.of([Geometry(positions=rng.normal(size=(n, 3)), numbers=[6] * n) for n in SIZES])
    energy, forces = rng.normal(size=(members, 3)) + offset, rng.normal(size=(members, 6, 3))
    parts = np.split(((forces - forces.mean(0)) ** 2).sum(0) / (members - 1), [3, 4])
    return (
        batch,
        Prediction(torch.tensor(energy), torch.tensor(forces), torch.zeros(members, 3, 3, 3)),
        energy.mean(0),
        np.array([p.mean() for p in parts]),
    )


def data(rng, energies):
    geometries = [
        Geometry(positions=rng.normal(size=(n, 3)), numbers=[6] * n)
        for n in (*SIZES, 3)[: len(energies)]
    ]
    return Dataset(
        geometries,
        [
            Labels(energy=e, forces=np.zeros((len(g), 3)))
            for g, e in zip(geometries, energies, strict=True)
        ],
    )


@pytest.mark.parametrize("per_atom", [False, True])
def test_boltzmann_variance_is_equations_3_and_4(per_atom, rng):
    kT, known = 0.7, np.array([-1.0, 0.3, 2.0, 0.5])
    batch, prediction, energy, variance = made_up(rng)
    weights = np.exp(-(known / np.array([*SIZES, 3]) if per_atom else known) / kT)
    z = np.array([weights[[0, 3]].mean(), weights[1], weights[2]])  # one for each composition
    p = np.exp(-(energy / np.array(SIZES) if per_atom else energy) / kT) / z
    dataset = data(rng, known)
    losses = BoltzmannVariance(kT, per_atom=per_atom, log=False)(None, dataset)(prediction, batch)
    np.testing.assert_allclose(losses.numpy(), -p * variance, rtol=1e-12)
    logs = BoltzmannVariance(kT, per_atom=per_atom, log=True)(None, dataset)(prediction, batch)
    np.testing.assert_allclose(logs.numpy(), -np.log(p * variance), rtol=1e-12)


def test_a_composition_without_data_needs_the_logarithm(rng):
    batch, prediction, energy, variance = made_up(rng)
    dataset = data(rng, [0.0])
    with pytest.raises(ValueError, match=r"hold no C of charge 0.*or use log=True"):
        BoltzmannVariance(1.0, log=False)(None, dataset)(prediction, batch)
    logs = BoltzmannVariance(1.0)(None, dataset)(prediction, batch)  # the default for atoms
    np.testing.assert_allclose(logs.numpy(), energy - np.log(variance), rtol=1e-12)


def test_the_logarithm_has_the_same_optimum(rng):
    committee, dataset = helpers.mlp_committee(), helpers.well_data(rng, 10)
    batch = committee.batch(points(rng.uniform(-2, 2, (300, 2))))
    said = committee(batch)
    plain, log = (
        BoltzmannVariance(2.0, log=log)(committee, dataset)(said, batch) for log in (False, True)
    )
    assert plain.argmin() == log.argmin()
    assert torch.equal(plain.argsort(), log.argsort())


def test_the_logarithm_has_a_slope_far_away():
    energy = torch.tensor([[3000.0], [3000.0]], dtype=torch.float64, requires_grad=True)
    forces = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]], dtype=torch.float64)
    dataset = Dataset(points([[0.0, 0.0]]), [Labels(energy=0.0, forces=np.zeros((1, 2)))])
    batch = Batch.of(dataset)
    slopes = []
    for log in (False, True):
        loss = BoltzmannVariance(1.0, log=log)(None, dataset)(
            Prediction(energy, forces, torch.zeros(2, 1, 2, 2)), batch
        )
        slopes.append(float(torch.autograd.grad(loss.sum(), energy)[0].sum()))
    assert slopes[0] == 0.0
    assert slopes[1] == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_total_energies_do_not_overflow(dtype, rng):
    batch, prediction, energy, variance = made_up(rng, offset=-1e5)
    prediction = Prediction(prediction.energy, prediction.forces.to(dtype), prediction.stress)
    dataset = data(rng, -1e5 + np.array([0.0, 1.0, 2.0, 3.0]))
    for kT in (0.0257, 5.0):
        losses = BoltzmannVariance(kT, log=False)(None, dataset)(prediction, batch)
        assert losses.isfinite().all()
        assert losses.dtype == torch.float64
        weights = np.exp(-np.array([0.0, 1.0, 2.0, 3.0]) / kT)
        z = np.array([weights[[0, 3]].mean(), weights[1], weights[2]])
        np.testing.assert_allclose(
            losses.numpy(), -np.exp(-(energy + 1e5) / kT) / z * variance, rtol=1e-4
        )


def test_a_higher_temperature_looks_farther(rng):
    committee, dataset = helpers.mlp_committee(), helpers.well_data(rng, 10)
    batch = committee.batch(points(rng.uniform(-3, 3, (400, 2))))
    said = committee(batch)
    energies = [
        float(said.energy.mean(0)[BoltzmannVariance(kT)(committee, dataset)(said, batch).argmin()])
        for kT in (0.2, 200.0)
    ]
    assert energies[0] < energies[1]


def test_members_that_agree_have_a_finite_logarithm():
    said = Prediction(torch.zeros(3, 1), torch.zeros(3, 1, 2), torch.zeros(3, 1, 2, 2))
    dataset = Dataset(points([[0.0, 0.0]]), [Labels(energy=0.0, forces=np.zeros((1, 2)))])
    assert BoltzmannVariance(1.0, log=True)(None, dataset)(said, Batch.of(dataset)).isfinite().all()


def test_plain_variances(rng):
    batch, prediction, _, variance = made_up(rng)
    np.testing.assert_allclose(Variance()(None)(prediction, batch).numpy(), -variance)
    np.testing.assert_allclose(
        EnergyVariance()(None)(prediction, batch).numpy(),
        -prediction.energy.numpy().var(0, ddof=1),
    )


def test_what_an_objective_refuses():
    with pytest.raises(ValueError, match=r"kT is 0\.0, expected a positive energy"):
        BoltzmannVariance(0.0)
    for given in ((), (None,), (Dataset(),)):
        with pytest.raises(
            ValueError,
            match=r"partition function of Eq. 3 needs labelled data: the data set is empty",
        ):
            BoltzmannVariance(1.0)(None, *given)
