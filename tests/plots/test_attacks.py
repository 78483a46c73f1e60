"""Attacks, step by step."""

from __future__ import annotations

import numpy as np

from agal_toolkit import plots


def test_losses_are_drawn_as_the_papers_print_them(axes, generations, drawn):
    adversaries = generations[0].adversaries
    plots.attack_losses(axes, adversaries)
    drawn(axes, "attack step", r"$\mathcal{L}_\mathrm{adv}$")
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), -adversaries[0].losses)


def test_one_attack_in_three_rows(figure):
    rows = figure.subplots(3, 1, sharex=True)
    energy, sigma, losses = np.linspace(0, 50, 11), np.linspace(1, 3, 11), -np.linspace(1, 9, 11)
    plots.attack_path(
        rows, energy, sigma, losses, 7, truth=(np.array([0, 7]), np.array([0.0, 44.0]))
    )
    figure.canvas.draw()
    for axes, values in zip(rows, (energy, sigma, -losses), strict=True):
        curve, mark, kept = axes.lines[:3]
        np.testing.assert_array_equal(curve.get_ydata(), values)
        assert list(mark.get_xdata()) == [7, 7]
        np.testing.assert_array_equal(kept.get_xydata(), [[7, values[7]]])
        assert axes.get_xlim()[0] < 0
        assert axes.get_xlim()[1] > 10
    assert [axes.get_xlabel() for axes in rows] == ["", "", "attack step"]
    assert [axes.get_ylabel() for axes in rows] == [
        "energy\n(kcal/mol)",
        "$\\sigma_F$\n(kcal/mol/Å)",
        r"$\mathcal{L}_\mathrm{adv}$",
    ]
    assert rows[0].lines[3].get_ydata().tolist() == [0.0, 44.0]
    names = [text.get_text() for text in rows[0].get_legend().get_texts()]
    assert names == ["committee", "kept", "DFT"]
