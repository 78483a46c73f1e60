"""Physics that every potential owes: forces and stress are slopes of the energy."""

from __future__ import annotations

import helpers
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.lj import LennardJones

from agal_toolkit.batch import Batch, Delta
from agal_toolkit.geometry import Geometry, points
from agal_toolkit.potentials import (
    MLP,
    Baseline,
    CalculatorPotential,
    DensityNet,
    Differentiable,
    NoGraph,
    Recorded,
    SchNet,
    Separate,
    Stacked,
    derive,
)
from agal_toolkit.references import DoubleWell


def crystal(rng):
    """Small, skewed and disordered; large enough for the minimum image."""
    return helpers.crystal(rng, (4, 4, 4))


def argon(rng):
    atoms = bulk("Ar", cubic=True, a=5.3) * (1, 1, 2)
    atoms.rattle(0.1, rng=rng)
    return Geometry.from_ase(atoms)


LJ = LennardJones(sigma=3.4, epsilon=0.0104, rc=8.0, smooth=True)
PROBLEMS = {
    "double well": lambda rng: (helpers.well_potential(), points(rng.uniform(-1, 1, (4, 2)))),
    "quartic double well": lambda rng: (
        helpers.well_potential(DoubleWell(y_power=4)),
        points(rng.uniform(-1, 1, (4, 2))),
    ),
    "pair potential, open": lambda rng: (
        Differentiable(helpers.PairEnergy()),
        [helpers.molecule(rng, 4), helpers.molecule(rng, 2)],
    ),
    "pair potential, periodic": lambda rng: (
        Differentiable(helpers.PairEnergy()),
        [helpers.crystal(rng, (3, 3, 3), 2.4)],
    ),
    "ASE's Lennard-Jones, open": lambda rng: (
        CalculatorPotential(LJ),
        [Geometry(positions=rng.uniform(0, 8, (4, 3)), numbers=[18] * 4)],
    ),
    "ASE's Lennard-Jones, periodic": lambda rng: (CalculatorPotential(LJ), [argon(rng)]),
    "mean of a committee": lambda rng: (helpers.pair_committee().mean, [helpers.molecule(rng, 3)]),
    "mean of networks": lambda rng: (
        helpers.mlp_committee().mean,
        points(rng.uniform(-1, 1, (3, 2))),
    ),
    "member of a network": lambda rng: (
        lambda batch: helpers.mlp_committee()(batch)[1],
        points(rng.uniform(-1, 1, (3, 2))),
    ),
    "molecular network": lambda rng: (
        lambda batch: Stacked(helpers.Blob([3, 4]))(batch)[0],
        [helpers.molecule(rng, 4), helpers.molecule(rng, 2)],
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_forces_are_slopes(name, rng):
    potential, geometries = PROBLEMS[name](rng)
    batch = Batch.of(geometries)
    prediction = potential(batch)
    assert prediction.energy.shape == (len(batch),)
    assert prediction.forces.shape == batch.positions.shape

    def energy(positions):
        return float(potential(batch.at(torch.tensor(positions))).energy.sum())

    expected = -helpers.slope(energy, batch.positions.numpy())
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(
        prediction.forces.numpy(), expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max()
    )


@pytest.mark.parametrize("name", ["pair potential, periodic", "ASE's Lennard-Jones, periodic"])
def test_stress_is_the_slope_in_strain_over_volume(name, rng):
    potential, geometries = PROBLEMS[name](rng)
    batch = Batch.of(geometries)
    volume = abs(np.linalg.det(geometries[0].cell))

    def energy(strain):
        symmetric = torch.tensor((strain + strain.T) / 2)[None]
        return float(
            potential(Delta(torch.zeros_like(batch.positions), symmetric).apply(batch)).energy
        )

    expected = helpers.slope(energy, np.zeros((3, 3))) / volume
    stress = potential(batch).stress[0].numpy()
    np.testing.assert_allclose(stress, stress.T, atol=1e-12 * np.abs(stress).max())
    np.testing.assert_allclose(stress, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_stress_is_positive_under_tension():
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3) * 2.2
    batch = Batch.of([Geometry(positions=grid, numbers=[6] * 64, cell=np.eye(3) * 8.8, pbc=True)])
    still, one = torch.zeros_like(batch.positions), torch.eye(3, dtype=torch.float64)[None]
    potential = Differentiable(helpers.PairEnergy())
    pressures = [
        float(potential(Delta(still, strain * one).apply(batch)).stress[0].trace())
        for strain in (-0.45, 0.05)
    ]
    assert pressures[0] < 0 < pressures[1]


def test_stress_of_a_mixed_batch_is_nan_for_the_open_ones_only(rng):
    cell = np.diag([9.0, 9.0, 9.0])
    slab = Geometry(
        positions=rng.uniform(0, 3, (3, 3)), numbers=[6] * 3, cell=cell, pbc=[True, True, False]
    )
    solid = crystal(rng)
    potential = Differentiable(helpers.PairEnergy())
    alone = potential(Batch.of([solid]))
    mixed = potential(Batch.of([helpers.molecule(rng), solid, slab]))
    assert mixed.stress.isnan().flatten(1).all(1).tolist() == [True, False, True]
    assert not mixed.stress[1].isnan().any()
    torch.testing.assert_close(mixed.stress[1], alone.stress[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(mixed.forces[5:-3], alone.forces, rtol=1e-10, atol=1e-12)
    assert not mixed.forces.isnan().any()


def test_a_graph_is_kept_only_on_request(rng):
    batch = Batch.of([helpers.molecule(rng)])
    positions = batch.positions.clone().requires_grad_()
    potential = Differentiable(helpers.PairEnergy())
    plain = potential(batch.at(positions))
    assert not plain.energy.requires_grad
    assert not plain.forces.requires_grad
    kept = potential(batch.at(positions), graph=True)
    (second,) = torch.autograd.grad(kept.forces[0, 0], positions)

    def force(x):
        return float(potential(batch.at(torch.tensor(x))).forces[0, 0])

    np.testing.assert_allclose(
        second.numpy(), helpers.slope(force, batch.positions.numpy()), rtol=1e-6, atol=1e-6
    )


NETWORKS = {
    "MLP": lambda rng: (
        MLP(3, [1, 2], width=6, dtype=torch.float64),
        points(rng.normal(size=(1, 3))),
    ),
    "SchNet": lambda rng: (
        SchNet(
            [1, 7], [1, 2], features=6, filters=5, interactions=2, gaussians=6, dtype=torch.float64
        ),
        [helpers.ammonia()],
    ),
    "DensityNet": lambda rng: (
        DensityNet([1, 7], [1, 2], radial=3, channels=3, hidden=4, dtype=torch.float64),
        [helpers.ammonia()],
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("frozen", [False, True])
def test_second_derivatives_of_an_energy_are_right_or_refused(name, frozen, rng):
    """Never silently zero, which a written backward pass of constants would make them."""
    module, structures = NETWORKS[name](rng)
    potential, batch = Stacked(module.requires_grad_(not frozen)), Batch.of(structures)
    jacobian, hessian = torch.autograd.functional.jacobian, torch.autograd.functional.hessian

    def energy(x):
        return potential(batch.at(x), graph=True).energy.sum()

    right = -jacobian(lambda x: potential(batch.at(x), graph=True).forces.sum(0), batch.positions)
    assert right.abs().max() > 1e-3
    if name == "DensityNet":
        torch.testing.assert_close(hessian(energy, batch.positions), right, rtol=1e-9, atol=1e-11)
        return
    x = batch.positions.clone().requires_grad_()
    torch.testing.assert_close(
        torch.autograd.grad(energy(x), x)[0], -potential(batch).forces.sum(0)
    )
    with pytest.raises(
        RuntimeError,
        match=(r"differentiable once.*the predicted forces once, or the plain energies of module"),
    ):
        hessian(energy, batch.positions)
    torch.testing.assert_close(
        hessian(lambda x: module(batch.at(x.expand(2, *x.shape))).sum(), batch.positions),
        right,
        rtol=1e-9,
        atol=1e-11,
    )


@pytest.mark.parametrize("network", [SchNet, DensityNet])
@pytest.mark.parametrize("cell", [None, 3 * np.eye(3)])
def test_an_atom_that_is_nowhere_has_no_energy_whoever_its_neighbours_are(network, cell):
    sizes = (
        {"features": 6, "filters": 5, "interactions": 1}
        if network is SchNet
        else {"radial": 3, "channels": 3, "hidden": 4}
    )
    module = network([1, 7], [1, 2], **sizes)
    alone = Geometry(positions=np.zeros((1, 3)), numbers=[7], cell=cell, pbc=cell is not None)
    batch = Batch.of([alone, helpers.ammonia(), alone])
    moved = batch.positions.repeat(2, 1, 1)
    moved[1, 0, 2], moved[0, -1, 0] = torch.nan, torch.inf
    for frozen in (False, True):
        right, prediction = (
            Stacked(module.requires_grad_(not frozen))(batch.at(x))
            for x in (batch.positions, moved)
        )
        assert prediction.energy.isnan().tolist() == [[False, False, True], [True, False, False]]
        keep = ~prediction.energy.isnan()
        torch.testing.assert_close(prediction.energy[keep], right.energy[keep])
        torch.testing.assert_close(prediction.forces[:, 1:5], right.forces[:, 1:5])


def test_derivatives_inside_no_grad(rng):
    batch = Batch.of([helpers.molecule(rng)])
    with torch.no_grad():
        prediction = derive(helpers.PairEnergy(), batch, graph=False)
    torch.testing.assert_close(
        prediction.forces, Differentiable(helpers.PairEnergy())(batch).forces
    )


def test_no_graph_names_the_remedy():
    assert "HessianVector()" in str(NoGraph("the model"))
    assert "FiniteDifference()" in str(NoGraph("the model"))


# -- element baselines


def waters(rng, count=8):
    sizes = rng.integers(1, 5, count)
    return [np.array([8, 1, 1] * size) for size in sizes], -470.0 * sizes + rng.normal(
        0, 0.01, count
    )


def test_a_baseline_takes_the_large_part_of_rank_deficient_data(rng):
    numbers, energies = waters(rng)
    baseline = Baseline.fit(numbers, energies)
    left = [
        e - sum(baseline.energies[z] for z in n) for n, e in zip(numbers, energies, strict=True)
    ]
    assert np.abs(left).max() < 0.05
    assert baseline.energies[1] == pytest.approx(
        2 * baseline.energies[8], rel=1e-3
    )  # the shortest solution: in proportion to the counts


def test_a_full_rank_fit_is_least_squares(rng):
    numbers = [np.array([8] * a + [1] * b) for a, b in rng.integers(1, 6, (12, 2))]
    energies = rng.normal(size=12) - 5.0 * np.array([len(n) for n in numbers])
    counts = np.array([[(n == z).sum() for z in (1, 8)] for n in numbers], dtype=float)
    right = np.linalg.lstsq(counts, energies, rcond=None)[0]
    np.testing.assert_allclose(
        list(Baseline.fit(numbers, energies).energies.values()), right, rtol=1e-4
    )


def test_a_baseline_sums_over_atoms_in_double_precision():
    baseline = Baseline({8: -432.123456789, 1: -13.6})
    batch = Batch.of(
        [
            Geometry(positions=np.eye(3), numbers=[8, 1, 1]),
            Geometry(positions=np.eye(3)[:1], numbers=[1]),
        ]
    )
    assert baseline(batch).dtype == torch.float64
    assert baseline(batch).tolist() == pytest.approx([-459.323456789, -13.6], abs=1e-12)
    assert Baseline(baseline.to_json()).energies == baseline.energies
    assert repr(baseline) == "Baseline(H -13.6000 eV, O -432.1235 eV)"


def test_an_unknown_element_is_named():
    with pytest.raises(
        ValueError,
        match=(
            "no baseline energy for C, Cu; the model knows H, O: add such structures to the"
            " training data"
        ),
    ):
        Baseline({1: 0.0, 8: 1.0})(Batch.of([Geometry(positions=np.eye(3), numbers=[29, 6, 1])]))


def test_nameless_particles_have_no_baseline():
    assert not Baseline.fit([np.array([0])] * 4, np.arange(4.0)).energies
    assert Baseline({1: 2.0})(Batch.of(points([[0.0, 0.0]]))).tolist() == [0.0]


def test_a_recorded_potential_keeps_the_latest_prediction():
    batch, potential = Batch.of(points([[0.9, 0.4], [0.1, -0.3]])), helpers.well_potential()
    single, several = Recorded(potential), Recorded(Separate([potential] * 3))
    for _ in range(2):
        assert torch.equal(single(batch).forces, potential(batch).forces)
        assert torch.equal(several(batch).forces, several.prediction.forces.mean(0))
    assert single.batch is several.batch is batch
    assert single.calls == several.calls == 2
    assert single.prediction.energy.shape == (2,)
    assert several.prediction.energy.shape == (3, 2)
