"""Ratios r = e / sigma_cal of errors and calibrated uncertainties, counted as records hold them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

RATIOS = np.linspace(-6.0, 6.0, 61)  # edges of bins of r


def counted(ratios: ArrayLike) -> NDArray:
    """Count the ratios r below, between and above the edges RATIOS: (62,)."""
    return np.histogram(ratios, [-np.inf, *RATIOS, np.inf])[0]


def within(counts: ArrayLike, limit: float) -> float:
    """Return the share of ratios between -`limit` and `limit` from (62,) :func:`counted` ratios.

    Raises:
        ValueError: a limit that is none of RATIOS.
    """
    if not np.isclose(RATIOS, limit).any():
        edges = f"{RATIOS[0]:g}, {RATIOS[1]:g}, ..., {RATIOS[-1]:g}"
        raise ValueError(f"limit is {limit}, and ratios are counted between {edges}: give an edge")
    counts, edges = np.asarray(counts), np.array([-np.inf, *RATIOS, np.inf])
    inside = (edges[:-1] > -limit - 1e-9) & (edges[1:] < limit + 1e-9)
    return float(counts[inside].sum() / counts.sum())
