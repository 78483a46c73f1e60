"""The double-well study: the printed recipe, pairs that start alike, and what is written down."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from agal_toolkit.identity import described
from agal_toolkit.studies import double_well as study
from agal_toolkit.studies.results import read

TINY = study.Preset(width=8, epochs=4, attack_steps=4, generations=2, grid=6)


def test_the_recipe_is_the_printed_one():
    recipe = study.recipe("adversarial", study.PRESETS["paper"])
    trainer, attack = recipe.trainer, recipe.attack
    assert (trainer.epochs, trainer.batch_size, trainer.learning_rate, trainer.energy_weight, trainer.forces_weight) == (600, 35, 1e-3, 1.0, 10.0)
    assert trainer.network.keywords == {"width": 1024}
    assert (attack.objective.kT, attack.minimizer.learning_rate, attack.minimizer.steps, attack.start, attack.bound) == (5.0, 0.003, 600, 0.01, None)
    percentile, distance, most = recipe.selectors
    assert (percentile.percentile, distance.threshold, most.count, recipe.members) == (80, 0.02, 20, 5)
    assert (recipe.folds.train, recipe.folds.valid, recipe.folds.shared, recipe.folds.acquired) == (0.6, 0.2, True, 4)


def test_the_strategies_differ_in_sampler_and_attack_only():
    one, other = (study.recipe(strategy, study.PRESETS["laptop"]) for strategy in study.STRATEGIES)
    assert described(replace(one, attack=None, sampler=other.sampler)) == described(other)
    assert other.sampler.amplitude == 1.0 and not other.sampler.normal


def test_an_unknown_strategy_is_named():
    with pytest.raises(ValueError, match="'clever', expected one of"):
        study.recipe("clever", TINY)


def test_a_pair_starts_alike_in_the_lower_basin():
    data = study.start(3)
    assert [g.digest() for g in data] == [g.digest() for g in study.start(3)] != [g.digest() for g in study.start(4)]
    assert data.energies.max() < -2 and max(g.positions[0, 0] for g in data) < 0
    first = [next(study.generations(strategy, TINY, 3)) for strategy in study.STRATEGIES]
    np.testing.assert_array_equal(*(g.committee.predict(data.geometries).energy.numpy() for g in first))


def test_the_command_line_writes_records_and_claims(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study, "PRESETS", {"tiny": TINY, "laptop": TINY})
    monkeypatch.setattr(sys, "argv", ["study", "--preset", "tiny", "--pairs", "2", "--out", str(tmp_path / "runs"), "--results", str(tmp_path)])
    study.main()
    result = read(tmp_path / "double_well-tiny.json")
    assert (result["study"], result["preset"], result["settings"]["pairs"], result["device"]) == ("double_well", "tiny", 2, "cpu")
    assert {"torch", "numpy"} <= set(result["versions"])
    pairs = result["records"]["pairs"]
    assert [[len(pair[s]) for s in study.STRATEGIES] for pair in pairs] == [[2, 2], [2, 2]]
    assert pairs[0]["random"][0]["metrics"]["rmse"] == pairs[0]["adversarial"][0]["metrics"]["rmse"]
    assert pairs[0]["random"][1]["structures"] == pairs[0]["random"][0]["structures"] + pairs[0]["random"][0]["labelled"]
    assert 2 <= len(result["claims"]) <= 3                                     # no energies where nothing was sampled
    assert "written to" in capsys.readouterr().out


def pair(adversarial, random, energies=(1.0, 10.0)):
    """Records of one generation of a pair."""
    return {
        s: [{"metrics": {"rmse": rmse}, "structures": n, "energies": [e]}]
        for s, (rmse, n), e in zip(study.STRATEGIES, (adversarial, random), energies, strict=True)
    }


def test_claims_are_ratios_of_medians_over_pairs():
    found = study.claims([pair((1.0, 60), (3.0, 90)), pair((2.0, 70), (8.0, 100)), pair((4.0, 80), (9.0, 150))])
    assert [claim.value for claim in found] == pytest.approx([8.0 / 2.0, 100 / 70, 10.0], abs=1e-3)
    assert [claim.met for claim in found] == [True, True, True]
    assert all(claim.runs == 3 and claim.spread[0] <= claim.value <= claim.spread[1] for claim in found)
    assert study.claims([pair((2.0, 60), (3.0, 90))])[0].met is False
