"""The loop of the water study: its recipes, its start, its records and its claims."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from agal_toolkit.attack import Attack
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import CALIBRATION, Dataset
from agal_toolkit.events import Stage
from agal_toolkit.geometry import Labels
from agal_toolkit.sampling import FromDataset, MemberDynamics
from agal_toolkit.selection import MostUncertain
from agal_toolkit.settings import to_settings
from studies import loops
from studies.jobs import RESULTS, OutOfTime, Runner
from studies.water import claims, export, iterations, recipes, study, survival
from studies.water.recipes import PRESETS, Shaken

LAPTOP = PRESETS["laptop"]


@pytest.fixture(scope="module")
def box():
    return Dataset.read(RESULTS / "water" / "box.extxyz.gz")[0]


def test_there_are_five_presets():
    assert list(PRESETS) == ["smoke", "class", "laptop", "gpu", "paper"]


def test_iterations_are_those_of_the_paper(box):
    schedule = recipes.schedule("attacks", LAPTOP, "warm", box)
    assert [recipes.planned(LAPTOP, k) for k in range(5)] == [10, 15, 20, 40, 60]
    for k in (0, 1):
        recipe = schedule(k)
        assert recipe.sampler == FromDataset(5)
        assert recipe.attack.members == 3
    pressures = []
    for k in (2, 3, 4):
        recipe = schedule(k)
        assert isinstance(recipe.sampler, MemberDynamics)
        assert recipe.sampler.count == 20
        assert recipe.attack.members is None
        pressures.append(recipe.sampler.conditions.pressure)
    assert pressures[:2] == [None, None]
    assert pressures[2] == pytest.approx(6.324e-7, rel=1e-3)  # one atmosphere, eV/angstrom^3
    for k in range(5):
        assert schedule(k).calibrate == 0.1
        assert schedule(k).folds.bootstrap


@pytest.mark.parametrize("strategy", recipes.STRATEGIES)
def test_strategies_label_equally_many(strategy, box):
    schedule = recipes.schedule(strategy, LAPTOP, "afresh", box)
    for k, count in ((0, 5), (2, 20)):
        recipe = schedule(k)
        assert isinstance(recipe.attack, Attack) == (strategy in ("attacks", "relative"))
        chosen = [s.count for s in recipe.selectors if isinstance(s, MostUncertain)]
        drawn = recipe.sampler.count
        assert (chosen, drawn) == (([count], 10 * count) if chosen else ([], count))
        assert bool(chosen) == (strategy == "uncertain")


def test_training_takes_equal_steps_and_warm_a_third_of_them(box):
    for k in range(5):
        learned = recipes.planned(LAPTOP, k) - LAPTOP.calibrate
        afresh = recipes.trainer(LAPTOP, "afresh", k)
        warm = recipes.trainer(LAPTOP, "warm", k)
        assert afresh.warm is None
        assert afresh.epochs * learned == pytest.approx(LAPTOP.steps, abs=learned)
        assert warm.warm.epochs * learned == pytest.approx(LAPTOP.warm, abs=learned)
        assert to_settings(replace(warm, warm=None)) == to_settings(afresh)


def test_shaken_copies_are_strained_and_displaced(box):
    copies = Shaken(box, 40).draw(np.random.default_rng(0))
    stretches = np.array([np.linalg.solve(box.cell, copy.cell) for copy in copies])
    strains = stretches - np.eye(3)
    assert np.allclose(strains, strains.transpose(0, 2, 1))
    assert strains[:, [0, 1, 2], [0, 1, 2]].std() == pytest.approx(0.02, rel=0.2)
    shifts = [
        copy.positions @ np.linalg.inv(stretch) - box.positions
        for copy, stretch in zip(copies, stretches, strict=True)
    ]
    assert np.std(shifts) == pytest.approx(0.05, rel=0.02)
    assert len(np.unique([copy.digest() for copy in copies])) == 40


def test_copies_that_always_have_close_atoms_are_told(box):
    with pytest.raises(ValueError, match=r"only 0 of 1 copies .* displace by less than 2"):
        Shaken(box, 1, displacement=2.0).draw(np.random.default_rng(0))


def test_labels_with_a_large_force_are_refused(box):
    forces = np.zeros_like(box.positions)
    forces[5] = [0, 18.1, 24]  # a norm of 30.06
    assert "30.1 eV" in recipes.small_forces(box, Labels(energy=0.0, forces=forces))
    assert recipes.small_forces(box, Labels(energy=0.0, forces=forces * 0.99)) is None


def test_seconds_outlive_a_stop(tmp_path):
    run = Runner("smoke", tmp_path)
    clock = loops.Clock(tmp_path / "seconds.json", run)
    clock(Stage(0, "members", "started"))
    sum(i * i for i in range(3_000_000))
    run.deadline = 0
    with pytest.raises(OutOfTime):
        clock(Stage(0, "members", "finished", 1.0))
    first = json.loads((tmp_path / "seconds.json").read_text())["0"]["members"]
    assert first > 0
    run.deadline = np.inf
    again = loops.Clock(tmp_path / "seconds.json", run)
    again(Stage(0, "members", "started"))
    sum(i * i for i in range(3_000_000))
    again(Stage(0, "members", "finished", 1.0))
    assert again.seconds["0"]["members"] > first


def test_a_loop_is_run_recorded_and_simulated(tmp_path, monkeypatch):
    """The smallest loop, stopped once in the middle, and a simulation with one of its members."""
    small = replace(PRESETS["smoke"], iterations=2, start=4, first=1, steps=4, attack=1)
    monkeypatch.setitem(PRESETS, "smoke", small)
    results = tmp_path / "results"
    results.mkdir()
    (results / "water").symlink_to(RESULTS / "water")
    run = Runner("smoke", tmp_path / "out", results)
    loop = ("attacks", "warm", 0)
    ended = run.report

    def stop(event):
        if isinstance(event, Stage) and (event.generation, event.name) == (1, "seeds"):
            raise OutOfTime
        ended(event)

    run.report = stop
    with pytest.raises(OutOfTime):
        study.run_loop(loop, run)
    run.report = ended
    (first, second) = study.run_loop(loop, run)["iterations"]
    assert (first["labels"], second["labels"]) == (4, 5)
    assert first["by"] == ["attack"]
    assert set(first["cpu seconds"]) >= {"members", "adversaries", "labels"}
    # two iterates at least of one box by three members; four steps of training by three members
    assert first["force calls"]["adversaries"] in {6, 9}
    assert first["force calls"]["members"] == 12
    assert second["force calls"]["members"] == 27  # three epochs of three boxes, three members
    for record in (first, second):
        errors = record["errors"]
        # a mean errs less than its members: <e^2> = <e>^2 + spread^2 (M - 1) / M
        members = small.members
        assert errors["members"] ** 2 == pytest.approx(
            errors["forces"] ** 2 + errors["spread"] ** 2 * (members - 1) / members, rel=1e-3
        )
        assert 0 < errors["inside"] < 1
        assert errors["energy without shift"] <= errors["energy"]
    folder = iterations.folder_of(run, *loop)
    with pytest.raises(FileNotFoundError, match="has 0 of 2 iterations: finish the loop"):
        export.export(Runner("smoke", tmp_path / "elsewhere", results))
    labelled = Dataset.read(folder / "labels-1.extxyz")
    monkeypatch.setattr(run, "results", tmp_path)  # no link to the truth's data
    place = export.export(run, "attacks", "warm")
    assert Dataset.read(place / "labels.extxyz.gz").digest() == labelled.digest()
    for k in (1, 2):
        copy = recipes.trainer(small, "afresh", 0).load(place / f"committee-{k}")
        kept = iterations.committee_of(run, folder / f"committee-{k - 1}")
        box = labelled[0]
        forces = [one.predict(box).forces for one in (Committee(copy), kept)]
        np.testing.assert_array_equal(*forces)
        assert (place / f"committee-{k}" / "calibration.json").exists()
    monkeypatch.setattr(run, "results", results)
    assert len(labelled) == second["labels"] + len(second["found"])
    assert labelled.roles.count(CALIBRATION) >= 2
    record = survival.survived(folder / "committee-1", 0, 1, 0, run)
    assert record["volume"] == pytest.approx(0.01)
    assert (record["reason"] is None) == ("properties" in record)
    path = study.study(run, ["attacks"], ["warm"], [0], [])
    stored = json.loads(path.read_text())
    assert stored["records"]["attacks warm 0"]["iterations"] == [first, second]
    assert asdict(small)["steps"] == stored["settings"]["steps"]


def iteration(labels, forces, spread=0.1, seconds=100.0, **more):
    errors = {"forces": forces, "energy": 0.01, "energy without shift": 0.005, "spread": spread}
    return {"labels": labels, "errors": errors, "cpu seconds": {"members": seconds}, **more}


def test_claims_follow_from_records():
    truth = {
        "density": [1.0, 0.005],
        "coordination": [4.0, 0.02],
        "peak": [2.8, 0.01],
        "height": [2.5, 0.02],
        "diffusion": [2e-5, 1e-6],
        "OO": {"r": [2.0, 2.5, 3.0], "g": [0.0, 1.0, 2.0], "error": [0.0, 0.1, 0.1]},
    }
    # as the truth in the first two bins; in the third +- 12.7 * 0.1 * sqrt(3 / 2) around 4
    curve = {"r": [2.0, 2.5, 3.0], "g": [0.0, 1.0, 6.0], "error": [0.0, 0.1, 0.1]}
    other = {**truth, "density": [1.03, 0.01], "OO": curve}
    good = {"reason": None, "properties": truth}
    main = {
        "iterations": [
            iteration(40, 0.06, by=["attack"], found=[0.19, 0.23]),
            iteration(60, 0.044, by=["attack"], found=[0.2]),
        ],
        "survival": {
            "1": {"0": good, "1": {"reason": "constant volume: broke"}},
            "2": {"0": good, "1": {"reason": None, "properties": other}},
        },
    }
    warm = {"iterations": [iteration(40, 0.06), iteration(60, 0.0484, spread=0.095, seconds=30.0)]}
    records = {"attacks afresh 0": main, "attacks warm 0": warm, "truth": truth}
    found = {claim.name: claim for claim in claims.claims(records)}
    error = found["force error of the mean at 60 labels, attacks"]
    assert (error.value, error.met) == (44.0, True)
    assert found["error found over target, average of iterations, attacks"].value == pytest.approx(
        (1.05 + 1.0) / 2
    )
    error = found["force error of the mean at 60 labels, attacks, warm"]
    assert (error.value, error.met) == (48.4, False)
    assert found["members that survive at 40 labels, attacks"].met is False
    assert found["members that survive at 60 labels, attacks"].value == 1.0
    density = found["deviation of density from the truth's at 60 labels, attacks, 2 of 2 members"]
    assert density.value == pytest.approx(1.5)
    share = found["share of g_OO bins with the truth in the band at 60 labels, attacks"]
    assert share.goal == 0.9
    assert share.value == 1.0
    assert found["training seconds, warm over afresh"].value == pytest.approx(0.3)
    assert found["force error, warm over afresh"].value == pytest.approx(1.1)
    assert found["spread of the committee, warm over afresh"].value == pytest.approx(0.95)


def test_claims_rest_on_whole_committees():
    broken, good = {"reason": "broke"}, {"reason": None}
    survival = {"1": {"0": broken}, "2": {"0": good, "1": broken}}
    records = {
        "attacks warm 0": {"iterations": [1, 2], "survival": survival},
        "frames warm 0": {"iterations": [1], "survival": {"1": {"0": good}}},
        "rattled warm 0": {"survival": survival},  # the loop itself has not ended
        "truth": {"density": [1.0, 0.1]},
    }
    assert study.finished(records, 2) == {
        "attacks warm 0": {"iterations": [1, 2], "survival": {"2": survival["2"]}},
        "frames warm 0": {"iterations": [1]},
        "truth": {"density": [1.0, 0.1]},
    }
