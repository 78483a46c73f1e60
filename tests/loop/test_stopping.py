"""Rules that end a loop, on generations made by hand."""

from __future__ import annotations

import helpers
import numpy as np
import pytest

from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Note
from agal_toolkit.loop.generation import Generation
from agal_toolkit.loop.stopping import Plateau, until
from agal_toolkit.selection import Candidate


def generations(labels=(2,) * 20, errors=None, start=10):
    """What a loop would yield."""
    rng, data = np.random.default_rng(0), helpers.well_data(np.random.default_rng(1), start)
    for index, count in enumerate(labels):
        new = helpers.well_data(rng, count) if count else Dataset()
        metrics = {} if errors is None else {"rmse": errors[index]}
        candidates = tuple(
            Candidate(geometry, i, 0.0, outcome=labels)
            for i, (geometry, labels) in enumerate(zip(new, new.labels, strict=True))
        )
        yield Generation(
            index=index, dataset=data, committee=None, candidates=candidates, metrics=metrics
        )
        data = data + new


def count(made, **rules):
    return len(list(until(made, **rules)))


def test_a_number_of_generations():
    assert count(generations(), count=3) == 3


def test_a_budget_counts_all_structures():
    assert count(generations(), budget=16) == 3
    assert count(generations(), budget=5) == 1


def test_generations_without_a_new_label_in_a_row():
    assert count(generations((1, 0, 1, 0, 0, 1)), no_new=2) == 5


def test_hours():
    assert count(generations(), hours=0.0) == 1
    assert count(generations((1,) * 4), hours=1.0) == 4


@pytest.mark.parametrize(
    ("errors", "patience", "ends"),
    [
        ([5.0, 4.0, 3.0, 3.0, 3.0, 1.0], 2, 5),
        ([5.0, 4.0, 3.999, 3.998, 1.0], 2, 4),  # gains below the tolerance do not count
        ([1.0, 2.0, 0.5, 2.0, 2.0, 2.0], 3, 6),
        ([float("nan")] * 5, 2, 2),
        ([-5.0, -4.99, -4.98, -6.0], 2, 3),  # a metric below zero
        ([-5.0, -6.0, -7.0, -7.01, -7.02], 2, 5),
    ],
)
def test_a_plateau(errors, patience, ends):
    assert count(generations((1,) * len(errors), errors), plateau=Plateau("rmse", patience)) == ends


def test_the_first_rule_that_holds():
    assert (
        count(generations(errors=[1.0] * 20), budget=100, plateau=Plateau("rmse", 4), count=9) == 5
    )


def test_no_rule_and_no_such_metric():
    with pytest.raises(
        ValueError,
        match=r"give until\(\) at least one of budget, plateau, known, no_new, hours, count",
    ):
        next(until(generations()))
    with pytest.raises(ValueError, match=r"no metric 'mae' to watch; the loop computes \['rmse'\]"):
        list(until(generations(errors=[1.0] * 20), plateau=Plateau("mae")))


def test_nothing_is_computed_beyond_the_last():
    made = generations()
    list(until(made, count=2))
    assert next(made).index == 2


# -- loops that go nowhere


def test_a_budget_ends_where_nothing_is_labelled_and_says_why():
    with pytest.warns(UserWarning, match=r"ends early: no new label for 3 generations.*no_n"):
        assert count(generations((1, 0, 0, 0, 0, 0)), budget=99) == 4
    assert count(generations((1, 0, 0, 0, 0, 1)), budget=12, no_new=9) == 6
    assert count(generations((0,) * 8), count=8) == 8  # a number of generations is what it says


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"count": 2}, "the loop ends: 2 generations are done"),
        ({"budget": 21}, "the loop ends: 24 structures are labelled, the budget is 21"),
        ({"hours": 0.0}, "the loop ends: 0.0 hours are over"),
    ],
)
def test_a_loop_says_in_one_sentence_why_it_ends(rules, sentence):
    events = []
    made = helpers.small_loop().generations(helpers.first_data(), None, events.append)
    list(until(made, **rules))
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes[-1] == sentence
    assert next(made).index == 2 - ("count" not in rules)


@pytest.mark.parametrize("rule", [{"budget": "60"}, {"budget": -5}, {"no_new": 0}, {"count": 0}])
def test_a_rule_is_a_number_of_at_least_one(rule):
    with pytest.raises(ValueError, match="expected a number of at least 1"):
        next(until(generations(), **rule))


# -- attacks that find nothing the committee does not know


def found(errors, labels=4):
    """Generations whose new labels have forces of 2, predicted with these errors."""
    for generation, error in zip(generations((labels,) * len(errors)), errors, strict=False):
        generation.__dict__["found"] = error, float("nan"), 2.0
        yield generation


@pytest.mark.parametrize(
    ("errors", "ends"),
    [
        ([2.0, 0.4, 0.3, 0.1], 3),
        ([0.1, 2.0, 0.4, 0.41, 0.4, 0.4, 0.1], 6),  # in a row
        ([2.0, float("nan"), 0.1, 0.1, 0.1], 4),
    ],
)
def test_errors_on_new_labels_that_are_a_small_share_of_the_forces(errors, ends):
    assert count(found(errors), known=0.2, count=99) == ends


def test_few_labels_prove_nothing():
    assert count(found([0.1] * 5, labels=3), known=0.2, count=99) == 5


@pytest.mark.parametrize("known", [0.0, 2.0])
def test_a_known_error_is_a_share_of_the_forces(known):
    with pytest.raises(ValueError, match=r"known is .*: give a share of the forces"):
        next(until(generations(), known=known))


def test_the_errors_found_are_those_of_the_mean_before_it_learned():
    events = []
    made = helpers.small_loop().generations(helpers.first_data(), None, events.append)
    (*_, last) = until(made, known=0.999, count=4)
    error, promise, force = last.found
    true = np.concatenate([label.forces for label in last.labelled.labels])
    predicted = last.committee.predict(list(last.labelled)).forces.mean(0).numpy()
    assert error == pytest.approx(np.sqrt(np.square(predicted - true).mean()))
    assert force == pytest.approx(np.sqrt(np.square(true).mean()))
    assert np.isnan(promise)
    text = [event.text for event in events if isinstance(event, Note)][-1]
    sentence = "the loop ends: twice in a row errors on new labels were below 100% of the forces"
    assert text in (sentence, "the loop ends: 4 generations are done")
    assert f"; force error there {error:.3g} of {force:.3g} eV/Å; test rmse " in repr(last)


@pytest.mark.parametrize("kept", [True, False])
def test_an_interrupted_loop_says_how_to_go_on(kept, tmp_path):
    def interrupt(event):
        raise KeyboardInterrupt

    folder = tmp_path / "mine" if kept else None
    made = helpers.small_loop().generations(helpers.first_data(), folder, interrupt)
    with pytest.raises(KeyboardInterrupt) as stopped:
        next(made)
    (note,) = stopped.value.__notes__
    assert note == (
        f"finished stages are in {folder}: the same lines go on from there"
        if kept
        else "nothing is kept without a directory"
    )
