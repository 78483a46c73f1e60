"""Guarded calculators: warnings, stops and collected structures in simulations of ASE."""

from __future__ import annotations

import copy
import warnings

import ase.io
import numpy as np
import pytest
import torch
from ase import units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

import agal_toolkit as agal
from agal_toolkit.potentials import SchNet, Stacked
from agal_toolkit.uncertainty import Calibration, PowerLaw

SIZES = {"features": 8, "filters": 6, "interactions": 2, "gaussians": 5, "cutoff": 4.0}
MODULE = SchNet(["N", "H"], range(3), **SIZES, dtype=torch.float64).requires_grad_(False)
COMMITTEE = agal.Committee(Stacked(MODULE), Calibration(PowerLaw(2.0)))


def uncertainty(atoms):
    """The largest calibrated uncertainty, from predictions: sigma of components, times two."""
    forces = COMMITTEE.predict(atoms).forces.numpy()
    return float(2 * np.sqrt((forces.std(0, ddof=1) ** 2).sum(1)).max())


def run(guard, steps=10, **watch):
    """Let an ammonia molecule move; return its calculator and uncertainties along the way."""
    atoms, trace = molecule("NH3"), []
    atoms.set_velocities(np.random.default_rng(0).normal(0, 0.05, (4, 3)))
    atoms.calc = COMMITTEE.calculator(guard=guard, **watch)
    dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
    dynamics.attach(lambda: trace.append(uncertainty(atoms)))
    dynamics.run(steps)
    return atoms, trace


def middle():
    _, trace = run(agal.Guard(1e3))
    assert max(trace) > 1.01 * trace[0]
    return (trace[0] + max(trace)) / 2, trace


def test_a_stop_ends_a_simulation_and_keeps_its_structure(tmp_path):
    limit, trace = middle()
    first = int(np.argmax(np.array(trace) > limit))
    with pytest.raises(
        agal.LimitPassed, match=rf"evaluation {first + 1}: the force on atom"
    ) as stop:
        run(agal.Guard(limit, "stop", tmp_path / "stopped.extxyz"))
    assert uncertainty(stop.value.atoms) == pytest.approx(trace[first])
    kept = ase.io.read(tmp_path / "stopped.extxyz")
    np.testing.assert_allclose(kept.positions, stop.value.atoms.positions, atol=1e-7)
    assert kept.calc is None
    seed = agal.Geometry.from_ase(kept)
    assert seed.origin["by"] == "guard"
    attack = agal.Attack(agal.Variance(), agal.Adam(0.01, 2))
    assert attack(COMMITTEE, agal.Dataset(), [seed], np.random.default_rng(0))[0].seed == 0


def test_structures_are_collected_once_in_a_while(tmp_path):
    low = min(run(agal.Guard(1e3), 10)[1]) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms, trace = run(agal.Guard(low, "collect", tmp_path / "a.extxyz", every=4))
    assert atoms.calc.passed == len(trace) == 11
    assert len(atoms.calc.collected) == 3  # evaluations 1, 5 and 9
    for one, i in zip(atoms.calc.collected, (0, 4, 8), strict=True):
        assert uncertainty(one) == pytest.approx(trace[i])
    assert len(ase.io.read(tmp_path / "a.extxyz", ":")) == 3


def test_warnings_name_atom_and_limit_and_relaxations_are_watched_too():
    atoms = molecule("NH3")
    atoms.calc = COMMITTEE.calculator(guard=agal.Guard(uncertainty(atoms) / 2, every=1000))
    with pytest.warns(UserWarning, match=r"the force on atom \d is uncertain by .* the limit is"):
        BFGS(atoms, logfile=None).run(steps=2)
    assert atoms.calc.passed >= 2
    assert len(atoms.calc.collected) == 1
    plain = molecule("NH3")
    plain.calc = COMMITTEE.calculator()
    plain.positions = atoms.positions
    np.testing.assert_array_equal(atoms.get_forces(), plain.get_forces())
    assert atoms.get_potential_energy() == plain.get_potential_energy()
    assert atoms.calc.results["uncertainty"].shape == (4,)


def test_any_calculator_is_watched_by_a_committee():
    atoms, _ = run(agal.Guard(1e3), 3, watch=EMT())
    plain = molecule("NH3")
    plain.set_velocities(np.random.default_rng(0).normal(0, 0.05, (4, 3)))
    plain.calc = EMT()
    VelocityVerlet(plain, 1.0 * units.fs).run(3)
    np.testing.assert_array_equal(atoms.positions, plain.positions)
    atoms.calc.get_property("uncertainty", atoms)
    np.testing.assert_allclose(atoms.calc.results["uncertainty"].max(), uncertainty(plain))


def test_not_finite_is_beyond_every_limit():
    module = copy.deepcopy(MODULE)
    next(module.parameters()).fill_(torch.nan)
    broken = agal.Committee(Stacked(module), Calibration(PowerLaw(2.0)))
    atoms = molecule("NH3")
    atoms.calc = broken.calculator(guard=agal.Guard(1e9, "stop"))
    with pytest.raises(agal.LimitPassed, match="uncertain by nan"):
        atoms.get_forces()


def test_what_cannot_guard_is_refused():
    with pytest.raises(
        ValueError, match=r"needs a calibrated committee: call committee\.calibrated"
    ):
        agal.Committee(Stacked(MODULE)).calculator(guard=agal.Guard(0.1))
    for wrong in ({"limit": 0.0}, {"limit": 0.1, "action": "shout"}, {"limit": 0.1, "every": 0}):
        with pytest.raises(ValueError, match=r"Guard\(.*expected a positive limit, action"):
            agal.Guard(**wrong)
