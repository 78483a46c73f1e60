"""The loop over several systems: its recipes, its books, and that nothing is lost or mixed up."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from ase import units
from ase.calculators.emt import EMT

from agal_toolkit.dataset import CALIBRATION, Dataset
from agal_toolkit.events import Note, Stage
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.references.processes import Processes
from agal_toolkit.sampling import FromDataset, NoSeeds
from agal_toolkit.settings import to_settings
from studies.jobs import OutOfTime, Runner
from studies.uio66 import claims, export, held_out, iterations, recipes, study
from studies.uio66.crystals import EFFECTIVE_MEDIUM
from studies.uio66.recipes import PRESETS, Simulated, first, systems_of
from studies.uio66.structures import DRY, LIQUID, SYSTEMS

SMOKE = replace(PRESETS["smoke"], steps=24, warm=12, attack=1, picoseconds=0.01)
LOOP = ("attacks", "all", 0)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(PRESETS, "smoke", SMOKE)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study that ran without a stop: its runner, and the content of its result file."""
    folder = tmp_path_factory.mktemp("whole")
    run = Runner("smoke", folder / "out", folder / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "smoke", SMOKE)
        path = study.study(run, ["attacks"], ["all"], [0], [2])
    return run, json.loads(path.read_text())


def folder_of(run):
    return iterations.folder_of(run, *LOOP)


def test_presets_and_systems():
    assert list(PRESETS) == ["smoke", "class", "laptop", "gpu", "paper"]
    assert PRESETS["paper"].systems == SYSTEMS
    assert len(SYSTEMS) == 11
    laptop = PRESETS["laptop"]
    assert len(laptop.systems) == 4
    assert laptop.iterations >= 5
    assert laptop.label.method == "GFN1-xTB"
    for preset in PRESETS.values():
        assert {*preset.systems, preset.one} <= {*SYSTEMS, "copper", "copper with gold"}
        # enough training structures to attack
        assert preset.start - preset.calibrate >= preset.count


def test_iterations_are_those_of_the_paper():
    """Five structures of each system: of the data with three members, then of NPT with four."""
    preset = replace(PRESETS["laptop"], systems=(DRY, LIQUID), one=DRY)
    schedule = recipes.schedule("attacks", preset, "all")
    for k in range(preset.iterations):
        recipe = schedule(k)
        assert list(recipe.sampler.samplers) == [DRY, LIQUID]
        assert recipe.attack.members == (3 if k < 2 else 4)
        assert recipe.attack.objective.target == preset.target
        for system, sampler in recipe.sampler.samplers.items():
            if k < 2:
                assert sampler == FromDataset(5)
                continue
            assert sampler.dynamics.count == 5
            assert sampler.dynamics.start is first(system)[0]
            assert sampler.dynamics.conditions.pressure == pytest.approx(1.01325 * units.bar)
            assert sampler.otherwise == FromDataset(5)
        assert recipe.trainer.network.args == ((1, 6, 8, 40),)
        learned = 10 + 10 * k
        assert recipe.trainer.epochs * learned == pytest.approx(preset.steps, abs=learned)
        assert recipe.trainer.warm.epochs * learned == pytest.approx(preset.warm, abs=learned)


def test_strategies_label_equally_many_of_one_system():
    preset = replace(PRESETS["laptop"], systems=(DRY, LIQUID), one=DRY)
    for k in range(3):
        attacked, random = (recipes.recipe(s, preset, "one", k) for s in recipes.STRATEGIES)
        assert random.attack is None
        (sampler,) = random.sampler.samplers.values()
        assert sampler.dynamics.count == sampler.otherwise.count == preset.count
        assert (sampler.dynamics.conditions.pressure is None) == (k < 2)
        assert to_settings(random.trainer) == to_settings(attacked.trainer)
        assert random.trainer.energy_weight == pytest.approx(5 / 114**2)


def test_every_system_has_books_of_its_own(whole):
    run, stored = whole
    record, preset = stored["records"]["attacks all 0"], PRESETS["smoke"]
    labels = 2 * preset.start
    for k, iteration in enumerate(record["iterations"]):
        assert iteration["iteration"] == k + 1
        assert iteration["labels"] == labels
        assert labels == sum(books["labels"] for books in iteration["systems"].values())
        for books in iteration["systems"].values():
            assert books["candidates"] == preset.count == len(books["found"])
            assert sum(books["verdicts"].values()) == preset.count
            assert books["by"] == ["attack"] * preset.count
            assert books["ratio"] > 0
        labels += 2 * preset.count
    data = Dataset.read(folder_of(run) / f"labels-{preset.iterations - 1}.extxyz")
    assert len(data) == labels
    gold = [79 in geometry.numbers for geometry in data]
    booked = [geometry.origin["system"] == "copper with gold" for geometry in data]
    assert gold == booked
    assert sum(booked) == labels / 2
    for geometry, label in zip(data, data.labels, strict=True):
        atoms = geometry.to_ase()
        atoms.calc = EMT()
        np.testing.assert_allclose(label.forces, atoms.get_forces(), atol=1e-5)
        np.testing.assert_allclose(label.stress, atoms.get_stress(voigt=False), atol=1e-6)
    made = preset.iterations * preset.count
    for system in preset.systems:
        books = [iteration["systems"][system] for iteration in record["iterations"]]
        last = iterations.of_system(data, system).roles.count(CALIBRATION)
        new = sum(each["roles"].count(CALIBRATION) for each in books)
        assert last == preset.calibrate + new
        assert sum(len(each["found"]) for each in books) == made


def test_errors_and_simulations_are_apart_by_system(whole):
    run, stored = whole
    record = stored["records"]["attacks all 0"]
    assert list(record["errors"]) == ["1", "2", "3"]
    committee = iterations.committee_of(run, "all", folder_of(run) / "committee-2")
    for system in SMOKE.systems:
        tests = held_out.tests_of(run, system)
        assert len(tests) == SMOKE.held_out.frames
        errors = record["errors"]["3"][system]
        predicted = [committee.predict(geometry) for geometry in tests]
        forces = np.concatenate([p.forces.numpy().mean(0) for p in predicted])
        expected = np.sqrt(np.mean((forces - np.concatenate(tests.forces)) ** 2))
        assert errors["forces"] == pytest.approx(expected, rel=1e-5)
        energies = [float(p.energy.mean()) for p in predicted]
        energy = np.sqrt(np.mean((energies - tests.energies) ** 2)) / 8
        assert errors["energy"] == pytest.approx(energy, rel=1e-4)
        volume = np.linalg.det(first(system)[0].cell)  # that of simulations does not change
        assert errors["virial"] == pytest.approx(errors["stress"] * volume / 8)
        members = [r for r in record["survival"]["3"].values() if r["system"] == system]
        assert [r["member"] for r in members] == [0, 1, 2]
        assert [r["hops"]["count"] for r in members] == [0, 0, 0]
        for member in members:
            assert (member["reason"] is None) == ("properties" in member)
        kept = [r["properties"]["density"][0] for r in members if r["reason"] is None]
        assert kept == pytest.approx([packed_density(system)] * len(kept), rel=0.1)
    names = {claim["name"] for claim in stored["claims"]}
    for system in SMOKE.systems:
        assert f"forces error of the mean at 16 labels, {system}, attacks, all" in names


def packed_density(system):
    start = first(system)[0]
    return start.masses.sum() / np.linalg.det(start.cell) * 1.66054


def test_what_calibration_structures_say_of_the_shared_law(whole):
    run, stored = whole
    committee = iterations.committee_of(run, "all", folder_of(run) / "committee-0")
    data = Dataset.read(folder_of(run) / "labels-0.extxyz")
    first_record = stored["records"]["attacks all 0"]["iterations"][0]
    law = first_record["law"]
    for system in SMOKE.systems:
        mine = iterations.of_system(data[: 2 * SMOKE.start], system).of_role(CALIBRATION)
        forces = np.concatenate([committee.predict(g).forces.double().numpy() for g in mine], 1)
        sigma = law["scale"] * forces.std(0, ddof=1) ** law["exponent"]
        ratios = (forces - np.concatenate(mine.forces)) / sigma
        books = first_record["systems"][system]
        assert books["ratio"] == pytest.approx(np.sqrt(np.mean(ratios**2)), rel=1e-3)
        assert set(books["own law"]) == {"scale", "exponent"}


def test_a_loop_that_was_stopped_three_times_ends_the_same(whole, tmp_path):
    run = Runner("smoke", tmp_path / "out", tmp_path / "results")
    ended, places = run.report, [(0, "labels"), (1, "members"), (2, "seeds")]

    def stop(event):
        if isinstance(event, Stage) and (event.generation, event.name) in places:
            places.remove((event.generation, event.name))
            raise OutOfTime
        ended(event)

    run.report = stop
    for left in (2, 1, 0):
        with pytest.raises(OutOfTime):
            study.run_loop(LOOP, run)
        assert len(places) == left
    again = study.run_loop(LOOP, run)["iterations"]
    for one, other in zip(again, whole[1]["records"]["attacks all 0"]["iterations"], strict=True):
        calls = one.pop("force calls"), other.pop("force calls")
        assert calls[0]["members"] == calls[1]["members"]
        assert {k: v for k, v in one.items() if k != "cpu seconds"} == {
            k: v for k, v in other.items() if k != "cpu seconds"
        }
        other["force calls"] = calls[1]
    for k in range(SMOKE.iterations):
        file = f"labels-{k}.extxyz"
        one, other = (Dataset.read(folder_of(r) / file).digest() for r in (run, whole[0]))
        assert one == other


@dataclass(frozen=True)
class WithoutGold:
    """The reference of the crystals, which fails for new structures with gold."""

    def __call__(self, geometry: Geometry) -> Labels:
        if 79 in geometry.numbers and geometry.origin.get("generation"):
            raise RuntimeError("gold did not converge")
        return EFFECTIVE_MEDIUM(geometry)


def test_a_system_whose_labels_fail_does_not_stop_the_others(whole, tmp_path, monkeypatch):
    failing = replace(SMOKE, label=WithoutGold(), iterations=2)
    monkeypatch.setitem(PRESETS, "smoke", failing)
    run = Runner("smoke", tmp_path / "out", tmp_path / "results")
    one, two = study.run_loop(LOOP, run)["iterations"]
    for record in (one, two):
        copper, gold = (record["systems"][system] for system in failing.systems)
        assert len(copper["found"]) == failing.count
        assert copper["refused"] == []
        assert "found" not in gold
        assert ["gold did not converge" in reason for reason in gold["refused"]] == [True] * 2
    assert two["labels"] == one["labels"] + failing.count
    same = whole[1]["records"]["attacks all 0"]["iterations"][0]["systems"]["copper"]
    assert one["systems"]["copper"] == same


def test_a_finished_loop_is_exported(whole, tmp_path):
    run, _ = whole
    with pytest.raises(FileNotFoundError, match="has 0 of 3 iterations: finish the loop with"):
        export.export(Runner("smoke", tmp_path))
    place = export.export(run)
    labels = Dataset.read(place / "labels.extxyz.gz")
    assert labels.digest() == Dataset.read(folder_of(run) / "labels-2.extxyz").digest()
    copper = first("copper")[0]
    for k in (1, 3):
        one = iterations.committee_of(run, "all", place / f"committee-{k}").predict(copper)
        other = iterations.committee_of(run, "all", folder_of(run) / f"committee-{k - 1}")
        np.testing.assert_array_equal(one.forces, other.predict(copper).forces)


def test_where_all_simulations_break_another_sampler_stands_in():
    def broken(*args):
        raise NoSeeds("every replica broke")

    data, notes = first("copper"), []
    sampler, rng = Simulated(broken, FromDataset(1)), np.random.default_rng(0)
    assert sampler(None, data, rng, notes.append) == list(data)
    (note,) = notes
    assert isinstance(note, Note)
    assert note.text == "copper: FromDataset gives seeds: every replica broke"


def test_a_structure_of_other_atoms_is_not_booked():
    copper, gold = (first(system)[0] for system in SMOKE.systems)
    iterations.check_unmixed([copper, gold], SMOKE.systems)
    with pytest.raises(RuntimeError, match="has other atoms"):
        iterations.check_unmixed([replace(gold, origin=copper.origin)], SMOKE.systems)
    with pytest.raises(RuntimeError, match="which is no system here"):
        iterations.check_unmixed([gold], ["copper"])


def test_copies_without_a_label_are_drawn_again(tmp_path, monkeypatch):
    asked = []

    def every_second(geometry, labels):
        asked.append(geometry.digest())
        return "too large" if len(asked) % 2 else None

    monkeypatch.setattr(recipes, "small_forces", every_second)
    data = recipes.start(SMOKE, "one", 0, tmp_path)
    assert len(asked) == len(set(asked)) > SMOKE.start - 1
    assert [geometry.digest() for geometry in data[1:]] == asked[1::2]
    assert data.roles == ("train", "train", "calibration", "calibration")
    monkeypatch.setattr(recipes, "small_forces", lambda *given: "too large")
    with pytest.raises(
        RuntimeError, match=r"12 copies of copper have no label.* too large; remove"
    ):
        recipes.start(SMOKE, "one", 1, tmp_path)


def test_groups():
    assert systems_of(PRESETS["laptop"], "one") == ("UiO-66 + 14 H2O",)
    assert systems_of(PRESETS["laptop"], "all") == PRESETS["laptop"].systems


def test_workers_end_with_each_call(monkeypatch):
    monkeypatch.setattr(Processes, "run", lambda self, *given: iter([(0, given)]))
    ended = []
    monkeypatch.setattr(Processes, "close", lambda self: ended.append(self))
    pool = recipes.Brief(1)
    outcomes = pool.run(EFFECTIVE_MEDIUM, [], 3.0)
    assert next(outcomes) == (0, (EFFECTIVE_MEDIUM, [], 3.0))
    assert not ended
    assert [*outcomes] == []
    assert ended == [pool]


def test_held_out_structures_are_made_in_pieces_and_the_same(whole, tmp_path):
    run = Runner("smoke", tmp_path / "out", tmp_path / "results")
    asked = iter([True, True])
    run.has_time = lambda: next(asked, False)
    with pytest.raises(OutOfTime):
        held_out.run_system("copper", run)
    assert len([*(run.out / "held-out" / "copper").iterdir()]) == 2
    run.has_time = lambda: True
    record = held_out.run_system("copper", run)
    assert record == whole[1]["records"]["held-out"]["copper"]
    one, other = (held_out.tests_of(r, "copper") for r in (run, whole[0]))
    assert one.digest() == other.digest()
    assert {geometry.origin["system"] for geometry in one} == {"copper"}
    assert not np.allclose(one[0].positions, one[1].positions)


def test_simulations_with_the_reference_begin_at_twice_the_temperature():
    liquid = first(LIQUID)[0]
    _, momenta = held_out.beginning(liquid, np.random.default_rng(0))
    masses = np.where(liquid.numbers == 1, 4.0, 15.999)
    kinetic = np.sum(momenta**2 / masses[:, None]) / 2
    # 576 components scatter by sqrt(2 / 576) of their mean
    assert kinetic / (1.5 * 192 * units.kB) == pytest.approx(600, rel=0.15)
    with pytest.raises(TypeError, match="expected XTB or CalculatorLabels"):
        held_out.calculator_of(EMT)


def test_claims_follow_from_records():
    def books(found):
        return {"systems": {"copper": {"found": found}, "copper with gold": {}}, "labels": 16}

    def errors(forces):
        each = {"forces": forces, "energy": 0.001, "virial": 0.002, "ratio": 1.1}
        return {"copper": each, "copper with gold": each}

    def member(system, reason, density):
        mine = {"system": system, "reason": reason, "hops": {"count": 3, "picoseconds": 1.5}}
        return mine | ({} if reason else {"properties": {"density": [density, 0.1]}})

    members = {
        f"{system}, member {k}": member(system, reason, 8.0 + k)
        for system in SMOKE.systems
        for k, reason in enumerate([None, None, "broke" if system == "copper" else None])
    }
    whole = {
        "iterations": [books([SMOKE.target]), books([1.2 * SMOKE.target]), books([])],
        "errors": {"1": errors(0.1), "2": errors(0.05), "3": errors(0.06)},
        "survival": {"3": members},
    }
    records = {
        "attacks all 0": whole,
        "attacks all 1": {"errors": {"1": errors(9.0)}},  # has not ended
        "held-out": {},
    }
    found = {claim.name: claim for claim in claims.claims(records, SMOKE)}
    end = "copper, attacks, all"
    assert found[f"forces error of the mean at 16 labels, {end}"].value == pytest.approx(60)
    falls = found[f"share of iterations with a smaller force error than the last, {end}"]
    assert (falls.value, falls.met) == (0.5, False)
    assert found[f"error found over target, {end}"].value == pytest.approx(1.1)
    name = "members that survive 0.01 and 0.02 ps at 16 labels, {}, attacks, all"
    assert found[name.format("copper")].met is False
    assert found[name.format("copper with gold")].value == 1
    assert found[f"density at 16 labels, {end}, 2 of 3 members"].value == 8.5
    gold = "copper with gold, attacks, all"
    assert found[f"density at 16 labels, {gold}, 3 of 3 members"].value == 9
    assert found[f"proton hops per picosecond at 16 labels, {gold}"].value == 2
    assert not [name for name in found if "diffusion" in name]
