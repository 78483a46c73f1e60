"""The view of the members, without a browser."""

from __future__ import annotations

from helpers import mlp_committee, picture, well_data

from agal_toolkit.analysis.grids import Grid
from agal_toolkit.widgets import CommitteeView


def test_the_members_slider_changes_the_picture(rng):
    view = CommitteeView(mlp_committee(), Grid(points=10), well_data(rng, 12))
    first = picture(view)
    view._member.value = 3
    assert picture(view) != first
    assert view._picture.error is None
