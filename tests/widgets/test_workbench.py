"""The panel of a whole study, without a browser."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import pytest
from helpers import PairEnergy, ammonia, first_data, pair_committee, picture, small_loop

from agal_toolkit import (
    Adam,
    Attack,
    Ball,
    Dataset,
    Folds,
    FromDataset,
    Labels,
    Loop,
    Recipe,
    Reference,
    Run,
    TorchTrainer,
    Variance,
)
from agal_toolkit.potentials import DensityNet, Differentiable
from agal_toolkit.selection import AtMost
from agal_toolkit.widgets import AttackPanel, Workbench, workbench
from agal_toolkit.widgets.background import DONE


def pairs(geometry):
    prediction = Differentiable(PairEnergy())(pair_committee(1).batch([geometry]))
    return Labels(energy=float(prediction.energy), forces=prediction.forces.numpy())


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    structures = [
        ammonia().moved(ammonia().positions + rng.normal(0, 0.1, (4, 3))) for _ in "12345"
    ]
    return Dataset(structures, [pairs(geometry) for geometry in structures])


@pytest.fixture(scope="module")
def loop():
    trainer = TorchTrainer(
        network=partial(DensityNet, (1, 7), radial=3, channels=2, hidden=4), epochs=3
    )
    recipe = Recipe(
        trainer=trainer,
        sampler=FromDataset(3),
        attack=Attack(Variance(), Adam(0.01, 3), bound=Ball(0.3)),
        selectors=(AtMost(2),),
        members=2,
        folds=Folds(train=1.0, valid=0.0),
        reserve=0.4,
        errors_of="mean",
    )
    return Loop(recipe, Reference(pairs, settings={"code": "pairs"}))


def test_all_parts_grow_with_the_run_and_share_what_is_chosen(data, loop, tmp_path):
    bench = Workbench(data, directory=tmp_path / "run", loop=loop, generations=2)
    assert list(bench._panels) == ["run", "structures", "attack", "promises"]
    assert len(bench.rows.structures) == 5
    bench.part = "attack"
    bench.settle()
    assert "there is one after the first generation" in bench._place.children[0].value
    assert len(picture(bench)) > 1000
    bench.start()
    bench.monitor.wait(120)
    bench.settle()
    assert bench.monitor.state == DONE
    assert len(bench.rows.structures) == 5 + 2 * 3
    assert "11 structures, 2 generations" in bench._line.value
    assert [value for _, value in bench._promises._choice.options] == [-1, 0, 1]
    assert bench._promises._means == {0, 1}  # whose errors the recipe calibrates
    roles = bench.rows.structures.columns["role"].values[:5].tolist()
    assert roles.count("calibration") == 2  # drawn when the loop began

    bench.rows.selected = [6, 2]
    bench.part = "run"
    bench.part = "attack"
    bench.settle()
    panel = bench._attack
    assert bench._place.children == (panel,)
    assert panel.committee is bench.monitor.runs["loop"][1].committee
    chosen = [bench.rows.structures[k].geometry for k in (6, 2)]
    assert [seed.digest() for seed in panel.seeds] == [g.digest() for g in chosen]
    panel.start().settle()
    assert len(panel.adversaries) == 1
    bench.part = "promises"
    bench.part = "attack"
    bench.settle()
    assert bench._attack is panel  # nothing has changed since
    assert [name for name, p in bench._panels.items() if p.layout.display is None] == ["attack"]
    for part in bench._panels:
        bench.part = part
        assert len(picture(bench)) > 3000
    assert bench._trouble.value == ""


def test_an_attack_begun_while_a_newer_panel_is_made_stays_in_view(
    data, loop, tmp_path, monkeypatch
):
    generations = loop.generations(data, tmp_path / "run")
    next(generations)
    bench = Workbench(Run.open(tmp_path / "run"))
    bench.part = "attack"
    bench.settle()
    old = bench._attack

    def begins_meanwhile(*args):
        (line,) = bench._place.children
        assert "being made ready" in line.value
        old.start().settle()  # pressed just before the line came
        return AttackPanel(*args)

    monkeypatch.setattr(workbench, "AttackPanel", begins_meanwhile)
    bench.rows.selected = [3]
    bench._aim_attack()
    assert bench._attack is old
    assert bench._place.children == (old,)
    assert len(old.adversaries) == 1
    monkeypatch.undo()
    bench._aim_attack()
    assert bench._place.children == (bench._attack,)
    assert bench._attack is not old
    assert bench._trouble.value == ""


def test_a_run_is_shown_and_goes_on_with_its_reference(data, loop, tmp_path):
    generations = loop.generations(data, tmp_path / "run")
    next(generations)
    run = Run.open(tmp_path / "run")
    shown = Workbench(run)
    assert shown.monitor is None
    assert list(shown._panels) == ["structures", "attack", "promises"]
    assert len(shown.rows.structures) == 8
    on = Workbench(run, loop.reference, generations=2)
    on.start()
    on.monitor.wait(120)
    on.settle()
    assert on.monitor.background.error is None
    assert len(on._generations) == 2
    assert len(on.rows.structures) == 11  # those that were there are not added again
    assert len(Run.open(tmp_path / "run").generations) == 2


def test_a_person_reviews_in_the_same_panel(data, loop, tmp_path):
    bench = Workbench(data, directory=tmp_path, loop=loop, generations=1, review=True)
    assert list(bench._panels) == ["run", "structures", "attack", "review", "promises"]
    bench.start()
    review = bench._panels["review"]
    end = time.monotonic() + 60
    while review._proposal is None and time.monotonic() < end:
        time.sleep(0.05)
    review.reject("broken molecule")
    review.accept_rest()
    review.finish()
    bench.monitor.wait(60)
    (generation,) = bench.monitor.runs["loop"]
    assert sum("rejected" in verdict for verdict in generation.verdicts) == 1
    assert len(generation.labelled) == 1


def test_what_does_not_fit_is_said(data, loop, tmp_path):
    with pytest.raises(ValueError, match="give a reference, or a loop"):
        Workbench(data)
    with pytest.raises(ValueError, match="give one of the two"):
        Workbench(data, loop.reference, loop=loop)
    next(loop.generations(data, tmp_path / "run"))
    run = Run.open(tmp_path / "run")
    with pytest.raises(ValueError, match="leave out directory"):
        Workbench(run, loop.reference, tmp_path / "other")
    with pytest.raises(ValueError, match="give a reference, or a loop"):
        Workbench(run, review=True)


def test_the_usual_call_makes_a_recipe_and_keeps_a_stopped_run(data):
    bench = Workbench(data, Reference(pairs, settings={"code": "pairs"}))
    assert list(bench._panels) == ["run", "structures", "attack", "promises"]
    assert bench._recipe.errors_of == "mean"
    assert len(bench.rows.structures) == 5


def test_a_run_without_a_directory_goes_on_after_a_stop(data, loop):
    bench = Workbench(data, loop=loop, generations=1)
    bench.start()
    bench.monitor.wait(120)
    bench.monitor._turns._held.clear()  # as a stop does
    bench.monitor._turns._finished.clear()
    bench.start()
    bench.monitor.wait(120)
    assert bench.monitor.background.error is None
    assert len(bench._generations) == 2
    assert len(bench.rows.structures) == 11


def test_points_of_a_plane_are_told_where_attacks_are(tmp_path):
    bench = Workbench(first_data(), loop=small_loop(), generations=1)
    bench.start()
    bench.monitor.wait(60)
    bench.part = "attack"
    bench.settle()
    assert "lesson 01" in bench._place.children[0].value
