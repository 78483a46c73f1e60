"""Loops whose members go on from those of the last generation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice, pairwise

import helpers
import numpy as np
import pytest
import torch

from agal_toolkit.events import Epoch, Note, Stage
from agal_toolkit.loop import Schedule
from agal_toolkit.loop.stages import random_stream
from agal_toolkit.references import DoubleWell
from agal_toolkit.settings import to_settings
from agal_toolkit.training import Folds, TorchTrainer, WarmStart

WELL = DoubleWell()
COLD = helpers.small_recipe(
    folds=Folds(train=0.7, valid=0.3, bootstrap=True), calibrate=0.3, members=3
)
WARM = replace(COLD, trainer=replace(COLD.trainer, warm=WarmStart(epochs=3, learning_rate=5e-4)))
AS_THEY_ARE = replace(COLD, trainer=replace(COLD.trainer, warm=WarmStart(epochs=0)))


class Stop(Exception):
    """A listener's way to cancel."""


def run(recipe, directory=None, count=3, **listener):
    loop = helpers.small_loop(recipe=recipe)
    return list(islice(loop.generations(helpers.first_data(), directory, **listener), count))


def same(one, other):
    pairs = zip(
        one.committee.members.module.parameters(),
        other.committee.members.module.parameters(),
        strict=True,
    )
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """An uninterrupted run of three generations: its folder, its records and its events."""
    folder, events = tmp_path_factory.mktemp("right") / "run", []
    return folder, run(WARM, folder, report=events.append), events


def test_members_go_on_from_those_of_the_last_generation(right):
    """By hand: the fit of each generation, started from the members of the one before."""
    _, generations, events = right
    assert same(generations[0], run(COLD, count=1)[0])
    for last, generation in pairwise(generations):
        folds_rng = random_stream(3, 0, "folds")
        weights, valid = WARM.folds(generation.dataset, 3, folds_rng)
        members = WARM.trainer.fit(
            generation.dataset,
            weights,
            valid,
            random_stream(3, generation.index, "members"),
            start=last.committee.members,
        )
        pairs = zip(
            members.module.parameters(),
            generation.committee.members.module.parameters(),
            strict=True,
        )
        assert all(torch.equal(a, b) for a, b in pairs)
        # what a member saw of the old structures, it sees again, and as often
        np.testing.assert_array_equal(generation.weights[:, : len(last.dataset)], last.weights)
        assert last.weights.max() > 1
    epochs = [event.epochs for event in events if isinstance(event, Epoch)]
    assert epochs == [6] * 6 + [3] * 6
    notes = [(event.generation, event.text) for event in events if isinstance(event, Note)]
    text = "members go on from their last weights: 3 epochs instead of 6"
    assert [note for note in notes if "go on" in note[1]] == [(1, text), (2, text)]


def test_a_run_in_memory_is_the_run_on_disk(right):
    assert all(same(a, b) for a, b in zip(run(WARM), right[1], strict=True))


def test_a_run_that_goes_on_equals_an_uninterrupted_one(right, tmp_path):
    folder = tmp_path / "run"
    run(WARM, folder, 1)

    def stop(event):
        stop.generation = event.generation if isinstance(event, Stage) else stop.generation
        if isinstance(event, Epoch) and stop.generation == 2 and event.epoch == 2:
            raise Stop

    stop.generation = 0
    with pytest.raises(Stop):
        run(WARM, folder, report=stop)
    run(WARM, folder)
    assert helpers.contents(folder) == helpers.contents(right[0])


@pytest.mark.parametrize("kept", [True, False], ids=["directory", "memory"])
def test_asked_and_told_members_go_on_too(kept, right, tmp_path):
    loop, folder, generation = (
        helpers.small_loop(recipe=WARM),
        tmp_path / "run" if kept else None,
        None,
    )
    for expected in right[1]:
        proposal = loop.ask(helpers.first_data(), folder, after=None if kept else generation)
        generation = loop.tell(proposal, [WELL(g) for g in proposal.geometries], folder)
        assert same(generation, expected)
    if kept:
        assert helpers.contents(folder) == helpers.contents(right[0])


def test_a_second_round_calibrates_the_same_members_on_more_data(tmp_path):
    events = []
    first, second, third = run(
        Schedule({0: COLD, 1: AS_THEY_ARE, 2: WARM}), tmp_path, report=events.append
    )
    assert same(first, second)
    assert not same(second, third)
    assert len(second.dataset.of_role("calibration")) > len(first.dataset.of_role("calibration"))
    assert second.committee.calibration is not None
    assert [g.digest() for g in second.geometries] != [g.digest() for g in first.geometries]
    assert [event.epochs for event in events if isinstance(event, Epoch)] == [6] * 6 + [3] * 3


OTHERS = {
    "members": replace(WARM, members=4),
    "network": replace(
        WARM, trainer=replace(WARM.trainer, network=helpers.network, learning_rate=1e-4)
    ),
    "split": replace(WARM, folds=Folds(train=0.4, valid=0.6)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_where_the_last_members_do_not_fit_a_note_tells_that_training_is_afresh(name, tmp_path):
    other, events = OTHERS[name], []
    afresh = replace(other, trainer=replace(other.trainer, warm=None))
    warm = run(Schedule({0: WARM, 1: other}), tmp_path, 2, report=events.append)
    assert same(warm[1], run(Schedule({0: COLD, 1: afresh}), None, 2)[1])
    notes = [event for event in events if isinstance(event, Note) and "afresh" in event.text]
    ((generation, text),) = [(note.generation, note.text) for note in notes]
    assert generation == 1
    reason = "the last ones trained on structures that now validate"
    assert text.startswith(
        f"members are trained afresh: {reason if name == 'split' else 'the start is Stacked('}"
    )


@dataclass(frozen=True)
class Plain:
    """A trainer of somebody else, who never heard of a start."""

    trainer: TorchTrainer

    def fit(self, data, weights, valid, rng, report, scratch):
        return self.trainer.fit(data, weights, valid, rng, report, scratch)

    def save(self, members, folder):
        self.trainer.save(members, folder)

    def load(self, folder):
        return self.trainer.load(folder)


def test_trainers_without_a_start_work_as_before():
    plain = run(replace(COLD, trainer=Plain(COLD.trainer)), count=2)
    assert all(same(a, b) for a, b in zip(plain, run(COLD, count=2), strict=True))


def test_settings_without_a_warm_start_are_those_of_before():
    assert "warm" not in to_settings(COLD)["trainer"]
    assert to_settings(WARM)["trainer"]["warm"] == {
        "name": "agal_toolkit.WarmStart",
        "epochs": 3,
        "learning_rate": 5e-4,
    }
