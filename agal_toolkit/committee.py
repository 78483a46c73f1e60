"""Several potentials of the same system, whose disagreement measures their uncertainty."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.random import Generator
from numpy.typing import ArrayLike
from torch import Tensor, nn

from .batch import Batch, Prediction, concatenate
from .dataset import PARTICLES, TRAIN, Dataset, chunks
from .files import content_digest
from .geometry import Geometry
from .potentials.ase import CalculatorPotential, Guard, GuardedCalculator, PotentialCalculator
from .potentials.members import Separate, Stacked
from .potentials.protocol import Members, Potential, Recorded
from .training.stored import load_stacked, save_stacked
from .training.weights import Network, packed
from .uncertainty.calibration import QUANTITIES, Calibration
from .uncertainty.power_law import CalibrationRefused, Form
from .uncertainty.report import Coverage, Errors
from .uncertainty.variance import component_variance, energy_variance


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Committee:
    """Members whose predictions carry a leading member axis M.

    Args:
        members: stacked members, or several potentials or ASE calculators of any kind. To join two
            committees give
            ``[Committee(c.members[[m]]).mean for c in (one, other) for m in range(len(c))]``.
        calibration: turns disagreements into errors; subsets of the members keep it.

    Raises:
        ValueError: no members, or several in one of a sequence.
    """

    members: Members
    calibration: Calibration | None

    def __init__(
        self,
        members: Members | Iterable[Potential | Calculator],
        calibration: Calibration | None = None,
    ) -> None:
        if isinstance(members, nn.Module):
            wrong = f"members are the module {type(members).__name__}, which gives energies only"
            raise TypeError(f"{wrong}: give Stacked(module)")
        if isinstance(members, Iterable):
            calculators = (
                CalculatorPotential(p) if isinstance(p, Calculator) else p for p in members
            )
            members = Separate(list(calculators))
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "calibration", calibration)

    @classmethod
    def from_calculators(cls, calculators: Sequence[Calculator]) -> Committee:
        """Return a committee of ASE calculators, for example of models trained elsewhere."""
        return cls(calculators)

    def __len__(self) -> int:
        return len(self.members)

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        """Predict energies (M, B), forces (M, N, d) and stresses (M, B, d, d) of a batch."""
        if not isinstance(batch, Batch):
            wrong = f"a committee is called with a Batch, not with a {type(batch).__name__}"
            raise TypeError(f"{wrong}: call committee.predict(structures), or Batch.of(structures)")
        return self.members(batch, graph=graph)

    @property
    def device(self) -> torch.device:
        """The device that batches must be on."""
        return self.members.device

    def batch(self, structures: Iterable[Geometry | Atoms]) -> Batch:
        """Return the structures as a batch on the committee's device."""
        return Batch.of(structures, self.device)

    def predict(
        self, structures: Sequence[Geometry | Atoms] | Geometry | Atoms, particles: int = PARTICLES
    ) -> Prediction:
        """Predict structures with every member; the result is on the CPU, in float64.

        Args:
            structures: one, or a sequence of at least one.
            particles: evaluated at a time; a larger structure is evaluated by itself.
        """
        if isinstance(structures, (Geometry, Atoms)):
            structures = [structures]
        if not len(structures):
            raise ValueError("there is nothing to predict: give at least one structure")
        parts = chunks([len(structure) for structure in structures], particles)
        whole = concatenate([self(self.batch(structures[part])) for part in parts])
        tensors = (whole.energy, whole.forces, whole.stress)
        return Prediction(*(tensor.detach().double().cpu() for tensor in tensors))

    def noise(self, batch: Batch, prediction: Prediction) -> Tensor:
        """Return random errors (M, 2) of energies and forces (eV, angstrom) beyond their dtype's.

        Calculators measure theirs. Where a member's forces in float64 all are numbers of float32,
        it computed them in float32.
        """
        energies, forces = (
            x.detach().double().flatten(1) for x in (prediction.energy, prediction.forces)
        )
        largest = torch.stack([energies.abs().amax(1), forces.abs().amax(1)], 1).nan_to_num()
        if prediction.forces.dtype != torch.float64:
            return torch.zeros_like(largest)
        single = (forces == forces.float()).all(1)
        noise = torch.where(single[:, None], 4 * torch.finfo(torch.float32).eps * largest, 0.0)
        if not isinstance(self.members, Separate):
            return noise
        return torch.maximum(noise, noise.new_tensor(self.members.noise(batch)))

    @property
    def mean(self) -> Mean:
        """The average of the members, as a potential."""
        return Mean(self)

    def __getitem__(self, indices: ArrayLike) -> Committee:
        """Return some members as a committee with the same calibration (Cezar 2025, Fig. 3b)."""
        return Committee(self.members[indices], self.calibration)

    def calibrated(
        self,
        data: Dataset,
        form: Form = "power",
        *,
        of: Literal["members", "mean"] = "members",
        quantities: Sequence[str] = QUANTITIES,
        per_element: bool = False,
    ) -> Committee:
        """Return the same members, calibrated on labelled structures that none was trained on.

        Warnings tell of structures of the role "train", and of quantities whose law is refused:
        targets of the others can still be reached.

        Args:
            data: structures of the role "calibration".
            form: "power" (Cezar 2025, Eq. 4), "linear" or "identity".
            of: fit the errors of every member (Cezar 2025, Eq. 1), or of their mean.
            quantities: with a law, of "forces", "energy" and "virial"; ("forces",) is enough for
                targets of forces.
            per_element: elements with enough data have laws of forces of their own, see
                :meth:`Calibration.fit`.

        Raises:
            CalibrationRefused: the data do not determine any law; the error says why.
        """
        if not len(data):
            remedy = "give some of them the role 'calibration' in their Dataset"
            raise CalibrationRefused(f"there are no structures to calibrate on: {remedy}")
        learnable = data.roles.count(TRAIN)
        if learnable:
            warnings.warn(
                f"{learnable} of {len(data)} structures have the role 'train': on structures that"
                " members were trained on, errors are too small. Calibrate on"
                " data.of_role('calibration'), or give that role to structures that no member"
                " was trained on",
                stacklevel=2,
            )
        prediction = self.predict(list(data))
        choice = {"quantities": quantities, "per_element": per_element}
        laws = Calibration.fit(prediction, data, form, of=of, **choice)
        for note in laws.notes:
            if ": no law" in note:
                warnings.warn(note, stacklevel=2)
        return Committee(self.members, laws)

    @property
    def force_laws(self) -> Calibration | None:
        """The calibration, or None if it has no law for forces."""
        laws = self.calibration
        return None if laws is None or laws.forces is None else laws

    def component_variance(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Return the variance of force components, (N, d), calibrated if there is a law."""
        if (laws := self.force_laws) is None:
            return component_variance(prediction)
        return laws.component_variance(prediction, batch)

    def coverage(self, data: Dataset, of: Literal["members", "mean"] = "members") -> Coverage:
        """Return how often errors are within calibrated uncertainties, a table when printed.

        The structures serve neither training nor calibration; give the same `of` as to the latter.
        """
        if self.calibration is None:
            raise ValueError("coverage needs a calibrated committee: call committee.calibrated")
        return Coverage.of(self.calibration, self.predict(list(data)), data, of)

    def errors(self, test: Dataset) -> Errors:
        """Return the errors of the mean on labelled structures, a table when printed."""
        return Errors.of(self.predict(list(test)), test)

    def force_errors(self, data: Dataset) -> tuple[float, float, float]:
        """Return the error of the mean's forces, what the calibration promises, and the forces.

        Root mean squares over the components of all forces of `data`, eV/angstrom. They are NaN
        without forces, the promise also without a calibration.
        """
        data = data[[label.forces is not None for label in data.labels]]
        if not len(data):
            return np.nan, np.nan, np.nan
        prediction, forces = self.predict(data.geometries), np.concatenate(data.forces)
        errors, laws = prediction.forces.mean(0).numpy() - forces, self.force_laws
        batch = Batch.of(list(data))
        promise = np.nan if laws is None else laws.component_variance(prediction, batch).mean()
        found, force = (float(np.mean(values**2)) ** 0.5 for values in (errors, forces))
        return found, float(promise) ** 0.5, force

    def digest(self) -> str:
        """Return 16 hexadecimal digits for these members and their calibration.

        Of calculators only the names count.
        """
        members = self.members
        named = {"name": re.sub(r" at 0x\w+", "", repr(members))}, {}
        record, arrays = packed(members) if isinstance(members, Stacked) else named
        laws = self.calibration and self.calibration.to_json()
        return content_digest({**arrays, "record": record, "calibration": laws})[:16]

    def save(self, path: str | os.PathLike, data: Dataset | None = None) -> None:
        """Write the committee to one file, from which :meth:`load` opens it anywhere.

        The file holds the network's name and sizes, parameters, baseline, calibration, elements,
        units and versions, as npz with JSON and a digest; an old file is replaced at once.

        Args:
            path: of the file, for example "mine.agal".
            data: the training data, whose digest is kept.

        Raises:
            TypeError: members that are not one module, for example calculators.
        """
        more = {"calibration": self.calibration and self.calibration.to_json()}
        save_stacked(self.members, path, more | {"trained_on": data and data.digest()})

    @classmethod
    def load(
        cls, path: str | os.PathLike, network: Network | None = None, device: str = "cpu"
    ) -> Committee:
        """Open a file that :meth:`save` wrote; its weights no longer learn.

        Args:
            path: of the file.
            network: for a network of your own, what makes it from seeds, as for a trainer.
            device: where the members compute.

        Raises:
            FileNotFoundError: no file.
            DamagedFile: a damaged file, or one of something else.
            ValueError: a file of a newer version, or of another network.
        """
        members, record = load_stacked(path, network, device)
        laws = record["calibration"]
        return cls(members, laws and Calibration.from_json(laws))

    def calculator(
        self, *, dimension: int = 3, guard: Guard | None = None, watch: Calculator | None = None
    ) -> CommitteeCalculator | GuardedCalculator:
        """Return an ASE calculator of the mean, with its uncertainty; `dimension` of a surface.

        A `guard` needs a calibrated committee. It acts where the uncertainty passes its limit, also
        with energies and forces of another calculator, `watch`.
        """
        own = CommitteeCalculator(self, dimension=dimension)
        if guard is None:
            return own
        if self.force_laws is None or len(self) < 2:
            remedy = "call committee.calibrated(data, of='mean') first"
            raise ValueError(f"a limit in eV/angstrom needs a calibrated committee: {remedy}")
        return GuardedCalculator(watch or own, guard, own)

    def subset(self, size: int, rng: Generator) -> Committee:
        """Return `size` different members, drawn at random.

        Raises:
            ValueError: fewer than one member, or more than there are.
        """
        if not 1 <= size <= len(self):
            raise ValueError(f"a subset of {size} members cannot be drawn from {len(self)}")
        return self[np.sort(rng.choice(len(self), size, replace=False))]

    def component_percentile(
        self, structures: Sequence[Geometry | Atoms], percentile: float
    ) -> float:
        """Return a percentile of all force-component variances, (eV/angstrom)^2."""
        variances = component_variance(self.predict(structures)).numpy()
        return float(np.percentile(variances, percentile))

    def __repr__(self) -> str:
        laws = self.force_laws
        calibrated = "" if laws is None else f", forces by {laws.forces!r}"
        own = f", {', '.join(laws.elements)} by their own" if laws and laws.elements else ""
        return f"Committee of {len(self)}: {self.members!r}{calibrated}{own}"


class CommitteeCalculator(PotentialCalculator):
    """An ASE calculator of a committee's mean, which also tells its uncertainty.

    Beside energy, forces and stress its ``results`` hold

    - ``uncertainty`` (n,), eV/angstrom: of the force on each atom, the norm over its components
      (Cezar 2025, Eq. 9), and
    - ``energy_uncertainty``, eV: of the energy of the structure,

    both calibrated. A quantity without a calibration has the standard deviation over the members
    instead, as ``raw_uncertainty`` or ``raw_energy_uncertainty``. A single member has none.
    For the error of the mean, which this is, calibrate with ``of="mean"``.

    Args:
        committee: any committee.
        dimension: as in :class:`~agal_toolkit.potentials.PotentialCalculator`.
    """

    # a class attribute without ClassVar, as ASE declares it
    implemented_properties = [  # noqa: RUF012
        *PotentialCalculator.implemented_properties,
        *("uncertainty", "energy_uncertainty", "raw_uncertainty", "raw_energy_uncertainty"),
    ]

    def __init__(self, committee: Committee, *, dimension: int = 3) -> None:
        self.recorded, self.committee = Recorded(committee), committee
        super().__init__(self.recorded, dimension=dimension)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Set energy, forces, stress of a periodic structure, and uncertainties."""
        super().calculate(atoms, properties, system_changes)
        batch, prediction = self.recorded.batch, self.recorded.prediction
        if len(self.committee) < 2:
            return
        forces = self.committee.component_variance(prediction, batch)
        name = "raw_" if self.committee.force_laws is None else ""
        self.results[f"{name}uncertainty"] = forces.double().sum(-1).sqrt().cpu().numpy()
        laws = self.committee.calibration
        if laws is not None and laws.energy is not None:
            sigma = laws.energy_sigma(prediction, batch) * batch.counts
            self.results["energy_uncertainty"] = float(sigma)
        else:
            self.results["raw_energy_uncertainty"] = float(energy_variance(prediction).sqrt())


@dataclass(frozen=True)
class Mean:
    """The average of a committee's members (Schwalbe-Koda 2021, Eqs. 9-10), as one potential."""

    committee: Committee

    @property
    def device(self) -> torch.device:
        """The device that batches must be on."""
        return self.committee.device

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        return self.committee(batch, graph=graph).mean()

    def noise(self, batch: Batch) -> tuple[float, float]:
        """Return the largest random errors of the members that measure theirs."""
        members = self.committee.members
        measured = members.noise(batch) if isinstance(members, Separate) else [(0.0, 0.0)]
        return max(e for e, _ in measured), max(f for _, f in measured)
