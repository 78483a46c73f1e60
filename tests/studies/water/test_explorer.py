"""The panel of a stored loop: labels as committees see them, beside curves of the loop."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from agal_toolkit.analysis.estimates import Estimate
from studies.water import lesson
from studies.water.explorer import Curve, LoopExplorer, density

ASKED = [10, 15, 20, 40, 60]
CURVES = [
    Curve("error", ASKED, [60.0, 58.0, 55.0, 50.0, 44.0], low=0.0),
    Curve("density", [60], [0.99], Estimate(0.98, 0.01)),
    Curve("neighbours", [], [], Estimate(4.45, 0.04)),
]


@pytest.fixture(scope="module")
def panel():
    """The first committee, two of its members, and seven of the stored labels."""
    labels, first = lesson.labels(), lesson.committee(1)
    some = labels[[0, 3, 10, 14, 20, 21, 40]]
    few = {"all": first, "two": first[[0, 1]]}
    made = LoopExplorer(some, few, ASKED, CURVES, target=0.2)
    return made.settle()


def test_sliders_choose_a_label(panel):
    for iteration, structure, index in ((0, 1, 0), (0, 2, 1), (1, 2, 3), (3, 1, 4), (4, 1, 6)):
        panel.look(iteration, structure)
        panel.settle()
        assert panel.index == index
        assert panel.labels.generations[index] == iteration
        assert np.array_equal(panel._molecule.geometry.cell, panel.labels[index].cell)
        assert panel._trouble.value == ""
    panel.look(3, 2)
    panel.look(4)  # has fewer labels
    assert panel.index == 6


def test_uncertainty_and_error_of_each_atom(panel):
    """sigma = a * S^b with S^2 the sum over components of the members' variance."""
    law = panel.committees["all"].calibration.forces
    forces = panel.committees["all"].predict([panel.labels[3]]).forces.double().numpy()
    sigma, error = panel.seen("all", 3)
    spread = np.sqrt(forces.var(axis=0, ddof=1).sum(-1))
    np.testing.assert_allclose(sigma, law.scale * spread**law.exponent, rtol=1e-4)
    wrong = ((forces - panel.labels.forces[3]) ** 2).sum(-1)
    np.testing.assert_allclose(error, np.sqrt(wrong.mean(0)), rtol=1e-4)
    assert len(panel.seen("two", 3)[0]) == 192


def test_what_is_in_view_is_written(panel):
    panel.look(1, 2)
    panel.settle()
    sigma, error = (1000 * values.mean() for values in panel.seen("all", 3))
    text = panel._numbers.value
    assert f"label 2 of 2 of iteration 1: {density(panel.labels[3]):.3f} g/cm³" in text
    assert f"committee of all: uncertainty {sigma:.0f}, error {error:.0f} meV/Å" in text
    panel.look(0)
    panel.settle()
    assert "label 1 of 2 of the start" in panel._numbers.value


def test_density_of_a_box(panel):
    box = panel.labels[0]
    volume = np.linalg.det(box.cell)
    assert density(box) == pytest.approx(64 * 18.015 * 1.66054 / volume, rel=1e-4)


def test_curves_and_the_mark_of_the_committee_that_asked(panel):
    figure = Figure(figsize=(5.2, 4.4))
    move = panel._draw_curves(figure)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts == ["neighbours:\nnot all members are simulated yet\nthe truth: 4.45 ± 0.04"]
    for iteration, labels in ((0, 10), (1, 10), (3, 20), (5, 60)):
        marks = move(iteration)
        assert [mark.get_xdata() for mark in marks] == [[labels, labels]] * 2
    assert figure.axes[0].get_ylim()[0] == 0
    low, high = figure.axes[1].get_ylim()
    assert low <= 0.95 * 0.98
    assert high >= 1.05 * 0.98


def test_there_is_a_picture_without_a_kernel(panel):
    panel.look(3, 2, "two")
    figure = Figure(figsize=(8.5, 4.4))
    panel.settle()._draw_static(figure)
    written = [text.get_text() for part in figure.subfigs for text in part.texts]
    assert "label 2 of 2 of iteration 3" in written[0]
    assert "colours: uncertainty, committee of two" in written[0]
    assert panel._repr_mimebundle_()["image/png"]


def test_errors_are_shown_below(panel, monkeypatch):
    monkeypatch.setattr(panel, "seen", lambda *_: 1 / 0)
    panel.look(1, 1)
    panel.settle()
    assert "ZeroDivisionError" in panel._trouble.value
    monkeypatch.undo()
    panel.look(1, 2)
    panel.settle()
    assert panel._trouble.value == ""
