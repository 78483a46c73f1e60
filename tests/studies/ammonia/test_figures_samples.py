"""Groups of sampled structures."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from agal_toolkit import plots
from studies.ammonia import figures


def test_a_map_has_one_scale_and_no_numbers(axes, drawn, rng):
    groups = {
        "displaced": rng.normal(size=(7, 2)),
        "adversarial 2": rng.normal(size=(4, 2)) * [20, 1],
        "none": np.empty((0, 2)),
    }
    figures.map_of(axes, groups)
    drawn(axes, "UMAP 1", "UMAP 2")
    assert axes.get_aspect() == 1
    assert not len(axes.get_xticks())
    assert not len(axes.get_yticks())
    for dots, points in zip(axes.collections, groups.values(), strict=True):
        np.testing.assert_array_equal(dots.get_offsets(), points)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "displaced (7)",
        "adversarial 2 (4)",
        "none (0)",
    ]
    assert axes.get_legend().get_window_extent().x0 > axes.get_window_extent().x1, (
        "the legend is outside"
    )


def test_boxes_are_quartiles_and_whiskers_the_range(axes, drawn):
    energies = np.array([1.0, 2.0, 4.0, 8.0, 100.0])
    figures.energy_boxes(axes, {"random 0.3 Å": energies}, logarithmic=False)
    drawn(axes, "DFT energy (kcal/mol)", "")
    [box] = axes.patches
    assert (box.get_x(), box.get_x() + box.get_width()) == (2.0, 8.0)
    whiskers, ends, median = axes.lines
    np.testing.assert_array_equal(whiskers.get_xdata(), [1, 2, np.nan, 8, 100])
    assert list(ends.get_xdata()) == [1, 100]
    assert list(median.get_xdata()) == [4, 4]
    assert axes.get_xscale() == "linear"


def test_boxes_count_structures_and_failures(axes, drawn):
    figures.energy_boxes(
        axes,
        {
            "displaced": np.array([1.0, 2.0]),
            "random": np.array([3.0, np.nan]),
            "random 1.0": np.empty(0),
        },
        failed={"random": 2, "random 1.0": 9},
    )
    drawn(axes, "DFT energy (kcal/mol)", "")
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "displaced\nn = 2",
        "random\nn = 1, 3 failed",
        "random 1.0\nn = 0, 9 failed",
    ]
    assert len(axes.patches) == 2
    assert axes.get_ylim() == (2.6, -0.6), "the first on top, the empty one keeps its place"
    low, high = axes.get_xlim()
    assert axes.get_xscale() == "log"
    assert low < 1.0
    assert high > 3.0


@pytest.mark.parametrize("energies", [np.array([0.0, 1e-9, 5.0]), np.array([0.0]), np.empty(0)])
def test_a_logarithmic_axis_cuts_what_is_almost_zero(axes, drawn, energies):
    figures.energy_boxes(axes, {"displaced": energies})
    drawn(axes, "DFT energy (kcal/mol)", "")
    assert axes.get_xlim()[0] > 0.005
    assert axes.get_xscale() == "log"


def test_names_of_six_groups_do_not_overlap(axes, drawn):
    names = [
        "displaced",
        "adversarial 2",
        "adversarial 3",
        "random 0.1 Å",
        "random 0.3 Å",
        "random 1.0 Å",
    ]
    axes.figure.set_size_inches(4.7, 3.2)
    figures.energy_boxes(
        axes,
        {name: np.geomspace(1, 10 ** (k + 1), 5) for k, name in enumerate(names)},
        failed={"adversarial 2": 2},
    )
    drawn(axes, "DFT energy (kcal/mol)", "")
    for labels in (
        axes.get_yticklabels(),
        [label for label in axes.get_xticklabels() if label.get_text()],
    ):
        boxes = [label.get_window_extent() for label in labels]
        assert not any(
            one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[k + 1 :]
        )


@pytest.mark.parametrize("logarithmic", [False, True])
def test_energies_against_distances(axes, drawn, logarithmic):
    groups = {
        "displaced": (np.array([0.1, 0.2]), np.array([2.0, 5.0])),
        "adversarial": (np.array([0.4]), np.array([60.0])),
    }
    shown = plots.looks([*groups, "adversarial 3"])
    figures.energy_against_rmsd(axes, groups, logarithmic=logarithmic, shown=shown)
    drawn(axes, "RMSD from the ground state (Å)", "DFT energy (kcal/mol)")
    for dots, (rmsd, energies), name in zip(axes.collections, groups.values(), groups, strict=True):
        np.testing.assert_array_equal(dots.get_offsets(), np.column_stack([rmsd, energies]))
        assert dots.get_facecolor()[0][:3] == pytest.approx(to_rgba(shown[name].colour)[:3]), (
            "the colours are those handed in"
        )
    assert axes.get_xlim()[0] == 0
    assert axes.get_yscale() == ("log" if logarithmic else "linear")
    assert (axes.get_ylim()[0] > 0) == logarithmic
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(groups)


def test_energies_below_the_ground_state_stay_in_the_picture(axes):
    figures.energy_against_rmsd(
        axes, {"generation 1": (np.array([0.1, 0.3]), np.array([-4.0, 9.0]))}, legend=False
    )
    assert axes.get_ylim()[0] < -4
    assert axes.get_legend() is None


def test_judged_energies_count_what_is_wrong(axes, drawn):
    true, said = np.array([1.0, 5.0, 99.0, 30.0]), np.array([1.2, 16.0, -7.0, 25.0])
    figures.judged_energies(axes, true, said)
    drawn(axes, "DFT energy (kcal/mol)", "committee's energy (kcal/mol)")
    (text,) = axes.get_legend().get_texts()
    assert text.get_text() == "2 of 4 wrong by more than 10"
    red = next(line for line in axes.lines if line.get_label() == text.get_text())
    np.testing.assert_array_equal(red.get_xydata(), [[5.0, 16.0], [99.0, -7.0]])
