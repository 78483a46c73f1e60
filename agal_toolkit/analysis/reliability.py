"""Whether calibrated uncertainties are errors: the ratio r = e / sigma_cal against the normal, and
errors against sigma (Cezar 2025, Figs. 2a and 2b).

To be asked on structures that served neither for training nor for the fit. Components of one
structure err together, so intervals are bootstraps over structures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from ..uncertainty.calibration import Samples
from ..uncertainty.power_law import PowerLaw

LEVELS = np.linspace(0.01, 0.99, 99)
RATIOS = np.linspace(-6.0, 6.0, 61)  # edges of bins of r


@dataclass(frozen=True)
class Value:
    """A number and its 95 % bootstrap interval over structures.

    Attributes:
        value: of all structures.
        low, high: the interval; the value itself where there is one structure.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Reliability:
    """What a law is worth on other structures than those of its fit.

    Attributes:
        spread: standard deviation of r; 1 where sigma_cal is the size of errors, more where it is
            too small.
        within_1, within_2: shares of |r| below 1 and 2; 0.683 and 0.954 for normal errors.
        nll: mean negative logarithm of the likelihood of the errors.
        area: miscalibration area, between the observed and the expected coverage of central
            intervals of all levels; 0 to 1/2.
        slope: of ln(rms error) against ln(sigma_cal) in bins of equal numbers of samples; 1 where
            the law holds throughout.
        bins: (K, 2) root mean squares of sigma_cal and of the errors in each bin.
        structures: that it rests on.
    """

    spread: Value
    within_1: Value
    within_2: Value
    nll: Value
    area: Value
    slope: Value
    bins: NDArray
    structures: int


def reliability(
    found: Samples, law: PowerLaw, *, bins: int = 12, draws: int = 400, seed: int = 0
) -> Reliability:
    """Statistics of a law on structures that it was not fitted on.

    Args:
        found: their uncertainties and errors, see
            :func:`~agal_toolkit.uncertainty.calibration.samples`.
        law: to be judged; ``PowerLaw()`` for raw uncertainties.
        bins: of sigma_cal, equally filled.
        draws: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        ValueError: fewer samples than bins, or values that are no numbers.
    """
    sigma = law.at(found.sigma)
    if (
        len(sigma) < bins
        or not np.isfinite(sigma).all()
        or not np.isfinite(found.errors).all()
        or (sigma <= 0).any()
    ):
        raise ValueError(
            f"{len(sigma)} samples for {bins} bins, all of which must be numbers with a positive"
            " sigma: give more structures, or drop broken ones"
        )
    names, owner = np.unique(found.owner, return_inverse=True)
    members = [np.flatnonzero(owner == k) for k in range(len(names))]
    drawn = np.random.default_rng(seed).integers(
        len(names), size=(draws if len(names) > 1 else 0, len(names))
    )
    chosen = [np.concatenate([members[k] for k in row]) for row in drawn]

    def value(statistic: Callable[[NDArray, NDArray], float]) -> Value:
        whole = statistic(sigma, found.errors)
        spread = (
            np.percentile(
                [statistic(sigma[rows], found.errors[:, rows]) for rows in chosen], [2.5, 97.5]
            )
            if chosen
            else (whole, whole)
        )
        return Value(float(whole), float(spread[0]), float(spread[1]))

    return Reliability(
        spread=value(lambda s, e: (e / s).std()),
        within_1=value(lambda s, e: (np.abs(e) < s).mean()),
        within_2=value(lambda s, e: (np.abs(e) < 2 * s).mean()),
        nll=value(lambda s, e: 0.5 * np.log(2 * np.pi) + np.mean(np.log(s) + 0.5 * (e / s) ** 2)),
        area=value(_area),
        slope=value(lambda s, e: _slope(binned(s, e, bins))),
        bins=binned(sigma, found.errors, bins),
        structures=len(names),
    )


def counted(ratios: ArrayLike) -> NDArray:
    """(62,) how many ratios r, of any shape, lie below, in each bin between, and above the edges
    RATIOS.
    """
    return np.histogram(ratios, [-np.inf, *RATIOS, np.inf])[0]


def within(counts: ArrayLike, limit: float) -> float:
    """Share of ratios between -`limit` and `limit` of (62,) as :func:`counted` counts them.

    Raises:
        ValueError: a limit that is none of RATIOS.
    """
    if not np.isclose(RATIOS, limit).any():
        raise ValueError(
            f"limit is {limit}, and ratios are counted between {RATIOS[0]:g}, {RATIOS[1]:g}, ...,"
            f" {RATIOS[-1]:g}"
        )
    counts, edges = np.asarray(counts), np.array([-np.inf, *RATIOS, np.inf])
    inside = (edges[:-1] > -limit - 1e-9) & (edges[1:] < limit + 1e-9)
    return float(counts[inside].sum() / counts.sum())


def coverage(sigma: NDArray, errors: NDArray) -> NDArray:
    """(99,) observed share of errors within the central interval of each of LEVELS."""
    ratio = np.sort(np.abs(errors / sigma), axis=None)
    return np.searchsorted(ratio, norm.ppf((1 + LEVELS) / 2)) / ratio.size


def binned(sigma: NDArray, errors: NDArray, bins: int) -> NDArray:
    """(bins, 2) root mean squares of sigma (n,) and of errors (M, n), in bins of equal numbers of
    samples, ascending.
    """
    parts = np.array_split(np.argsort(sigma), bins)
    return np.array(
        [
            [np.sqrt(np.mean(sigma[rows] ** 2)), np.sqrt(np.mean(errors[:, rows] ** 2))]
            for rows in parts
        ]
    )


def _area(sigma: NDArray, errors: NDArray) -> float:
    return float(np.mean(np.abs(coverage(sigma, errors) - LEVELS)))


def _slope(points: NDArray) -> float:
    """Least squares on the logarithms of points of positive error."""
    x, y = np.log(points[(points > 0).all(axis=1)]).T
    return float(np.polyfit(x, y, 1)[0]) if len(x) > 1 and np.ptp(x) > 0 else float("nan")
