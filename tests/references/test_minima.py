"""Minima and Hessians of any reference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase.build import fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import write
from ase.vibrations import Vibrations
from label_functions import Spring, squared

from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.references import (
    DoubleWell,
    NoMinimum,
    Reference,
    hessian,
    optimised,
)


def test_relaxed_in_a_plane():
    start = points([[0.9, 0.4]], by="hand")[0]
    relaxed = optimised(DoubleWell(), start, fmax=1e-6)
    x, y = relaxed.positions[0]
    assert 40 * x**3 - 20 * x + 2 == pytest.approx(0.0, abs=1e-5)
    assert x > 0.5
    assert y == pytest.approx(0.0, abs=1e-6)
    assert dict(relaxed.origin) == {"by": "optimised"}
    assert start.positions[0, 0] == 0.9


def test_fixed_atoms_and_charges_are_honoured():
    start = Geometry(
        positions=[[0.0, 0.0, 0.0], [1.3, 0.2, 0.0]],
        numbers=[1, 1],
        charge=-2,
        movable=[False, True],
    )
    relaxed = optimised(Spring(), start)
    assert not relaxed.positions[0].any()
    assert relaxed.movable.tolist() == [False, True]
    assert relaxed.charge == -2
    assert np.linalg.norm(relaxed.positions[1]) == pytest.approx(0.8, abs=1e-4)


def test_too_few_steps_are_said():
    with pytest.raises(
        RuntimeError,
        match=(
            r"after 1 steps Geometry\(1 x, 2d\) has a force of .* eV/angstrom, expected 1e-06:"
            r" go on from the error.s .geometry"
        ),
    ):
        optimised(DoubleWell(), points([[0.9, 0.4]])[0], fmax=1e-6, steps=1)


def test_a_relaxation_goes_on_from_where_it_stopped():
    start = points([[0.9, 0.4]])[0]
    with pytest.raises(NoMinimum) as stopped:
        optimised(DoubleWell(), start, fmax=1e-6, steps=3)
    half = stopped.value.geometry
    assert isinstance(half, Geometry)
    slopes = [np.abs(DoubleWell()(g).forces).max() for g in (start, half)]
    assert slopes[1] < slopes[0]
    end, straight = (optimised(DoubleWell(), g, fmax=1e-6) for g in (half, start))
    np.testing.assert_allclose(end.positions, straight.positions, atol=1e-5)


def test_references_relax_structures_of_any_kind(tmp_path):
    atoms = molecule("H2O")
    write(tmp_path / "water.xyz", atoms)
    reference = Reference(EMT())
    relaxed = [optimised(EMT(), atoms), optimised(reference, str(tmp_path / "water.xyz"))]
    assert np.abs(reference.labelled(relaxed[0]).forces[0]).max() < 1e-3
    np.testing.assert_allclose(relaxed[0].positions, relaxed[1].positions, atol=1e-3)
    write(tmp_path / "two.xyz", [atoms, atoms])
    with pytest.raises(ValueError, match=r"two.xyz' holds 2 structures: give one"):
        optimised(reference, str(tmp_path / "two.xyz"))
    with pytest.raises(RuntimeError, match=r"have no labels\n.*Xe"):
        optimised(reference, Geometry(positions=np.eye(3)[:2] * 3, numbers=[54, 54]))


# -- curvatures


def test_a_hessian_is_that_of_ase(tmp_path):
    atoms = molecule("CH3OH")
    with ThreadPoolExecutor(2) as threads:
        ours = hessian(Reference(EMT(), executor=threads), atoms)
    atoms.calc = EMT()
    vibrations = Vibrations(atoms, name=str(tmp_path / "vib"), delta=0.01)
    vibrations.run()
    np.testing.assert_allclose(
        ours, vibrations.get_vibrations().get_hessian_2d(), atol=1e-6 * np.abs(ours).max()
    )
    np.testing.assert_array_equal(ours, ours.T)


def test_a_hessian_is_zero_for_fixed_atoms(tmp_path):
    slab = fcc111("Cu", (1, 1, 3), vacuum=8.0)
    free = hessian(Reference(EMT()), slab)
    slab.set_constraint(FixAtoms([0, 1]))
    fixed = hessian(Reference(EMT()), slab, cache=tmp_path)
    assert not fixed[:6].any()
    np.testing.assert_allclose(fixed[6:, 6:], free[6:, 6:], atol=1e-9)
    assert len(list(tmp_path.glob("*/*.npz"))) == 6


def test_what_has_no_hessian():
    def turning(geometry):
        x, y = geometry.positions[0]
        return Labels(energy=0.0, forces=[[y, -x]])

    point = points([[0.3, 0.1]])[0]
    with pytest.raises(ValueError, match=r"differ by 2 eV/angstrom\^2 from their transposes"):
        hessian(Reference(turning, {"code": "a curl"}), point)
    energies = Reference(lambda g: Labels(energy=0.0, forces=None), {"code": "energies"})
    with pytest.raises(ValueError, match="a Hessian needs forces of all 4"):
        hessian(energies, point)
    np.testing.assert_allclose(hessian(Reference(squared, {"code": "r^2/2"}), point), np.eye(2))
