"""Properties of a liquid by the members of a committee, beside the truth's.

Red is the committee, black and dashed the truth. Shades are 95 % bands, bars 95 % of a run's error.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from agal_toolkit.analysis.estimates import Band, Estimate
from agal_toolkit.plots.style import (
    ADVERSARIAL,
    TRUTH,
    Look,
    framed_legend,
    looks,
    plain_logarithm,
)

_NORMAL = 1.96  # standard errors in half a 95 % interval


def distribution_band(
    axes: Axes, r: NDArray, band: Band, truth: Estimate | None = None, label: str = "$g(r)$"
) -> None:
    """Draw g(r) (K,) at r (K,) angstrom: members thin, mean and band; ticks where truth is outside.

    Bins before the first pair of any member are not shown.
    """
    axes.plot(r, band.values.T, color=ADVERSARIAL, lw=0.5, alpha=0.35)
    _shaded(axes, r, band.mean, band.margin(), ADVERSARIAL, "-", str(band))
    if truth is not None:
        outside, share = r[~band.inside(truth)], 1 - band.covered(truth)
        _shaded(axes, r, truth.value, _NORMAL * truth.error, TRUTH, "--", "truth")
        if len(outside):  # an empty line that is not clipped would spoil a layout
            ticks = {"color": TRUTH, "marker": "|", "ls": "", "ms": 9, "clip_on": False}
            name = f"truth outside ({100 * share:.0f} %)"
            axes.plot(outside, 0 * outside, **ticks, label=name)
    first = max(np.argmax(band.mean > 0) - 3, 0)
    axes.set(xlabel="r (Å)", ylabel=label, xlim=(r[first], r[-1]), ylim=(0, None))
    axes.grid(alpha=0.25)
    framed_legend(axes, place="upper right")


def member_values(axes: Axes, band: Band, truth: Estimate | None = None, label: str = "") -> None:
    """Draw a number of every member beside the band of all; crosses are members left out."""
    count = len(band.values) + len(band.left_out)
    kept = [k + 1 for k in range(count) if k not in band.left_out]
    ends = np.array([0.4, count + 0.6])
    _shaded(axes, ends, band.mean, band.margin(), ADVERSARIAL, "-", "mean and 95 % band")
    if truth is not None:
        _shaded(axes, ends, truth.value, _NORMAL * truth.error, TRUTH, "--", "truth")
    bars = {"color": ADVERSARIAL, "marker": "o", "ls": "", "ms": 5, "capsize": 3}
    axes.errorbar(kept, band.values, _NORMAL * band.errors, **bars, label="member")
    if band.left_out:
        lost = [k + 1 for k in band.left_out]
        place = {"transform": axes.get_xaxis_transform(), "marker": "x", "ls": "", "color": "0.4"}
        axes.plot(lost, [0.04] * len(lost), **place, label="member left out")
    axes.set(xlabel="member", ylabel=label, xlim=ends)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    framed_legend(axes)


def property_curves(
    axes: Axes,
    runs: Mapping[str, tuple[ArrayLike, ArrayLike]],
    truth: Estimate | None = None,
    label: str = "",
    *,
    marks: Mapping[int, str] | None = None,
    shown: Mapping[str, Look] | None = None,
) -> None:
    """Draw a property against the number of labels: median and range over seeds of each strategy.

    Args:
        runs: strategy -> labels (K,) or (S, K) and values (S, K) of S seeds; NaN where missing.
        truth: a horizontal line.
        label: name and unit of the property.
        marks: number of labels -> name of a vertical line, left out beyond eight times the data.
        shown: looks of the strategies; None takes ``looks(runs)``.
    """
    shown, most = looks(runs) if shown is None else shown, 0.0
    for name, (labels, values) in runs.items():
        y = np.atleast_2d(np.asarray(values, float))
        known = np.isfinite(y).any(0)
        if known.any():
            x = np.median(np.broadcast_to(labels, y.shape)[:, known], axis=0)
            low, middle, high = np.nanpercentile(y[:, known], [0, 50, 100], axis=0)
            axes.plot(x, middle, **shown[name].style, ms=5, lw=1.5, label=name)
            axes.fill_between(x, low, high, color=shown[name].colour, alpha=0.15, lw=0)
            most = max(most, *x)
    against_labels(axes, label, marks or {}, most)
    if truth is not None:
        ends = axes.get_xlim()
        _shaded(axes, np.array(ends), truth.value, _NORMAL * truth.error, TRUTH, "--", "truth")
        axes.set_xlim(ends)
    axes.grid(alpha=0.25)
    framed_legend(axes)


def against_labels(axes: Axes, label: str, marks: Mapping[int, str], most: float) -> None:
    """Name the axes of a property against the number of labels, up to `most`, and draw marks."""
    fitting = {count: name for count, name in marks.items() if count < 8 * most}
    for count in fitting:
        axes.axvline(count, color="0.5", ls=":", lw=1.2)
    axes.set(xscale="log", xlabel="labelled structures", ylabel=label)
    plain_logarithm(axes.xaxis)
    top = axes.secondary_xaxis("top")
    top.set_xticks(list(fitting), [f"{name}\n{n}" for n, name in fitting.items()], fontsize=8)
    top.minorticks_off()


def _shaded(
    axes: Axes, x: NDArray, y: ArrayLike, margin: ArrayLike, colour: str, line: str, name: str
) -> None:
    """Draw a line and the range around it."""
    y, margin = np.broadcast_to(y, x.shape), np.broadcast_to(margin, x.shape)
    axes.fill_between(x, y - margin, y + margin, color=colour, alpha=0.2, lw=0)
    axes.plot(x, y, color=colour, ls=line, lw=1.5, label=name)
