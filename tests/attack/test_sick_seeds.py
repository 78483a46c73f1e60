"""One seed that cannot be evaluated leaves the others as they would be without it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import helpers
import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.lj import LennardJones

from agal_toolkit import (
    Adam,
    Attack,
    Autograd,
    Bias,
    Committee,
    Geometry,
    HessianVector,
    TargetError,
    Variance,
)
from agal_toolkit.attack import LBFGS, Apart, GradientDescent
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
        np.testing.assert_array_equal(other.path[: len(one.path)], one.path)
        np.testing.assert_array_equal(other.losses[: len(one.path)], one.losses)
        assert other.reached
    assert "members [0, 1, 2] predict an energy or forces that are not finite" in together[1].reason


@pytest.mark.parametrize("network", NETWORKS)
def test_atoms_without_neighbours_stay_where_they_are(network, rng):
    module = NETWORKS[network]([1, 7], [1, 2, 3])
    members = Committee(Stacked(module.requires_grad_(False)))
    lone = Geometry(positions=[[0.0, 0.0, 0.0]], numbers=[7])
    apart = Geometry(positions=[[0.0, 0.0, 0.0], [30.0, 0.0, 0.0]], numbers=[7, 1])
    for seeds in ([lone], [apart, lone], [*structures("NH3", rng, 1), lone]):
        adversaries = Attack(Variance(), Adam(0.01, 3), start=0.0)(members, None, seeds, rng)
        np.testing.assert_array_equal(adversaries[-1].path[-1], lone.positions)
        assert adversaries[-1].reason == "did not move (path of 0.0e+00 A)"


class Refusing(LennardJones):
    """A calculator that fails, or has no forces, where the first atom is at x > 5."""

    nothing = False

    def calculate(self, *args):
        super().calculate(*args)
        if self.atoms.positions[0, 0] > 5:
            if not self.nothing:
                raise RuntimeError("SCF not converged\nafter 50 cycles")
            self.results["forces"] = np.full((len(self.atoms), 3), np.nan)


@pytest.mark.parametrize("nothing", [False, True])
def test_a_calculator_that_fails_at_one_seed_loses_one_seed(nothing, rng):
    calculators = [LennardJones(epsilon=1.0, sigma=1.0), Refusing(epsilon=1.1, sigma=1.0)]
    calculators[1].nothing = nothing
    members = Committee.from_calculators(calculators)
    triangle = np.array([[0.0, 0.0, 0.0], [1.2, 0.0, 0.0], [0.6, 1.0, 0.0]])
    seeds = [Geometry(positions=triangle + x, numbers=[18] * 3) for x in (0.0, 9.0, 0.1)]
    attack = Attack(Variance(), Adam(0.005, 3), HessianVector(), start=0.0)
    found = attack(members, None, seeds, rng)
    why = "member 1 predicts an energy or forces that are not finite"
    assert found[1].reason == f"cannot be evaluated ({why if nothing else 'SCF not converged'})"
    assert [a.reached for a in found] == [True, False, True]
    alone = attack(members, None, [seeds[0], seeds[2]], rng)
    for one, other in zip(alone, [found[0], found[2]], strict=True):
        np.testing.assert_array_equal(one.path, other.path)
    if not nothing:
        with pytest.raises(RuntimeError, match="SCF not converged"):
            attack(members, None, seeds[1:2], rng)


def test_unknown_elements_overlaps_and_molecules_under_pressure(rng):
    sound = structures("NH3", rng, 2)
    module = NETWORKS["DensityNet"]([1, 7], [1, 2, 3], dtype=torch.float64)
    members = Committee(Stacked(module.requires_grad_(False)))
    strange = Geometry.from_ase(molecule("H2O"))
    overlapping = Geometry(positions=np.zeros((4, 3)), numbers=[7, 1, 1, 1])
    seeds = [strange, sound[0], overlapping, sound[1]]
    for guard in (None, Apart(0.3)):
        attack = Attack(Variance(), Adam(0.01, 3), start=0.0, guard=guard)
        found, alone = attack(members, None, seeds, rng), attack(members, None, sound, rng)
        assert "never seen O" in found[0].reason
        assert not found[2].reached or guard is None
        for one, other in zip(alone, found[1::2], strict=True):
            np.testing.assert_array_equal(one.path, other.path)
    crystal = helpers.crystal(rng, (2, 2, 2))
    target = TargetError(0.3, raw=True, bias=[Bias(1e3, "pressure")], tolerance=9, deviation=99)
    attack = Attack(target, LBFGS(2), start=0.01)
    found = attack(helpers.pair_committee(), None, [helpers.molecule(rng), crystal], rng)
    assert "a bias on pressure needs structures that are periodic" in found[0].reason
    assert found[1].reached


def test_portions_and_records_change_no_result(rng):
    members, seeds = committee("SchNet"), structures("NH3", rng, 5)
    whole = Attack(Variance(), Adam(0.02, 7), start=0.01)
    found = whole(members, None, seeds, np.random.default_rng(1))
    for changes in ({"chunk": 8}, {"chunk": 1}, {"record": 3}, {"record": 0}):
        others = replace(whole, **changes)(members, None, seeds, np.random.default_rng(1))
        for one, other in zip(found, others, strict=True):
            np.testing.assert_allclose(one.geometry.positions, other.geometry.positions, atol=1e-9)
            kept = other.path[other.kept]
            np.testing.assert_array_equal(other.geometry.positions, kept)
            assert other.losses[other.kept] == pytest.approx(one.losses.min(), rel=1e-9)
            assert other.path.base is None
            length = {3: 4, 0: 2}.get(changes.get("record", 1), 8)
            assert len(other.path) == len(other.losses) == length
            np.testing.assert_allclose(other.path[0], one.path[0])
    with pytest.raises(ValueError, match="expected at least 1 particle"):
        replace(whole, chunk=0)
