"""The study of ammonia at preset smoke, with springs for the electrons."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from ammonia_springs import Springs

from agal_toolkit.attack import Adam
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Labels
from agal_toolkit.loop.run_directory import RunDirectoryError
from agal_toolkit.potentials import Differentiable
from agal_toolkit.references import NoMinimum
from agal_toolkit.training.loss import EpochOrder
from studies.ammonia import committees as ammonia_committees
from studies.ammonia import convergence as ammonia_convergence
from studies.ammonia import labels as ammonia_labels
from studies.ammonia import study as ammonia
from studies.ammonia.claims import barrier_errors
from studies.ammonia.committees import R_EDGES, Z_EDGES
from studies.ammonia.recipes import KCAL, PRESETS, initial, recipe
from studies.ammonia.truth import Sizes, load_truth
from studies.jobs import Runner, read

SMOKE = PRESETS["smoke"]


@dataclass(frozen=True)
class Forgetful(Springs):
    """The same label under the same name, which nobody may ask."""

    def __call__(self, geometry):
        raise AssertionError("everything was labelled before")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of one finished job and of what it rests on."""
    place = tmp_path_factory.mktemp("ammonia")
    heard = []
    ammonia.study(
        Runner("smoke", place / "runs", place / "results", say=heard.append), label=Springs()
    )
    (place / "heard.json").write_text(json.dumps(heard))
    return place


@pytest.fixture(scope="module")
def result(folder):
    return read(folder / "results" / "ammonia_ours_thermal-smoke.json")


@pytest.fixture(scope="module")
def known(folder):
    return load_truth(folder / "results" / "ammonia" / "reference", Springs(), SMOKE.truth)


def test_the_truth_is_what_the_label_says(known):
    label = Springs()
    assert known.zero == pytest.approx(label(known.ground).energy, abs=1e-6)
    assert np.abs(label(known.ground).forces).max() < 2e-3
    np.testing.assert_allclose(known.hessian, label.hessian(known.ground), atol=1e-5)
    middle = known.path.images[1]
    assert known.path.barrier == pytest.approx(
        label(middle).energy - label(known.path.images[0]).energy, abs=1e-7
    )
    grid = known.surface.grid
    assert known.surface.energy.shape == (SMOKE.truth.radii, 2 * SMOKE.truth.heights - 1)
    assert known.surface.energy[3, grid.heights - 1] == pytest.approx(
        label(grid.geometries[3 * grid.heights]).energy - known.zero, abs=1e-9
    )
    assert len(known.plane) == grid.heights * grid.radii
    np.testing.assert_allclose(
        known.plane.energies, [label(g).energy for g in known.plane], atol=1e-9
    )


def test_the_truth_of_other_sizes_is_refused(folder):
    with pytest.raises(RunDirectoryError, match=r"sizes.radii: 10 there, 5 here"):
        load_truth(
            folder / "results" / "ammonia" / "reference",
            Springs(),
            Sizes(heights=3, radii=5, images=3, fmax=0.3),
        )


def test_an_interrupted_truth_is_completed(tmp_path, known):
    """Its settings are there before anything they are the settings of, and a path without its entry
    is made again.
    """
    sizes = Sizes(heights=2, radii=3, images=3, fmax=0.3)
    load_truth(tmp_path, Springs(), sizes)
    stored = json.loads((tmp_path / "reference.json").read_text())
    del stored["path"]
    (tmp_path / "reference.json").write_text(json.dumps(stored))
    assert load_truth(tmp_path, Springs(), sizes).path.barrier == pytest.approx(
        known.path.barrier, rel=1e-3
    )
    fresh = tmp_path / "fresh"
    with pytest.raises(RuntimeError, match="labelled before"):
        load_truth(fresh, Forgetful(), sizes)
    with pytest.raises(RunDirectoryError, match="other settings"):
        load_truth(fresh, Springs(), SMOKE.truth)


def test_starts(known):
    hot, cold, frozen = (initial(start, SMOKE, known, 3) for start in ("thermal", "cold", "frozen"))
    assert len(hot) == len(cold) == len(frozen) == SMOKE.start
    frames = min(SMOKE.start // 2, len(known.optimisation))
    for ours, theirs in zip(cold, known.optimisation.geometries[:frames], strict=False):
        np.testing.assert_array_equal(ours.positions, theirs.positions)
    spread = [
        np.std([g.positions - known.ground.positions for g in each])
        for each in (hot, cold[frames:], frozen[frames:])
    ]
    assert 2 < spread[0] / spread[1] < 6  # the root of ten, on average
    assert 1 < spread[1] / spread[2] < 3
    again = initial("thermal", SMOKE, known, 3)
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(hot, again, strict=True))
    assert not np.array_equal(initial("thermal", SMOKE, known, 4)[0].positions, hot[0].positions)


def test_attacks_distinct_structures_and_labels_are_counted(result, folder):
    run = result["records"]["runs"][0]
    assert [turn["attacks"] for turn in run["rounds"]] == [SMOKE.attacks, SMOKE.attacks, SMOKE.last]
    for turn in run["rounds"]:
        assert sum(turn["verdicts"].values()) == turn["attacks"]
    for turn in run["rounds"][:2]:
        assert turn["labels"] + turn["failures"] == turn["verdicts"]["kept"]
    sizes = [run["committees"][key]["structures"] for key in ("first", "second", "third")]
    assert sizes == [
        SMOKE.start,
        SMOKE.start + run["rounds"][0]["labels"],
        SMOKE.start + run["rounds"][0]["labels"] + run["rounds"][1]["labels"],
    ]
    assert run["committees"]["random"]["structures"] == SMOKE.random
    assert run["committees"]["random and start"]["structures"] == sizes[2]
    attacks = Dataset.read(
        folder / "results" / "ammonia" / "smoke" / "attacks-ours-thermal-0.extxyz"
    )
    assert len(attacks) == sizes[2] - sizes[0]
    label, zero = (
        Springs(),
        load_truth(folder / "results" / "ammonia" / "reference", Springs(), SMOKE.truth).zero,
    )
    np.testing.assert_allclose(attacks.energies, [label(g).energy for g in attacks], atol=1e-5)
    np.testing.assert_allclose(
        run["sets"]["attacks 1"]["energies"] + run["sets"]["attacks 2"]["energies"],
        (attacks.energies - zero) / KCAL,
        atol=1e-3,
    )
    last = Dataset.read(folder / "results" / "ammonia" / "smoke" / "third-ours-thermal-0.extxyz")
    judged = Dataset.read(folder / "results" / "ammonia" / "smoke" / "judged-ours-thermal-0.extxyz")
    assert len(last) == SMOKE.last
    assert 0 < len(judged) <= SMOKE.last
    np.testing.assert_allclose(judged.energies, [label(g).energy for g in judged], atol=1e-5)
    np.testing.assert_allclose(
        run["judged"]["reference"], (judged.energies - zero) / KCAL, atol=1e-3
    )
    for geometry, said in zip(judged, run["judged"]["committee"], strict=True):
        same = [
            k for k, other in enumerate(last) if np.array_equal(other.positions, geometry.positions)
        ]
        assert said == pytest.approx((last.energies[same[0]] - zero) / KCAL, abs=1e-3)


def test_committees_are_examined(result, known):
    found = result["records"]["runs"][0]["committees"]
    grid = known.surface.grid
    for each in found.values():
        assert np.shape(each["surface"]["energy"]) == (grid.radii, grid.heights)
        wrong = (
            np.array(each["surface"]["energy"]) * KCAL - known.surface.energy[:, grid.heights - 1 :]
        ) / KCAL
        both = np.concatenate([wrong[:, :0:-1], wrong], axis=1)[known.surface.energy <= 100 * KCAL]
        assert each["surface"]["rmse below"]["100"] == pytest.approx(
            np.sqrt(np.mean(both**2)), rel=1e-2
        )
        if "failed" not in each["paths"]:
            assert each["paths"]["barrier"] == pytest.approx(
                max(each["paths"]["mean path"]["energies"]), abs=1e-3
            )
            assert len(each["paths"]["members"]) == 5
    assert "stability" not in found["second"]
    moved = found["third"]["stability"]
    assert moved["runs"] == 6 * SMOKE.trajectories
    assert moved["stable"] + sum(moved["reasons"].values()) == moved["runs"]
    assert np.shape(moved["frames"]["stable"]) == (len(R_EDGES) - 1, len(Z_EDGES) - 1)
    errors = barrier_errors(result["records"]["runs"], "third", known.path.barrier / KCAL)
    claimed = next(
        claim for claim in result["claims"] if claim["name"] == "barrier error, third committee"
    )
    assert claimed["value"] == pytest.approx(abs(errors[0]), abs=1e-4)


def test_a_finished_job_is_read(folder, result, monkeypatch):
    """Of its files, and of the result file where these are gone."""
    monkeypatch.setattr(ammonia, "job", lambda *a, **k: pytest.fail("it was finished"))
    for out in (folder / "runs", folder / "elsewhere"):
        ammonia.study(Runner("smoke", out, folder / "results"), label=Springs())
        assert (
            read(folder / "results" / "ammonia_ours_thermal-smoke.json")["records"]
            == result["records"]
        )


def test_parts_of_a_job_are_read(folder, tmp_path, monkeypatch):
    """Without its last file a job goes through all stages again, and neither labels nor trains."""
    (folder / "runs" / "smoke" / "ours-thermal-0" / "job.json").unlink()
    monkeypatch.setattr(Springs, "__call__", Forgetful.__call__)
    monkeypatch.setattr(
        "agal_toolkit.training.trainer.TorchTrainer.fit",
        lambda *a, **k: pytest.fail("everything was trained before"),
    )
    stored = read(folder / "results" / "ammonia_ours_thermal-smoke.json")["records"]["runs"][0]
    runner = Runner("smoke", folder / "runs", folder / "results")
    again = ammonia.job(runner, "ours", "thermal", 0, Springs())
    assert {**again, "seconds": 0, "rounds": [t["verdicts"] for t in again["rounds"]]} == {
        **stored,
        "seconds": 0,
        "rounds": [t["verdicts"] for t in stored["rounds"]],
    }


def test_a_job_of_other_settings_is_refused(folder, monkeypatch):
    monkeypatch.setitem(PRESETS, "smoke", ammonia.replace(SMOKE, last=7))
    with pytest.raises(ValueError, match=r"sizes.last: 6 there, 7 here"):
        ammonia.study(Runner("smoke", folder / "runs", folder / "results"), label=Springs())


def test_geometries_of_other_settings_are_refused(folder, known, monkeypatch):
    data, reference, cache = (
        folder / "results" / "ammonia",
        ammonia.Reference(Springs()),
        ammonia.Cache(folder / "labels"),
    )
    place = data / "thermal-0.extxyz"
    assert (
        len(ammonia_labels.labelled(place, initial("thermal", SMOKE, known, 0), reference, cache))
        == SMOKE.start
    )
    with pytest.raises(
        ValueError, match=r"thermal-0.extxyz holds other geometries than are asked for"
    ):
        ammonia_labels.labelled(place, initial("thermal", SMOKE, known, 1), reference, cache)


def test_geometries_that_a_file_lacks_are_added(tmp_path, known):
    asked, cache = ammonia.random(0.3, 6, known, 0), ammonia.Cache(None)
    place, reference = tmp_path / "random.extxyz", ammonia.Reference(Springs())
    few = ammonia_labels.labelled(place, [asked[1], asked[4]], reference, cache)
    heard = []
    found = ammonia_labels.labelled(place, asked, reference, cache, heard.append)
    assert len(few) == 2
    assert len(found) == 6
    assert heard[-1].total == 4
    np.testing.assert_allclose(
        [g.positions for g in found], [g.positions for g in asked], atol=1e-7
    )
    np.testing.assert_allclose(found.energies, [Springs()(g).energy for g in asked], atol=1e-6)


def test_geometries_without_any_label_leave_no_file(tmp_path, known):
    with pytest.raises(
        RuntimeError,
        match=r"none of the 3 geometries of .* got a label, the first because .*labelled before",
    ):
        ammonia_labels.labelled(
            tmp_path / "random.extxyz",
            ammonia.random(0.3, 3, known, 0),
            ammonia.Reference(Forgetful()),
            ammonia.Cache(None),
        )
    assert not (tmp_path / "random.extxyz").exists()


@pytest.mark.parametrize(
    ("raised", "said"),
    [(NoMinimum("falls apart"), "no number"), (torch.OutOfMemoryError("no room"), "raised")],
)
def test_only_a_missing_minimum_is_a_barrier_without_a_number(known, monkeypatch, raised, said):
    def fails(*positional, **named):
        raise raised

    monkeypatch.setattr(ammonia_committees, "inversion_path", fails)
    committee = Committee([Differentiable(Springs())])
    if said == "raised":
        with pytest.raises(torch.OutOfMemoryError):
            ammonia_committees.Barrier(known.ground)(committee, known.plane)
        with pytest.raises(torch.OutOfMemoryError):
            ammonia_committees.paths(committee, known, SMOKE)
    else:
        assert np.isnan(ammonia_committees.Barrier(known.ground)(committee, known.plane))
        assert ammonia_committees.paths(committee, known, SMOKE) == {"failed": "falls apart"}


def test_committees_of_other_settings_are_refused(folder, monkeypatch):
    (folder / "runs" / "smoke" / "ours-thermal-0" / "job.json").unlink(missing_ok=True)
    monkeypatch.setitem(PRESETS, "smoke", ammonia.replace(SMOKE, picoseconds=0.03))
    with pytest.raises(
        ValueError,
        match=r"first.json was made with other settings[\s\S]*picoseconds: 0.02 there, 0.03 here",
    ):
        ammonia.job(
            Runner("smoke", folder / "runs", folder / "results"), "ours", "thermal", 0, Springs()
        )


def test_a_negative_seed_is_refused(folder):
    runner = Runner("smoke", folder / "runs", folder / "results")
    with pytest.raises(ValueError, match="give numbers from 0 on"):
        ammonia.study(runner, seeds=[-1], label=Springs())


def test_no_job_begins_after_its_time(folder, tmp_path):
    heard = []
    runner = Runner("smoke", tmp_path, folder / "results", minutes=-1.0, say=heard.append)
    ammonia.study(runner, recipes=["printed"], label=Springs())
    assert heard == ["printed, thermal: no job is finished yet; the next call goes on"]
    assert not (folder / "results" / "ammonia_printed_thermal-smoke.json").exists()


def test_the_printed_recipe_is_the_papers(known):
    """Schwalbe-Koda 2021, A.2.2; batches are shared by the members, whose own parts of 60 % make up
    all data.
    """
    printed = recipe("printed", PRESETS["paper"], known).recipes[0]
    trainer = printed.trainer
    assert (
        trainer.epochs,
        trainer.learning_rate,
        trainer.batch_size,
        trainer.patience,
        trainer.factor,
    ) == (500, 3e-4, 30, 30, 0.5)
    assert (trainer.energy_weight, trainer.forces_weight) == (0.1, 1.0)
    assert trainer.network.keywords == {"features": 256, "filters": 256, "interactions": 4}
    assert (printed.members, printed.folds.train, printed.folds.valid) == (5, 0.6, 0.2)
    assert printed.attack.objective.kT == pytest.approx(20 * KCAL)
    assert printed.attack.minimizer == Adam(0.01, 60, relative=None)
    assert printed.sampler.count == 30
    data = Dataset([known.ground] * 78, [Labels(energy=0.0, forces=np.zeros((4, 3)))] * 78)
    weights, _ = printed.folds(data, 5, np.random.default_rng(0))
    order = EpochOrder(weights, trainer.batch_size, np.ones(78), trainer.equal_batches)
    batches = order.shuffled(np.random.default_rng(0))
    assert len(batches) == 3
    assert np.mean([(weights[:, batch] > 0).sum(1) for batch in batches[:2]]) == pytest.approx(
        18, abs=1.5
    )


def test_a_recipe_that_does_not_exist(known):
    with pytest.raises(ValueError, match="expected one of printed, ours"):
        recipe("best", SMOKE, known)


def test_a_recipe_without_an_attack_labels_where_attacks_would_start(folder, tmp_path):
    runner = Runner("smoke", tmp_path, folder / "results")
    found = ammonia.job(runner, "frames", "thermal", 0, Springs())
    assert [turn["attacks"] for turn in found["rounds"]] == [
        SMOKE.attacks,
        SMOKE.attacks,
        SMOKE.last,
    ]
    acquired = Dataset.read(
        folder / "results" / "ammonia" / "smoke" / "attacks-frames-thermal-0.extxyz"
    )
    assert len(acquired)
    assert {g.origin["by"] for g in acquired} == {"normal modes", "dynamics"}


def test_learning_curves_are_made_once(folder, monkeypatch):
    points = [
        ammonia_convergence.Fit(16, 10, 20),
        ammonia_convergence.Fit(16, 10, 20, "third"),
        ammonia_convergence.Fit(16, 10, 40),
    ]
    runner = Runner("smoke", folder / "runs", folder / "results")
    place = ammonia_convergence.study(runner, points=points[:1], label=Springs())
    place = ammonia_convergence.study(runner, points=points, label=Springs())
    found = read(place)
    assert [each["steps"] for each in found["records"]["fits"]] == [20, 20, 40]
    assert found["claims"][0]["value"] == pytest.approx(
        abs(found["records"]["fits"][2]["barrier"] - found["records"]["fits"][0]["barrier"]),
        abs=1e-4,
    )
    monkeypatch.setattr(
        ammonia_convergence, "fit", lambda *a, **k: pytest.fail("it was made before")
    )
    ammonia_convergence.study(runner, points=points, label=Springs())
    place.write_text(place.read_text().replace('"batch_size": 10', '"batch_size": 30'))
    with pytest.raises(ValueError, match="batch_size: 30 there, 10 here"):
        ammonia_convergence.study(runner, points=points, label=Springs())


def test_the_last_doubling_counts_every_repeat():
    last = ammonia_convergence.STEPS[-1]
    moved = [0.02, 0.3, 0.04]
    fits = [
        {
            "features": 64,
            "batch": 10,
            "committee": "first",
            "start": "thermal",
            "repeat": k,
            "steps": steps,
            "barrier": 6 + 0.1 * k + (moved[k] if steps == last else 0.0),
        }
        for k in range(3)
        for steps in (last // 2, last)
    ]
    doubled, scattered = ammonia_convergence.claims(
        [
            *fits,
            {**fits[0], "batch": 30, "barrier": 9.0},
            {**fits[1], "committee": "third"},
            {**fits[1], "start": "cold"},
        ],
        64,
    )
    assert doubled.value == pytest.approx(0.04)
    assert doubled.runs == 3
    assert doubled.met
    assert doubled.spread == pytest.approx((0.02, 0.3))
    assert scattered.value == pytest.approx(6.4 - 6.02)
    assert scattered.met is None


def test_every_committee_is_doubled_at_the_end():
    points = ammonia_convergence.plan(64)
    assert len(set(points)) == len(points)
    ends = {
        (point.committee, point.start, point.repeat)
        for point in points
        if (point.features, point.batch, point.steps) == (64, 10, ammonia_convergence.STEPS[-1])
    }
    assert ends == {
        (*which, repeat)
        for which in ammonia_convergence.ENDS
        for repeat in range(ammonia_convergence.REPEATS)
    }


def test_random_committees_have_curves_too(folder):
    points = [
        ammonia_convergence.Fit(16, 10, 20, committee)
        for committee in ("random", "random and start")
    ]
    (folder / "results" / "ammonia_convergence-smoke.json").unlink(missing_ok=True)
    runner = Runner("smoke", folder / "runs", folder / "results")
    place = ammonia_convergence.study(runner, points=points, label=Springs())
    fits = read(place)["records"]["fits"]
    assert [each["committee"] for each in fits] == ["random", "random and start"]
    assert all(np.isfinite(each["training"]) for each in fits)


def test_curves_of_the_third_committee_wait_for_the_first_job(folder, tmp_path):
    heard = []
    runner = Runner("smoke", tmp_path, tmp_path, say=heard.append)
    ammonia_convergence.study(
        runner, points=[ammonia_convergence.Fit(16, 10, 20, "third")], label=Springs()
    )
    assert len(heard) == 1
    assert "before the first job of its start is finished" in heard[0]
