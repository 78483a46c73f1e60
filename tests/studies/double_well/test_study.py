"""The double-well study: the printed recipe, pairs that start alike, and what is written down."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from agal_toolkit.loop.run_directory import differences
from agal_toolkit.settings import to_settings
from studies.double_well import recipes, study
from studies.jobs import OutOfTime, Runner, read

TINY = recipes.Preset(width=8, epochs=4, attack_steps=4, generations=2, grid=6)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(recipes.PRESETS, "tiny", TINY)


def test_the_recipe_is_the_printed_one():
    recipe = recipes.recipe("adversarial", recipes.PRESETS["paper"])
    trainer, attack = recipe.trainer, recipe.attack
    assert (
        trainer.epochs,
        trainer.batch_size,
        trainer.learning_rate,
        trainer.energy_weight,
        trainer.forces_weight,
    ) == (600, 35, 1e-3, 1.0, 10.0)
    assert (
        trainer.patience,
        trainer.factor,
        trainer.keep_best,
        trainer.anneal,
        trainer.large_force,
    ) == (50, 0.5, False, False, None)
    assert trainer.network.keywords == {"width": 1024}
    assert (
        attack.objective.kT,
        attack.minimizer.learning_rate,
        attack.minimizer.steps,
        attack.start,
        attack.bound,
    ) == (5.0, 0.003, 600, 0.01, None)
    percentile, distance, most = recipe.selectors
    assert (percentile.percentile, distance.threshold, most.count, recipe.members) == (
        80,
        0.02,
        20,
        5,
    )
    assert (recipe.folds.train, recipe.folds.valid, recipe.folds.shared, recipe.folds.acquired) == (
        0.6,
        0.2,
        True,
        4,
    )


@pytest.mark.parametrize("variant", ["printed", "ours", "as-run"])
def test_the_strategies_differ_in_sampler_and_attack_only(variant):
    one, other = (
        recipes.recipe(strategy, recipes.PRESETS["laptop"], variant)
        for strategy in recipes.STRATEGIES
    )
    assert to_settings(replace(one, attack=None, sampler=other.sampler)) == to_settings(other)
    assert other.sampler.amplitude == 1.0
    assert not other.sampler.normal


def test_what_was_run_is_kept_apart_from_what_was_printed():
    run = recipes.recipe("adversarial", recipes.PRESETS["paper"], "as-run")
    assert (run.trainer.epochs, run.trainer.keep_best, run.attack.last) == (400, True, True)
    assert (recipes.VARIANTS["as-run"].well.y_power, recipes.VARIANTS["printed"].well.y_power) == (
        4,
        2,
    )
    assert max(np.abs(g.positions).max() for g in recipes.start(0, "as-run")) <= 1.2


def test_an_ablation_changes_one_thing_in_our_recipe():
    ours = to_settings(recipes.recipe("adversarial", TINY, "ours"))
    seen = set()
    for name in recipes.ABLATIONS:
        changed = to_settings(recipes.recipe("adversarial", TINY, name))
        found = differences(ours, changed)
        assert len(found) == 1, (name, found)
        assert found[0] not in seen
        seen.add(found[0])


def test_unknown_names_are_named():
    with pytest.raises(ValueError, match="'clever', expected one of"):
        recipes.recipe("clever", TINY)
    with pytest.raises(
        ValueError, match="variant is 'best', expected one of printed, as-run, ours"
    ):
        recipes.recipe("random", TINY, "best")


def test_a_pair_starts_alike_in_the_lower_basin():
    data = recipes.start(3)
    assert (
        [g.digest() for g in data]
        == [g.digest() for g in recipes.start(3)]
        != [g.digest() for g in recipes.start(4)]
    )
    assert data.energies.max() < -2
    assert max(g.positions[0, 0] for g in data) < 0
    first = [next(recipes.generations(strategy, TINY, 3)) for strategy in recipes.STRATEGIES]
    np.testing.assert_array_equal(
        *(g.committee.predict(data.geometries).energy.numpy() for g in first)
    )


def test_the_command_line_writes_records_and_claims(tiny, tmp_path, monkeypatch, capsys):
    common = [
        "study",
        "--preset",
        "tiny",
        "--out",
        str(tmp_path / "runs"),
        "--results",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", [*common, "--pairs", "2", "--variant", "ours"])
    study.main()
    place = tmp_path / "double_well_ours-tiny.json"
    result = read(place)
    assert (result["study"], result["preset"], result["settings"]["pairs"], result["device"]) == (
        "double_well_ours",
        "tiny",
        2,
        "cpu",
    )
    assert {"torch", "numpy"} <= set(result["versions"])
    pairs = result["records"]["pairs"]
    assert [[len(pair[s]) for s in recipes.STRATEGIES] for pair in pairs] == [[2, 2], [2, 2]]
    assert pairs[0]["random"][0]["metrics"]["rmse"] == pairs[0]["adversarial"][0]["metrics"]["rmse"]
    assert (
        pairs[0]["random"][1]["structures"]
        == pairs[0]["random"][0]["structures"] + pairs[0]["random"][0]["labelled"]
    )
    assert 4 <= len(result["claims"]) <= 5  # no energies where nothing was sampled
    said = capsys.readouterr().out
    assert "written to" in said
    assert "left" in said


def test_a_result_file_is_gone_on_with_where_nothing_else_is_left(tiny, tmp_path):
    """As after a fresh clone: pairs in the committed file are kept, only others are run; ablations
    run one strategy and claim nothing.
    """
    place = study.study(Runner("tiny", tmp_path / "one", tmp_path), "kT-5", pairs=1)
    first = read(place)
    study.study(Runner("tiny", tmp_path / "two", tmp_path), "kT-5", pairs=2)
    both = read(place)
    assert both["records"]["pairs"][0] == first["records"]["pairs"][0]
    assert [pair["seed"] for pair in both["records"]["pairs"]] == [0, 1]
    assert list(both["records"]["pairs"][1]) == ["seed", "adversarial"]
    assert not (tmp_path / "two" / "tiny" / "kT-5" / "pair-0.json").exists()
    assert both["claims"] == []
    assert both["seconds"]["in all"] > first["seconds"]["in all"]


def test_a_piece_of_a_study_ends_in_time_and_the_next_one_goes_on(tiny, tmp_path):
    said = []
    late = Runner("tiny", tmp_path / "runs", tmp_path, minutes=-1.0, say=said.append)
    assert study.study(late, "kT-5", pairs=1) is None
    assert "no pair is finished yet" in said[-1]

    def late_after_one_generation(text):
        ending.deadline = 0.0

    ending = Runner("tiny", tmp_path / "runs", tmp_path, say=late_after_one_generation)
    with pytest.raises(OutOfTime):
        study.run(ending, "kT-5", 0)
    assert len(list((tmp_path / "runs").rglob("generation_*"))) == 1
    whole = read(study.study(Runner("tiny", tmp_path / "runs", tmp_path), "kT-5", pairs=1))
    fresh = Runner("tiny", tmp_path / "other", tmp_path / "other")
    other = read(study.study(fresh, "kT-5", pairs=1))
    for one, two in zip(
        *(result["records"]["pairs"][0]["adversarial"] for result in (whole, other)), strict=True
    ):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}


def test_pairs_of_other_settings_are_not_mixed(tiny, tmp_path):
    runner = Runner("tiny", tmp_path / "runs", tmp_path)
    place = study.study(runner, "kT-5", pairs=1)
    place.write_text(
        json.dumps({**read(place), "settings": {**read(place)["settings"], "width": 9}})
    )
    with pytest.raises(ValueError, match=r"made with other settings(?s:.*)width: 9 there, 8 here"):
        study.study(runner, "kT-5", pairs=2)


def pair(adversarial, random, energies=(1.0, 10.0), sizes=((60, 60), (60, 80))):
    """Records of two generations of a pair; only the last one's errors matter, unless labels are
    compared.
    """
    return {
        s: [
            {"metrics": {"rmse": 9.0, "rmse below 5": 9.0}, "structures": first, "energies": []},
            {
                "metrics": {"rmse": rmse, "rmse below 5": rmse / 2},
                "structures": last,
                "energies": [e],
            },
        ]
        for s, rmse, e, (first, last) in zip(
            recipes.STRATEGIES, (adversarial, random), energies, sizes, strict=True
        )
    }


def test_claims_are_ratios_of_medians_over_pairs():
    found = study.claims([pair(1.0, 3.0), pair(2.0, 8.0), pair(4.0, 9.0)])
    assert [claim.value for claim in found] == pytest.approx(
        [8.0 / 2.0, 9.0 / 2.0, 8.0 / 2.0, 80 / 60, 10.0], abs=1e-3
    )
    assert [claim.met for claim in found] == [True, True, None, True, True]
    assert all(
        claim.runs == 3 and claim.spread[0] <= claim.value <= claim.spread[1] for claim in found
    )
    assert study.claims([pair(2.0, 3.0)])[0].met is False


def test_equal_labels_are_as_many_as_the_adversarial_loop_ends_with():
    assert study.at_equal_labels(pair(1.0, 3.0, sizes=((60, 70), (60, 80)))) == 3.0
    assert study.at_equal_labels(pair(1.0, 3.0, sizes=((60, 70), (70, 80)))) == 9.0
    assert study.at_equal_labels(pair(1.0, 3.0, sizes=((60, 90), (60, 80)))) == 3.0
