"""One seed that cannot be evaluated leaves the others as they would be without it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from ase.build import molecule

from agal_toolkit import Adam, Attack, Autograd, Committee, Geometry, HessianVector, Variance
from agal_toolkit.attack import LBFGS, GradientDescent
from agal_toolkit.attack.gradients import FiniteDifference
from agal_toolkit.potentials import DensityNet, SchNet, Stacked

NETWORKS = {
    "SchNet": partial(SchNet, features=8, filters=8, interactions=2),
    "DensityNet": partial(DensityNet, channels=4, hidden=8),
}
MINIMIZERS = [Adam(0.02, 8), LBFGS(8), GradientDescent(0.01, 8)]


def committee(network: str) -> Committee:
    """Members that know H, N and P, and whose weights for P are not finite."""
    module = NETWORKS[network]([1, 7, 15], [1, 2, 3], dtype=torch.float64)
    with torch.no_grad():
        weights = module.embedding if network == "SchNet" else module.first
        weights[:, 2] = torch.nan
    return Committee(Stacked(module.requires_grad_(False)))


def structures(name: str, rng: np.random.Generator, count: int) -> list[Geometry]:
    atoms = molecule(name)
    shifts = rng.normal(0, 0.08, (count, 4, 3))
    return [Geometry(positions=atoms.positions + s, numbers=atoms.numbers) for s in shifts]


@pytest.mark.parametrize("gradient", [Autograd(), HessianVector(), FiniteDifference()], ids=repr)
@pytest.mark.parametrize("minimizer", MINIMIZERS, ids=repr)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_sick_seed_spoils_no_other(network, minimizer, gradient, rng):
    members, sound, (sick,) = (
        committee(network),
        structures("NH3", rng, 3),
        structures("PH3", rng, 1),
    )
    attack = Attack(Variance(), minimizer, gradient, start=0.0)
    alone = attack(members, None, sound, rng)
    together = attack(members, None, [sound[0], sick, *sound[1:]], rng)
    assert not together[1].reached
    assert np.isfinite(together[1].path).all()
    assert np.array_equal(together[1].geometry.positions, sick.positions)
    for one, other in zip(alone, [together[0], *together[2:]], strict=True):
        steps = min(len(one.path), len(other.path))
        np.testing.assert_allclose(other.path[:steps], one.path[:steps], atol=1e-7)
        assert other.reached


@pytest.mark.parametrize("network", NETWORKS)
def test_atoms_without_neighbours_stay_where_they_are(network, rng):
    module = NETWORKS[network]([1, 7], [1, 2, 3])
    members = Committee(Stacked(module.requires_grad_(False)))
    lone = Geometry(positions=[[0.0, 0.0, 0.0]], numbers=[7])
    apart = Geometry(positions=[[0.0, 0.0, 0.0], [30.0, 0.0, 0.0]], numbers=[7, 1])
    for seeds in ([lone], [apart, lone], [*structures("NH3", rng, 1), lone]):
        adversaries = Attack(Variance(), Adam(0.01, 3), start=0.0)(members, None, seeds, rng)
        np.testing.assert_array_equal(adversaries[-1].path[-1], lone.positions)
