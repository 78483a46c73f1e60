"""Loops that put structures aside, calibrate on them, and aim."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise

import helpers
import numpy as np
import pytest

from agal_toolkit.attack import LBFGS, Attack, TargetError
from agal_toolkit.dataset import CALIBRATION, TRAIN, Dataset
from agal_toolkit.distances import copies_of
from agal_toolkit.events import Note, Stage
from agal_toolkit.geometry import Geometry
from agal_toolkit.loop.roles import roles_of
from agal_toolkit.selection import AtMost
from agal_toolkit.uncertainty.calibration import Calibration


def aiming(**changes):
    attack = Attack(TargetError(3.0, tolerance=10.0, deviation=10.0), LBFGS(4))
    return helpers.small_recipe(
        attack=attack, selectors=(AtMost(6),), members=3, **{"calibrate": 0.4, **changes}
    )


def data(count=8):
    return helpers.first_data(30).reserving(count, np.random.default_rng(0))


def test_a_generation_is_calibrated_on_what_nobody_learned_from(tmp_path):
    start, events = data(), []
    first, second = islice(
        helpers.small_loop(recipe=aiming()).generations(start, tmp_path, events.append), 2
    )
    for turn in (first, second):
        aside = turn.dataset.of_role(CALIBRATION)
        right = Calibration.fit_with_fallback(turn.committee.predict(list(aside)), aside)
        assert turn.committee.calibration.forces.scale == pytest.approx(
            right.forces.scale, rel=1e-12
        )
    assert len(first.dataset.of_role(CALIBRATION)) == 8
    assert len(second.dataset.of_role(CALIBRATION)) >= 8
    stages = [
        event.name
        for event in events
        if isinstance(event, Stage) and event.generation == 0 and event.status == "finished"
    ]
    assert stages == [
        "members",
        "calibration",
        "seeds",
        "adversaries",
        "verdicts",
        "labels",
        "metrics",
    ]
    seen, read = [], helpers.small_loop(recipe=aiming())
    again = list(islice(read.generations(start, tmp_path, seen.append), 2))
    assert {event.status for event in seen if isinstance(event, Stage)} == {"read"}
    assert [turn.committee.calibration for turn in again] == [
        first.committee.calibration,
        second.committee.calibration,
    ]


def test_roles_are_drawn_once_from_a_stream_of_their_own(tmp_path):
    turns = list(islice(helpers.small_loop(recipe=aiming()).generations(data(), tmp_path), 4))
    acquired = [role for turn in turns for role in turn.labelled.roles]
    assert 0.1 < np.mean([role == CALIBRATION for role in acquired]) < 0.8
    for before, after in pairwise(turns):
        assert after.dataset.roles == before.dataset.roles + before.labelled.roles
    again = list(islice(helpers.small_loop(recipe=aiming()).generations(data(), None), 4))
    assert [turn.labelled.roles for turn in again] == [turn.labelled.roles for turn in turns]
    none = next(helpers.small_loop(recipe=aiming(calibrate=0.0)).generations(data(), None))
    assert set(none.labelled.roles) == {TRAIN}


def test_where_few_structures_are_aside_the_law_is_linear_and_a_note_says_so():
    events = []
    turn = next(helpers.small_loop(recipe=aiming()).generations(data(3), None, events.append))
    assert turn.committee.calibration.forces.exponent == 1
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any(
        note.startswith("forces: a linear law, as 3 structures are too few") for note in notes
    )


def test_an_aim_without_calibration_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="needs a calibrated committee"):
        next(helpers.small_loop(recipe=aiming()).generations(helpers.first_data(30), None))


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_the_share_put_aside(share):
    with pytest.raises(ValueError, match="is a share of the labelled structures"):
        aiming(calibrate=share)


def test_reserving_draws_among_those_that_may_be_learned_from():
    start = helpers.first_data(10)
    some = start.reserving(4, np.random.default_rng(1))
    assert len(some.of_role(CALIBRATION)) == 4
    assert list(some) == list(start)
    more = some.reserving(6, np.random.default_rng(2))
    assert set(more.roles) == {CALIBRATION}
    with pytest.raises(ValueError, match="cannot reserve 7 of 6"):
        some.reserving(7, np.random.default_rng(2))


# -- copies


def test_copies_are_reserved_together_and_nothing_else_changes():
    start = helpers.first_data(10)
    near = [replace(g, positions=g.positions + 0.005) for g in start]
    both = Dataset([*start, *near], [*start.labels, *start.labels])
    reserved = both.reserving(3, np.random.default_rng(1))
    drawn = np.random.default_rng(1).choice(20, 3, replace=False)
    wanted = {i % 10 for i in drawn.tolist()}
    pairs = [(reserved.roles[i], reserved.roles[i + 10]) for i in range(10)]
    assert pairs == [("calibration",) * 2 if i in wanted else ("train",) * 2 for i in range(10)]
    alone = start.reserving(3, np.random.default_rng(1))
    drawn = np.random.default_rng(1).choice(10, 3, replace=False)
    assert [i for i, role in enumerate(alone.roles) if role == "calibration"] == sorted(drawn)


def test_a_copy_shares_the_role_of_what_it_copies(rng):
    first = helpers.first_data(6)
    dataset = Dataset(first.geometries, first.labels, ["calibration", *["train"] * 5])
    far = Geometry(positions=[[9.0, 9.0]], numbers=[0])

    def near(geometry, by=0.01):
        return replace(geometry, positions=geometry.positions + by / np.sqrt(2))

    new = [near(first[0]), near(first[1]), far, near(far), near(first[0], 0.05)]
    drawn = np.array([False, True, True, False, False])
    roles = roles_of(new, drawn, dataset)
    assert roles == ["calibration", "train", "calibration", "calibration", "train"]


def test_images_turned_charges_and_other_cells(rng):
    cell = np.array([[4.0, 0, 0], [1.0, 4.0, 0], [0, 0.5, 5.0]])
    crystal = Geometry(positions=rng.normal(size=(5, 3)), numbers=[29] * 5, cell=cell, pbc=True)
    image = replace(crystal, positions=crystal.positions + rng.integers(-2, 3, (5, 3)) @ cell)
    others = [replace(crystal, cell=1.1 * cell), image, replace(crystal, charge=1)]
    others += [replace(crystal, positions=crystal.positions + 0.1 * rng.normal(size=(5, 3)))]
    assert copies_of(crystal, [*others, helpers.first_data(1)[0]][:4]) == [1]
    assert copies_of(crystal, []) == []


def test_a_loop_never_trains_on_a_copy_of_a_calibration_structure():
    """Without an attack each generation labels copies of the data, and draws roles for them."""
    recipe = helpers.small_recipe(attack=None, selectors=(AtMost(12),), calibrate=0.5)
    start = data(8)
    grown = next(helpers.small_loop(recipe=recipe).generations(start)).grown
    aside, trained = (grown.of_role(role) for role in (CALIBRATION, TRAIN))
    assert len(grown) > len(start)
    apart = [np.linalg.norm(a.positions - t.positions) for a in aside for t in trained]
    assert min(apart) > 0.02


def test_copies_in_both_roles_are_told():
    start, events = data(8), []
    one = start.of_role(CALIBRATION)
    near = replace(one[0], positions=one[0].positions + 0.01)
    start = start + Dataset([near], [one.labels[0]])
    next(helpers.small_loop(recipe=aiming()).generations(start, None, events.append))
    notes = [event.text for event in events if isinstance(event, Note)]
    told = "1 of 8 calibration structures are copies of training ones: their errors are too small"
    assert told in notes


# -- attacks that need a calibration


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_target_without_calibration_is_refused_before_anything_is_trained(share, tmp_path):
    events = []
    loop = helpers.small_loop(recipe=aiming(calibrate=share))
    with pytest.raises(ValueError, match=r"TargetError needs a calibrated.*data.reserving"):
        next(loop.generations(helpers.first_data(30), tmp_path / "run", events.append))
    assert not events
    assert not (tmp_path / "run").exists()
