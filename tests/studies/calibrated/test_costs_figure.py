"""A picture of what slopes cost."""

from __future__ import annotations

import numpy as np

from studies.calibrated.costs_figure import gradient_costs


def test_a_line_for_each_gradient(axes, drawn):
    rows = [
        {"gradient": name, "atoms": n, "calls": calls(n)}
        for n in (64, 8, 512)
        for name, calls in (
            ("HessianVector", lambda n: 3),
            ("FiniteDifference", lambda n: 3 * n + 7),
        )
    ]
    rows.append({"gradient": "HessianVector", "atoms": 16, "calls": None})  # was not measured
    gradient_costs(axes, rows, "calls", "force calls of each member")
    drawn(axes, "atoms", "force calls of each member")
    assert axes.get_xscale() == axes.get_yscale() == "log"
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    np.testing.assert_array_equal(lines["FiniteDifference"], [[8, 31], [64, 199], [512, 1543]])
    np.testing.assert_array_equal(lines["HessianVector"][:, 1], 3)
