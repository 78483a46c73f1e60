"""Colours that can be told apart, and legends."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from agal_toolkit import plots
from agal_toolkit.plots.style import framed_legend


def lightness(colour):
    """Return the luma, 0 to 1, which remains in print without colours."""
    return float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))


def test_kinds_have_their_colours():
    names = ["DFT", "random", "adversarial", "displaced", "something else", "another"]
    looks = plots.looks(names)
    colours = [looks[name].colour for name in ("DFT", "random", "adversarial")]
    assert colours == [plots.TRUTH, plots.RANDOM, plots.ADVERSARIAL]
    assert len({look.colour for look in looks.values()}) == 6
    assert len({look.marker for look in looks.values()}) == 6
    assert list(looks) == names


@pytest.mark.parametrize("kind", ["generation", "random", "adversarial"])
def test_tones_can_be_told_apart_without_colours(kind):
    looks = plots.looks([f"{kind} {k}" for k in (1, 2, 3)])
    tones = [lightness(look.colour) for look in looks.values()]
    assert tones[0] - tones[1] > 0.15, "from light to dark"
    assert tones[1] - tones[2] > 0.15
    assert tones[0] < 0.75, "and none vanishes on white"
    assert len({look.marker for look in looks.values()}) == 1


def test_the_random_part_of_a_name_counts():
    assert plots.looks(["displaced + random"])["displaced + random"].colour == plots.RANDOM
    assert plots.looks([]) == {}


def test_a_legend_has_a_light_frame_or_is_not_there(axes):
    framed_legend(axes)
    assert axes.get_legend() is None
    axes.plot([0, 1], label="line")
    framed_legend(axes, columns=2)
    frame = axes.get_legend().get_frame()
    assert axes.get_legend().get_frame_on()
    assert frame.get_edgecolor()[:3] == pytest.approx((0.85, 0.85, 0.85))
    assert frame.get_alpha() == 0.85
