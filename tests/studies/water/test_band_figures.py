"""Properties of liquids: bands, members, curves, and legends that hide nothing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from agal_toolkit import plots
from agal_toolkit.analysis.estimates import Band, Estimate
from studies.water.band_figures import distribution_band, member_values, property_curves

R = np.arange(0.025, 6.2, 0.05)
PEAK = np.where(R > 2.4, 1 + 1.8 * np.exp(-(((R - 2.8) / 0.17) ** 2)), 0.0)


@pytest.fixture
def structure():
    """Seven members around a peak, and one left out."""
    heights = np.linspace(0.97, 1.03, 7)
    return Band.of([*(Estimate(h * PEAK, 0.01 * PEAK) for h in heights), "unstable"])


def test_a_distribution_has_members_mean_band_and_truth(axes, structure, drawn):
    truth = Estimate(np.where(R > 5, 1.5, 1) * PEAK, 0.01 * PEAK)
    distribution_band(axes, R, structure, truth, "$g_{OO}(r)$")
    drawn(axes, "r (Å)", "$g_{OO}(r)$")
    mean, line, outside = axes.lines[-3:]
    np.testing.assert_allclose(mean.get_ydata(), PEAK)
    assert mean.get_color() == plots.ADVERSARIAL
    np.testing.assert_allclose(line.get_ydata(), truth.value)
    np.testing.assert_array_equal(outside.get_xdata(), R[R > 5])
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx((PEAK + structure.margin()).max())
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    share = (R > 5).sum() / (R > 2.4).sum()  # empty bins do not count
    assert names[0] == "95 % band of 7 members, 1 left out"
    assert names[1:] == ["truth", f"truth outside ({100 * share:.0f} %)"]
    assert 2 < axes.get_xlim()[0] < 2.4


@pytest.mark.parametrize("size", [(9, 5), (4.5, 3)])
def test_the_legend_of_a_distribution_hides_nothing(axes, structure, size):
    axes.figure.set_size_inches(size)
    distribution_band(axes, R, structure, Estimate(PEAK, 0.01 * PEAK))
    axes.figure.canvas.draw()
    assert len(axes.get_legend().get_texts()) == 2, "no bin is outside"
    legend = axes.get_legend().get_window_extent()
    for line in axes.lines:
        points = axes.transData.transform(line.get_xydata())
        assert not any(legend.contains(*point) for point in points)


def test_a_number_of_every_member(axes, drawn):
    band = Band.of([Estimate(0.98, 0.01), "unstable", Estimate(1.0, 0.02), Estimate(0.99, 0.01)])
    member_values(axes, band, Estimate(0.997, 0.003), "density (g/cm³)")
    drawn(axes, "member", "density (g/cm³)")
    points, _, (bars,) = axes.containers[0]
    np.testing.assert_allclose(points.get_xydata(), [[1, 0.98], [3, 1.0], [4, 0.99]])
    lengths = [np.ptp(path.vertices[:, 1]) for path in bars.get_paths()]
    np.testing.assert_allclose(lengths, 2 * 1.96 * np.array([0.01, 0.02, 0.01]))
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 0.99)
    np.testing.assert_allclose(axes.lines[1].get_ydata(), 0.997)
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert [cross.get_xdata().tolist() for cross in crosses] == [[2]]


MARKS = {80: "first", 220: "second", 350: "third"}


def test_a_property_against_labels(axes, drawn, new_axes):
    labels, nan = [10, 20, 40], np.nan
    seeds = [[1.1, 1.05, 1.0], [0.9, 0.95, 0.99], [1.0, 1.01, nan]]
    runs = {"attacks": (labels, seeds), "random frames": ([[10, 20], [12, 22]], [[1, nan], [2, 3]])}
    property_curves(axes, runs, Estimate(1.0, 0.01), "density (g/cm³)", marks=MARKS)
    drawn(axes, "labelled structures", "density (g/cm³)")
    attacks, random = axes.lines[:2]
    np.testing.assert_allclose(attacks.get_xydata(), [[10, 1.0], [20, 1.01], [40, 0.995]])
    np.testing.assert_allclose(random.get_xydata(), [[11, 1.5], [21, 3]])
    assert [line.get_color() for line in (attacks, random)] == [plots.ADVERSARIAL, plots.RANDOM]
    spread = axes.collections[0].get_paths()[0].vertices
    assert (spread[:, 1].min(), spread[:, 1].max()) == (0.9, 1.1)
    (top,) = axes.child_axes
    assert [text.get_text() for text in top.get_xticklabels()] == ["first\n80", "second\n220"]
    assert axes.get_xlim()[1] > 220
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), 1.0)
    np.testing.assert_allclose(axes.lines[-1].get_xdata(), axes.get_xlim())
    property_curves(new_axes(), {"attacks": ([10], [[nan]])}, marks=MARKS)


@pytest.mark.parametrize("width", [4.5, 9])
def test_names_of_marks_do_not_overlap(axes, width):
    axes.figure.set_size_inches(width, 4)
    runs = {"attacks": ([10, 60], [[1, 2]])}
    property_curves(axes, runs, marks={80: "Allegro", 220: "DeePMD", 350: "DeePMD"})
    axes.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.child_axes[0].get_xticklabels()]
    assert len(boxes) == 3
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
    assert boxes[-1].x1 < axes.figure.bbox.x1
