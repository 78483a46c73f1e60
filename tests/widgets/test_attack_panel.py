"""The panel that attacks a structure of one's choice, without a browser."""

from __future__ import annotations

import helpers
import numpy as np
import pytest
from helpers import picture

from agal_toolkit import LBFGS, Adam, Attack, Committee, Dataset, Labels, TargetError, Variance
from agal_toolkit.attack import Ball, BoltzmannVariance, EnergyVariance, HessianVector
from agal_toolkit.potentials import Differentiable, Separate
from agal_toolkit.widgets import AttackPanel


@pytest.fixture(scope="module")
def seeds():
    rng = np.random.default_rng(3)
    places = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    return [
        helpers.molecule(rng, 8).moved(1.9 * places + rng.normal(0, 0.05, (8, 3))) for _ in range(3)
    ]


@pytest.fixture(scope="module")
def data(seeds):
    said = helpers.pair_committee(1).predict(seeds)
    rows = zip(said.energy[0].tolist(), said.forces[0].split(8), strict=True)
    return Dataset(seeds, [Labels(energy=e, forces=f.numpy()) for e, f in rows])


@pytest.fixture(scope="module")
def committee(data):
    return helpers.pair_committee(4).calibrated(helpers.aside(data), "linear")


@pytest.fixture
def panel(committee, seeds, data):
    return AttackPanel(committee, seeds, data)


def test_a_press_attacks_the_chosen_structure_and_plays_it(panel, committee, seeds, data):
    panel.seed, panel.steps = 1, 7
    panel._go.click()
    panel.settle()
    (adversary,) = panel.adversaries
    assert adversary.seed == 1
    assert len(adversary.path) == 8
    rng = np.random.default_rng([2021, 1, 1])
    (right,) = panel.attack(committee, data, [seeds[1]], rng)
    np.testing.assert_array_equal(adversary.path, right.path)
    assert panel._player.adversaries == (adversary,)
    assert panel._stage.children == (panel._player,)
    assert not panel._go.disabled
    assert panel._trouble.value == ""
    before = picture(panel)
    panel.seed = 2
    panel.start().settle()
    assert [a.seed for a in panel.adversaries] == [1, 2]
    assert panel._player.chosen == 1
    assert picture(panel) != before
    panel.seed = 0
    np.testing.assert_array_equal(panel._molecule.geometry.positions, seeds[0].positions)
    assert panel._stage.children == (panel._live,)


def test_controls_are_the_attack(panel):
    likely = panel.attack
    assert isinstance(likely.objective, BoltzmannVariance)
    assert likely.objective.kT == panel.strength
    panel.strength = 2.5
    assert panel.attack.objective.kT == 2.5
    panel.gradient = "two force calls"
    panel.objective, panel.strength, panel.steps = "chosen error", 0.25, 31
    assert panel._strength_unit.value == "eV/Å"
    chosen = panel.attack
    assert (chosen.objective, chosen.minimizer) == (TargetError(0.25), LBFGS(31))
    assert chosen.gradient == HessianVector()
    panel.objective, panel.strength = "doubt alone", 0.4
    alone = panel.attack
    assert (alone.objective, alone.bound) == (Variance(), Ball(0.4))


def test_only_what_is_possible_is_offered(committee, seeds, data):
    raw = helpers.pair_committee(4)
    assert list(AttackPanel(raw, seeds)._goals) == ["doubt alone"]
    assert list(AttackPanel(raw, seeds, data)._goals) == [
        "doubt and Boltzmann factor",
        "doubt alone",
    ]
    given = Attack(TargetError(0.3), LBFGS(9), start=0.0)
    panel = AttackPanel(committee, seeds, data, given)
    assert (panel.objective, panel.strength, panel.steps) == ("chosen error", 0.3, 9)
    other = AttackPanel(raw, seeds, attack=Attack(EnergyVariance(), Adam(0.02, 12)))
    assert other.attack == Attack(EnergyVariance(), Adam(0.02, 12))
    wide = Attack(Variance(), Adam(0.02, 300), HessianVector(step=1e-3), bound=Ball(0.5), start=0.1)
    assert AttackPanel(committee, seeds, data, wide).attack == wide  # as it was given
    raised = Attack(TargetError(0.2, raw=True), LBFGS(3, largest=0.05), start=0.02)
    assert AttackPanel(raw, seeds, attack=raised).attack == raised
    energy = AttackPanel(committee, seeds, attack=Attack(TargetError(0.2, "energy"), LBFGS(3)))
    assert energy._strength_unit.value == "eV per atom"
    follows = Attack(TargetError(1.5, relative=True), LBFGS(3))
    panel = AttackPanel(committee, seeds, data, follows)
    assert (panel.strength, panel._strength_unit.value) == (1.5, "times the error")
    with pytest.raises(ValueError, match="give at least one structure"):
        AttackPanel(raw, [])
    with pytest.raises(ValueError, match="unit is 'ev', expected one of"):
        AttackPanel(raw, seeds, unit="ev")


def test_a_number_that_is_refused_is_told_and_the_panel_goes_on(panel):
    panel.strength = -1.0
    panel._go.click()
    assert "kT is -1.0" in panel._trouble.value
    assert not panel.adversaries
    panel.strength, panel.steps = 1.0, 5
    panel.start().settle()
    assert len(panel.adversaries) == 1
    assert panel._trouble.value == ""


def test_an_attack_that_fails_says_so(seeds):
    class Broken(helpers.PairEnergy):
        def __call__(self, batch):
            raise RuntimeError("no such potential")

    panel = AttackPanel(helpers.pair_committee(2), seeds)
    panel.committee = Committee(Separate([Differentiable(Broken())]))
    panel.start().settle()
    assert "no such potential" in panel._trouble.value
    assert not panel._go.disabled


def test_a_moving_cell_is_followed():
    box = helpers.crystal(np.random.default_rng(1), (3, 3, 3))
    attack = Attack(Variance(), Adam(0.02, 6), bound=Ball(0.5), cell=True)
    panel = AttackPanel(helpers.pair_committee(3), [box], attack=attack)
    panel.start().settle()
    (adversary,) = panel.adversaries
    assert np.abs(adversary.cells[-1] - box.cell).max() > 1e-6
    np.testing.assert_allclose(panel._latest.cells[0], adversary.cells[-1])
