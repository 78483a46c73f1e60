"""How training went."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ..events import Epoch
from .style import framed_legend

_TRAINING, _VALIDATION = "0.35", "#d68910"


def training_curves(axes: Axes, epochs: Sequence[Epoch]) -> None:
    """Draw training and validation loss of every member against the epoch."""
    steps = np.array([record.epoch for record in epochs])
    train = np.array([record.train for record in epochs])
    valid = np.array([record.valid for record in epochs])
    checked = np.isfinite(valid).any(axis=1)  # validation may skip epochs
    axes.plot(steps, train, lw=0.9, color=_TRAINING)
    axes.plot(steps[checked], valid[checked], lw=0.9, color=_VALIDATION)
    axes.plot([], [], color=_TRAINING, label="training")
    axes.plot([], [], color=_VALIDATION, label="validation")
    axes.set(xlabel="epoch", ylabel="loss of each member", yscale="log")
    second_half = slice(len(train) // 2, None)
    late = np.concatenate([train[second_half], valid[second_half]])
    _make_room_for_a_legend(axes, np.concatenate([train, valid[checked]]), late)
    axes.grid(alpha=0.25)
    framed_legend(axes, place="upper right")


def _make_room_for_a_legend(axes: Axes, values: NDArray, right: NDArray) -> None:
    """Raise a logarithmic axis until `right`, the values on the right, leave its top third free."""
    drawn, late = (some[np.isfinite(some) & (some > 0)] for some in (values, right))
    if len(late):
        axes.set_ylim(top=max(axes.get_ylim()[1], late.max() * (late.max() / drawn.min()) ** 0.55))
