"""Are calibrated uncertainties as large as the errors? (Cezar 2025, Figs. 2a and 2b.)

Statistics of the ratio r = e / sigma_cal and of errors against sigma, on structures used neither
for training nor for the fit. Errors within one structure are correlated, so intervals are
bootstraps over structures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from ..uncertainty.calibration import Samples
from ..uncertainty.power_law import PowerLaw

LEVELS = np.linspace(0.01, 0.99, 99)


@dataclass(frozen=True)
class Value:
    """A number and its 95 % bootstrap interval over structures.

    Attributes:
        value: Over all structures.
        low, high: The interval; equal to the value if there is only one structure.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Reliability:
    """Statistics of a law on structures that it was not fitted on.

    Attributes:
        spread: Standard deviation of r; 1 if sigma_cal is the size of errors, more if too small.
        within_1, within_2: Shares of |r| below 1 and 2; 0.683 and 0.954 for normal errors.
        nll: Mean negative log likelihood of the errors.
        area: Miscalibration area, between observed and expected coverage of central intervals of
            all levels; 0 to 1/2.
        slope: Of ln(RMS error) against ln(sigma_cal) in bins of equal numbers of samples; 1 if the
            law holds for small and large sigma.
        bins: (K, 2) root mean squares of sigma_cal and of the errors in each bin.
        structures: Number of structures.
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
    data: Samples, law: PowerLaw, *, bins: int = 12, draws: int = 400, seed: int = 0
) -> Reliability:
    """Return the statistics of a law on structures that it was not fitted on.

    Args:
        data: Uncertainties and errors, made by `uncertainty.calibration.samples`.
        law: The calibration; ``PowerLaw()`` for raw uncertainties.
        bins: Number of bins of sigma_cal, equally filled.
        draws: Number of bootstrap samples.
        seed: Of the bootstrap.

    Raises:
        ValueError: fewer samples than bins, or values that are not finite.
    """
    sigma, errors = law.at(data.sigma), data.errors
    valid = np.isfinite(sigma).all() and np.isfinite(errors).all() and (sigma > 0).all()
    if len(sigma) < bins or not valid:
        expected = f"expected at least {bins}, finite and with a positive sigma"
        remedy = "give more structures, or drop broken ones"
        raise ValueError(f"{len(sigma)} samples for {bins} bins, {expected}: {remedy}")
    names, owner = np.unique(data.owner, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    samples = np.split(order, np.cumsum(np.bincount(owner))[:-1])
    rng, draws = np.random.default_rng(seed), draws if len(names) > 1 else 0
    statistics: dict[str, Callable[[NDArray, NDArray], Any]] = {
        "spread": lambda s, e: (e / s).std(),
        "within_1": lambda s, e: (np.abs(e) < s).mean(),
        "within_2": lambda s, e: (np.abs(e) < 2 * s).mean(),
        "nll": lambda s, e: 0.5 * np.log(2 * np.pi) + np.mean(np.log(s) + 0.5 * (e / s) ** 2),
        "area": lambda s, e: np.mean(np.abs(coverage(s, e) - LEVELS)),
        "slope": lambda s, e: _slope(binned(s, e, bins)),
    }
    whole = [float(statistic(sigma, errors)) for statistic in statistics.values()]
    drawn = np.empty((draws, len(statistics)))
    # one sample after the other: all of them would fill the memory
    for row, choice in zip(drawn, rng.integers(len(names), size=(draws, len(names))), strict=True):
        rows = np.concatenate([samples[k] for k in choice])
        s, e = sigma[rows], errors[:, rows]
        row[:] = [statistic(s, e) for statistic in statistics.values()]
    limits = np.percentile(drawn, [2.5, 97.5], axis=0) if draws else np.array([whole, whole])
    columns = zip(whole, *limits.tolist(), strict=True)
    values = {name: Value(*column) for name, column in zip(statistics, columns, strict=True)}
    return Reliability(**values, bins=binned(sigma, errors, bins), structures=len(names))


def coverage(sigma: NDArray, errors: NDArray) -> NDArray:
    """Return (99,) the observed share of errors within the central interval of each of LEVELS."""
    ratio = np.sort(np.abs(errors / sigma), axis=None)
    return np.searchsorted(ratio, norm.ppf((1 + LEVELS) / 2)) / ratio.size


def binned(sigma: NDArray, errors: NDArray, bins: int) -> NDArray:
    """Return (bins, 2) root mean squares of sigma (n,) and errors (M, n) in equally filled bins."""
    rows = np.array_split(np.argsort(sigma), bins)
    squares = [(np.mean(sigma[r] ** 2), np.mean(errors[:, r] ** 2)) for r in rows]
    return np.sqrt(np.array(squares))


def _slope(points: NDArray) -> float:
    """Least squares on the logarithms of points of positive error; NaN without two of them."""
    x, y = np.log(points[(points > 0).all(axis=1)]).T
    return float(np.polyfit(x, y, 1)[0]) if len(x) > 1 and np.ptp(x) > 0 else float("nan")
