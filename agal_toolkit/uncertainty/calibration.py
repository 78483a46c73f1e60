"""How large an error a committee's disagreement stands for (Cezar 2025, Sec. II A): a law for each
quantity.

Everything is fitted on structures of the calibration role, which no member has seen. Forces and
virials are calibrated component by component, energies and virials per atom.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
SELDOM = 0.01  # share of samples on which members of low precision may agree by chance


def samples(
    prediction: Prediction,
    data: Dataset,
    quantity: str = "forces",
    of: Literal["members", "mean"] = "members",
) -> Samples:
    """What a committee said of labelled structures beside the labels.

    Args:
        prediction: (M, ...) of the structures of `data`, as ``committee.predict(data)`` gives it.
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
        said, known, variance = (
            prediction.forces,
            torch.tensor(np.concatenate(data.forces)),
            component_variance(prediction),
        )
        owner = batch.owner[:, None].expand(variance.shape)
    elif quantity == "energy":
        said, known = prediction.energy / batch.counts, torch.tensor(data.energies) / batch.counts
        variance, owner = (
            energy_variance(prediction) / batch.counts.square(),
            torch.arange(len(batch)),
        )
    elif quantity == "virial":
        has = [
            i
            for i, (label, geometry) in enumerate(zip(data.labels, data, strict=True))
            if label.stress is not None and geometry.pbc.all()
        ]
        if not has:
            raise ValueError(
                "no structure has a labelled stress: virials need periodic structures and a"
                " reference that gives stress"
            )
        size = (torch.linalg.det(batch.cell).abs() / batch.counts)[has, None, None]
        said, known = (
            prediction.stress[:, has] * size,
            torch.tensor(np.stack([data.labels[i].stress for i in has])) * size,
        )
        variance = virial_variance(prediction, batch)[has]
        owner = torch.tensor(has)[:, None, None].expand(variance.shape)
    else:
        raise ValueError(f"quantity is {quantity!r}, expected one of {', '.join(QUANTITIES)}")
    errors = said.double() - known
    errors = errors if of == "members" else errors.mean(0, keepdim=True)
    return Samples(
        variance.double().sqrt().flatten().numpy(),
        errors.flatten(1).numpy(),
        owner.flatten().numpy(),
    )


@dataclass(frozen=True)
class Calibration:
    """Laws for all quantities of a committee.

    Attributes:
        forces: for force components, eV/angstrom.
        energy: for energies per atom, eV; None where it was not fitted.
        virial: for components of the virial per atom, eV; None where it was not fitted.
        notes: what had to be done otherwise than asked, a sentence each.
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
        quantities: tuple[str, ...] = QUANTITIES,
    ) -> Calibration:
        """Laws of one form.

        Args:
            prediction: of the structures of `data`.
            data: labelled structures that no member was trained on.
            form: of all laws.
            of: whose errors, see :func:`samples`.
            quantities: that get a law; forces always do. Virials are left out where no stress is
                labelled.

        Raises:
            CalibrationRefused: data that cannot tell, see :meth:`PowerLaw.fit`; the quantity is named.
        """
        laws: dict[str, Any] = {}
        for quantity in _wanted(data, quantities):
            found = samples(prediction, data, quantity, of)
            try:
                laws[quantity] = PowerLaw.fit(found.sigma, found.errors, form)
            except CalibrationRefused as refused:
                raise CalibrationRefused(f"{quantity}: {refused}") from None
        return cls(**laws)

    @classmethod
    def fit_with_fallback(
        cls,
        prediction: Prediction,
        data: Dataset,
        *,
        few: int = 5,
        of: Literal["members", "mean"] = "members",
    ) -> Calibration:
        """Power laws, and where there are fewer than `few` structures or one is refused a linear
        law, which the notes say; what has neither is left out.

        So are samples of no uncertainty at all, where they are fewer than one in a hundred: two
        members in float32 agree now and then.

        Raises:
            CalibrationRefused: forces that not even a linear law fits.
        """
        laws: dict[str, Any] = {}
        notes: list[str] = []
        for quantity in _wanted(data, QUANTITIES):
            found = samples(prediction, data, quantity, of)
            sound = found.sigma != 0
            if 0 < (~sound).mean() < SELDOM:
                notes.append(
                    f"{quantity}: {int((~sound).sum())} of {sound.size} uncertainties are zero and"
                    " were left out"
                )
                found = Samples(found.sigma[sound], found.errors[:, sound], found.owner[sound])
            for form in ("power", "linear"):
                if form == "power" and (count := len(np.unique(found.owner))) < few:
                    notes.append(
                        f"{quantity}: a linear law, as {count} structures are too few for an"
                        " exponent"
                    )
                    continue
                try:
                    laws[quantity] = PowerLaw.fit(found.sigma, found.errors, form)
                    break
                except CalibrationRefused as refused:
                    if form == "linear" and quantity == "forces":
                        raise
                    notes.append(f"{quantity}: no {form} law, {refused}")
        return cls(**laws, notes=tuple(notes))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file; :meth:`from_json` reads them back."""
        return {
            quantity: None if getattr(self, quantity) is None else asdict(getattr(self, quantity))
            for quantity in QUANTITIES
        } | {"notes": list(self.notes)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Calibration:
        """The inverse of :meth:`to_json`."""
        laws = {
            quantity: None if stored[quantity] is None else PowerLaw(**stored[quantity])
            for quantity in QUANTITIES
        }
        return cls(**laws, notes=tuple(stored["notes"]))

    def atomic_variance(self, prediction: Prediction) -> Tensor:
        """(N,) (eV/angstrom)^2: calibrated force uncertainty of each atom squared, the sum over
        components (Cezar 2025, Eq. 9).
        """
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

    def law(self, quantity: str) -> PowerLaw:
        """That of a quantity.

        Raises:
            ValueError: it was not fitted.
        """
        law = getattr(self, quantity)
        if law is None:
            raise ValueError(
                f"this calibration has no law for {quantity}: calibrate on data that are labelled"
                " with it"
            )
        return law

    def outside(self, target: float, quantity: str = "forces", components: int = 1) -> str | None:
        """A warning where a target lies outside the middle 95 % of the uncertainties that its law
        was fitted on; otherwise None.

        Args:
            target: eV/angstrom for forces, else eV per atom.
            quantity: that it is a target of.
            components: it is the norm over so many, of like size.
        """
        law = self.law(quantity)
        low, high = law.at([law.low, law.high]) * components**0.5
        if law.samples and not low <= target <= high:
            unit = "eV/Å" if quantity == "forces" else "eV per atom"
            return (
                f"{target:.3g} {unit} lies outside the calibrated range of {quantity}, {low:.2g} to"
                f" {high:.2g}: what it will turn out to be is a guess"
            )
        return None


def _wanted(data: Dataset, quantities: tuple[str, ...]) -> Iterator[str]:
    """Forces first; virials only where there are any."""
    yield "forces"
    if "energy" in quantities:
        yield "energy"
    if "virial" in quantities and any(
        label.stress is not None and geometry.pbc.all()
        for label, geometry in zip(data.labels, data, strict=True)
    ):
        yield "virial"
