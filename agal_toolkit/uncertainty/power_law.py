"""Power laws from the disagreement of members to their error, sigma_cal = a sigma^b.

With e the error of a prediction, a and b maximise the likelihood of normal errors (Cezar 2025,
Sec. II A, Eqs. 3 to 5, whose constant should read ln 2 pi):

    NLL(ln a, b) = 1/2 ln 2 pi + mean[ s + e^2 exp(-2 s) / 2 ],    s = ln a + b ln sigma.

It is convex in (ln a, b). For given b the best a is closed form, a^2 = mean(e^2 sigma^(-2b)), and b
is the root of a monotonic function: where the mean of ln sigma weighted with e^2 sigma^(-2b) equals
the plain mean. So there is one fit, it needs no starting point, and scaling energies or lengths
scales it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import logsumexp, softmax
from torch import Tensor

Form = Literal["power", "linear", "identity"]
FORMS: tuple[Form, ...] = ("power", "linear", "identity")
FLOOR = 1e-12  # eV/angstrom and eV: under every root, whose slope is infinite where members agree


class CalibrationRefused(ValueError):
    """Data that do not determine a law."""


@dataclass(frozen=True)
class PowerLaw:
    """sigma_cal = a sigma^b, and the range of sigma that it was fitted on.

    Attributes:
        scale: a, in eV/angstrom or eV to the power 1 - b.
        exponent: b; 1 is a linear law, and a = b = 1 the identity.
        low, high: limits of the middle 95 % of sigma in the fit; beyond them the law rests on few
            samples.
        samples: number of values of sigma in the fit.
        nll: mean negative logarithm of the likelihood that the fit reached.
        error: root mean square of the errors in the fit, in the unit of sigma.
    """

    scale: float = 1.0
    exponent: float = 1.0
    low: float = 0.0
    high: float = math.inf
    samples: int = 0
    nll: float = math.nan
    error: float = math.nan

    def __post_init__(self) -> None:
        law = (self.scale, self.exponent)
        if not (all(0 < value < math.inf for value in law) and 0 <= self.low <= self.high):
            wrong = "expected a finite scale and exponent above 0, and 0 <= low <= high"
            raise CalibrationRefused(f"{self!r}: {wrong}; fit it on other data")

    @classmethod
    def fit(cls, sigma: ArrayLike, errors: ArrayLike, form: Form = "power") -> PowerLaw:
        """Fit the most likely law.

        Args:
            sigma: (n,) standard deviations over members, positive.
            errors: (n,) or (M, n), predicted minus true, of the mean or of each member.
            form: "power"; "linear", b = 1; "identity", which fits nothing and measures how good raw
                values are.

        Raises:
            CalibrationRefused: no samples; values that are not finite; sigma zero; errors all zero;
                for a power law also constant sigma, or an exponent that is not positive, because
                then a larger disagreement would mean a smaller error.
        """
        sigma, errors = np.asarray(sigma, dtype=float).ravel(), np.asarray(errors, dtype=float)
        if form not in FORMS:
            raise ValueError(f"form is {form!r}, expected one of {', '.join(FORMS)}")
        if not sigma.size or errors.shape[-1:] != sigma.shape:
            wrong = f"{sigma.size} uncertainties and errors of shape {errors.shape}"
            remedy = "give errors (n,) or (members, n) of the same n > 0 samples"
            raise CalibrationRefused(f"{wrong}: {remedy}")
        if not np.isfinite(sigma).all() or not np.isfinite(errors).all():
            wrong = "some uncertainties or errors are not finite"
            raise CalibrationRefused(f"{wrong}: drop the structures they belong to")
        if (sigma <= 0).any():
            wrong = f"{int((sigma <= 0).sum())} of {sigma.size} uncertainties are zero"
            question = "do members share their weights, or a symmetry of all structures?"
            raise CalibrationRefused(f"{wrong}: {question}")
        squares = np.mean(np.square(errors.reshape(-1, sigma.size)), axis=0)
        if not squares.any():
            remedy = "calibrate on structures that the members were not trained on"
            raise CalibrationRefused(f"all errors are zero: {remedy}")
        log_sigma = np.log(sigma)
        b = _exponent(log_sigma, squares) if form == "power" else 1.0
        log_a = 0.0 if form == "identity" else 0.5 * _log_mean(squares, -2 * b * log_sigma)
        s = log_a + b * log_sigma
        half_square = 0.5 * math.exp(_log_mean(squares, -2 * s))
        nll = 0.5 * math.log(2 * math.pi) + float(np.mean(s) + half_square)
        low, high = np.quantile(sigma, [0.025, 0.975])
        error = float(np.sqrt(squares.mean()))
        return cls(math.exp(log_a), b, float(low), float(high), sigma.size, nll, error)

    def __call__(self, variance: Tensor) -> Tensor:
        """Return sigma_cal^2 of variances of any shape; its slope is finite where they are zero."""
        return self.scale**2 * (variance + FLOOR**2) ** self.exponent

    def at(self, sigma: ArrayLike) -> NDArray:
        """Return sigma_cal of sigma of any shape."""
        return self.scale * np.asarray(sigma, dtype=float) ** self.exponent

    def __repr__(self) -> str:
        fitted = f", mostly seen from {self.low:.3g} to {self.high:.3g}" if self.samples else ""
        return f"PowerLaw(sigma_cal = {self.scale:.4g} sigma^{self.exponent:.4g}{fitted})"


def _log_mean(squares: NDArray, exponents: NDArray) -> float:
    """ln mean(squares exp(exponents)), without overflow."""
    return cast(float, logsumexp(_log(squares) + exponents)) - math.log(squares.size)


def _log(squares: NDArray) -> NDArray:
    return np.log(squares, out=np.full(squares.shape, -np.inf), where=squares > 0)


def _exponent(log_sigma: NDArray, squares: NDArray) -> float:
    spread = log_sigma.max() - log_sigma.min()
    if spread < 1e-9 * max(1.0, float(np.abs(log_sigma).max())):
        wrong = "all uncertainties are equal, so there is no exponent to fit"
        raise CalibrationRefused(f"{wrong}: use the linear law, or more varied structures")
    centred, log_squares = log_sigma - log_sigma.mean(), _log(squares)

    def tilt(b: float) -> float:
        """The weighted mean of ln sigma minus the plain mean; it falls with b."""
        return float(softmax(log_squares - 2 * b * centred) @ centred)

    reach = 1.0
    while tilt(-reach) <= 0 or tilt(reach) >= 0:
        reach *= 2
        if reach > 1e4:
            wrong = "only structures of the lowest (or highest) uncertainty have errors"
            raise CalibrationRefused(f"{wrong}: calibrate on more structures")
    tolerance = {"xtol": 1e-12, "rtol": np.float64(1e-12)}
    b = cast(float, brentq(tilt, -reach, reach, **tolerance))
    if b <= 0:
        wrong = f"the fitted exponent is {b:.3g}: a larger disagreement would mean a smaller error"
        raise CalibrationRefused(f"{wrong}; use the linear law, more members, or more structures")
    return b
