"""The view of the members, without a browser."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import ammonia, mlp_committee, picture, schnet_committee, well_data

from agal_toolkit import Dataset, Labels
from agal_toolkit.analysis.grids import Grid
from agal_toolkit.widgets import CommitteeView


def test_the_members_slider_changes_the_picture(rng):
    view = CommitteeView(mlp_committee(), Grid(points=10), well_data(rng, 12))
    first = picture(view)
    view._member.value = 3
    assert picture(view) != first
    assert view._picture.error is None


def test_members_of_atoms_are_compared_with_the_labels(rng):
    moved = [ammonia().moved(ammonia().positions + rng.normal(0, 0.05, (4, 3))) for _ in range(3)]
    labels = [Labels(energy=k - 300.0, forces=np.zeros((4, 3))) for k in range(3)]
    view = CommitteeView(schnet_committee(), dataset=Dataset(moved, labels))
    assert view._picture.error is None
    first = picture(view)
    view._member.value = 2
    assert picture(view) != first
    with pytest.raises(ValueError, match=r"give CommitteeView\(committee, dataset=data\)"):
        CommitteeView(schnet_committee())
