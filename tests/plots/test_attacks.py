"""Attacks, step by step."""

from __future__ import annotations

import numpy as np

from agal_toolkit import plots


def test_losses_are_drawn_as_the_papers_print_them(axes, generations, drawn):
    adversaries = generations[0].adversaries
    plots.attack_losses(axes, adversaries)
    drawn(axes, "attack step", r"$\mathcal{L}_\mathrm{adv}$")
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), -adversaries[0].losses)
