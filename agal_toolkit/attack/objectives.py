"""What an attack makes small.

An objective is a recipe; bound to the committee and the data of a generation it becomes a loss. A
loss sees nothing but a prediction and its batch and returns one number for each geometry, *smaller
is better*: the adversarial losses of the papers, which are maximised, appear with a minus sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..batch import Batch, Prediction
from ..committee import Committee
from ..dataset import TRAIN, Dataset
from ..uncertainty.variance import energy_variance, force_variance

Loss = Callable[[Prediction, Batch], Tensor]
Objective = Callable[[Committee, Dataset], Loss]


@runtime_checkable
class Aimed(Protocol):
    """A loss that knows when a structure is what was wanted."""

    def reached(self, prediction: Prediction, batch: Batch) -> Tensor:
        """(B,) whether each structure is."""
        ...


@dataclass(frozen=True)
class BoltzmannVariance:
    """Uncertain *and* likely: -P sigma_F^2, with P = exp(-E/kT) / Z (Schwalbe-Koda 2021, Eqs. 3 and
    4).

    E is the committee's mean energy. Z averages exp(-E/kT) over the given data, calibration aside
    (Eq. 3 prints the sum; the authors' published code takes the mean): a constant of each
    generation, which does not move the attack.

    Attributes:
        kT: eV, or the units of a model surface.
        per_atom: divide energies by the number of atoms, as the authors' published code for ammonia
            does; kT = 20 then acts like 80 on the total energy of NH3. Never compare the two.
        log: minimise -(ln P + ln sigma_F^2) instead; the same optima, but its slope does not vanish
            far from them.
    """

    kT: float
    per_atom: bool = False
    log: bool = False

    def __post_init__(self) -> None:
        if not self.kT > 0:
            raise ValueError(f"kT is {self.kT}, expected a positive energy")

    def __call__(self, committee: Committee, dataset: Dataset) -> Loss:
        if not len(dataset):
            raise ValueError(
                "the partition function of Eq. 3 needs labelled data: the data set is empty"
            )
        dataset = dataset.of_role(TRAIN)
        known = torch.tensor(dataset.energies)
        if self.per_atom:
            known = known / torch.tensor([len(geometry) for geometry in dataset])
        log_z = float(torch.logsumexp(-known / self.kT, 0)) - math.log(len(dataset))

        def loss(prediction: Prediction, batch: Batch) -> Tensor:
            energy = prediction.energy.double().mean(0)
            if self.per_atom:
                energy = energy / batch.counts
            log_p = -energy / self.kT - log_z
            variance = force_variance(prediction, batch).double()
            if self.log:
                return -(log_p + variance.clamp(min=torch.finfo(torch.float64).tiny).log())
            return -log_p.exp() * variance

        return loss


@dataclass(frozen=True)
class Variance:
    """Uncertain, wherever: -sigma_F^2 (Schwalbe-Koda 2021, Eq. 2); give the attack a :class:`Ball`,
    or it runs away.
    """

    def __call__(self, committee: Committee, dataset: Dataset) -> Loss:
        return lambda prediction, batch: -force_variance(prediction, batch).double()


@dataclass(frozen=True)
class EnergyVariance:
    """Uncertain in energy: -sigma_E^2 (Schwalbe-Koda 2021, Eq. 9)."""

    def __call__(self, committee: Committee, dataset: Dataset) -> Loss:
        return lambda prediction, batch: -energy_variance(prediction).double()
