"""How training went."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from ..events import Epoch
from .style import framed_legend


def training_curves(axes: Axes, epochs: Sequence[Epoch]) -> None:
    """Training and validation loss of every member against the epoch."""
    steps, train, valid = np.array([e.epoch for e in epochs]), np.array([e.train for e in epochs]), np.array([e.valid for e in epochs])
    checked = np.isfinite(valid).any(axis=1)                                   # not every epoch is
    axes.plot(steps, train, lw=0.9, color="0.35")
    axes.plot(steps[checked], valid[checked], lw=0.9, color="#d68910")
    axes.plot([], [], color="0.35", label="training")
    axes.plot([], [], color="#d68910", label="validation")
    axes.set(xlabel="epoch", ylabel="loss of each member", yscale="log")
    axes.grid(alpha=0.25)
    framed_legend(axes, place="upper right")
