"""How training went, and how long it has to go on until what is learned stands still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ..events import Epoch
from .style import Look, framed_legend, looks, plain_logarithm


def training_curves(axes: Axes, epochs: Sequence[Epoch]) -> None:
    """Training and validation loss of every member against the epoch."""
    steps, train, valid = (
        np.array([e.epoch for e in epochs]),
        np.array([e.train for e in epochs]),
        np.array([e.valid for e in epochs]),
    )
    checked = np.isfinite(valid).any(axis=1)  # not every epoch is
    axes.plot(steps, train, lw=0.9, color="0.35")
    axes.plot(steps[checked], valid[checked], lw=0.9, color="#d68910")
    axes.plot([], [], color="0.35", label="training")
    axes.plot([], [], color="#d68910", label="validation")
    axes.set(xlabel="epoch", ylabel="loss of each member", yscale="log")
    _room_for_a_legend(
        axes,
        np.concatenate([train, valid[checked]]),
        np.concatenate([train[len(train) // 2 :], valid[len(train) // 2 :]]),
    )
    axes.grid(alpha=0.25)
    framed_legend(axes, place="upper right")


def _room_for_a_legend(axes: Axes, values: NDArray, right: NDArray) -> None:
    """A logarithmic axis high enough that `right`, what is drawn of `values` in its right half,
    leaves the upper third free.
    """
    known, late = (some[np.isfinite(some) & (some > 0)] for some in (values, right))
    if len(late):
        axes.set_ylim(top=max(axes.get_ylim()[1], late.max() * (late.max() / known.min()) ** 0.55))


def convergence_curves(
    axes: Axes,
    curves: Mapping[str, tuple[NDArray, NDArray]],
    label: str = "error of the barrier (kcal/mol)",
    *,
    spread: Mapping[str, tuple[NDArray, NDArray]] | None = None,
    tolerance: float | None = 0.05,
    logarithmic: bool = False,
    shown: Mapping[str, Look] | None = None,
) -> None:
    """A quantity against steps of training on a logarithmic axis, with a band around where each
    curve ends.

    A curve that stays within its band has converged. Steps must be positive.

    Args:
        curves: name -> steps (n,), ascending, and values (n,): errors of the barrier or root mean
            square errors, kcal/mol.
        label: of the vertical axis, with its unit.
        spread: name -> lower and upper end (n,) of its scatter over seeds, drawn lightly.
        tolerance: half width of the band around the last value, kcal/mol; None draws none.
        logarithmic: the scale of values, which must be positive then.
        shown: how each name looks; None takes ``looks(curves)``.
    """
    shown = looks(curves) if shown is None else shown
    for name, (steps, values) in curves.items():
        look = shown[name]
        if spread is not None and name in spread:
            axes.fill_between(steps, *spread[name], color=look.colour, alpha=0.14, lw=0)
        if tolerance is not None and len(values):
            axes.axhspan(
                values[-1] - tolerance,
                values[-1] + tolerance,
                color=look.colour,
                alpha=0.3,
                lw=0,
                zorder=1,
            )
        axes.plot(
            steps,
            values,
            look.line,
            marker=look.marker,
            ms=4,
            lw=1.6,
            color=look.colour,
            label=name,
            zorder=3,
        )
    axes.set(xlabel="training steps", ylabel=label, xscale="log")
    plain_logarithm(axes.xaxis, (1, 3))
    if logarithmic:
        axes.set_yscale("log")
        plain_logarithm(axes.yaxis)
    elif any(np.min(values, initial=0) < 0 for _, values in curves.values()):
        axes.axhline(0, color="0.15", lw=0.8, zorder=0)
    axes.grid(alpha=0.25)
    framed_legend(axes)
