"""Ammonia's plane of Z and R."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from studies.ammonia import figures
from studies.ammonia.figures import plane

Z, R = np.linspace(-2, 2, 21), np.linspace(0.6, 1.5, 19)
ENERGY = (
    5.0 * (np.abs(Z) - 1) ** 2 + 400 * (R[:, None] - 1) ** 2
)  # a row for each R; two minima of energy zero
LABELS = (r"$Z\,/\,Z_\mathrm{eq}$", r"$R\,/\,R_\mathrm{eq}$")


def painted(axes, z, r):
    """The colour at a place of the plane, 0 to 255."""
    axes.figure.canvas.draw()
    x, y = axes.transData.transform((z, r)).astype(int)
    return np.asarray(axes.figure.canvas.buffer_rgba())[-y - 1, x, :3].astype(int)


def expected(energy):
    return 255 * np.array(plane._colours()(plane._norm()(np.log10(1 + energy)))[:3])


def test_axes_and_orientation(axes, drawn):
    figures.plane_surface(axes, Z, R, ENERGY)
    drawn(axes, *LABELS)
    assert axes.get_xlim() == (-2, 2)
    assert axes.get_ylim() == pytest.approx((0.6, 1.5))
    for z, r in ((0.13, 1.52 - 0.06), (1.9, 1.02), (-0.5, 0.7)):
        at = 5.0 * (abs(z) - 1) ** 2 + 400 * (r - 1) ** 2
        assert np.abs(painted(axes, z, r) - expected(at)).max() < 16, "a row is an R"


def test_levels_are_the_same_whatever_is_drawn(new_axes):
    one, other = new_axes(), new_axes()
    figures.plane_surface(one, Z, R, ENERGY)
    figures.plane_surface(other, Z, R, ENERGY / 1000 + 20)
    filled = [axes.collections[0] for axes in (one, other)]
    assert all(np.array_equal(contours.levels, plane.LEVELS) for contours in filled)
    assert np.abs(painted(other, 0.4, 1.06) - expected(20.0)).max() < 3


def test_energies_below_the_ground_state_have_a_colour_of_their_own(axes):
    energy = np.full_like(ENERGY, 3.0)
    energy[:, :7] = -50.0
    energy[:, 14:] = -0.05
    figures.plane_surface(axes, Z, R, energy)
    assert np.array_equal(
        painted(axes, -1.9, 1.0), np.round(255 * np.array(to_rgba(plane.BELOW)[:3]))
    )
    assert np.abs(painted(axes, 1.9, 1.0) - expected(0.0)).max() < 3, (
        "a few hundredths are a committee's own minimum"
    )


def test_points_without_energy_are_hatched(axes, drawn):
    energy = ENERGY.copy()
    energy[:4, :4] = np.nan
    figures.plane_surface(axes, Z, R, energy)
    drawn(axes, *LABELS)
    assert axes.patch.get_hatch() == "////"
    colours = {tuple(painted(axes, z, 0.65)) for z in np.linspace(-1.95, -1.5, 12)}
    assert all(len(set(colour)) == 1 for colour in colours), "gray"
    figures.plane_surface(axes, Z, R, np.full_like(ENERGY, np.nan))
    drawn(axes, *LABELS)


def test_points_are_white_gray_and_black_and_those_outside_counted(axes):
    groups = [
        np.array([[1.0, 1.0], [5.0, 1.0]]),
        np.array([[0.5, 1.1]]),
        np.array([[-1.0, 1.2], [0.0, 9.0], [0.1, 0.9]]),
    ]
    figures.plane_surface(
        axes, Z, R, ENERGY, structures=groups[0], earlier=groups[1], attacks=groups[2]
    )
    dots = axes.collections[-3:]
    for own, points, colour in zip(dots, groups, ("white", "0.6", "black"), strict=True):
        np.testing.assert_array_equal(own.get_offsets(), points)
        assert tuple(own.get_facecolor()[0]) == to_rgba(colour)
    assert [text.get_text() for text in axes.texts] == ["2 outside"]


def test_a_transposed_energy_is_refused(axes):
    with pytest.raises(
        ValueError, match=r"energy: shape \(21, 19\), expected \(19, 21\): a row for each R"
    ):
        figures.plane_surface(axes, Z, R, ENERGY.T)


def test_one_bar_serves_all(figure, drawn):
    panels = figure.subplots(1, 2)
    for axes in panels:
        figures.plane_surface(axes, Z, R, ENERGY)
    figures.plane_bar(list(panels))
    figure.canvas.draw()
    *_, bar = figure.axes
    assert len(figure.axes) == 3
    assert "kcal/mol" in bar.get_ylabel()
    shown = {
        label.get_text(): place
        for label, place in zip(bar.get_yticklabels(), bar.get_yticks(), strict=True)
    }
    assert list(shown) == ["0", "1", "3", "10", "30", "100", "300"]
    assert shown["10"] == pytest.approx(np.log10(11))
    assert bar.get_window_extent().x0 > panels[1].get_window_extent().x1


def test_errors_below_a_cap(axes, drawn):
    caps = np.array([5.0, 20.0, 40.0])
    errors = {"generation 1": np.array([np.nan, 1.0, 4.0]), "random": np.array([2.0, 3.0, 5.0])}
    figures.errors_below(
        axes, caps, errors, spread={"random": (errors["random"] / 2, errors["random"] * 2)}
    )
    drawn(axes, "highest DFT energy (kcal/mol)", "RMSE (kcal/mol)")
    for line, (name, values) in zip(axes.lines, errors.items(), strict=True):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_xdata(), caps)
        np.testing.assert_array_equal(line.get_ydata(), values)
    [band] = axes.collections
    corners = set(map(tuple, band.get_paths()[0].vertices.tolist()))
    assert {(5.0, 1.0), (5.0, 4.0), (40.0, 2.5), (40.0, 10.0)} <= corners
    assert axes.get_yscale() == "log"
