"""Where trajectories have been."""

from __future__ import annotations

import numpy as np
import pytest

from agal_toolkit import plots
from agal_toolkit.dynamics import Trajectory


def test_density_is_normalised(axes, rng, drawn):
    trajectory = Trajectory(np.arange(5.0), rng.uniform(-1, 1, (5, 400, 1, 2)), np.zeros((5, 400)))
    plots.position_density(axes, {"flat": trajectory}, (np.array([-1.0, 1.0]), np.array([0.5, 0.5])))
    drawn(axes, "x", "density of frames")
    values, edges, _ = axes.patches[0].get_data()
    assert (values * np.diff(edges)).sum() == pytest.approx(1.0)
