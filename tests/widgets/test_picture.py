"""Figures drawn in any thread, without a browser."""

from __future__ import annotations

from agal_toolkit.widgets.picture import MarkedPicture


def test_a_marked_picture_that_cannot_be_drawn_shows_the_error():
    def fail(figure):
        raise RuntimeError("no curve")

    curves = MarkedPicture(fail, (3, 2))
    curves.move(3)
    assert "no curve" in str(curves.error)
    assert bytes(curves.value).startswith(b"\x89PNG")
