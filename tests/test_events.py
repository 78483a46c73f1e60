"""The listener that writes progress as text."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest

from agal_toolkit.events import Epoch, Labelled, Note, Progress, Stage, Text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def epoch(number: int, epochs: int = 9) -> Epoch:
    return Epoch(number, epochs, *np.zeros((3, 2)))


EVENTS = [
    Stage(1, "members", "started"),
    *(epoch(number) for number in range(1, 10)),
    Note(1, "members go on"),
    Stage(1, "members", "finished", 2.0),
    Labelled(0, 1, 2),
    Progress("replicas", 1, 3),
]


@pytest.mark.parametrize("stream", [io.StringIO, lambda: None])
def test_it_is_quiet_where_no_terminal_is(stream, monkeypatch, caplog):
    monkeypatch.setattr("sys.stderr", stderr := stream())
    text = Text()
    with caplog.at_level(logging.INFO, "agal_toolkit"):
        for event in EVENTS:
            text(event)
    assert stderr is None or not stderr.getvalue()
    assert caplog.messages == [
        "generation 2, members started",
        "members go on",
        "generation 2, members finished in 2.0 s",
    ]


def test_a_terminal_has_bars_with_the_time_left(monkeypatch):
    monkeypatch.setattr("sys.stderr", stderr := Terminal())
    text = Text()
    for event in EVENTS:
        text(event)
    written = stderr.getvalue()
    assert "generation 2, members: epochs:" in written
    assert "0/9" in written
    assert "members go on\n" in written
    assert "generation 2, members: labels:" in written
    assert "generation 2, members: replicas:" in written
