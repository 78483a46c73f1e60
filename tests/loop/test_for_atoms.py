"""Recipes whose numbers come from the data, for every kind of system, and a loop of ten lines."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.units import kB, kcal, mol

import agal_toolkit as agal
from agal_toolkit.dataset import CALIBRATION
from agal_toolkit.events import Note
from agal_toolkit.loop.for_atoms import thermal_energy
from agal_toolkit.settings import to_settings

KCAL = kcal / mol


def shaken(atoms: Atoms, count: int, amplitude: float = 0.06, seed: int = 0) -> list[Atoms]:
    """Copies with displaced atoms, in a cell that is strained where it is periodic."""
    rng, copies = np.random.default_rng(seed), []
    for _ in range(count):
        copy = atoms.copy()
        if atoms.pbc.all():
            copy.set_cell(copy.cell.array @ (np.eye(3) + rng.normal(0, 0.01, 3) * np.eye(3)), True)
        copy.positions += rng.normal(0, amplitude, copy.positions.shape)
        copy.positions[[i for c in atoms.constraints for i in c.index]] = atoms.positions[
            [i for c in atoms.constraints for i in c.index]
        ]
        copies.append(copy)
    return copies


def labelled(structures: list[Atoms]) -> agal.Dataset:
    """Energies, forces, and stresses of crystals, by EMT."""
    frames = []
    for atoms in structures:
        label = {"energy": None, "forces": None}
        atoms.calc = EMT()
        label["energy"] = atoms.get_potential_energy()
        label["forces"] = atoms.get_forces(apply_constraint=False)
        stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else None
        frames.append(agal.Labels(**label, stress=stress))
    return agal.Dataset(structures, frames)


def slab() -> Atoms:
    atoms = fcc111("Cu", (2, 2, 2), vacuum=6.0)
    atoms.set_constraint(FixAtoms([atom.index for atom in atoms if atom.tag == 2]))
    return atoms


CRYSTAL = bulk("Cu", cubic=True)
SYSTEMS = {
    "molecule": lambda: labelled(shaken(molecule("CH3OH"), 10)),
    "molecules": lambda: labelled([*shaken(molecule("H2O"), 6), *shaken(molecule("CO2"), 6)]),
    "slab": lambda: labelled(shaken(slab(), 8)),
    "crystal": lambda: labelled(shaken(CRYSTAL, 8)),
}


def small(data: agal.Dataset) -> agal.Recipe:
    """The recipe with a training and an attack of seconds."""
    recipe = agal.Recipe.for_atoms(data, members=2)
    network = partial(recipe.trainer.network, channels=4, hidden=8)
    trainer = replace(recipe.trainer, network=network, epochs=3, must_learn=False)
    attack = replace(recipe.attack, minimizer=agal.Adam(0.01, 4))
    return replace(recipe, trainer=trainer, attack=attack, sampler=agal.FromDataset(3))


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_recipe_for_each_kind_of_system_is_code_and_runs(system):
    data = SYSTEMS[system]()
    recipe = agal.Recipe.for_atoms(data)
    again = eval(str(recipe), {"agal": agal, "partial": partial})
    assert to_settings(again) == to_settings(recipe)
    assert recipe.attack.cell == (recipe.trainer.stress_weight > 0) == (system == "crystal")
    recipe, events = replace(small(data), laws_per_element=True), []
    loop = agal.Loop(recipe, agal.Reference(agal.CalculatorLabels(EMT)))
    generation = next(loop.generations(data, None, events.append))
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any("the law of all atoms, as" in note for note in notes)  # few calibration structures
    assert len(generation.candidates) == 3
    assert generation.dataset.roles.count(CALIBRATION) == round(0.15 * len(data))
    assert generation.committee.calibration is not None
    moved = [c.geometry.positions - data[0].positions for c in generation.candidates]
    if system == "slab":
        fixed = ~data[0].movable
        assert fixed.sum() == 4
        assert all((shift[fixed] == 0).all() for shift in moved)


def test_numbers_come_from_the_data():
    data = labelled(shaken(molecule("H2O"), 6))
    recipe = agal.Recipe.for_atoms(data)
    closest = min(a.get_all_distances()[np.triu_indices(3, 1)].min() for a in data.to_ase())
    largest = max(np.linalg.norm(forces, axis=1).max() for forces in data.forces)
    distance, force, _, same, _ = recipe.selectors
    assert distance.shortest == pytest.approx(0.8 * closest, rel=0.05)
    assert recipe.attack.guard.shortest == distance.shortest
    assert force.largest == pytest.approx(3 * largest, rel=0.05)
    assert same.threshold == pytest.approx(0.05 * 3**0.5, rel=0.05)
    assert recipe.trainer.network.args == ([1, 8],)
    assert recipe.trainer.epochs * 6 == pytest.approx(1500 * recipe.trainer.batch_size, rel=0.1)
    kT = recipe.attack.objective.kT
    assert kT == pytest.approx(2.5 * thermal_energy(data), rel=0.05)


def test_kT_is_that_of_harmonic_structures():
    """Energies drawn for three oscillators of an atom on a slab, at 500 K: each has kT/2."""
    rng = np.random.default_rng(1)
    energies = 7.0 + 0.5 * kB * 500 * (rng.normal(size=(4000, 3)) ** 2).sum(1)
    atoms = [agal.Geometry(positions=np.eye(3)[:2], numbers=[1, 6], movable=[True, False])] * 4000
    labels = [agal.Labels(energy=energy, forces=np.zeros((2, 3))) for energy in energies]
    data = agal.Dataset(atoms, labels)
    assert thermal_energy(data) == pytest.approx(kB * 500, rel=0.05)
    other = agal.Dataset([agal.Geometry(positions=np.eye(3), numbers=[1, 1, 8])], [
        agal.Labels(energy=-500.0, forces=np.zeros((3, 3)))
    ])  # fmt: skip
    assert thermal_energy(data + other) == thermal_energy(data)
    given = {"5 kcal/mol": 5 * KCAL, "2500 K": 2500 * kB, 0.3: 0.3}
    for text, value in given.items():
        kT = agal.Recipe.for_atoms(data, kT=text).attack.objective.kT
        assert kT == pytest.approx(value, rel=0.05)
    with pytest.raises(ValueError, match=r"kT is '5 parsec' .*not known.*give eV, or"):
        agal.Recipe.for_atoms(data, kT="5 parsec")


def test_data_that_do_not_serve_are_told():
    good = labelled(shaken(molecule("H2O"), 3))
    energies = [agal.Labels(energy=label.energy, forces=None) for label in good.labels]
    with pytest.raises(ValueError, match="none of 3 structures has forces: label them with forces"):
        agal.Recipe.for_atoms(agal.Dataset(good.geometries, energies))
    well = agal.DoubleWell()
    point = agal.points([[0.0, 0.5]])
    with pytest.raises(ValueError, match=r"structure 3 is .*: this is for atoms in space; write a"):
        agal.Recipe.for_atoms(good + agal.Dataset(point, [well(g) for g in point]))
    with pytest.raises(ValueError, match='have no spread, or there are no two: give kT="5 kcal/mo'):
        agal.Recipe.for_atoms(good[:1])
    assert agal.Recipe.for_atoms(good[:1], kT=0.1).attack.objective.kT == 0.1
    with pytest.raises(TypeError, match="the data are a list: give a Dataset"):
        agal.Recipe.for_atoms(good.to_ase())
    with pytest.raises(TypeError, match="membres"):
        agal.Recipe.for_atoms(good, membres=3)


def test_the_loop_of_ten_lines(tmp_path, capsys):
    data, test = labelled(shaken(molecule("CH3OH"), 14)).split(test=3, calibration=2)
    recipe = small(data)
    recipe = replace(recipe, trainer=replace(recipe.trainer, warm=agal.WarmStart(epochs=2)))
    loop = agal.Loop(recipe, agal.Reference(agal.CalculatorLabels(EMT)), test=test)
    notes, made = [], []
    for generation in agal.until(loop.generations(data, tmp_path / "mine"), count=2):
        print(generation)
        made.append(generation)
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.startswith("Generation 1: 11 structures, 3 candidates (")
    forces, energy = made[0].metrics["forces (eV/Å)"], made[0].metrics["energy per atom (eV)"]
    assert f"; test energy per atom (eV) {energy:.4g}, forces (eV/Å) {forces:.4g}; " in first
    assert second.endswith(" s")
    assert not err  # no terminal
    predicted = made[0].committee.predict(list(test)).forces.mean(0).numpy()
    error = np.sqrt(np.square(predicted - np.concatenate(test.forces)).mean())
    assert forces == pytest.approx(error)
    assert made[0].dataset.roles.count(CALIBRATION) == 2  # those that were chosen, no others
    (again,) = agal.until(loop.generations(data, tmp_path / "mine", notes.append), count=1)
    assert repr(again).endswith("; read from disk")
    assert f"continuing {tmp_path / 'mine'} at generation 3" in [
        note.text for note in notes if isinstance(note, Note)
    ]
    third = list(agal.until(loop.generations(data, tmp_path / "mine", notes.append), count=3))[-1]
    assert third.index == 2
    assert any("members go on from their last weights" in getattr(n, "text", "") for n in notes)
