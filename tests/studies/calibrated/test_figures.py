"""Pictures of ratios, errors and targets."""

from __future__ import annotations

import numpy as np
import pytest

from studies.calibrated import figures
from studies.calibrated.ratios import RATIOS, counted, within


def test_densities_of_ratios(axes, drawn, rng):
    r = rng.normal(size=20000)
    figures.ratio_densities(
        axes, {"calibrated": counted(r), "raw": counted(np.append(1.6 * r[:999], 50.0))}
    )
    drawn(axes, "r = error / uncertainty", "density")
    normal, calibrated = axes.lines[0].get_xydata(), axes.lines[1].get_xydata()
    near = np.abs(calibrated[:, 0]) < 2
    np.testing.assert_allclose(
        calibrated[near, 1], np.interp(calibrated[near, 0], *normal.T), rtol=0.2
    )
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "normal",
        "calibrated",
        "raw",
    ]
    assert [text.get_text() for text in axes.texts] == ["beyond ±6:\nraw 0.1%"]


def test_counts_keep_everything(rng):
    r = np.append(rng.normal(size=500), [-7.0, 6.5, 90.0])
    counts = counted(r)
    assert counts.shape == (len(RATIOS) + 1,)
    assert counts.sum() == 503
    assert counts[0] == 1
    assert counts[-1] == 2


def test_densities_of_errors(axes, drawn, rng):
    edges = np.linspace(0, 1, 51)
    counts = {
        name: np.histogram(np.abs(rng.normal(0, s, 5000)), [*edges, np.inf])[0]
        for name, s in (("MD", 0.1), ("attack", 0.2))
    }
    figures.error_densities(axes, counts, edges)
    drawn(axes, "force error, each member and atom (eV/Å)", "density (1/(eV/Å))")
    assert len(axes.lines) == len(counts)
    for line in axes.lines:
        assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(1, abs=0.1)
    assert 0.3 < axes.get_xlim()[1] < 0.8


def test_means_against_targets(axes, drawn):
    figures.delivered(
        axes, {"attack": ([0.1, 0.2], [0.11, 0.23], [[0.1, 0.12], [0.2, 0.26]])}, "error found"
    )
    drawn(axes, "target (eV/Å)", "error found (eV/Å)")
    (bars,) = axes.containers
    np.testing.assert_allclose(bars.lines[0].get_xydata(), [[0.1, 0.11], [0.2, 0.23]])
    np.testing.assert_allclose(
        bars.lines[2][0].get_segments(), [[[0.1, 0.1], [0.1, 0.12]], [[0.2, 0.2], [0.2, 0.26]]]
    )


def test_arrows_from_start_to_end(axes, drawn):
    figures.arrivals(axes, [0.2, 0.1], [0.15, 0.15], 0.15, "uncertainty (eV/Å)")
    drawn(axes, "structure", "uncertainty (eV/Å)")
    assert [(note.xyann, note.xy) for note in axes.texts] == [
        ((1, 0.2), (1, 0.15)),
        ((2, 0.1), (2, 0.15)),
    ]


def test_boxes_of_groups(axes, drawn, rng):
    figures.boxes(
        axes,
        {"attack": rng.normal(size=30), "random rattle": np.arange(5.0)},
        "participation",
        ideal=1.0,
    )
    drawn(axes, "participation", "")
    assert [text.get_text() for text in axes.get_yticklabels()] == ["attack", "random rattle"]


def test_shares_are_told_from_counts(rng):
    r = rng.normal(size=4000)
    for limit in (1, 2):
        assert within(counted(np.append(r, [9.0, -9.0])), limit) == pytest.approx(
            np.sum(np.abs(r) < limit) / 4002, abs=1e-12
        )
    with pytest.raises(ValueError, match="ratios are counted between"):
        within(counted(r), 1.5)
