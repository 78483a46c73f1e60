"""How large an error a committee's disagreement stands for: sigma_cal = a sigma^b (Cezar 2025, Sec. II A).

With e the error of a prediction and r = e / sigma_cal, a and b maximise the likelihood of normal errors (Cezar 2025, Eqs. 3
to 5, whose constant should read ln 2 pi):

    NLL(ln a, b) = 1/2 ln 2 pi + mean[ s + e^2 exp(-2 s) / 2 ],    s = ln a + b ln sigma.

It is convex in (ln a, b). For given b the best a is closed form, a^2 = mean(e^2 sigma^(-2b)), and b is the root of a function
that only rises: where the mean of ln sigma weighted with e^2 sigma^(-2b) is the plain mean. So there is one fit, found
without a starting point, and scaling energies or lengths scales it.

Everything is fitted on structures of the calibration role, which no member has seen. Forces and virials are calibrated
component by component, energies and virials per atom.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import logsumexp, softmax
from torch import Tensor

from .dataset import Dataset
from .geometry import Batch, Prediction
from .uncertainty import component_variance, energy_variance, virial_variance

Form = Literal["power", "linear", "identity"]
FORMS: tuple[Form, ...] = ("power", "linear", "identity")
FLOOR = 1e-12                  # eV/angstrom and eV: under every root, whose slope is infinite where members agree


class CalibrationRefused(ValueError):
    """Data that cannot say what an uncertainty is worth."""


@dataclass(frozen=True)
class Law:
    """sigma_cal = a sigma^b, and where it was seen to hold.

    Attributes:
        scale: a, in eV/angstrom or eV to the power 1 - b.
        exponent: b; 1 is a linear law, and a = b = 1 the identity.
        low, high: the smallest and largest sigma of the fit; outside of them the law is a guess.
        samples: values of sigma in the fit.
        nll: what the fit reached, the mean negative logarithm of the likelihood.
    """

    scale: float = 1.0
    exponent: float = 1.0
    low: float = 0.0
    high: float = math.inf
    samples: int = 0
    nll: float = math.nan

    @classmethod
    def fit(cls, sigma: ArrayLike, errors: ArrayLike, form: Form = "power") -> Law:
        """The most likely law.

        Args:
            sigma: (n,) standard deviations over members, positive.
            errors: (n,) or (M, n), predicted less true, of the mean or of each member.
            form: "power"; "linear", b = 1; "identity", which fits nothing and tells how good raw values are.

        Raises:
            CalibrationRefused: no samples; values that are no numbers; sigma zero; errors all zero; for a power law also sigma
                that is constant, or an exponent that is not positive, for then a larger disagreement would mean a smaller error.
        """
        sigma, errors = np.asarray(sigma, dtype=float).ravel(), np.asarray(errors, dtype=float)
        if form not in FORMS:
            raise ValueError(f"form is {form!r}, expected one of {', '.join(FORMS)}")
        if not sigma.size or errors.shape[-1:] != sigma.shape:
            raise CalibrationRefused(f"{sigma.size} uncertainties and errors of shape {errors.shape}: give errors (n,) or (members, n) of the same n > 0 samples")
        if not np.isfinite(sigma).all() or not np.isfinite(errors).all():
            raise CalibrationRefused("some uncertainties or errors are not numbers: drop the structures that they belong to")
        if (sigma <= 0).any():
            raise CalibrationRefused(f"{int((sigma <= 0).sum())} of {sigma.size} uncertainties are zero: do members share their weights, or a symmetry of all structures?")
        squares = np.mean(np.square(errors.reshape(-1, sigma.size)), axis=0)
        if not squares.any():
            raise CalibrationRefused("all errors are zero: calibrate on structures that the members were not trained on")
        logs = np.log(sigma)
        exponent = _exponent(logs, squares) if form == "power" else 1.0
        log_scale = 0.0 if form == "identity" else 0.5 * _log_mean(squares, -2 * exponent * logs)
        s = log_scale + exponent * logs
        nll = 0.5 * math.log(2 * math.pi) + float(np.mean(s) + 0.5 * math.exp(_log_mean(squares, -2 * s)))
        return cls(math.exp(log_scale), exponent, float(sigma.min()), float(sigma.max()), sigma.size, nll)

    def __call__(self, variance: Tensor) -> Tensor:
        """sigma_cal^2 from variances of any shape; its slope is finite where they are zero."""
        return self.scale**2 * (variance + FLOOR**2) ** self.exponent

    def at(self, sigma: ArrayLike) -> NDArray:
        """sigma_cal from sigma of any shape."""
        return self.scale * np.asarray(sigma, dtype=float) ** self.exponent

    @property
    def crossing(self) -> float | None:
        """The sigma from which on the calibrated value is below the raw one (b < 1), or up to which it is (b > 1); None for a linear law."""
        return None if self.exponent == 1 else self.scale ** (1 / (1 - self.exponent))

    def __repr__(self) -> str:
        seen = f", seen from {self.low:.3g} to {self.high:.3g}" if self.samples else ""
        return f"Law(sigma_cal = {self.scale:.4g} sigma^{self.exponent:.4g}{seen})"


def _log_mean(squares: NDArray, exponents: NDArray) -> float:
    """ln mean(squares exp(exponents)), without overflow."""
    return float(logsumexp(_log(squares) + exponents) - math.log(squares.size))


def _log(squares: NDArray) -> NDArray:
    """Logarithms, minus infinity for zeros."""
    return np.log(squares, out=np.full(squares.shape, -np.inf), where=squares > 0)


def _exponent(logs: NDArray, squares: NDArray) -> float:
    """b of the power law."""
    spread = logs.max() - logs.min()
    if spread < 1e-9 * max(1.0, float(np.abs(logs).max())):
        raise CalibrationRefused("all uncertainties are equal, so there is no exponent to fit: take the linear law, or more varied structures")
    centred, log_squares = logs - logs.mean(), _log(squares)

    def tilt(b: float) -> float:
        return float(softmax(log_squares - 2 * b * centred) @ centred)

    reach = 1.0
    while tilt(-reach) <= 0 or tilt(reach) >= 0:
        reach *= 2
        if reach > 1e4:
            raise CalibrationRefused("only structures of the lowest (or highest) uncertainty have errors: calibrate on more structures")
    found = float(brentq(tilt, -reach, reach, xtol=1e-12, rtol=1e-12))
    if found <= 0:
        raise CalibrationRefused(
            f"the fitted exponent is {found:.3g}: a larger disagreement would mean a smaller error; take the linear law, more members, or more structures"
        )
    return found


@dataclass(frozen=True)
class Samples:
    """Uncertainties and errors of one quantity on some structures.

    Attributes:
        sigma: (n,) standard deviation over members, raw.
        errors: (M, n) of every member, or (1, n) of the mean.
        owner: (n,) index of the structure that each sample belongs to.
    """

    sigma: NDArray
    errors: NDArray
    owner: NDArray


QUANTITIES = ("forces", "energy", "virial")


def samples(prediction: Prediction, data: Dataset, quantity: str = "forces", of: Literal["members", "mean"] = "members") -> Samples:
    """What a committee said of labelled structures beside the labels.

    Args:
        prediction: (M, ...) of the structures of `data`, as ``committee.predict(data)`` gives it.
        data: B structures, N particles in d dimensions.
        quantity: "forces", N d components, eV/angstrom; "energy", B values, eV per atom; "virial", d d components of the stress
            times the volume of each structure that has a labelled stress, eV per atom.
        of: errors of every member (Cezar 2025, Eq. 1), or of the mean.

    Raises:
        ValueError: another quantity; no structure with a labelled stress.
    """
    batch = Batch.of(list(data))
    if quantity == "forces":
        said, known, variance = prediction.forces, torch.tensor(np.concatenate(data.forces)), component_variance(prediction)
        owner = batch.owner[:, None].expand(variance.shape)
    elif quantity == "energy":
        said, known = prediction.energy / batch.counts, torch.tensor(data.energies) / batch.counts
        variance, owner = energy_variance(prediction) / batch.counts.square(), torch.arange(len(batch))
    elif quantity == "virial":
        has = [i for i, (label, geometry) in enumerate(zip(data.labels, data, strict=True)) if label.stress is not None and geometry.pbc.all()]
        if not has:
            raise ValueError("no structure has a labelled stress: virials need periodic structures and a reference that gives stress")
        size = (torch.linalg.det(batch.cell).abs() / batch.counts)[has, None, None]
        said, known = prediction.stress[:, has] * size, torch.tensor(np.stack([data.labels[i].stress for i in has])) * size
        variance = virial_variance(prediction, batch)[has]
        owner = torch.tensor(has)[:, None, None].expand(variance.shape)
    else:
        raise ValueError(f"quantity is {quantity!r}, expected one of {', '.join(QUANTITIES)}")
    errors = said.double() - known
    errors = errors if of == "members" else errors.mean(0, keepdim=True)
    return Samples(variance.double().sqrt().flatten().numpy(), errors.flatten(1).numpy(), owner.flatten().numpy())


@dataclass(frozen=True)
class Calibration:
    """Laws for all quantities of a committee.

    Attributes:
        forces: for force components, eV/angstrom.
        energy: for energies per atom, eV; None where it was not fitted.
        virial: for components of the virial per atom, eV; None where it was not fitted.
        notes: what had to be done otherwise than asked, a sentence each.
    """

    forces: Law
    energy: Law | None = None
    virial: Law | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls, prediction: Prediction, data: Dataset, form: Form = "power", *, of: Literal["members", "mean"] = "members", quantities: tuple[str, ...] = QUANTITIES,
    ) -> Calibration:
        """Laws of one form.

        Args:
            prediction: of the structures of `data`.
            data: labelled structures that no member was trained on.
            form: of all laws.
            of: whose errors, see :func:`samples`.
            quantities: that get a law; forces always do. Virials are left out where no stress is labelled.

        Raises:
            CalibrationRefused: data that cannot tell, see :meth:`Law.fit`; the quantity is named.
        """
        laws: dict[str, Any] = {}
        for quantity in _wanted(data, quantities):
            found = samples(prediction, data, quantity, of)
            try:
                laws[quantity] = Law.fit(found.sigma, found.errors, form)
            except CalibrationRefused as refused:
                raise CalibrationRefused(f"{quantity}: {refused}") from None
        return cls(**laws)

    @classmethod
    def careful(cls, prediction: Prediction, data: Dataset, *, few: int = 5, of: Literal["members", "mean"] = "members") -> Calibration:
        """Power laws, and where there are fewer than `few` structures or one is refused a linear law, which the notes say; what has neither is left out.

        Raises:
            CalibrationRefused: forces that not even a linear law fits.
        """
        laws: dict[str, Any] = {}
        notes: list[str] = []
        for quantity in _wanted(data, QUANTITIES):
            found = samples(prediction, data, quantity, of)
            for form in ("power", "linear"):
                if form == "power" and len(data) < few:
                    notes.append(f"{quantity}: a linear law, as {len(data)} structures are too few for an exponent")
                    continue
                try:
                    laws[quantity] = Law.fit(found.sigma, found.errors, form)
                    break
                except CalibrationRefused as refused:
                    if form == "linear" and quantity == "forces":
                        raise
                    notes.append(f"{quantity}: no {form} law, {refused}")
        return cls(**laws, notes=tuple(notes))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file; :meth:`from_json` reads them back."""
        return {quantity: None if getattr(self, quantity) is None else asdict(getattr(self, quantity)) for quantity in QUANTITIES} | {"notes": list(self.notes)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Calibration:
        """The inverse of :meth:`to_json`."""
        laws = {quantity: None if stored[quantity] is None else Law(**stored[quantity]) for quantity in QUANTITIES}
        return cls(**laws, notes=tuple(stored["notes"]))

    def atomic_variance(self, prediction: Prediction) -> Tensor:
        """(N,) (eV/angstrom)^2: calibrated force uncertainty of each atom squared, the sum over components (Cezar 2025, Eq. 9)."""
        return self.forces(component_variance(prediction)).sum(-1)

    def energy_sigma(self, prediction: Prediction, batch: Batch) -> Tensor:
        """(B,) eV per atom.

        Raises:
            ValueError: energies without a law.
        """
        return self.law("energy")(energy_variance(prediction) / batch.counts.square()).sqrt()

    def virial_sigma(self, prediction: Prediction, batch: Batch) -> Tensor:
        """(B, d, d) eV per atom.

        Raises:
            ValueError: virials without a law.
        """
        return self.law("virial")(virial_variance(prediction, batch)).sqrt()

    def law(self, quantity: str) -> Law:
        """That of a quantity.

        Raises:
            ValueError: it was not fitted.
        """
        law = getattr(self, quantity)
        if law is None:
            raise ValueError(f"this calibration has no law for {quantity}: calibrate on data that are labelled with it")
        return law

    def outside(self, target: float, quantity: str = "forces") -> str | None:
        """A warning where a target (of one component) lies outside the uncertainties that the law was fitted on; otherwise None."""
        law = self.law(quantity)
        low, high = law.at([law.low, law.high])
        if law.samples and not low <= target <= high:
            return f"the target {target:.4g} lies outside the calibrated range {low:.4g} to {high:.4g} of {quantity}: what it will turn out to be is a guess"
        return None


def _wanted(data: Dataset, quantities: tuple[str, ...]) -> Iterator[str]:
    """Forces first; virials only where there are any."""
    yield "forces"
    if "energy" in quantities:
        yield "energy"
    if "virial" in quantities and any(label.stress is not None and geometry.pbc.all() for label, geometry in zip(data.labels, data, strict=True)):
        yield "virial"
