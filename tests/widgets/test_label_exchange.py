"""Labels made elsewhere, out of a panel and back into it, without a browser."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime

import helpers
import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from helpers import picture

from agal_toolkit import Dataset, DoubleWell, Geometry, Labels, Reference, points, until
from agal_toolkit.loop import Reviewed
from agal_toolkit.loop.matching import unit_doubts
from agal_toolkit.widgets import Background, LabelExchange
from agal_toolkit.widgets.label_exchange import _UNITS

WELL = DoubleWell()
HARTREE, BOHR, KCAL = 27.211386, 0.529177, 0.0433641


@dataclass(frozen=True)
class Fresh:
    """A sampler of new points of the plane."""

    count: int

    def __call__(self, committee, dataset, rng, report, scratch):
        return points(rng.uniform(-1.2, 1.2, (self.count, 2)))


def never(geometry):
    raise AssertionError("labels are made elsewhere")


def exchange_of(folder, count=100, generations=1, **settings):
    """An exchange that waits for labels of `count` structures, and its run."""
    recipe = helpers.small_recipe(attack=None, sampler=Fresh(count), selectors=())
    reference = Reference(never, settings={"by": "hand"})
    loop = helpers.small_loop(reference, recipe, **settings)
    exchange = LabelExchange(loop, helpers.first_data(20), folder)
    run = Background(lambda report: until(exchange(report), count=generations))
    return exchange, run.start()


def waiting(exchange, generation=0, timeout=60):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        proposal = exchange._proposal
        if proposal is not None and proposal.index == generation and not exchange._out.disabled:
            return proposal
        time.sleep(0.02)
    raise TimeoutError("nothing to label")


def downloaded(exchange, path):
    """Press the button, and give the file that the browser would save."""
    sent = []
    exchange._page.send = lambda content, buffers: sent.append((content, buffers))
    exchange._out.click()
    [(content, [data])] = sent
    path = path / content["name"]
    path.write_bytes(data)
    return path


def answered(frames):
    for atoms in frames:
        label = WELL(Geometry(positions=atoms.positions[:, :2], numbers=[0]))
        forces = np.pad(label.forces, ((0, 0), (0, 1)))
        atoms.calc = SinglePointCalculator(atoms, energy=label.energy, forces=forces)
    return frames


def upload(exchange, path):
    """What a FileUpload tells when a person has chosen a file."""
    data = path.read_bytes()
    file = {"name": path.name, "type": "", "size": len(data), "content": memoryview(data)}
    exchange._upload.set_trait("value", ({**file, "last_modified": datetime.now()},))


def test_a_hundred_structures_come_back_shuffled_with_three_missing_and_one_stranger(tmp_path):
    exchange, run = exchange_of(tmp_path / "run")
    proposal = waiting(exchange)
    assert "0 of 100 structures have labels, 100 missing" in exchange._line.value
    assert exchange._use.disabled
    frames = answered(read(downloaded(exchange, tmp_path), ":"))
    assert len(frames) == 100
    stranger = frames[50].copy()
    stranger.positions[0, 0] += 0.7
    del stranger.info["agal_id"]
    order = [int(i) for i in np.random.default_rng(0).permutation(100) if i not in (4, 31, 77)]
    sent = [frames[i] for i in order]
    sent.insert(13, answered([stranger])[0])
    write(tmp_path / "answers.extxyz", sent)
    upload(exchange, tmp_path / "answers.extxyz")
    said = exchange._messages.value
    assert "answers.extxyz: 97 of its 98 structures were asked" in said
    assert "structure 13 is none of the 100 geometries of generation 1" in said
    assert "angstrom from the nearest" in said
    line = "97 of 100 structures have labels, 3 missing (places 4, 31, 77 of the file, from 0)"
    assert line in exchange._line.value
    assert "look like" not in said  # an untrained committee says nothing of units
    assert exchange._trouble.value == ""
    assert run.alive  # nothing is used before a press
    exchange._use.click()
    run.wait(30)
    (generation,) = run.records
    assert generation.failures == dict.fromkeys((4, 31, 77), "no answer")
    right = [g for i, g in enumerate(proposal.geometries) if i not in (4, 31, 77)]
    assert [g.digest() for g in generation.labelled] == [g.digest() for g in right]
    energies = [WELL(geometry).energy for geometry in right]
    np.testing.assert_allclose(generation.labelled.energies, energies, atol=1e-6)
    for geometry, forces in zip(right, generation.labelled.forces, strict=True):
        np.testing.assert_allclose(forces, WELL(geometry).forces, atol=1e-6)


def test_what_is_missing_may_come_in_a_second_file_and_doubles_are_named(tmp_path):
    exchange, run = exchange_of(None, 20)
    waiting(exchange)
    frames = answered(read(downloaded(exchange, tmp_path), ":"))
    write(tmp_path / "one.extxyz", [*frames[:15], frames[3]])
    upload(exchange, tmp_path / "one.extxyz")
    assert "structures 3 and 15 answer the same geometry 3: give one" in exchange._messages.value
    assert "(places 3, 15, 16, 17, 18, 19 of" in exchange._line.value  # neither of the two is used
    write(tmp_path / "two.extxyz", [frames[3], *frames[15:]])
    upload(exchange, tmp_path / "two.extxyz")
    assert "20 of 20 structures have labels, 0 missing" in exchange._line.value
    (tmp_path / "log.extxyz").write_text("no structures\n")
    upload(exchange, tmp_path / "log.extxyz")
    assert "log.extxyz" in exchange._trouble.value
    assert str(tmp_path) not in exchange._trouble.value
    assert "20 of 20" in exchange._line.value
    exchange._use.click()
    run.wait(30)
    assert len(run.records[0].labelled) == 20
    assert picture(exchange).startswith(b"\x89PNG")


def test_a_person_names_other_units(tmp_path):
    exchange, run = exchange_of(None, 20)
    proposal = waiting(exchange)
    assert exchange._units.label == "eV, eV/Å"
    frames = answered(read(downloaded(exchange, tmp_path), ":"))
    for atoms in frames:
        atoms.calc.results["energy"] /= HARTREE
        atoms.calc.results["forces"] = atoms.calc.results["forces"] / HARTREE * BOHR
    write(tmp_path / "hartree.extxyz", frames)
    exchange._units.label = "Hartree, Hartree/Bohr"
    upload(exchange, tmp_path / "hartree.extxyz")
    for i, geometry in enumerate(proposal.geometries):
        right = WELL(geometry)
        assert exchange._labels[i].energy == pytest.approx(right.energy, rel=1e-5, abs=1e-5)
        np.testing.assert_allclose(exchange._labels[i].forces, right.forces, rtol=1e-5, atol=1e-5)
    run.stop().wait(10)


def test_a_run_goes_on_after_a_stop_and_shows_its_generations(tmp_path):
    exchange, run = exchange_of(tmp_path / "run", 20, generations=2)
    waiting(exchange)
    frames = answered(read(downloaded(exchange, tmp_path), ":"))
    write(tmp_path / "some.extxyz", frames[:8])
    upload(exchange, tmp_path / "some.extxyz")
    began = time.monotonic()
    run.stop().wait(10)
    assert time.monotonic() - began < 1.0
    run.start()
    waiting(exchange)
    assert "8 of 20" in exchange._line.value  # the labels are still there
    exchange._use.click()
    waiting(exchange, generation=1)
    run.stop().wait(10)
    _, run = exchange_of(tmp_path / "run", 20, generations=1)
    run.wait(30)  # read, not asked
    assert len(run.records[0].labelled) == 8


def test_nothing_is_waited_for_where_all_is_rejected(tmp_path):
    def nothing(proposal, *_):
        return Reviewed(dict.fromkeys(range(len(proposal.geometries)), "no"))

    _, run = exchange_of(tmp_path / "run", 20, review=nothing)
    run.wait(30)
    assert len(run.records[0].labelled) == 0


def test_labels_before_the_first_question_are_refused(tmp_path):
    exchange = LabelExchange(helpers.small_loop(), helpers.first_data(), tmp_path)
    with pytest.raises(ValueError, match="nothing was asked yet"):
        exchange.answer(helpers.first_data())
    exchange.export()  # nothing happens


# -- units


@pytest.fixture(scope="module")
def predicted():
    """Labels near a committee's prediction: 0.1 eV and a tenth of the forces beside it."""
    rng = np.random.default_rng(2)
    geometries = [helpers.molecule(rng) for _ in range(6)]
    prediction = helpers.pair_committee(3).predict(geometries)
    forces = np.split(prediction.forces.mean(0).numpy(), 6)
    energies = prediction.energy.mean(0).numpy() - 5.0  # as totals
    shifted = replace(prediction, energy=prediction.energy - 5.0)
    noise = [1 + 0.1 * rng.normal(size=f.shape) for f in forces]
    labels = [
        Labels(energy=e + 0.1, forces=f * n)
        for e, f, n in zip(energies, forces, noise, strict=True)
    ]
    return labels, shifted


@pytest.mark.parametrize(
    ("energy", "force", "sentences"),
    [
        (1.0, 1.0, []),
        (HARTREE, HARTREE / BOHR, ["Hartree: expected eV", "Hartree/Bohr: expected eV/ang"]),
        (KCAL, KCAL, ["kcal/mol: expected eV", "kcal/mol/A: expected eV/angstrom"]),
        (1.0, -1.0, ["wrong sign, as gradients have"]),
        (HARTREE, 1.0, ["Hartree: expected eV"]),
    ],
)
def test_units_and_signs_are_told_apart(energy, force, sentences, predicted):
    labels, prediction = predicted
    told = [Labels(energy=x.energy / energy, forces=x.forces / force) for x in labels]
    doubts = unit_doubts(told, prediction)
    assert len(doubts) == len(sentences)
    for doubt, sentence in zip(doubts, sentences, strict=True):
        assert sentence in doubt
    only = [Labels(energy=x.energy, forces=None) for x in told]
    assert len(unit_doubts(only, prediction)) == (energy != 1.0)


def test_what_each_of_several_files_lacks_is_said(tmp_path):
    exchange, _ = exchange_of(None, 6)
    waiting(exchange)
    frames = answered(read(downloaded(exchange, tmp_path), ":"))
    (tmp_path / "log.extxyz").write_text("no structures\n")
    write(tmp_path / "one.extxyz", frames[:2])
    write(tmp_path / "two.extxyz", frames[2:])
    files = [
        {"name": path.name, "type": "", "size": 1, "content": memoryview(path.read_bytes())}
        for path in (tmp_path / f"{name}.extxyz" for name in ("log", "one", "two"))
    ]
    exchange._upload.set_trait(
        "value", tuple({**file, "last_modified": datetime.now()} for file in files)
    )
    assert "log.extxyz" in exchange._trouble.value
    assert "one.extxyz: 2 of its 2" in exchange._messages.value
    assert "two.extxyz: 4 of its 4" in exchange._messages.value


@pytest.mark.parametrize(
    ("name", "energy", "length"),
    [
        ("Hartree, Hartree/Bohr", units.Hartree, units.Bohr),
        ("kcal/mol, kcal/mol/Å", units.kcal / units.mol, 1.0),
    ],
)
def test_units_of_a_crystal_count_for_its_stress_too(name, energy, length):
    atoms = bulk("Cu", cubic=True)
    results = {"energy": 2.0, "forces": np.full((4, 3), 3.0), "stress": np.arange(6.0)}
    atoms.calc = SinglePointCalculator(atoms, **results)
    chosen = dict(zip(("energy", "forces", "stress"), _UNITS[name], strict=True))
    (label,) = Dataset.from_ase([atoms], units=chosen).labels
    assert label.energy == pytest.approx(2 * energy)
    np.testing.assert_allclose(label.forces, 3 * energy / length)
    assert label.stress[0, 1] == pytest.approx(5 * energy / length**3)
