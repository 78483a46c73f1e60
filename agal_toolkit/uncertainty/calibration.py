"""Calibration of a committee: power laws from disagreement to error (Cezar 2025, Sec. II A).

Everything is fitted on structures of the calibration role, which no member has seen. Forces and
virials are calibrated component by component, energies and virials per atom. Elements may
have laws of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from ..batch import Batch, Prediction
from ..dataset import Dataset
from .power_law import CalibrationRefused, Form, PowerLaw
from .variance import component_variance, energy_variance, virial_variance

Whose = Literal["members", "mean"]
QUANTITIES = ("forces", "energy", "virial")
FEW = 5  # structures; fewer do not determine an exponent
ENOUGH = 100  # force components on atoms of one element; fewer do not determine a law of its own
TINY = 1e-6  # of the root mean square: below it, an uncertainty or an error is zero by symmetry
CHANCE = 0.01  # share of samples on which members of low precision may agree by chance


@dataclass(frozen=True)
class Samples:
    """Uncertainties and errors of one quantity on some structures.

    `sigma` (n,) is the standard deviation over members, not calibrated; `errors` are (M, n) of
    every member or (1, n) of the mean; `owner` (n,) is the index of each sample's structure.
    `agreed` samples were left out, because members agree there and have no error. `numbers` (n,)
    are the atomic numbers of force components, zero for other quantities.
    """

    sigma: NDArray
    errors: NDArray
    owner: NDArray
    agreed: int = 0
    numbers: NDArray = field(default_factory=lambda: np.zeros(0, dtype=int))

    def __getitem__(self, chosen: NDArray) -> Samples:
        """Return some of the samples, by a mask or by indices."""
        numbers = self.numbers[chosen] if len(self.numbers) else self.numbers
        return Samples(self.sigma[chosen], self.errors[:, chosen], self.owner[chosen], 0, numbers)

    @property
    def structures(self) -> int:
        """Number of different structures."""
        return len(np.unique(self.owner))


def samples(
    prediction: Prediction, data: Dataset, quantity: str = "forces", of: Whose = "members"
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
        stresses = labelled_stresses(data)
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
    atoms = batch.numbers[:, None].expand(true.shape) if quantity == "forces" else owner * 0
    everything = Samples(sigma, errors, owner.flatten().numpy(), 0, atoms.flatten().numpy())
    labelled, largest = ~true.isnan().flatten().numpy(), np.abs(errors).max(0)
    agreed = labelled & _zero(sigma, labelled) & _zero(largest, labelled)
    return replace(everything[labelled & ~agreed], agreed=int(agreed.sum()))


def _zero(values: NDArray, among: NDArray) -> NDArray:
    """Return where (n,) values that are not negative are zero beside the rest of those `among`."""
    scale = np.sqrt(np.mean(values[among] ** 2)) if among.any() else 0.0
    return values <= TINY * scale


def labelled_stresses(data: Dataset) -> dict[int, NDArray]:
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
        energy, virial: for values or components per atom, eV.
        notes: one sentence for each fallback that the fit had to take.
        elements: laws for the force components on atoms of an element, by its symbol. Elements
            without one have the law of all atoms, `forces`.

    A quantity without a law has None; the notes say why if the law was refused.
    """

    forces: PowerLaw | None = None
    energy: PowerLaw | None = None
    virial: PowerLaw | None = None
    notes: tuple[str, ...] = ()
    elements: Mapping[str, PowerLaw] = field(default_factory=dict, hash=False)

    @classmethod
    def fit(
        cls,
        prediction: Prediction,
        data: Dataset,
        form: Form | Sequence[Form] = "power",
        *,
        of: Whose = "members",
        quantities: Sequence[str] = QUANTITIES,
        per_element: bool = False,
    ) -> Calibration:
        """Fit a law for each quantity; leave out those whose law is refused.

        Up to one sample in a hundred may have no uncertainty, because members in float32 agree now
        and then; those samples are left out. The notes record all that is left out.

        Args:
            prediction: of the structures of `data`.
            data: labelled structures that no member was trained on.
            form: of all laws; of several, the first that is not refused.
            of: whose errors, see :func:`samples`.
            quantities: with a law; virials only if a stress is labelled.
            per_element: forces on an element have a law of their own if the data have 100 force
                components on its atoms, in five structures, and do not refuse it. The notes name
                the elements that have the law of all atoms.

        Raises:
            CalibrationRefused: values that are not finite, or no law at all, see
                :meth:`PowerLaw.fit`. The message names the quantity.
        """
        forms: Sequence[Form] = (form,) if isinstance(form, str) else form
        laws: dict[str, Any] = {}
        notes: list[str] = []
        refusals: list[str] = []
        for quantity in QUANTITIES:
            if quantity not in quantities or (quantity == "virial" and not labelled_stresses(data)):
                continue
            points = _informative(samples(prediction, data, quantity, of), quantity, notes)
            try:
                laws[quantity] = _law(points, forms, quantity, notes)
            except CalibrationRefused as refused:
                refusals.append(f"{quantity}: no law, {refused}{_agreeing(points)}")
                continue
            if quantity == "forces" and per_element:
                laws["elements"] = _laws_of_elements(points, forms[0], notes)
        if not set(laws) - {"elements"}:
            raise CalibrationRefused("\n".join(refusals) or "no quantity to calibrate")
        return cls(**laws, notes=(*notes, *refusals))

    @classmethod
    def fit_with_fallback(
        cls,
        prediction: Prediction,
        data: Dataset,
        of: Whose = "members",
        per_element: bool = False,
    ) -> Calibration:
        """Fit power laws, or linear ones where those are refused or have less than five structures.

        The arguments and errors are those of :meth:`fit`.
        """
        return cls.fit(prediction, data, ("power", "linear"), of=of, per_element=per_element)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file; :meth:`from_json` reads them back."""
        laws = {quantity: getattr(self, quantity) for quantity in QUANTITIES}
        plain = {quantity: law and asdict(law) for quantity, law in laws.items()}
        elements = {symbol: asdict(law) for symbol, law in self.elements.items()}
        return plain | {"notes": list(self.notes)} | ({"elements": elements} if elements else {})

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Calibration:
        """Invert :meth:`to_json`."""
        laws: dict[str, Any] = {
            quantity: stored[quantity] and PowerLaw(**stored[quantity]) for quantity in QUANTITIES
        }
        elements = stored.get("elements", {}).items()
        laws["elements"] = {symbol: PowerLaw(**law) for symbol, law in elements}
        return cls(**laws, notes=tuple(stored["notes"]))

    def component_variance(self, prediction: Prediction, batch: Batch | None = None) -> Tensor:
        """Return the calibrated variance of each force component, (N, d) (eV/angstrom)^2.

        It can be differentiated. Laws of elements need the `batch` of the prediction.
        """
        raw = component_variance(prediction)
        variance = self.law("forces")(raw)
        if batch is None:
            if self.elements:
                raise ValueError("elements have laws of their own: give the prediction's batch")
            return variance
        for symbol, law in self.elements.items():
            own = (batch.numbers == atomic_numbers[symbol])[:, None]
            variance = torch.where(own, law(raw), variance)
        return variance

    def atomic_variance(self, prediction: Prediction, batch: Batch | None = None) -> Tensor:
        """Return the calibrated variance of each atom's force, (N,) (eV/angstrom)^2 (Eq. 9)."""
        return self.component_variance(prediction, batch).sum(-1)

    def energy_sigma(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Return the calibrated uncertainty of the energy of each structure, (B,) eV per atom."""
        return self.law("energy")(energy_variance(prediction) / batch.counts.square()).sqrt()

    def virial_sigma(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Return the calibrated uncertainty of virial components, (B, d, d) eV per atom."""
        return self.law("virial")(virial_variance(prediction, batch)).sqrt()

    def law(self, quantity: str) -> PowerLaw:
        """Return the law of a quantity, or raise ValueError with the reason if it has none."""
        law = getattr(self, quantity)
        if law is None:
            refused = [note for note in self.notes if note.startswith(f"{quantity}: no law, ")]
            there = " and ".join(name for name in QUANTITIES if getattr(self, name))
            remedy = "calibrate on data that are labelled with it"
            only = f"this calibration has no law for {quantity}, only for {there}"
            raise ValueError(f"{only}: {' '.join(refused) or remedy}")
        return law

    def outside(self, target: float, quantity: str = "forces", components: int = 1) -> str | None:
        """Return a warning if a target is outside the middle 95 % of the calibrated uncertainties.

        Args:
            target: eV/angstrom for forces, otherwise eV per atom.
            quantity: of the target.
            components: the target is the norm over this many components of like size.
        """
        laws, limits = {quantity: self.law(quantity)}, []
        if quantity == "forces" and self.elements:
            laws = {f"forces on {symbol}": law for symbol, law in self.elements.items()}
            laws["forces on other elements"] = self.law(quantity)
        for name, law in laws.items():
            low, high = law.at([law.low, law.high]) * components**0.5
            if law.samples and not low <= target <= high:
                limits.append(f"{name} ({low:.2g} to {high:.2g})")
        if not limits:
            return None
        unit = "eV/Å" if quantity == "forces" else "eV per atom"
        outside = f"is outside the calibrated range of {' and of '.join(limits)}"
        return f"Target {target:.3g} {unit} {outside}: the achieved error is an extrapolation."

    def sigma(self, points: Samples, quantity: str = "forces") -> NDArray:
        """Return (n,) the calibrated uncertainties of samples of a quantity."""
        sigma = self.law(quantity).at(points.sigma)
        for symbol, law in self.elements.items() if quantity == "forces" else ():
            own = points.numbers == atomic_numbers[symbol]
            sigma[own] = law.at(points.sigma[own])
        return sigma


def _informative(points: Samples, quantity: str, notes: list[str]) -> Samples:
    """Return the samples that can be fitted; notes tell of those that were left out.

    Raises:
        CalibrationRefused: values that are not finite, because broken members or labels are no
            reason to leave out a quantity.
    """
    finite = np.isfinite(points.sigma) & np.isfinite(points.errors).all(0)
    if not finite.all():
        wrong = f"{quantity}: some uncertainties or errors are not finite"
        raise CalibrationRefused(f"{wrong}: drop structures {_named(points.owner[~finite])}")
    if points.agreed:
        total = points.agreed + len(points.sigma)
        notes.append(
            f"{quantity}: {points.agreed} of {total} samples were left out, where members agree"
            " and have no error (isolated atoms, or zero by symmetry)"
        )
    positive = points.sigma != 0
    if positive.size and 0 < (~positive).mean() < CHANCE:
        agreeing = f"{int((~positive).sum())} of {positive.size} uncertainties are zero"
        notes.append(f"{quantity}: {agreeing} and were left out")
        points = points[positive]
    return points


def _law(points: Samples, forms: Sequence[Form], quantity: str, notes: list[str]) -> PowerLaw:
    """Return the law of the first form that can be fitted; notes tell of the others."""
    if not points.sigma.size:
        remedy = "calibrate on structures with such labels, whose forces are not zero by symmetry"
        raise CalibrationRefused(f"no structure says how large errors are: {remedy}")
    if len(forms) > 1 and points.structures < FEW:
        few = f"{points.structures} structures are too few for an exponent"
        notes.append(f"{quantity}: a linear law, as {few}")
        forms = forms[-1:]
    for form in forms[:-1]:
        try:
            return PowerLaw.fit(points.sigma, points.errors, form)
        except CalibrationRefused as refused:
            notes.append(f"{quantity}: no {form} law, {refused}")
    return PowerLaw.fit(points.sigma, points.errors, forms[-1])


def _laws_of_elements(points: Samples, form: Form, notes: list[str]) -> dict[str, PowerLaw]:
    """Return laws of force components by element; notes tell which elements have none, and why."""
    laws: dict[str, PowerLaw] = {}
    for z in np.unique(points.numbers[points.numbers > 0]):
        own, symbol = points[points.numbers == z], chemical_symbols[z]
        shared = f"forces on {symbol}: the law of all atoms, as"
        if own.sigma.size < ENOUGH or own.structures < FEW:
            found = f"{own.sigma.size} components in {own.structures} structures"
            notes.append(f"{shared} {found} are too few ({ENOUGH} in {FEW} are needed)")
            continue
        try:
            laws[symbol] = PowerLaw.fit(own.sigma, own.errors, form)
        except CalibrationRefused as refused:
            notes.append(f"{shared} {refused}")
    return laws


def _agreeing(points: Samples) -> str:
    """Return the end of an error that names the structures on which members agree."""
    agreeing = points.owner[points.sigma == 0]
    return f" They are in structures {_named(agreeing)}." if agreeing.size else ""


def _named(owner: NDArray) -> str:
    """Return the first indices among (n,) indices of structures, as text."""
    structures = np.unique(owner).tolist()
    return ", ".join(map(str, structures[:5])) + (", ..." if len(structures) > 5 else "")
