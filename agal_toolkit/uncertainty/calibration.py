"""Calibration of a committee: power laws from disagreement to error (Cezar 2025, Sec. II A).

Everything is fitted on structures of the calibration role, which no member has seen. Forces and
virials are calibrated component by component, energies and virials per atom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..batch import Batch, Prediction
from ..dataset import Dataset
from .power_law import CalibrationRefused, Form, PowerLaw
from .variance import component_variance, energy_variance, virial_variance

QUANTITIES = ("forces", "energy", "virial")
FEW = 5  # structures; fewer do not determine an exponent
TINY = 1e-6  # of the root mean square: below it, an uncertainty or an error is zero by symmetry
CHANCE = 0.01  # share of samples on which members of low precision may agree by chance


@dataclass(frozen=True)
class Samples:
    """Uncertainties and errors of one quantity on some structures.

    `sigma` (n,) is the standard deviation over members, not calibrated; `errors` are (M, n) of
    every member or (1, n) of the mean; `owner` (n,) is the index of each sample's structure.
    `agreed` samples were left out, because members agree there and have no error.
    """

    sigma: NDArray
    errors: NDArray
    owner: NDArray
    agreed: int = 0


def samples(
    prediction: Prediction,
    data: Dataset,
    quantity: str = "forces",
    of: Literal["members", "mean"] = "members",
) -> Samples:
    """Return the uncertainties of a prediction and its errors against the labels.

    Structures that are not labelled with the quantity are left out. So are samples whose
    uncertainty and errors are both zero (forces on isolated atoms, or zero by symmetry): they say
    nothing about the size of errors.

    Args:
        prediction: (M, ...) of the structures of `data`, from ``committee.predict(data)``.
        data: B structures, N particles in d dimensions.
        quantity: "forces", N d components, eV/angstrom; "energy", B values, eV per atom; "virial",
            d d components of the stress times the volume of each structure that has a labelled
            stress, eV per atom.
        of: errors of every member (Cezar 2025, Eq. 1), or of the mean.

    Raises:
        ValueError: another quantity; no structure with a labelled stress.
    """
    batch = Batch.of(list(data))
    if quantity == "forces":
        predicted, true = prediction.forces, torch.from_numpy(np.concatenate(data.forces))
        variance = component_variance(prediction)
        owner = batch.owner[:, None].expand(variance.shape)
    elif quantity == "energy":
        predicted = prediction.energy / batch.counts
        true = torch.from_numpy(data.energies) / batch.counts
        variance = energy_variance(prediction) / batch.counts.square()
        owner = batch.owner.new_tensor(range(len(batch)))
    elif quantity == "virial":
        stresses = _stresses(data)
        if not stresses:
            remedy = "virials need periodic structures and a reference that gives stress"
            raise ValueError(f"no structure has a labelled stress: {remedy}")
        having = list(stresses)
        volume = (torch.linalg.det(batch.cell).abs() / batch.counts)[having, None, None]
        predicted = prediction.stress[:, having] * volume
        true = torch.from_numpy(np.stack(list(stresses.values()))) * volume
        variance = virial_variance(prediction, batch)[having]
        owner = batch.owner.new_tensor(having)[:, None, None].expand(variance.shape)
    else:
        raise ValueError(f"quantity is {quantity!r}, expected one of {', '.join(QUANTITIES)}")
    errors = predicted.double() - true
    if of == "mean":
        errors = errors.mean(0, keepdim=True)
    sigma, errors = variance.double().sqrt().flatten().numpy(), errors.flatten(1).numpy()
    labelled, largest = ~true.isnan().flatten().numpy(), np.abs(errors).max(0)
    agreed = labelled & _zero(sigma, labelled) & _zero(largest, labelled)
    kept = labelled & ~agreed
    return Samples(sigma[kept], errors[:, kept], owner.flatten().numpy()[kept], int(agreed.sum()))


def _zero(values: NDArray, among: NDArray) -> NDArray:
    """Return where (n,) values that are not negative are zero beside the rest of those `among`."""
    scale = np.sqrt(np.mean(values[among] ** 2)) if among.any() else 0.0
    return values <= TINY * scale


def _stresses(data: Dataset) -> dict[int, NDArray]:
    """Labelled stresses by index; only structures periodic in all directions have a virial."""
    return {
        i: label.stress
        for i, (geometry, label) in enumerate(zip(data, data.labels, strict=True))
        if label.stress is not None and geometry.pbc.all()
    }


@dataclass(frozen=True)
class Calibration:
    """Power laws for the quantities of a committee.

    Attributes:
        forces: for force components, eV/angstrom.
        energy, virial: for values or components per atom, eV; None if not fitted.
        notes: one sentence for each fallback that the fit had to take.
    """

    forces: PowerLaw
    energy: PowerLaw | None = None
    virial: PowerLaw | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        prediction: Prediction,
        data: Dataset,
        form: Form = "power",
        *,
        of: Literal["members", "mean"] = "members",
        quantities: Sequence[str] = QUANTITIES,
    ) -> Calibration:
        """Fit laws of one form.

        Args:
            prediction: of the structures of `data`.
            data: labelled structures that no member was trained on.
            form: of all laws.
            of: whose errors, see :func:`samples`.
            quantities: with a law; forces always have one, virials only if a stress is labelled.

        Raises:
            CalibrationRefused: see :meth:`PowerLaw.fit`; the message names the quantity.
        """
        laws: dict[str, Any] = {}
        notes: list[str] = []
        for quantity in _fitted(data, quantities):
            points = _informative(prediction, data, quantity, of, notes)
            try:
                laws[quantity] = PowerLaw.fit(points.sigma, points.errors, form)
            except CalibrationRefused as refused:
                raise CalibrationRefused(f"{quantity}: {refused}{_agreeing(points)}") from None
        return cls(**laws, notes=tuple(notes))

    @classmethod
    def fit_with_fallback(
        cls, prediction: Prediction, data: Dataset, of: Literal["members", "mean"] = "members"
    ) -> Calibration:
        """Fit power laws; fall back to linear laws, and leave out a quantity if that fails too.

        A law is linear if there are fewer than five structures or the power law is refused. Up to
        one sample in a hundred may have no uncertainty, because members in float32 agree now and
        then; those samples are left out. The notes record every fallback.

        Raises:
            CalibrationRefused: forces that not even a linear law fits.
        """
        laws: dict[str, Any] = {}
        notes: list[str] = []
        for quantity in _fitted(data, QUANTITIES):
            points = _informative(prediction, data, quantity, of, notes)
            positive = points.sigma != 0
            if 0 < (~positive).mean() < CHANCE:
                agreeing = f"{int((~positive).sum())} of {positive.size} uncertainties are zero"
                notes.append(f"{quantity}: {agreeing} and were left out")
                errors, owner = points.errors[:, positive], points.owner[positive]
                points = Samples(points.sigma[positive], errors, owner)
            forms: list[Form] = ["power", "linear"]
            structures = len(np.unique(points.owner))
            if structures < FEW:
                forms = ["linear"]
                few = f"{structures} structures are too few for an exponent"
                notes.append(f"{quantity}: a linear law, as {few}")
            for form in forms:
                try:
                    laws[quantity] = PowerLaw.fit(points.sigma, points.errors, form)
                    break
                except CalibrationRefused as refused:
                    if form == "linear" and quantity == "forces":
                        raise CalibrationRefused(f"{refused}{_agreeing(points)}") from None
                    notes.append(f"{quantity}: no {form} law, {refused}")
        return cls(**laws, notes=tuple(notes))

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file; :meth:`from_json` reads them back."""
        laws = {quantity: getattr(self, quantity) for quantity in QUANTITIES}
        plain = {quantity: law and asdict(law) for quantity, law in laws.items()}
        return plain | {"notes": list(self.notes)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Calibration:
        """Invert :meth:`to_json`."""
        laws: dict[str, Any] = {
            quantity: stored[quantity] and PowerLaw(**stored[quantity]) for quantity in QUANTITIES
        }
        return cls(**laws, notes=tuple(stored["notes"]))

    def atomic_variance(self, prediction: Prediction) -> Tensor:
        """Return the calibrated variance of each atom's force, (N,) (eV/angstrom)^2 (Eq. 9)."""
        return self.forces(component_variance(prediction)).sum(-1)

    def energy_sigma(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Return the calibrated uncertainty of the energy of each structure, (B,) eV per atom."""
        return self.law("energy")(energy_variance(prediction) / batch.counts.square()).sqrt()

    def virial_sigma(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Return the calibrated uncertainty of virial components, (B, d, d) eV per atom."""
        return self.law("virial")(virial_variance(prediction, batch)).sqrt()

    def law(self, quantity: str) -> PowerLaw:
        """Return the law of a quantity, or raise ValueError if it was not fitted."""
        law = getattr(self, quantity)
        if law is None:
            remedy = "calibrate on data that are labelled with it"
            raise ValueError(f"this calibration has no law for {quantity}: {remedy}")
        return law

    def outside(self, target: float, quantity: str = "forces", components: int = 1) -> str | None:
        """Return a warning if a target is outside the middle 95 % of the calibrated uncertainties.

        Args:
            target: eV/angstrom for forces, otherwise eV per atom.
            quantity: of the target.
            components: the target is the norm over this many components of like size.
        """
        law = self.law(quantity)
        low, high = law.at([law.low, law.high]) * components**0.5
        if not law.samples or low <= target <= high:
            return None
        unit = "eV/Å" if quantity == "forces" else "eV per atom"
        limits = f"the calibrated range of {quantity} ({low:.2g} to {high:.2g})"
        outside = f"Target {target:.3g} {unit} is outside {limits}"
        return f"{outside}: the achieved error is an extrapolation."


def _informative(
    prediction: Prediction,
    data: Dataset,
    quantity: str,
    of: Literal["members", "mean"],
    notes: list[str],
) -> Samples:
    """Return the samples of a quantity; a note tells of those that were left out."""
    points = samples(prediction, data, quantity, of)
    if points.agreed:
        total = points.agreed + len(points.sigma)
        notes.append(
            f"{quantity}: {points.agreed} of {total} samples were left out, where members agree"
            " and have no error (isolated atoms, or zero by symmetry)"
        )
    if not len(points.sigma):
        remedy = "calibrate on structures with such labels, whose forces are not zero by symmetry"
        raise CalibrationRefused(f"{quantity}: no structure says how large errors are: {remedy}")
    return points


def _agreeing(points: Samples) -> str:
    """Return the end of an error that names the structures on which members agree."""
    structures = np.unique(points.owner[points.sigma == 0]).tolist()
    if not structures:
        return ""
    more = ", ..." if len(structures) > 5 else ""
    return f" They are in structures {', '.join(map(str, structures[:5]))}{more}."


def _fitted(data: Dataset, quantities: Sequence[str]) -> list[str]:
    wanted = {"forces", *quantities} if _stresses(data) else {"forces", *quantities} - {"virial"}
    return [quantity for quantity in QUANTITIES if quantity in wanted]
