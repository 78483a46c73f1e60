"""Committees in one file: what comes back, what is refused, and calculators from the file alone."""

from __future__ import annotations

import subprocess
import sys

import helpers
import numpy as np
import pytest
import torch
from ase.calculators.lj import LennardJones

import agal_toolkit as agal
from agal_toolkit.committee import Committee
from agal_toolkit.files import DamagedFile, write_arrays
from agal_toolkit.potentials import MLP, Baseline, DensityNet, SchNet, Stacked
from agal_toolkit.training import stored
from agal_toolkit.uncertainty import Calibration, PowerLaw

LAWS = Calibration(
    PowerLaw(2.0, 0.9, 0.1, 0.7, 12, 0.3, 0.2),
    PowerLaw(1.5, nll=0.2, error=0.1),
    notes=("one",),
    elements={"H": PowerLaw(1.2, 1, 0, 1, 7, 0, 1)},
)
SMALL = {"features": 8, "filters": 6, "interactions": 2, "gaussians": 5, "cutoff": 4.0}
BASELINE = Baseline({1: -13.123456789, 7: -1488.1})
NETWORKS = {
    "MLP": lambda seeds, dtype: MLP(2, seeds, width=7, layers=3, dtype=dtype),
    "SchNet": lambda seeds, dtype: SchNet(["N", "H"], seeds, **SMALL, dtype=dtype),
    "DensityNet": lambda seeds, dtype: DensityNet(
        [7, 1], seeds, radial=4, channels=3, hidden=5, layers=1, cutoff=4.5, dtype=dtype
    ),
}


def committee(name="SchNet", members=3, dtype=torch.float32, laws=LAWS):
    module = NETWORKS[name](range(members), dtype).requires_grad_(False)
    return Committee(Stacked(module, Baseline() if name == "MLP" else BASELINE), laws)


def structures(name):
    return [agal.points([[0.3, -0.2]])[0]] if name == "MLP" else [helpers.ammonia()]


@pytest.mark.parametrize("laws", [None, LAWS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_committee_comes_back_bit_for_bit(name, dtype, laws, tmp_path):
    one = committee(name, dtype=dtype, laws=laws)
    one.save(tmp_path / "mine.agal")
    other = Committee.load(tmp_path / "mine.agal")
    first, second = one.predict(structures(name)), other.predict(structures(name))
    assert torch.equal(first.energy, second.energy)
    assert torch.equal(first.forces, second.forces)
    assert repr(other) == repr(one)
    assert other.calibration == laws
    assert next(other.members.module.parameters()).dtype == dtype
    assert [path.name for path in tmp_path.iterdir()] == ["mine.agal"]


def test_members_and_training_data_are_in_the_record(tmp_path, rng):
    data = helpers.well_data(rng, 4)
    committee("MLP", 5)[[2]].save(tmp_path / "one.agal", data)
    record, _ = stored.read_stacked(tmp_path / "one.agal")
    assert record["trained_on"] == data.digest()
    assert (record["members"], record["class"]) == (1, "agal_toolkit.MLP")
    assert record["units"]["energy"] == "eV"
    assert "torch" in record["versions"]
    atoms = agal.points([[0.3, -0.2]])[0].to_ase()
    atoms.calc = Committee.load(tmp_path / "one.agal").calculator(dimension=2)
    atoms.get_potential_energy()
    assert not [key for key in atoms.calc.results if "uncertainty" in key]


SCRIPT = """
import sys, numpy as np
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.vibrations import Vibrations
import agal_toolkit as agal
from ase import Atoms
atoms = Atoms("NH3", positions=np.load(sys.argv[2]))
atoms.calc = agal.Committee.load(sys.argv[1]).calculator()
np.savez(sys.argv[3], energy=atoms.get_potential_energy(), forces=atoms.get_forces(),
         uncertainty=atoms.calc.results["uncertainty"])
BFGS(atoms, logfile=None).run(steps=2)
VelocityVerlet(atoms, 0.5).run(2)
atoms.positions = np.load(sys.argv[2])
vibrations = Vibrations(atoms, name="vib")
vibrations.run()
np.save("hessian.npy", vibrations.get_vibrations().get_hessian_2d())
"""


def test_a_fresh_process_needs_the_file_alone(tmp_path):
    one, atoms = committee("DensityNet"), helpers.ammonia().to_ase()
    one.save(tmp_path / "mine.agal")
    np.save(tmp_path / "x.npy", atoms.positions)
    arguments = [str(tmp_path / name) for name in ("mine.agal", "x.npy", "out.npz")]
    subprocess.run([sys.executable, "-c", SCRIPT, *arguments], check=True, cwd=tmp_path)
    atoms.calc = one.calculator()
    with np.load(arguments[2]) as found:
        assert found["energy"] == atoms.get_potential_energy()
        assert np.array_equal(found["forces"], atoms.get_forces())
        assert np.array_equal(found["uncertainty"], atoms.calc.results["uncertainty"])
    hessian = np.load(tmp_path / "hessian.npy")
    forces = []
    for step in (0.01, -0.01):  # the first atom along x, by hand
        moved = atoms.copy()
        moved.positions[0, 0] += step
        forces.append(one.predict(moved).forces.mean(0).numpy().ravel())
    by_hand = (forces[1] - forces[0]) / 0.02
    assert np.abs(hessian[0]).max() > 0.01
    np.testing.assert_allclose(hessian[0, 0], by_hand[0], rtol=1e-4)
    np.testing.assert_allclose((hessian + hessian.T)[0] / 2, by_hand, atol=2e-3 * abs(by_hand[0]))


def test_results_name_uncertainties_as_they_are(rng):
    atoms = helpers.ammonia().to_ase()
    prediction = committee(dtype=torch.float64).predict(atoms)
    spread = prediction.forces.numpy().std(0, ddof=1)
    energies = prediction.energy.numpy()[:, 0].std(ddof=1)
    atoms.calc = committee(dtype=torch.float64).calculator()
    a, b = np.array([[2.0, 1.2, 1.2, 1.2], [0.9, 1, 1, 1]])[..., None]  # hydrogen has its own law
    np.testing.assert_allclose(
        atoms.calc.get_property("uncertainty", atoms),
        np.sqrt(np.sum((a * spread**b) ** 2, 1)),
        rtol=1e-9,
    )
    np.testing.assert_allclose(atoms.calc.results["energy_uncertainty"], 1.5 * energies, rtol=1e-9)
    np.testing.assert_allclose(atoms.get_forces(), prediction.forces.mean(0), rtol=1e-12)
    assert not [key for key in atoms.calc.results if key.startswith("raw")]
    atoms.calc = committee(dtype=torch.float64, laws=None).calculator()
    atoms.get_forces()
    raw = atoms.calc.results["raw_uncertainty"]
    np.testing.assert_allclose(raw, np.sqrt((spread**2).sum(1)), rtol=1e-9)
    np.testing.assert_allclose(atoms.calc.results["raw_energy_uncertainty"], energies, rtol=1e-9)
    assert "uncertainty" not in atoms.calc.results
    atoms.calc = committee(laws=Calibration(PowerLaw())).calculator()
    atoms.get_forces()
    assert {"uncertainty", "raw_energy_uncertainty"} <= set(atoms.calc.results)
    atoms.set_cell([6, 6, 6])
    atoms.pbc = True
    assert atoms.get_stress().shape == (6,)


def test_damaged_cut_foreign_and_newer_files(tmp_path, monkeypatch):
    file = tmp_path / "mine.agal"
    committee().save(file)
    content = file.read_bytes()
    broken = bytearray(content)
    broken[content.index(b"NUMPY") + 130] ^= 4  # in the numbers of the first array
    for wrong in (bytes(broken), content[:-40], content[:100], b"", b"no npz at all"):
        file.write_bytes(wrong)
        with pytest.raises(DamagedFile, match=r"mine.agal is damaged .*committee.save wrote"):
            Committee.load(file)
    for arrays in ({}, {"record": np.array("{}")}):
        write_arrays(file, {"a": [1.0], **arrays}, {})
        with pytest.raises(DamagedFile, match="it holds no committee"):
            Committee.load(file)
    monkeypatch.setattr(stored, "FORMAT", 2)
    committee().save(file)
    monkeypatch.setattr(stored, "FORMAT", 1)
    with pytest.raises(ValueError, match="has format 2, this version reads up to 1: update"):
        Committee.load(file)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Committee.load(tmp_path / "other.agal")


class Wide(SchNet):
    """A network of somebody's own."""


def test_networks_of_ones_own_are_given_again(tmp_path):
    file = tmp_path / "own.agal"
    for module in (helpers.Blob([1, 2]), Wide([1, 7], [0, 1], **SMALL)):
        one = Committee(Stacked(module.requires_grad_(False)))
        one.save(file)
        with pytest.raises(ValueError, match=r"not of this package, .*: give load\(path, network="):
            Committee.load(file)
    other = Committee.load(file, lambda seeds: Wide([1, 7], seeds, **SMALL))
    assert torch.equal(*(c.predict(helpers.ammonia()).forces for c in (one, other)))
    with pytest.raises(ValueError, match=r"float32, not torch\.float64"):
        Committee.load(file, lambda seeds: Wide([1, 7], seeds, **SMALL, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"own.agal belong to another network"):
        Committee.load(file, lambda seeds: Wide([1, 6], seeds, **SMALL))
    with pytest.raises(TypeError, match=r"members are Separate, .*: save committees of Stacked"):
        Committee([LennardJones()]).save(file)
