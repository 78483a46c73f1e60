"""Calibrated attacks on what is no torch model: ASE's calculators with changed parameters, and two
tight-binding methods.
"""

from __future__ import annotations

import helpers
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from agal_toolkit.attack import LBFGS, Attack, HessianVector, TargetError
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.references import XTB, LabelCalculator


def labelled(calculator, structures):
    """Labels as a calculator gives them."""
    label = Committee.from_calculators([calculator]).predict(structures)
    counts = np.cumsum([len(atoms) for atoms in structures])[:-1]
    return Dataset(
        structures,
        [
            Labels(energy=float(e), forces=f)
            for e, f in zip(label.energy[0], np.split(label.forces[0].numpy(), counts), strict=True)
        ],
    )


def argon(rng, stretch=1.0):
    atoms = bulk("Ar", a=5.0 * stretch, cubic=True).repeat((2, 1, 1))
    atoms.rattle(0.1, rng=rng)
    return atoms


def lennard_jones(epsilon=0.0104, sigma=3.4):
    return LennardJones(epsilon=epsilon, sigma=sigma, rc=7.0, smooth=True)


@pytest.mark.parametrize("cell", [False, True])
def test_calculators_are_calibrated_and_driven_to_a_target(cell, rng):
    """Members with parameters of their own about the truth's; the error found is what was asked
    for, as far as four members can tell.
    """
    committee = Committee.from_calculators(
        [
            lennard_jones(0.0104 * f, 3.4 * g)
            for f, g in ((0.9, 1.01), (1.1, 0.99), (1.05, 1.02), (0.95, 0.98))
        ]
    )
    data = labelled(lennard_jones(), [argon(rng, s) for s in np.linspace(0.97, 1.05, 8)])
    committee = committee.calibrated(helpers.aside(data), "linear")
    aim = TargetError(0.05)
    seeds = [Geometry.from_ase(argon(rng)) for _ in range(2)]
    found = Attack(aim, LBFGS(25), HessianVector(), start=0.01, cell=cell)(
        committee, data, seeds, np.random.default_rng(0)
    )
    assert all(adversary.losses[adversary.kept] < 0.3 * adversary.losses[0] for adversary in found)
    batch = committee.batch([adversary.geometry for adversary in found])
    average, _ = aim(committee, data).mean_and_deviation(committee(batch), batch)
    np.testing.assert_allclose(average.numpy(), 1.0, atol=0.1)
    truth = labelled(lennard_jones(), [adversary.geometry.to_ase() for adversary in found])
    errors = committee.predict(list(truth)).forces.numpy() - np.concatenate(truth.forces)
    assert 0.5 < np.sqrt((errors**2).sum(-1).mean(0)).mean() / 0.05 < 2.0


def test_a_metal_by_emt(rng):
    """EMT has no parameters to vary, so each member scales the energy differently."""

    class Scaled(EMT):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def calculate(self, *arguments, **keywords):
            super().calculate(*arguments, **keywords)
            self.results = {key: self.factor * value for key, value in self.results.items()}

    copper = [bulk("Cu", cubic=True).repeat((2, 1, 1)) for _ in range(6)]
    for atoms in copper:
        atoms.rattle(0.1, rng=rng)
    data = labelled(EMT(), copper)
    committee = Committee.from_calculators([Scaled(f) for f in (0.9, 1.0, 1.15)]).calibrated(
        helpers.aside(data), "linear"
    )
    (found,) = Attack(TargetError(0.1), LBFGS(15), HessianVector(), start=0.02)(
        committee, data, [Geometry.from_ase(bulk("Cu", cubic=True))], np.random.default_rng(0)
    )
    assert found.losses[found.kept] < 0.2 * found.losses[0]
    assert found.reached


def test_two_tight_binding_methods_disagree_where_they_are_driven(rng):
    pytest.importorskip("tblite", reason="tblite is in the extra `references`")
    committee = Committee.from_calculators(
        [LabelCalculator(XTB("GFN1-xTB")), LabelCalculator(XTB("GFN2-xTB"))]
    )
    seed = Geometry.from_ase(molecule("H2O"))
    (found,) = Attack(TargetError(0.6, raw=True), LBFGS(12), HessianVector(), start=0.02)(
        committee, helpers.first_data(5), [seed], np.random.default_rng(0)
    )
    assert found.losses[found.kept] < 0.2 * found.losses[0]
    assert np.abs(found.geometry.positions - seed.positions).max() < 0.6
