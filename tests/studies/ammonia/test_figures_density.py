"""Where trajectories have been."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from agal_toolkit import plots
from studies.ammonia import figures

Z_EDGES, R_EDGES = np.linspace(-2, 2, 9), np.linspace(0.6, 1.4, 5)


def test_density_of_frames_integrates_to_the_share_that_is_seen(axes, drawn, rng):
    frames = np.column_stack([rng.normal(0, 1, 500), rng.normal(1.1, 0.05, 500)])
    counts = np.histogram2d(frames[:, 1], frames[:, 0], [R_EDGES, Z_EDGES])[0]
    figures.frame_density(
        axes, Z_EDGES, R_EDGES, counts, frames=500, attacks=np.array([[0.5, 1.0], [-1.0, 1.2]])
    )
    drawn(axes, r"$Z\,/\,Z_\mathrm{eq}$", r"$R\,/\,R_\mathrm{eq}$")
    mesh, dots = axes.collections
    density = mesh.get_array()
    assert density.shape == (4, 8)
    assert (density * 0.5 * 0.2).sum() == pytest.approx(counts.sum() / 500)
    np.testing.assert_array_equal(np.ma.getmaskarray(density), counts == 0)
    assert mesh.norm.vmin < mesh.norm.vmax
    assert (mesh.norm.vmin, mesh.norm.vmax) == (1e-3, 30.0)
    np.testing.assert_array_equal(dots.get_offsets(), [[0.5, 1.0], [-1.0, 1.2]])
    assert to_hex(dots.get_facecolor()[0]) == plots.ADVERSARIAL


def test_contours_of_energy_have_numbers(axes, drawn):
    z, r = np.linspace(-2, 2, 41), np.linspace(0.6, 1.4, 33)
    energy = 6 * (np.abs(z) - 1) ** 2 + 300 * (r[:, None] - 1) ** 2  # at most 54
    figures.frame_density(axes, Z_EDGES, R_EDGES, np.ones((4, 8)), contours=(z, r, energy))
    drawn(axes, r"$Z\,/\,Z_\mathrm{eq}$", r"$R\,/\,R_\mathrm{eq}$")
    assert list(axes.collections[1].levels) == [5, 10, 20, 40], "80 is nowhere"
    assert {text.get_text() for text in axes.texts} <= {"5", "10", "20", "40"}
    assert axes.texts


def test_transposed_counts_are_refused_and_none_are_drawn(axes, drawn):
    with pytest.raises(ValueError, match=r"counts: shape \(8, 4\), expected \(4, 8\)"):
        figures.frame_density(axes, Z_EDGES, R_EDGES, np.ones((8, 4)))
    figures.frame_density(axes, Z_EDGES, R_EDGES, np.zeros((4, 8)))
    drawn(axes, r"$Z\,/\,Z_\mathrm{eq}$", r"$R\,/\,R_\mathrm{eq}$")


def test_a_bar_for_both_densities(figure):
    panels = figure.subplots(1, 2)
    for axes in panels:
        figures.frame_density(axes, Z_EDGES, R_EDGES, np.ones((4, 8)), limits=(1e-2, 10))
    figures.density_bar(list(panels), limits=(1e-2, 10))
    figure.canvas.draw()
    assert figure.axes[-1].get_ylabel() == "density of frames"
    assert figure.axes[-1].get_ylim() == pytest.approx((1e-2, 10))


def test_bars_of_stable_trajectories(axes, drawn):
    fractions = {
        "generation 1": (0.4, 0.35, 0.5),
        "generation 3": (1.0, 0.9, 1.0),
        "random 0.3 Å": (0.6, 0.5, 0.7),
    }
    figures.stable_bars(axes, fractions, paper={"generation 3": 0.83, "something else": 0.1})
    drawn(axes, "", "stable (%)")
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([40, 100, 60])
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "generation\n1",
        "generation\n3",
        "random\n0.3 Å",
    ]
    ends = [collection.get_segments()[0][:, 1].tolist() for collection in axes.collections]
    np.testing.assert_allclose(ends, [[35, 50], [90, 100], [50, 70]])
    diamond = next(line for line in axes.lines if line.get_label() == "paper")
    assert (list(diamond.get_xdata()), list(diamond.get_ydata())) == ([1], pytest.approx([83]))
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 100


def test_stability_by_temperature(axes, drawn):
    temperatures = np.array([500, 600, 700])
    fractions = {
        "generation 3": ([1.0, 0.9, 0.8], [0.95, 0.8, 0.7], [1.0, 0.95, 0.9]),
        "random": ([0.8, 0.7, 0.5], [0.7, 0.6, 0.4], [0.9, 0.8, 0.6]),
    }
    figures.stable_by_temperature(axes, temperatures, fractions)
    drawn(axes, "temperature (K)", "stable trajectories (%)")
    lines = [container.lines[0] for container in axes.containers]
    assert [line.get_ydata().tolist() for line in lines] == [
        pytest.approx([100, 90, 80]),
        pytest.approx([80, 70, 50]),
    ]
    apart = lines[1].get_xdata() - lines[0].get_xdata()
    assert (apart > 0).all(), "beside each other"
    assert np.abs(lines[0].get_xdata() - temperatures).max() < 10, "at their temperatures"
    figures.stable_by_temperature(axes, np.array([500]), {"random": ([0.8], [0.7], [0.9])})
