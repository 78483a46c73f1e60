"""The panel that sends structures to a target, without a browser."""

from __future__ import annotations

import threading

import helpers
import numpy as np
import pytest
from helpers import picture

from agal_toolkit import LBFGS, Adam, Attack, Dataset, Labels, TargetError, Variance
from agal_toolkit.potentials import Differentiable
from studies.calibrated.target_panel import Delivery, TargetPanel, promises

HELD = 0.01


@pytest.fixture(scope="module")
def truth():
    """Another pair potential than any member's."""
    potential = Differentiable(helpers.PairEnergy(2.05, 0.57, 0.51))
    batch = helpers.pair_committee(1).batch

    def label(geometry):
        prediction = potential(batch([geometry]))
        return Labels(energy=float(prediction.energy), forces=prediction.forces.numpy())

    return label


@pytest.fixture(scope="module")
def seeds():
    rng = np.random.default_rng(3)
    places = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    return [
        helpers.molecule(rng, 8).moved(1.9 * places + rng.normal(0, 0.05, (8, 3))) for _ in range(4)
    ]


@pytest.fixture(scope="module")
def committee(seeds, truth):
    return helpers.pair_committee(4).calibrated(
        helpers.aside(Dataset(seeds, [truth(seed) for seed in seeds])), "linear"
    )


@pytest.fixture
def panel(committee, seeds, truth):
    return TargetPanel(
        committee, seeds, truth, Attack(TargetError(1.0), LBFGS(25), start=0.0), HELD
    )


def test_a_press_sends_the_next_structure_to_the_target_and_asks_the_truth(
    panel, seeds, committee, truth
):
    panel.target = 0.02
    assert "2.00 times" in panel._multiple.value
    panel._go.click()
    panel.settle()
    (first,) = panel.deliveries
    assert first.target == 0.02
    assert first.seed == 0
    assert first.reached
    assert first.predicted == pytest.approx(0.02, rel=0.05)
    errors = committee.predict([first.geometry]).forces.numpy() - truth(first.geometry).forces
    assert first.actual == pytest.approx(np.sqrt((errors**2).sum(-1).mean(0)).mean())
    np.testing.assert_array_equal(panel._molecule.geometry.positions, first.geometry.positions)
    assert panel._molecule._shown.colours is not None
    assert first.predicted in [pytest.approx(value, rel=1e-6) for value in panel._trace.values()]
    assert "target 20, predicted" in panel._list.value
    assert "found" in panel._list.value
    panel.start().settle()
    assert [delivery.seed for delivery in panel.deliveries] == [0, 1]
    assert not panel._go.disabled
    assert panel._halt.disabled
    assert panel._trouble.value == ""


def test_deliveries_go_on_from_earlier_ones(committee, seeds, truth, panel):
    panel.start().settle()
    again = TargetPanel(committee, seeds, truth, panel.attack, HELD, panel.deliveries)
    again.start().settle()
    assert [delivery.seed for delivery in again.deliveries] == [0, 1]
    assert len(panel.deliveries) == 1


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "agal background"]


def test_stop_ends_an_attack_and_keeps_nothing_of_it(committee, seeds, truth):
    reached, go_on = threading.Event(), threading.Event()

    def guard(batch):
        reached.set()
        go_on.wait(10)
        return batch.owner.unique() >= 0

    panel = TargetPanel(
        committee, seeds, truth, Attack(TargetError(1.0), Adam(1e-4, 200), guard=guard), HELD
    )
    panel.start()
    assert reached.wait(10)
    assert panel.running
    assert panel._go.disabled
    attacks = workers()
    panel.start()
    assert workers() == attacks  # one at a time
    panel._halt.click()
    go_on.set()
    panel.settle()
    assert not panel.running
    assert not panel.deliveries
    assert not panel._go.disabled


def test_a_paused_attack_goes_on_with_the_same_button(committee, seeds, truth):
    reached, go_on = threading.Event(), threading.Event()

    def guard(batch):
        reached.set()
        go_on.wait(10)
        return batch.owner.unique() >= 0

    panel = TargetPanel(
        committee, seeds, truth, Attack(TargetError(1.0), LBFGS(5), guard=guard), HELD
    )
    panel.start()
    assert reached.wait(10)
    panel.pause()
    go_on.set()
    panel.wait(10)
    assert panel.state == "paused"
    assert not panel.deliveries
    panel._go.click()
    panel.wait(10)
    assert panel.state == "done"
    assert len(panel.deliveries) == 1


def test_what_the_truth_cannot_say_is_shown_and_does_not_stop_others(committee, seeds, truth):
    def fails_once(geometry):
        if geometry.origin["seed"] == 0 and not fails_once.questions:
            fails_once.questions.append(geometry)
            raise ValueError("it is taken apart")
        return truth(geometry)

    fails_once.questions = []
    panel = TargetPanel(
        committee, seeds, fails_once, Attack(TargetError(1.0), LBFGS(5), start=0.0), HELD
    )
    panel.start().settle()
    panel.start().settle()
    assert panel.deliveries[0].actual is None
    assert "taken apart" in panel._list.value
    assert panel.deliveries[1].actual is not None


def test_an_attack_that_fails_says_so_in_its_place(committee, seeds, truth):
    def guard(batch):
        raise RuntimeError("no guard today")

    panel = TargetPanel(
        committee, seeds, truth, Attack(TargetError(1.0), LBFGS(5), guard=guard), HELD
    )
    panel.start().settle()
    assert "no guard today" in panel._trouble.value
    assert not panel._go.disabled


def test_a_target_outside_the_calibration_is_warned_of(panel):
    panel.target = 4 * HELD
    high = panel.committee.calibration.forces.at(panel.committee.calibration.forces.high) * 3**0.5
    panel._slider.max = 1e6
    panel.target = 2 * high
    assert "outside the calibrated range" in panel._multiple.value


def test_a_reader_without_a_kernel_sees_it(panel):
    empty = picture(panel)
    panel.start().settle()
    assert picture(panel) != empty
    assert panel._curves.error is None


def test_what_cannot_be_aimed_is_refused(committee, seeds, truth):
    with pytest.raises(ValueError, match="TargetError"):
        TargetPanel(committee, seeds, truth, Attack(Variance()), HELD)
    with pytest.raises(ValueError, match="calibrated"):
        TargetPanel(helpers.pair_committee(3), seeds, truth, Attack(TargetError(1.0)), HELD)
    with pytest.raises(ValueError, match="0 given"):
        TargetPanel(committee, [], truth, Attack(TargetError(1.0)), HELD)


def test_a_delivery_waits_for_its_label(seeds):
    assert Delivery(0.1, 0, seeds[0], 0.1, True).actual is None


@pytest.mark.parametrize(
    "attack",
    [
        Attack(TargetError(1.0, quantity="energy"), LBFGS(5)),
        Attack(TargetError(1.0, raw=True), LBFGS(5)),
        Attack(TargetError(1.0), LBFGS(5), cell=True),
        Attack(Variance(), Adam(0.1, 5)),
    ],
    ids=["energy", "raw", "cell", "variance"],
)
def test_what_the_panel_cannot_show_is_refused(attack, committee, seeds, truth):
    with pytest.raises(ValueError, match="calibrated errors of forces in a cell that stays"):
        TargetPanel(committee, seeds, truth, attack, HELD)


def test_a_truth_without_an_answer_is_asked_once(committee, seeds):
    questions = []
    panel = TargetPanel(
        committee, seeds, questions.append, Attack(TargetError(1.0), LBFGS(5), start=0.0), HELD
    )
    panel.start().settle()
    panel._ask.request()
    panel.settle()
    assert len(questions) == 1
    assert "the truth has no forces" in panel._list.value


def test_promises_and_what_was_delivered(axes, drawn, rng):
    targets = np.repeat([0.1, 0.2], 10)
    errors = targets * rng.normal(1.1, 0.1, 20)
    errors[3] = np.nan  # its label has not come yet
    promises(axes, targets, errors, targets * 1.01)
    drawn(axes, "target (eV/Å)", "error (eV/Å)")
    medians = [container.lines[0].get_xydata()[0] for container in axes.containers]
    np.testing.assert_allclose(
        medians, [[0.1, np.nanmedian(errors[:10])], [0.2, np.median(errors[10:])]]
    )
