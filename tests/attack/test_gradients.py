"""Three gradients against each other: problems x methods."""

from __future__ import annotations

import helpers
import numpy as np
import pytest
import torch

from agal_toolkit.attack import (
    Autograd,
    BoltzmannVariance,
    EnergyVariance,
    FiniteDifference,
    HessianVector,
    NotConservative,
    Variance,
)
from agal_toolkit.batch import Delta
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.potentials import NoGraph, Separate

KNOWN = Dataset(points([[0.0, 0.0]]), [Labels(energy=0.0, forces=np.zeros((1, 2)))])
OBJECTIVES = [
    Variance(),
    EnergyVariance(),
    BoltzmannVariance(kT=2.0),
    BoltzmannVariance(kT=2.0, log=True, per_atom=True),
]


def problem(name, rng, dtype=torch.float64):
    if name == "double well":
        committee = helpers.mlp_committee(dtype=dtype)
        return committee, committee.batch(points(rng.uniform(-1, 1, (6, 2))))
    committee = helpers.pair_committee(dtype=dtype)
    if name == "molecules":
        return committee, committee.batch(
            [helpers.molecule(rng, 5), helpers.molecule(rng, 3), helpers.molecule(rng, 4)]
        )
    return committee, committee.batch([helpers.crystal(rng)])


def data_like(batch) -> Dataset:
    """Labelled structures of the compositions of a batch, all of energy zero."""
    parts = zip(batch.split(batch.positions), batch.split(batch.numbers), strict=True)
    geometries = [Geometry(positions=x, numbers=z) for x, z in parts]
    return Dataset(geometries, [Labels(energy=0.0, forces=g.positions) for g in geometries])


def error(found: Delta, right: Delta) -> float:
    return float((found.shift - right.shift).norm() / right.shift.norm())


def still(batch):
    return Delta(torch.zeros_like(batch.positions))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("name", ["double well", "molecules", "crystal of 192 atoms"])
def test_hessian_vector_is_autograd(name, objective, rng):
    committee, batch = problem(name, rng)
    loss = objective(committee, data_like(batch))
    right, slope = Autograd()(committee, loss, batch, still(batch))
    losses, found = HessianVector()(committee, loss, batch, still(batch))
    torch.testing.assert_close(losses, right)
    assert slope.shift.norm() > 0
    assert error(found, slope) < 1e-5


@pytest.mark.parametrize("central", [True, False], ids=["central", "forward"])
@pytest.mark.parametrize("name", ["double well", "molecules"])
def test_finite_difference_is_autograd(name, central, rng):
    committee, batch = problem(name, rng)
    for objective in OBJECTIVES:
        loss = objective(committee, data_like(batch))
        right, slope = Autograd()(committee, loss, batch, still(batch))
        losses, found = FiniteDifference(central=central, chunk=16)(
            committee, loss, batch, still(batch)
        )
        torch.testing.assert_close(losses, right)
        assert error(found, slope) < (1e-4 if central else 1e-3)


def test_central_difference_of_a_crystal_of_192_atoms(rng):
    committee, batch = helpers.pair_committee(2), problem("crystal", rng)[1]
    loss = Variance()(committee, KNOWN)
    _, slope = Autograd()(committee, loss, batch, still(batch))
    _, found = FiniteDifference(central=True)(committee, loss, batch, still(batch))
    assert error(found, slope) < 1e-4


@pytest.mark.parametrize("name", ["double well", "molecules", "crystal of 192 atoms"])
def test_hessian_vector_in_single_precision(name, rng):
    committee, batch = problem(name, rng, torch.float32)
    exact, _ = problem(name, rng)
    loss = Variance()(exact, KNOWN)
    _, slope = Autograd()(exact, loss, batch, still(batch))
    _, found = HessianVector()(committee, loss, batch, still(batch))
    assert error(found, slope) < 1e-3


@pytest.mark.parametrize("atoms", [3, 8])
def test_force_calls_per_member(atoms, rng):
    def calls(gradient):
        committee = helpers.pair_committee(3, counted=True)
        batch = committee.batch([helpers.molecule(rng, atoms)])
        gradient(committee, Variance()(committee, KNOWN), batch, still(batch))
        return {member.calls for member in committee.members.potentials}

    assert calls(HessianVector()) == {1 + 2}
    assert calls(FiniteDifference()) == {1 + 3 * atoms}
    assert calls(FiniteDifference(central=True)) == {1 + 2 * 3 * atoms}


def test_members_without_a_say_cost_no_call(rng):
    committee = helpers.pair_committee(3, counted=True)
    batch = committee.batch([helpers.molecule(rng)])
    HessianVector()(committee, lambda prediction, batch: prediction.energy[0], batch, still(batch))
    assert [member.calls for member in committee.members.potentials] == [1, 1, 1]


def test_a_displaced_start_is_differentiated_where_it_is(rng):
    committee, batch = problem("molecules", rng)
    loss = Variance()(committee, KNOWN)
    delta = Delta(torch.full_like(batch.positions, 0.05))
    _, here = Autograd()(committee, loss, batch, delta)
    for gradient in (HessianVector(), FiniteDifference(central=True)):
        assert error(gradient(committee, loss, batch, delta)[1], here) < 1e-4


def test_non_conservative_members_are_named(rng):
    committee = Committee(Separate([helpers.Swirl(0.0), helpers.Swirl(0.06)]))
    batch = committee.batch(points(rng.uniform(-1, 1, (20, 2))))
    with pytest.raises(NotConservative, match=r"member 1.*FiniteDifference"):
        HessianVector().check(committee, batch)
    HessianVector().check(committee[[0]], batch)
    HessianVector(asymmetry=0.5).check(committee, batch)


def test_other_gradients_let_every_member_through(rng):
    committee = Committee(Separate([helpers.Swirl(0.0), helpers.Swirl(0.06)]))
    batch = committee.batch(points(rng.uniform(-1, 1, (20, 2))))
    for gradient in (Autograd(), FiniteDifference()):
        assert gradient.check(committee, batch) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["double well", "molecules", "crystal of 192 atoms"])
def test_conservative_members_are_let_through(name, dtype, rng):
    committee, batch = problem(name, rng, dtype)
    for seed in range(5):
        HessianVector().check(committee, batch, torch.Generator().manual_seed(seed))


def test_autograd_of_a_black_box_names_the_remedy(rng):
    from ase.calculators.lj import LennardJones

    committee = Committee.from_calculators([LennardJones(epsilon=0.2), LennardJones(epsilon=0.3)])
    batch = committee.batch([helpers.molecule(rng)])
    with pytest.raises(NoGraph, match="HessianVector"):
        Autograd()(committee, Variance()(committee, KNOWN), batch, still(batch))
    _, slope = FiniteDifference(central=True)(
        committee, Variance()(committee, KNOWN), batch, still(batch)
    )
    assert (
        error(
            HessianVector()(committee, Variance()(committee, KNOWN), batch, still(batch))[1], slope
        )
        < 1e-4
    )
