"""Several potentials that were trained to say the same, and where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.random import Generator
from numpy.typing import ArrayLike

from .batch import Batch, Prediction, concatenate
from .dataset import PARTICLES, Dataset, chunks
from .geometry import Geometry
from .potentials.ase import CalculatorPotential
from .potentials.members import Separate
from .potentials.protocol import Members, Potential
from .uncertainty.calibration import Calibration
from .uncertainty.power_law import CalibrationRefused, Form
from .uncertainty.variance import component_variance


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Committee:
    """Members whose predictions carry a leading member axis M.

    Args:
        members: stacked members, or a sequence of potentials of any kind. Committees are joined
            member by member: ``Committee([Committee(members[[m]]).mean for members in (one, other)
            for m in range(len(members))])``.
        calibration: what their disagreement is worth as an error; a choice of members keeps that of
            all of them.

    Raises:
        ValueError: no members, or several in one of a sequence.
    """

    members: Members
    calibration: Calibration | None

    def __init__(
        self, members: Members | Sequence[Potential], calibration: Calibration | None = None
    ) -> None:
        object.__setattr__(
            self, "members", Separate(members) if isinstance(members, Sequence) else members
        )
        object.__setattr__(self, "calibration", calibration)

    @classmethod
    def from_calculators(cls, calculators: Sequence[Calculator]) -> Committee:
        """A committee of ASE calculators: models trained elsewhere, or methods that are no models
        at all.
        """
        return cls(Separate([CalculatorPotential(calculator) for calculator in calculators]))

    def __len__(self) -> int:
        return len(self.members)

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        """Energies (M, B), forces (M, N, d) and stresses (M, B, d, d) of a batch."""
        return self.members(batch, graph=graph)

    @property
    def device(self) -> torch.device:
        """Where batches should be."""
        return self.members.device

    def batch(self, structures: Iterable[Geometry | Atoms]) -> Batch:
        """The structures as a batch on the committee's device."""
        return Batch.of(structures, self.device)

    def predict(
        self, structures: Sequence[Geometry | Atoms], particles: int = PARTICLES
    ) -> Prediction:
        """What every member says of the structures, on the CPU in float64; evaluated `particles`
        particles at a time, or one larger structure.
        """
        if not len(structures):
            raise ValueError("there is nothing to predict: give at least one structure")
        parts = [
            self(self.batch(structures[part]))
            for part in chunks([len(structure) for structure in structures], particles)
        ]
        whole = concatenate(parts)
        return Prediction(
            *(
                values.detach().double().cpu()
                for values in (whole.energy, whole.forces, whole.stress)
            )
        )

    @property
    def mean(self) -> Mean:
        """The average of the members, as a potential."""
        return Mean(self)

    def __getitem__(self, indices: ArrayLike) -> Committee:
        """The chosen members as a committee; their uncertainties are read as those of the whole one
        (Cezar 2025, Fig. 3b).
        """
        return Committee(self.members[indices], self.calibration)

    def calibrated(
        self, data: Dataset, form: Form = "power", *, of: Literal["members", "mean"] = "members"
    ) -> Committee:
        """The same members, calibrated on labelled structures that none of them was trained on.

        Args:
            data: of the calibration role.
            form: "power" (Cezar 2025, Eq. 4), "linear" or "identity".
            of: errors of every member (Cezar 2025, Eq. 1), or of their mean.

        Raises:
            CalibrationRefused: data that cannot tell; says why.
        """
        if not len(data):
            raise CalibrationRefused(
                "there are no structures to calibrate on: give some of them the role 'calibration'"
                " in their Dataset"
            )
        return Committee(self.members, Calibration.fit(self.predict(list(data)), data, form, of=of))

    def subset(self, size: int, rng: Generator) -> Committee:
        """`size` different members, drawn at random.

        Raises:
            ValueError: more members wanted than there are.
        """
        if not 1 <= size <= len(self):
            raise ValueError(f"a subset of {size} members cannot be drawn from {len(self)}")
        return self[np.sort(rng.choice(len(self), size, replace=False))]

    def component_percentile(
        self, structures: Sequence[Geometry | Atoms], percentile: float
    ) -> float:
        """The percentile of all force-component variances over the structures, (eV/angstrom)^2."""
        return float(
            np.percentile(component_variance(self.predict(structures)).numpy(), percentile)
        )

    def __repr__(self) -> str:
        calibrated = "" if self.calibration is None else f", forces by {self.calibration.forces!r}"
        return f"Committee of {len(self)}: {self.members!r}{calibrated}"


@dataclass(frozen=True)
class Mean:
    """The average of a committee's members (Schwalbe-Koda 2021, Eqs. 9-10), as one potential."""

    committee: Committee

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        return self.committee(batch, graph=graph).mean()
