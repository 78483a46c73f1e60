"""The study of calibrated attacks at preset smoke, on the truth's data as they are kept."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import units

pytest.importorskip("openmm", reason="OpenMM is in the extra `references`")

from agal_toolkit.attack import TargetError
from agal_toolkit.dataset import Dataset
from studies.calibrated import gallery, study
from studies.calibrated import trials as ways
from studies.calibrated.claims import claims, over_target
from studies.calibrated.records import predict, rms
from studies.calibrated.trials import Scene
from studies.jobs import Runner, read
from studies.water.truth import folded, rattle

pytestmark = pytest.mark.timeout(600)  # the first test waits for a committee and ten trials
SMOKE = study.PRESETS["smoke"]
KEPT = Path(__file__).parents[3] / "notebooks" / "results" / "water"
TRIALS = (
    "x1.4",
    "x2.0",
    "second x2.0",
    "raw",
    "rattle",
    "heat",
    "2 of all",
    "2 alone",
    "pressure 0.3",
    "guarded x2.0",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of some trials, the truth's data beside them."""
    place = tmp_path_factory.mktemp("calibrated")
    shutil.copytree(KEPT, place / "results" / "water", ignore=shutil.ignore_patterns("committee-*"))
    study.study(Runner("smoke", place / "runs", place / "results"), only=TRIALS)
    return place


@pytest.fixture(scope="module")
def result(folder):
    return read(folder / "results" / "calibrated_attacks-smoke.json")


@pytest.fixture(scope="module")
def there(folder) -> Scene:
    return study.scene(folder / "results" / "water", "smoke")


def test_every_trial_is_recorded_and_stored(folder, result):
    assert set(result["records"]["trials"]) == set(TRIALS)
    for name, record in result["records"]["trials"].items():
        assert len(record["structures"]["found"]) == study.trials(SMOKE)[name].count
        labelled = Dataset.read(folder / "runs" / "smoke" / "trials" / f"{name}.extxyz.gz")
        assert len(labelled) == sum(found is not None for found in record["structures"]["found"])
        assert sum(record["norms"]) == len(labelled) * 192 * SMOKE.members
        trial = study.trials(SMOKE)[name]
        assert sum(record["ratios"]) == len(labelled) * 576 * (
            trial.members if trial.law == "own" else SMOKE.members
        )


def test_what_is_recorded_is_what_the_labels_say(folder, result, there):
    record = result["records"]["trials"]["x1.4"]
    labelled = Dataset.read(folder / "runs" / "smoke" / "trials" / "x1.4.extxyz.gz")
    said = predict(there.committee, list(labelled))
    errors = np.linalg.norm(said.forces.numpy() - np.concatenate(labelled.forces), axis=-1)
    expected = [
        np.sqrt(np.mean(part**2, axis=0)).mean() for part in np.split(errors, len(labelled), axis=1)
    ]
    np.testing.assert_allclose(record["structures"]["found"], expected, rtol=1e-3)
    np.testing.assert_allclose(rms(said, labelled), expected)
    assert record["target"] == pytest.approx(1.4 * result["records"]["heldout"])


def test_attacks_come_nearer_to_their_target(result, there):
    """Three steps do not arrive, but go the right way."""
    for name in ("x1.4", "x2.0"):
        record = result["records"]["trials"][name]
        calibrated = there.committee.calibrated(there.aside)
        seeds = list(there.data.first)[: SMOKE.attacks]
        for seed, sigma in zip(seeds, record["structures"]["sigma"], strict=True):
            start = float(
                calibrated.calibration.atomic_variance(predict(there.committee, [seed]))
                .sqrt()
                .mean()
            )
            assert abs(sigma - record["target"]) < abs(start - record["target"])


def test_a_rattle_is_as_uncertain_as_it_should_be(result):
    record = result["records"]["trials"]["rattle"]
    sigma = np.array(record["structures"]["sigma"]) / record["target"]
    moved = np.array(record["structures"]["moved"])
    assert np.all((np.abs(sigma - 1) < 0.02) | (moved == 0))
    assert moved.max() > 0


def test_a_simulation_ends_where_it_is_uncertain_enough(there):
    committee, seed = there.committee.calibrated(there.aside), there.data.first[0]
    calm = float(committee.calibration.atomic_variance(predict(committee, [seed])).sqrt().mean())
    frame, calls = ways.heat(TargetError(1.1 * calm), committee, seed, np.random.default_rng(0))
    assert (
        1.1
        <= float(committee.calibration.atomic_variance(predict(committee, [frame])).sqrt().mean())
        / calm
        < 1.2
    )
    assert calls > 2


def test_a_rattle_that_cannot_get_there_says_so(there):
    committee = there.committee.calibrated(there.aside)
    with pytest.raises(RuntimeError, match="take a smaller target"):
        ways.rattle(TargetError(1e6), committee, there.data.first[0], np.random.default_rng(0))


def test_a_second_round_calibrates_with_the_labels_of_the_first(folder, result):
    first, second = (
        result["records"]["trials"][name]["calibration"]["forces"]
        for name in ("x2.0", "second x2.0")
    )
    assert second["samples"] == first["samples"] + SMOKE.attacks * 576
    assert (second["scale"], second["exponent"]) != (first["scale"], first["exponent"])


def test_subsets_and_guards_do_what_they_say(result):
    alone = result["records"]["trials"]["2 alone"]["structures"]
    assert alone["law"] != result["records"]["trials"]["2 of all"]["structures"]["law"]
    assert all(value is not None for value in alone["found rest"])
    assert result["records"]["trials"]["x2.0"]["structures"]["found rest"] == [None] * SMOKE.attacks
    assert all(result["records"]["trials"]["guarded x2.0"]["structures"]["bonded"])


def test_finished_trials_are_not_run_again(folder, result, monkeypatch):
    monkeypatch.setattr(study, "run", lambda *args: pytest.fail("a trial was run again"))
    monkeypatch.setattr(
        study, "evaluate", lambda *args: pytest.fail("the committee was judged again")
    )
    runner = Runner("smoke", folder / "runs", folder / "results")
    place = study.study(runner, only=TRIALS)
    assert read(place)["records"]["trials"] == result["records"]["trials"]


def test_wrong_names_and_other_settings_are_refused(folder, monkeypatch):
    runner = Runner("smoke", folder / "runs", folder / "results")
    with pytest.raises(ValueError, match="no trials are named"):
        study.study(runner, only=["x17"])
    monkeypatch.setitem(study.PRESETS, "smoke", replace(SMOKE, epochs=5))
    with pytest.raises(ValueError, match="other settings"):
        study.study(runner, only=["x1.4"])


def test_claims_are_made_of_records(result):
    found = {claim.name: claim for claim in claims(result["records"])}
    two = over_target(result["records"]["trials"]["x2.0"])
    assert found["error found off the target, 2 held-out errors"].value == pytest.approx(
        abs(two.mean() - 1), abs=1e-4
    )
    assert found["error found over target, uncalibrated"].paper == "about 2"
    assert "error found over target, 400 meV/A" not in found  # that trial was not run


def test_rattles_have_amplitudes_of_their_own(there):
    seeds = list(there.data.first)
    shaken = rattle(seeds, 30, 0.06, 9)
    spread = [np.std(g.positions - seeds[g.origin["seed"]].positions) for g in shaken]
    assert 0 < min(spread) < 0.02
    assert 0.04 < max(spread) < 0.065


def test_folded_waters_are_the_same_structure(there):
    geometry = there.data.second[3]
    inside = folded(geometry)
    scaled = inside.positions.reshape(-1, 3, 3)[:, 0] @ np.linalg.inv(inside.cell)
    assert scaled.min() >= 0
    assert scaled.max() < 1
    np.testing.assert_allclose(
        predict(there.committee, [inside]).forces,
        predict(there.committee, [geometry]).forces,
        atol=1e-4,
    )


def test_pictures_are_made_of_what_was_run(result):
    trials = result["records"]["trials"]
    assert gallery.available(trials, ["x1.0", "x1.4", "x2.0"]) == ["x1.4", "x2.0"]
    targets, means, ends = gallery.series(trials, ["x2.0", "x1.0", "x1.4"])
    assert targets.tolist() == sorted(targets)
    assert len(targets) == 2
    assert means[1] == pytest.approx(
        1000 * np.mean(trials["x2.0"]["structures"]["found"]), rel=1e-3
    )
    assert ((ends[:, 0] <= means + 1e-6) & (means <= ends[:, 1] + 1e-6)).all()
    ways = gallery.by_way(trials, {"attack": "x1.4", "random rattle": "rattle"})
    assert all(set(groups) == {"attack", "random rattle"} for groups in ways.values())


def test_tables_are_made_of_what_was_run(result):
    trials, abouts = result["records"]["trials"], {"x1.4": "attack, 1.4", "pressure 0.3": "0.3 GPa"}
    tables = {
        "trials": gallery.trial_rows(trials, ["x1.0", "x1.4"], abouts),
        "adversaries": gallery.adversary_rows(trials, ["x1.0", "x1.4"], abouts),
        "wishes": gallery.bias_rows(trials, ["x1.4", "pressure 0.3"], abouts),
        "sizes": gallery.size_rows(trials, SMOKE.subsets, SMOKE.members),
        "judged": gallery.reliability_rows(
            result["records"]["committee"]["reliability"], {"here": "simulated, O, its own"}
        ),
    }
    lines = {name: table.splitlines() for name, table in tables.items()}
    assert {name: len(rows) for name, rows in lines.items()} == {
        "trials": 3,
        "adversaries": 3,
        "wishes": 4,
        "sizes": 4,
        "judged": 3,
    }
    for rows in lines.values():
        assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
    assert lines["trials"][2].startswith("| attack, 1.4 | 2 |")
    assert lines["sizes"][3].startswith("| 2 | themselves | 2 |")
    assert lines["wishes"][2].endswith("|  |  |  |")
    assert "±" in lines["wishes"][3]


def test_pressures_are_the_labels_own(folder, result):
    record = result["records"]["trials"]["pressure 0.3"]["structures"]
    labelled = Dataset.read(folder / "runs" / "smoke" / "trials" / "pressure 0.3.extxyz.gz")
    expected = [-np.trace(label.stress) / 3 / units.GPa for label in labelled.labels]
    np.testing.assert_allclose(
        [value for value in record["pressure"] if value is not None], expected, rtol=1e-3
    )
    assert "pressure" not in result["records"]["trials"]["x1.4"]["structures"]
