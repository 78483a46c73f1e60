"""A person's verdicts before anything is labelled: kept, read, never asked twice."""

from __future__ import annotations

import threading
import time

import helpers
import numpy as np
import pytest

from agal_toolkit import Dataset, Run, until
from agal_toolkit.events import Note, Progress, Stage, ignore
from agal_toolkit.loop import Reviewed, RunDirectoryError
from agal_toolkit.references import DoubleWell, Reference
from agal_toolkit.settings import to_settings
from agal_toolkit.widgets import Background

WELL = DoubleWell()
VERDICTS = Reviewed({1: "broken molecule", 2: ""}, {0: "look again", 1: "flat"})


class Scripted:
    """A reviewer that gives the same verdicts each time and notes what it was given."""

    def __init__(self, reviewed=VERDICTS):
        self.reviewed, self.proposals, self.scratch = reviewed, [], []

    def __call__(self, proposal, report, scratch):
        self.proposals.append(proposal)
        self.scratch.append(scratch)
        return self.reviewed


def nobody(proposal, report, scratch):
    raise AssertionError("asked twice")


def all_rejected(proposal, report, scratch):
    return Reviewed({i: "no" for i in range(len(proposal.geometries))})


def of_chosen(generation, proposal, name):
    """An attribute of the candidates that the selectors had chosen."""
    chosen = [i for i, verdict in enumerate(proposal.verdicts) if verdict == "kept"]
    return [getattr(generation.candidates[i], name) for i in chosen]


def test_what_is_rejected_gets_no_label_and_the_verdicts_are_kept(tmp_path):
    labelled, review = [], Scripted()

    def label(geometry):
        labelled.append(geometry.digest())
        return WELL(geometry)

    reference = Reference(label, settings={"well": 1})
    loop, data = helpers.small_loop(reference, review=review), helpers.first_data()
    events = []
    first = next(loop.generations(data, tmp_path, events.append))
    (proposal,) = review.proposals
    assert len(proposal.geometries) == 4
    verdicts = ["kept", "rejected: broken molecule", "rejected", "kept"]
    assert of_chosen(first, proposal, "verdict") == verdicts
    assert of_chosen(first, proposal, "note") == ["look again", "flat", "", ""]
    right = [proposal.geometries[i].digest() for i in (0, 3)]
    assert labelled == right == [geometry.digest() for geometry in first.labelled]
    assert "2 kept" in repr(first)
    assert "2 rejected" in repr(first)
    stages = [e.name for e in events if isinstance(e, Stage) and e.status == "finished"]
    assert stages[-4:] == ["verdicts", "review", "labels", "metrics"]
    assert review.scratch == [tmp_path / "generation_000" / "review.scratch"]
    # a resumed loop, one that has no review, and the run without its loop read the same
    again = next(helpers.small_loop(reference, review=nobody).generations(data, tmp_path, ignore))
    plain = next(helpers.small_loop(reference).generations(data, tmp_path, ignore))
    opened = Run.open(tmp_path, recipe=loop.recipe).generations[0]
    for read in (again, plain, opened):
        assert [c.note for c in read.candidates] == [c.note for c in first.candidates]
        assert read.verdicts == first.verdicts
        assert [g.digest() for g in read.labelled] == right
    assert len(labelled) == 2


def test_a_review_is_no_setting():
    loop, other = helpers.small_loop(), helpers.small_loop(review=nobody)
    data = helpers.first_data()
    assert loop.settings(data) == other.settings(data)
    assert "review" not in to_settings(other)


def test_runs_without_a_review_go_on_with_one_and_their_files_stay(tmp_path):
    loop, data, review = helpers.small_loop(), helpers.first_data(), Scripted()
    made = loop.generations(data, tmp_path, ignore)
    next(made)
    made.close()
    before = helpers.contents(tmp_path)
    reviewed = helpers.small_loop(review=review).generations(data, tmp_path, ignore)
    assert "rejected" not in next(reviewed).verdicts
    assert review.proposals == []
    assert helpers.contents(tmp_path) == before
    assert not (tmp_path / "generation_000" / "review.json").exists()
    assert "rejected" in next(reviewed).verdicts
    assert [proposal.index for proposal in review.proposals] == [1]


def test_accepting_all_labels_what_is_labelled_without_a_review(tmp_path):
    data = helpers.first_data()
    plain = next(helpers.small_loop().generations(data, None, ignore))
    loop = helpers.small_loop(review=Scripted(Reviewed()))
    for folder in (None, tmp_path):
        generation = next(loop.generations(data, folder, ignore))
        assert generation.verdicts == plain.verdicts
        assert generation.metrics == plain.metrics
        np.testing.assert_array_equal(generation.labelled.energies, plain.labelled.energies)


def answers_to(proposal):
    return Dataset(proposal.geometries, [WELL(geometry) for geometry in proposal.geometries])


@pytest.mark.parametrize("kept", [True, False])
def test_a_person_reviews_between_ask_and_tell(kept, tmp_path):
    loop, data = helpers.small_loop(), helpers.first_data()
    folder = tmp_path / "run" if kept else None
    proposal = loop.ask(data, folder)
    accepted = loop.reviewed(proposal, VERDICTS, folder)
    right = [proposal.geometries[i].digest() for i in (0, 3)]
    assert [geometry.digest() for geometry in accepted.geometries] == right
    if kept:
        again = loop.ask(data, folder)
        assert again.verdicts == accepted.verdicts
        with pytest.raises(ValueError, match="not the one that was asked"):
            loop.tell(proposal, answers_to(proposal), folder)
        with pytest.raises(ValueError, match="generation 1 has its review already: ask"):
            loop.reviewed(again, Reviewed({0: "late"}), folder)
    generation = loop.tell(accepted, answers_to(accepted), folder)
    assert [geometry.digest() for geometry in generation.labelled] == right
    assert of_chosen(generation, proposal, "note") == ["look again", "flat", "", ""]
    if kept:
        with pytest.raises(ValueError, match="has its labels already"):
            loop.reviewed(accepted, Reviewed(), folder)
        assert loop.forget(folder, 0) == 2  # labels go, verdicts stay
        assert loop.ask(data, folder).verdicts == accepted.verdicts
        assert loop.forget(folder, 0, review=True) == 0  # and now the verdicts
        once = loop.ask(data, folder)
        assert once.verdicts == proposal.verdicts
        other = loop.reviewed(once, Reviewed({0: "no"}), folder)
        assert len(other.geometries) == len(proposal.geometries) - 1
        loop.tell(other, answers_to(other), folder)
        assert loop.forget(folder, 0, review=True) == len(other.geometries)
        assert loop.ask(data, folder).verdicts == proposal.verdicts


def test_ask_asks_the_review_of_the_loop(tmp_path):
    review = Scripted()
    loop, data = helpers.small_loop(review=review), helpers.first_data()
    proposal = loop.ask(data, tmp_path)
    assert len(proposal.geometries) == 2
    assert "review" in proposal.seconds
    assert loop.ask(data, tmp_path).verdicts == proposal.verdicts
    assert len(review.proposals) == 1


def test_failed_labels_are_retried_with_the_same_verdicts(tmp_path):
    broken = [True]

    def label(geometry):
        if broken[0]:
            raise RuntimeError("no disk")
        return WELL(geometry)

    reference = Reference(label, settings={"well": 1})
    loop = helpers.small_loop(reference, review=Scripted())
    data = helpers.first_data()
    first = next(loop.generations(data, tmp_path, ignore))
    assert len(first.failures) == 2
    broken[0] = False
    assert loop.retry(tmp_path) == 2
    again = next(helpers.small_loop(reference, review=nobody).generations(data, tmp_path, ignore))
    assert len(again.labelled) == 2
    assert again.verdicts == first.verdicts


@pytest.mark.parametrize("rules", [{"budget": 99}, {"known": 0.1}])
def test_a_loop_whose_structures_are_all_rejected_says_so_and_ends(rules, tmp_path):
    events, data = [], helpers.first_data()
    loop = helpers.small_loop(review=all_rejected)
    with pytest.warns(UserWarning, match=r"ends early: no new label for 3 .*, 4 rejected"):
        turns = list(until(loop.generations(data, tmp_path, events.append), **rules))
    assert [len(turn.labelled) for turn in turns] == [0, 0, 0]
    assert all("rejected: no" in turn.verdicts and "kept" not in turn.verdicts for turn in turns)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes.count("all structures were rejected: nothing is labelled") == 3


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        (Reviewed({4: "x"}), ValueError, "names structure 4 of 4 to label: give their indices"),
        (Reviewed({}, {-1: "x"}), ValueError, "names structure -1 of 4"),
        (Reviewed({0: None}), TypeError, "says None of structure 0: give a text"),
        ({0: "x"}, TypeError, "the review returned a dict: return Reviewed"),
        (None, TypeError, "the review returned a NoneType"),
    ],
)
def test_a_review_that_cannot_be_read_is_refused_and_not_kept(answer, error, sentence, tmp_path):
    loop = helpers.small_loop(review=Scripted(answer))
    with pytest.raises(error, match=sentence):
        next(loop.generations(helpers.first_data(), tmp_path, ignore))
    assert not (tmp_path / "generation_000" / "review.json").exists()


class Waiting:
    """A reviewer that keeps a draft and waits for a person."""

    def __init__(self):
        self.begun, self.done, self.draft = threading.Event(), threading.Event(), ""

    def __call__(self, proposal, report, scratch):
        scratch.mkdir(exist_ok=True)
        draft = scratch / "draft.txt"
        self.draft = draft.read_text() if draft.exists() else ""
        draft.write_text("half done")
        self.begun.set()
        while not self.done.wait(0.05):
            report(Progress("structure", 1, len(proposal.geometries)))
        return VERDICTS


def test_a_run_that_waits_for_a_person_stops_at_once_and_loses_nothing(tmp_path):
    review = Waiting()
    loop = helpers.small_loop(review=review)
    data, folder = helpers.first_data(), tmp_path / "run"
    made = lambda report: until(loop.generations(data, folder, report), count=1)  # noqa: E731
    run = Background(made).start()
    assert review.begun.wait(30)
    with pytest.raises(RunDirectoryError, match="in use"):
        loop.ask(data, folder)
    began = time.monotonic()
    run.stop().wait(10)
    assert run.state == "stopped"
    assert time.monotonic() - began < 1.0
    files = {path.name for path in (folder / "generation_000").iterdir()}
    assert "verdicts.json" in files
    assert "review.json" not in files
    review.begun.clear()
    review.done.set()
    run.start().wait(30)
    assert review.draft == "half done"
    (generation,) = run.records
    assert len(generation.labelled) == 2
    assert not (folder / "generation_000" / "review.scratch").exists()
