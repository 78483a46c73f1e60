"""Labels of many structures as a data set."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import write
from label_functions import GOOD, NO_LIBRARY, NOT_A_NUMBER, RAISES, Counted, moody

from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.references import Reference


def test_structures_of_any_kind_become_data(tmp_path):
    water, slab = molecule("H2O"), fcc111("Cu", (1, 1, 3), vacuum=8.0)
    write(tmp_path / "two.xyz", [molecule("NH3"), molecule("CH4")])
    reference = Reference(EMT())
    data = reference.labelled([water, Geometry.from_ase(slab), tmp_path / "two.xyz"])
    assert [len(g) for g in data] == [3, 3, 4, 5]
    for atoms, energy in zip((water, slab), data.energies, strict=False):
        atoms.calc = EMT()
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    assert len(reference.labelled(str(tmp_path / "two.xyz"))) == 2
    data.write(tmp_path / "data.extxyz")
    assert len(reference.labelled(tmp_path / "data.extxyz")) == 4
    with pytest.raises(TypeError, match=r"expected a Geometry or an ase\.Atoms, got int"):
        reference.labelled([3])


def test_failures_are_told_once_with_their_reasons():
    some = points([[mood, 0.5] for mood in (GOOD, RAISES, 0.5, NOT_A_NUMBER, RAISES)])
    with pytest.warns(UserWarning, match="3 of 5 structures have no labels") as told:
        data = Reference(moody, {"code": "moody"}).labelled(some)
    assert len(told) == 1
    assert "structures [1, 4]: RuntimeError: the SCF did not converge" in str(told[0].message)
    assert "structures [3]: ValueError: energy is nan" in str(told[0].message)
    assert [g.positions[0, 0] for g in data] == [GOOD, 0.5]
    with pytest.raises(RuntimeError, match=r"2 of 2 structures have no labels\n.*did not converge"):
        Reference(moody, {"code": "moody"}).labelled([some[1], some[4]])


def test_an_interrupted_call_goes_on(tmp_path):
    count = Counted(tmp_path)
    reference = Reference(count)
    some = points([[x, 0.5] for x in (0.1, 0.2, 0.3)])

    def impatient(event):
        if event.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reference.labelled(some, report=impatient)
    assert len(reference.labelled(some)) == 3
    assert count.calls() == [0.1, 0.2, 0.2, 0.3]
    with pytest.raises(ImportError):
        Reference(moody, {"code": "moody"}).labelled(points([[NO_LIBRARY, 0.0]]))


def test_constrained_forces_are_told(tmp_path):
    slab = fcc111("Cu", (1, 1, 3), vacuum=8.0)
    slab.rattle(0.1, seed=1)
    slab.set_constraint(FixAtoms([0]))

    def natural(geometry):
        atoms = geometry.to_ase()
        atoms.calc = EMT()
        return Labels(energy=atoms.get_potential_energy(), forces=atoms.get_forces())

    with pytest.warns(UserWarning, match="zero on their fixed atoms.*apply_constraint=False") as w:
        data = Reference(natural, {"code": "natural"}).labelled([slab, slab.copy()])
    assert len(w) == 1
    assert not data.forces[0][0].any()
    raw = Reference(EMT()).labelled(slab)  # without a warning
    assert np.abs(raw.forces[0][0]).max() > 0.1
    np.testing.assert_allclose(raw.forces[0][1:], data.forces[0][1:], atol=1e-9)
    with pytest.warns(UserWarning, match=r"structures \[0, 1\] have forces of exactly zero"):
        Dataset.from_ase(data.to_ase())
    raw.write(tmp_path / "raw.extxyz")
    assert np.abs(Dataset.read(tmp_path / "raw.extxyz").forces[0][0]).max() > 0.1
