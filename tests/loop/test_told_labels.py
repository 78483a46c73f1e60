"""Labels from elsewhere: in any order, rounded, with strangers and doubles, and taken back."""

from __future__ import annotations

from dataclasses import replace

import helpers
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.loop.generation import Proposal
from agal_toolkit.loop.matching import matched
from agal_toolkit.loop.run_directory import RunDirectoryError
from agal_toolkit.references import DoubleWell
from agal_toolkit.selection import Candidate

WELL = DoubleWell()


def labelled(geometries, by=0.0):
    """Geometries with their true labels, energies shifted by `by`."""
    labels = [WELL(geometry) for geometry in geometries]
    return Dataset(geometries, [replace(one, energy=one.energy + by) for one in labels])


@pytest.fixture
def asked(tmp_path):
    loop, data = helpers.small_loop(), helpers.first_data()
    return loop, data, tmp_path / "run", loop.ask(data, tmp_path / "run")


def shuffled(data, seed=0):
    return data[np.random.default_rng(seed).permutation(len(data))]


def test_a_data_set_is_told_in_any_order_from_a_file(asked, tmp_path):
    loop, _, folder, proposal = asked
    proposal.write(tmp_path / "todo.extxyz")
    back = Dataset.from_ase(with_labels(read(tmp_path / "todo.extxyz", ":")))
    assert len({g.origin["info"]["agal_id"] for g in back}) == len(proposal.geometries)
    shuffled(back).write(tmp_path / "done.extxyz")  # rounds again
    generation = loop.tell(proposal, Dataset.read(tmp_path / "done.extxyz"), folder)
    assert len(generation.labelled) == len(proposal.geometries) == 4
    right = [WELL(g).energy for g in proposal.geometries]
    np.testing.assert_allclose(generation.labelled.energies, right, atol=1e-6)
    assert [g.digest() for g in generation.labelled] == [g.digest() for g in proposal.geometries]


def with_labels(frames):
    """ASE structures with the true labels in the double well's two coordinates."""
    for atoms in frames:
        label = WELL(Geometry(positions=atoms.positions[:, :2], numbers=[0]))
        forces = np.pad(label.forces, ((0, 0), (0, 1)))
        atoms.calc = SinglePointCalculator(atoms, energy=label.energy, forces=forces)
    return frames


def test_what_is_missing_has_no_answer_and_atoms_will_do(asked):
    loop, _, folder, proposal = asked
    some = with_labels([proposal.geometries[i].to_ase() for i in (3, 1)])
    generation = loop.tell(proposal, some, folder)
    assert generation.failures == {0: "no answer", 2: "no answer"}
    right = [WELL(proposal.geometries[i]).energy for i in (1, 3)]
    np.testing.assert_allclose(generation.labelled.energies, right)


def test_strangers_doubles_and_other_proposals_are_refused_by_name(asked, tmp_path):
    loop, data, folder, proposal = asked
    good = labelled(proposal.geometries)
    moved = replace(good[2], positions=good[2].positions + 0.3)
    stranger = labelled([good[0], moved])
    with pytest.raises(ValueError, match=r"structure 1 is none of the 4 .* angstrom from the near"):
        loop.tell(proposal, stranger, folder)
    with pytest.raises(ValueError, match="structures 1 and 4 answer the same geometry 1"):
        loop.tell(proposal, good + good[[1]], folder)
    named = [replace(g, origin={"info": {"agal_id": "generation-7-abc"}}) for g in good]
    with pytest.raises(ValueError, match=r"structure 0 is of another proposal.*generation-7-abc"):
        loop.tell(proposal, labelled(named), folder)
    other = helpers.small_loop(seed=4).ask(data, tmp_path / "other")
    with pytest.raises(ValueError, match="this proposal is not the one that was asked in"):
        loop.tell(other, labelled(other.geometries), folder)
    with pytest.raises(RunDirectoryError, match=r"made with other settings[\s\S]*seed: 4 there, 3"):
        loop.tell(proposal, good, tmp_path / "other")
    with pytest.raises(RunDirectoryError, match="is not a run directory"):
        loop.tell(proposal, good, tmp_path / "typo")
    assert not (folder / "generation_000" / "labels.npz").exists()


def test_a_generation_that_was_not_asked_there_is_refused(asked, tmp_path):
    loop, data, folder, proposal = asked
    loop.tell(proposal, labelled(proposal.geometries), folder)
    later = loop.ask(data, folder)
    loop.ask(data, tmp_path / "other")
    with pytest.raises(ValueError, match="generation 2 was not asked in"):
        loop.tell(later, labelled(later.geometries), tmp_path / "other")


def test_wrong_labels_are_taken_back_and_do_not_return_from_the_cache(asked):
    loop, data, folder, proposal = asked
    wrong = labelled(proposal.geometries, by=7.0)
    told = loop.tell(proposal, wrong, folder)
    loop.ask(data, folder)  # the next generation learned from them
    with pytest.raises(ValueError, match=r"has its labels already.*forget\('.*run', 0\)"):
        loop.tell(proposal, wrong, folder)
    with pytest.raises(ValueError, match=r"generation 2 \(index 1\) has no labels"):
        loop.forget(folder, 1)
    assert loop.forget(folder, told) == 4
    assert not (folder / "generation_001").exists()
    again = loop.ask(data, folder)
    assert [g.digest() for g in again.geometries] == [g.digest() for g in proposal.geometries]
    right = loop.tell(again, labelled(again.geometries)[:3], folder)
    assert right.failures == {3: "no answer"}  # and not the wrong label of before
    energies = [WELL(g).energy for g in again.geometries[:3]]
    np.testing.assert_array_equal(right.labelled.energies, energies)
    with pytest.raises(RunDirectoryError, match="seed"):
        helpers.small_loop(seed=5).forget(folder, 0)
    with pytest.raises(RunDirectoryError, match="seed"):
        helpers.small_loop(seed=5).retry(folder)


def proposal_of(geometries):
    candidates = tuple(Candidate(geometry, i, 0.0) for i, geometry in enumerate(geometries))
    return Proposal(index=0, dataset=Dataset(), committee=None, candidates=candidates)


def test_periodic_images_rounding_and_lost_charges_are_no_difference(tmp_path):
    crystal = Geometry(
        positions=[[0.1, 0.2, 0.3], [1.9, 2.0, 2.1]],
        numbers=[29, 79],
        cell=3.7 * np.eye(3),
        pbc=True,
    )
    ion = Geometry(positions=[[0.0, 0, 0], [0, 0, 0.97]], numbers=[8, 1], charge=-1)
    proposal = proposal_of([crystal, ion, replace(ion, charge=1)])
    images = crystal.positions + 3.7 * np.array([[0, 1, 0], [-2, 0, 0]])
    labels = [Labels(energy=float(k), forces=np.zeros((2, 3))) for k in range(2)]
    told = [replace(ion, positions=np.round(ion.positions + 3e-5, 4)), replace(crystal)]
    told[1] = replace(crystal, positions=images + 4e-9)
    got = matched(proposal.geometries, Dataset(told, labels), 0, 1e-3)
    assert {i: one.energy for i, one in got.items()} == {1: 0.0, 0: 1.0}
    neutral = Dataset([replace(ion, charge=0)] * 2, labels)  # as a program without charges
    assert set(matched([ion], neutral[:1], 0, 1e-3)) == {0}
    turned = Dataset([replace(ion, numbers=[1, 8], positions=ion.positions[::-1])], labels[:1])
    with pytest.raises(ValueError, match="other elements, another order of them, or another per"):
        matched([ion], turned, 0, 1e-3)


@pytest.mark.parametrize("suffix", ["extxyz", "traj"])
def test_a_proposal_is_written_with_ids(suffix, tmp_path):
    water = Geometry(
        positions=[[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], numbers=[8, 1, 1], charge=1
    )
    moved = replace(water, positions=water.positions * 1.1)
    proposal = proposal_of([water, moved])
    proposal.write(tmp_path / f"todo.{suffix}")
    frames = read(tmp_path / f"todo.{suffix}", ":")
    assert all(isinstance(atoms, Atoms) for atoms in frames)
    assert [atoms.info["agal_id"] for atoms in frames] == [
        f"generation-1-{g.digest()}" for g in (water, moved)
    ]
    np.testing.assert_allclose(frames[1].positions, moved.positions, atol=1e-8)
    # an id does not make another structure the one that was asked
    away = replace(moved, positions=water.positions * 2, origin={"info": dict(frames[1].info)})
    label = Labels(energy=0.0, forces=np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"has the id of one from which it is 0\.71"):
        matched(proposal.geometries, Dataset([away], [label]), 0, 1e-3)


@pytest.mark.parametrize("name", ["a file's name", "one label", "a mapping"])
def test_answers_are_a_data_set_or_a_list(name, asked):
    loop, _, folder, proposal = asked
    label = WELL(proposal.geometries[0])
    given = {"a file's name": "done.extxyz", "one label": label, "a mapping": {0: label}}[name]
    with pytest.raises(TypeError, match=r"answers is a \w+: give a Dataset, or a list"):
        loop.tell(proposal, given, folder)


@pytest.mark.parametrize("name", ["t.foo", "t", "POSCAR", "t.log"])
def test_a_proposal_is_not_written_in_any_format(name, tmp_path):
    candidates = tuple(Candidate(helpers.ammonia(), i, 0.0) for i in range(2))
    proposal = Proposal(index=0, dataset=Dataset(), committee=None, candidates=candidates)
    with pytest.raises(ValueError, match=rf"2 structures are not written as {name} .*\.extxyz"):
        proposal.write(tmp_path / name)
    proposal.write(tmp_path / "t.traj")
