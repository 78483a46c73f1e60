"""What the panels share, and that none of them hides a part of ipywidgets."""

from __future__ import annotations

import inspect

import ipywidgets
import pytest

from agal_toolkit import widgets
from agal_toolkit.widgets.background import Background
from agal_toolkit.widgets.controls import button
from agal_toolkit.widgets.panel import Panel, RunPanel
from agal_toolkit.widgets.picture import Coalesced, Picture


class Counting(RunPanel):
    """A panel of a run that counts."""

    def __init__(self, run=None):
        self.background = run
        self.drawn = []
        self.drawing = Coalesced(lambda: self.drawn.append(True), 0.05)
        super().__init__([ipywidgets.Label("count")], (2.0, 1.0), [self.drawing])

    def _draw_static(self, figure):
        figure.text(0.1, 0.5, "count")


def fail(report):
    yield 1
    raise ValueError("no <more>")


def test_a_panel_has_a_picture_and_a_line_for_errors():
    panel = Counting()
    assert "image/png" in panel._repr_mimebundle_()
    assert panel.children[-1] is panel._trouble
    panel._show_error(ValueError("no <more>"), "sorry: ")
    assert "sorry: ValueError: no &lt;more&gt;" in panel._trouble.value
    panel._clear_error()
    assert panel._trouble.value == ""


def test_settle_waits_for_what_was_requested():
    panel = Counting()
    panel.drawing.request()
    assert panel.settle().drawn == [True]


def test_without_a_run_the_buttons_do_nothing():
    panel = Counting()
    assert panel.start().pause().resume().step().stop().state == "idle"
    assert panel.wait() is None  # a cell that ends with it shows the panel only once


def test_a_panel_steers_its_run():
    panel = Counting(Background(lambda report: iter(range(3))))
    panel.step().wait()
    assert panel.state == "paused"
    assert panel.background.records == (0,)
    panel.drawing.request()
    panel.resume().wait()
    assert panel.state == "done"
    assert panel.drawn == [True]
    failing = Counting(Background(fail)).start()
    with pytest.raises(ValueError, match="no <more>"):
        failing.wait()
    assert failing.state == "failed"


def test_a_button_calls():
    pressed = []
    button("Go", "play", lambda: pressed.append(True)).click()
    assert pressed == [True]


def test_no_widget_hides_a_method_of_ipywidgets():
    ours = [kind for kind in vars(widgets).values() if inspect.isclass(kind)]
    for kind in (Panel, RunPanel, Picture, *ours):
        base = next(base for base in kind.__mro__ if not base.__module__.startswith("agal"))
        own = {name for k in kind.__mro__ if k.__module__.startswith("agal") for name in vars(k)}
        hidden = {name for name in own if callable(getattr(base, name, None))}
        allowed = {"__init__", "__repr__", "_repr_mimebundle_", "__class_getitem__", *vars(object)}
        allowed |= {"__call__"}  # that of every class, which makes instances
        assert hidden <= allowed, kind
