"""Another recipe, and a person's own data, between the generations of one run."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice

import helpers
import numpy as np
import pytest

from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Note
from agal_toolkit.loop import Run, RunDirectoryError, Schedule
from agal_toolkit.loop.recipe import recipe_at
from agal_toolkit.settings import to_settings

OLD = helpers.small_recipe()
NEW = replace(OLD, members=3)
CHANGED = Schedule({0: OLD, 2: NEW})


def run(folder, recipe=OLD, count=2, report=lambda event: None):
    loop = helpers.small_loop(recipe=recipe)
    return list(islice(loop.generations(helpers.first_data(), folder, report), count))


def same(one, other):
    return [len(g.committee) for g in one] == [len(g.committee) for g in other] and [
        g.labelled.digest() for g in one
    ] == [g.labelled.digest() for g in other]


def test_a_run_goes_on_with_another_recipe(tmp_path):
    """It is the run that had the schedule from the start, and what was finished is only read."""
    whole = run(None, CHANGED, 4)
    run(tmp_path / "run")
    notes = []
    changed = run(tmp_path / "run", CHANGED, 3, notes.append)
    assert same(changed, whole[:3])
    assert [len(g.committee) for g in changed] == [2, 2, 3]
    assert not changed[1].seconds
    texts = [event.text for event in notes if isinstance(event, Note)]
    assert texts[0] == f"continuing {tmp_path / 'run'} at generation 3"
    assert same(run(tmp_path / "run", CHANGED, 4), whole)
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())
    assert recorded["settings"]["recipe"] == to_settings(OLD)
    assert list(recorded["changes"]) == ["2"]
    assert recipe_at(recorded["changes"]["2"], 1) == to_settings(OLD)
    assert recipe_at(recorded["changes"]["2"], 7) == to_settings(NEW)


def test_the_past_cannot_be_changed(tmp_path):
    run(tmp_path)
    remedy = r"for another recipe from generation 3 on give Schedule\({0: the old recipe, 2: the "
    with pytest.raises(RunDirectoryError, match=rf"{remedy}new one}}\):\n  recipe.members: 2 th"):
        run(tmp_path, NEW)
    with pytest.raises(RunDirectoryError, match=r"recipe.members: 2 there, 3 here"):
        run(tmp_path, Schedule({0: OLD, 1: NEW}))
    run(tmp_path, CHANGED, 3)
    with pytest.raises(RunDirectoryError, match=r"recipe.members: 3 there, 2 here"):
        run(tmp_path, OLD)
    helpers.small_loop(recipe=CHANGED).forget(tmp_path, 1)
    assert same(run(tmp_path, OLD, 3), run(None, OLD, 3))  # nothing learned with the other one


def test_a_recipe_may_change_before_anything_was_computed(tmp_path):
    made = helpers.small_loop().generations(helpers.first_data(), tmp_path, stop_at_members)
    with pytest.raises(KeyboardInterrupt):
        next(made)
    assert same(run(tmp_path, NEW), run(None, NEW))


def stop_at_members(event):
    raise KeyboardInterrupt


def test_own_data_join_a_run(tmp_path):
    own = helpers.well_data(np.random.default_rng(9), 5).reserving(2, np.random.default_rng(0))
    loop, notes = helpers.small_loop(), []
    (*_, last) = run(tmp_path)
    assert loop.add(own[:2], tmp_path) == 2
    assert loop.add(own[2:], tmp_path) == 2
    (*_, third) = run(tmp_path, count=3, report=notes.append)
    joined = third.dataset[len(last.grown) :]
    assert [g.digest() for g in joined] == [g.digest() for g in own]
    assert joined.roles == own.roles
    assert set(joined.generations) == {2}
    assert third.committee.calibration is not None
    assert third.weights[:, len(last.grown) :].any()
    again = run(tmp_path, count=4)  # read, and gone on from
    assert same(again[:3], [*run(tmp_path), third])
    assert len(again[3].dataset) == len(third.grown)
    loop.forget(tmp_path, 2)
    assert same(run(tmp_path, count=3), again[:3])


def test_own_data_before_the_first_generation_and_none(tmp_path):
    loop, own = helpers.small_loop(), helpers.well_data(np.random.default_rng(9), 3)
    with pytest.raises(RunDirectoryError, match=r"is not a run directory"):
        loop.add(own, tmp_path / "none")
    run(tmp_path, count=1)
    with pytest.raises(ValueError, match="there is nothing to add"):
        loop.add(Dataset(), tmp_path)
    with pytest.raises(RunDirectoryError, match="seed: 3 there, 4 here"):
        helpers.small_loop(seed=4).add(own, tmp_path)
    assert not list(tmp_path.glob("added_*"))


def test_added_data_that_were_changed_are_noticed(tmp_path):
    run(tmp_path)
    own = helpers.well_data(np.random.default_rng(9), 6)
    loop = helpers.small_loop()
    loop.add(own[:3], tmp_path)
    run(tmp_path, count=3)
    (tmp_path / "added_002.npz").unlink()
    with pytest.raises(RunDirectoryError, match=r"members is damaged|members .*made from"):
        run(tmp_path, count=3)


def test_a_changed_run_is_opened_without_its_script(tmp_path):
    run(tmp_path)
    loop = helpers.small_loop(recipe=CHANGED)
    own = helpers.well_data(np.random.default_rng(9), 5)
    loop.add(own.reserving(2, np.random.default_rng(0)), tmp_path)
    made = run(tmp_path, CHANGED, 3)
    opened = Run.open(tmp_path)
    assert same(opened.generations, made)
    assert opened.recipe == CHANGED or to_settings(opened.recipe) == to_settings(CHANGED)
    assert opened.data.digest() == made[-1].grown.digest()
    assert opened.curves["labels"].tolist() == [len(g.dataset) for g in made]
    final = opened.final()
    following = run(tmp_path, CHANGED, 4)[-1]
    assert not following.seconds.get("members")  # it was kept
    assert final.digest() == following.committee.digest()
