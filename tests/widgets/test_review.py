"""A person's review in a panel, by keys and by buttons, without a browser."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import helpers
import numpy as np
import pytest
from helpers import picture

from agal_toolkit import Dataset, Labels, until
from agal_toolkit.events import ignore
from agal_toolkit.loop import Reviewed
from agal_toolkit.loop.generation import Proposal
from agal_toolkit.selection import Candidate
from agal_toolkit.widgets import Background, Review
from agal_toolkit.widgets.controls import Page

COUNT = 5


def molecules(count=COUNT, energy=0.0):
    """A proposal of clusters: an attack moved each along x, by 0.1 angstrom and more."""
    rng, candidates = np.random.default_rng(4), []
    for k in range(count):
        seed = helpers.molecule(rng)
        moved = seed.moved(seed.positions + np.array([0.1 * (k + 1), 0.0, 0.0]))
        attack = SimpleNamespace(path=np.array([seed.positions]), cells=None)
        candidates.append(Candidate(moved, 7 + k, 0.0, attack))
    candidates.insert(2, replace(candidates[0], verdict="AtMost"))
    known = [helpers.molecule(rng) for _ in range(3)]
    labels = [Labels(energy=energy + k, forces=np.zeros((5, 3))) for k in (3, 1, 2)]
    return Proposal(
        index=2,
        dataset=Dataset(known, labels),
        committee=helpers.pair_committee(3),
        candidates=tuple(candidates),
    )


def press(panel, *keys):
    page = next(child for child in panel.children if isinstance(child, Page))
    for key in keys:
        page._handle_custom_msg({"key": key}, [])


def buttons(panel):
    """The buttons by their names."""
    found, left = {}, [panel]
    while left:
        widget = left.pop()
        left += getattr(widget, "children", ())
        if type(widget).__name__ == "Button":
            found[widget.description] = widget
    return found


def test_keys_and_buttons_do_the_same():
    by_key, by_mouse = Review(molecules()), Review(molecules())
    press(by_key, "a", "r", "1", "u", "2", "n", "a", "p", "n", "a", "d")
    names = {"a": "Accept", "r": "Reject", "u": "Undo", "n": "Next", "p": "Previous", "d": "Done"}
    names |= {"1": "1 broken molecule", "2": "2 atoms too close"}
    for key in ("a", "r", "1", "u", "2", "n", "a", "p", "n", "a", "d"):
        buttons(by_mouse)[names[key]].click()
    for panel in (by_key, by_mouse):
        assert panel.reviewed == Reviewed({1: "", 2: "atoms too close"})
        assert "generation 3: 3 accepted, 2 rejected, done" in panel._line.value
        assert panel._molecule.geometry is not None


def test_the_view_follows_and_shows_the_seed_and_the_numbers():
    proposal = molecules(energy=-10.0)
    panel = Review(proposal, target=0.25)
    press(panel, "n", "n")
    chosen = proposal.chosen[2]
    np.testing.assert_array_equal(panel._molecule.geometry.positions, chosen.geometry.positions)
    ghost = panel._molecule._shown.ghost
    np.testing.assert_allclose(chosen.geometry.positions - ghost.positions, [[0.3, 0, 0]] * 5)
    prediction = proposal.committee.predict([chosen.geometry])
    energies = prediction.energy.numpy()[:, 0]
    sigma = np.sqrt(prediction.forces.numpy().var(0, ddof=1).sum(-1))
    rows = dict(panel._table())
    assert rows["structure"] == "3 of 5, C5"
    words = rows["force uncertainty"].split()
    mean, most = float(words[0]), float(words[2])
    assert mean == pytest.approx(sigma.mean(), rel=0.01)
    assert most == pytest.approx(sigma.max(), rel=0.01)
    assert rows["target"] == "0.25 eV/Å"
    above, _, spread = rows["energy"].split(" eV")[0].split()
    assert float(above) == pytest.approx(energies.mean() + 9.0, rel=0.01)  # the lowest is -9
    assert float(spread) == pytest.approx(energies.std(ddof=1), rel=0.01)
    assert rows["energy"].endswith("eV above the data's lowest")
    assert rows["seed"] == "10, moved by up to 0.3 Å"
    force = np.linalg.norm(prediction.forces.numpy().mean(0), axis=1).max()
    assert float(rows["largest force"].split()[0]) == pytest.approx(force, rel=0.01)
    assert rows["verdict"] == "none yet"
    assert panel._trouble.value == ""


def test_a_formula_that_is_not_in_the_data_has_no_zero_and_errors_are_calibrated():
    proposal = molecules()
    data = helpers.aside(
        Dataset(proposal.geometries, [Labels(energy=0.0, forces=np.ones((5, 3)))] * 5)
    )
    committee = proposal.committee.calibrated(data, "linear")
    other = replace(proposal, dataset=Dataset(), committee=committee)
    rows = dict(Review(other)._table())
    assert rows["energy"] == "no data of this formula"
    prediction = committee.predict([proposal.geometries[0]])
    right = committee.calibration.atomic_variance(prediction).sqrt().mean()
    assert float(rows["predicted force error"].split()[0]) == pytest.approx(float(right), rel=0.01)


def test_undo_goes_back_one_step_and_takes_back_the_rest_at_once():
    panel = Review(molecules())
    press(panel, "a", "3")
    buttons(panel)["Accept the rest"].click()
    assert not buttons(panel)["Done"].disabled
    press(panel, "u")
    assert panel._sheet.verdicts == {0: None, 1: "too high in energy"}
    assert buttons(panel)["Done"].disabled
    press(panel, "u")
    assert panel._sheet.index == 1
    press(panel, "u", "u", "u", "d")
    assert panel._sheet.verdicts == {}
    assert panel.reviewed is None


def test_a_text_is_a_note_or_the_reason_of_a_rejection():
    panel = Review(molecules())
    panel._text.value = " look at the angle "
    press(panel, "a")
    assert panel._text.value == ""
    panel._text.value = "ring opened"
    press(panel, "r", "a", "a", "a", "d")
    assert panel.reviewed == Reviewed(
        {1: "ring opened"}, {0: "look at the angle", 1: "ring opened"}
    )
    panel.note("late")
    press(panel, "r", "u")
    assert panel.reviewed.notes[0] == "look at the angle"  # nothing changes after the end
    assert panel._text.disabled


def test_reasons_are_texts_and_at_most_nine():
    panel = Review(molecules(), reasons=["ugly"])
    press(panel, "1", "2", "x")
    assert panel._sheet.verdicts == {0: "ugly"}
    for wrong in (["r"] * 10, "ugly"):
        with pytest.raises(ValueError, match="give at most nine texts"):
            Review(reasons=wrong)


def test_numbers_that_fail_say_so_and_the_review_goes_on(monkeypatch):
    proposal = replace(molecules(), committee=helpers.pair_committee(1))
    panel = Review(proposal)
    assert "one member cannot disagree" in panel._trouble.value
    press(panel, "a", "a", "a", "a", "1", "d")
    assert panel.reviewed == Reviewed({4: "broken molecule"})


def test_a_static_picture_before_during_and_after():
    pictures = [picture(Review())]
    panel = Review(molecules())
    pictures.append(picture(panel))
    press(panel, "a")
    pictures.append(picture(panel))
    assert all(image.startswith(b"\x89PNG") for image in pictures)
    assert len(set(pictures)) == 3


# -- as the review of a loop


def waiting(review, count=4, timeout=30):
    """Wait until the panel has structures to review."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        with review._lock:  # not in the middle of showing them
            if len(review._sheet) == count and not review._finished.is_set():
                return
        time.sleep(0.02)
    raise TimeoutError("nothing to review")


def background(loop, data, folder, count=1):
    return Background(lambda report: until(loop.generations(data, folder, report), count=count))


def test_a_run_waits_for_the_panel_and_goes_on(tmp_path):
    review = Review()
    assert "nothing to review yet" in review._line.value
    loop, data = helpers.small_loop(review=review), helpers.first_data()
    run = background(loop, data, tmp_path, count=2).start()
    waiting(review)
    assert review._plane.layout.display is None  # a surface is drawn, not a ball
    assert review._molecule.layout.display == "none"
    press(review, "1", "a", "a", "a", "d")
    waiting(review)
    assert "generation 2: 0 accepted" in review._line.value
    press(review, "n", "r")
    buttons(review)["Accept the rest"].click()
    press(review, "d")
    run.wait(30)
    first, second = run.records
    assert len(first.labelled) == len(second.labelled) == 3
    assert [v for v in first.verdicts if "rej" in v] == ["rejected: broken molecule"]
    assert [v for v in second.verdicts if "rej" in v] == ["rejected"]
    assert review._plane.error is None
    assert picture(review).startswith(b"\x89PNG")


@pytest.mark.parametrize("same", [True, False])
def test_stopped_half_way_nothing_is_lost(same, tmp_path):
    """The same panel, or a new one in a new kernel, goes on where the person was."""
    review, data, folder = Review(), helpers.first_data(), tmp_path / "run"
    run = background(helpers.small_loop(review=review), data, folder).start()
    waiting(review)
    press(review, "2", "a")
    review._text.value = "half way"
    began = time.monotonic()
    run.stop().wait(10)
    assert time.monotonic() - began < 1.0
    assert run.state == "stopped"
    assert "the run was stopped" in review._line.value
    review = review if same else Review()
    run = background(helpers.small_loop(review=review), data, folder).start()
    waiting(review)
    assert review._sheet.verdicts == {0: "atoms too close", 1: None}
    assert review._sheet.index == 2
    assert review._text.value == "half way"
    press(review, "a", "a", "d")
    run.wait(30)
    (generation,) = run.records
    assert len(generation.labelled) == 3
    assert "half way" in [candidate.note for candidate in generation.candidates]
    assert not list(folder.glob("generation_000/*.scratch"))


def test_a_second_run_is_asked_anew(tmp_path):
    review, data = Review(), helpers.first_data()
    for folder in (None, tmp_path):
        run = background(helpers.small_loop(review=review), data, folder).start()
        waiting(review)
        assert review._sheet.verdicts == {}
        buttons(review)["Accept the rest"].click()
        press(review, "d")
        run.wait(30)
        assert len(run.records[0].labelled) == 4


def test_a_cell_is_not_blocked(tmp_path):
    loop = helpers.small_loop(review=Review())
    with pytest.raises(RuntimeError, match="would block it: run the loop in Monitor"):
        next(loop.generations(helpers.first_data(), tmp_path, ignore))


def test_between_ask_and_tell(tmp_path):
    loop, data = helpers.small_loop(), helpers.first_data()
    review = Review(loop.ask(data, tmp_path))
    press(review, "1")
    buttons(review)["Accept the rest"].click()
    press(review, "d")
    accepted = loop.reviewed(review._proposal, review.reviewed, tmp_path)
    assert len(accepted.geometries) == 3
