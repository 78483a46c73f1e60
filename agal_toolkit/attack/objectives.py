"""Adversarial losses of the papers.

An objective is a recipe; bound to the committee and the data of a generation it becomes a loss. A
loss sees a prediction and its batch and returns one number for each geometry, *smaller is better*:
the papers maximise some of these losses, which appear here with a minus sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from ..batch import Batch, Prediction
from ..committee import Committee
from ..dataset import TRAIN, Dataset
from ..uncertainty.variance import energy_variance, force_variance

Loss = Callable[[Prediction, Batch], Tensor]
Objective = Callable[[Committee, Dataset | None], Loss]
Composition = tuple[int, ...]  # the charge, then the sorted atomic numbers


@runtime_checkable
class HasTarget(Protocol):
    """A loss with a target that a structure meets or not."""

    def reached(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Return (B,) True where the target is met."""
        ...


@dataclass(frozen=True)
class BoltzmannVariance:
    """Uncertain *and* likely: -P sigma_F^2, P = exp(-E/kT) / Z (Schwalbe-Koda 2021, Eqs. 3 and 4).

    E is the committee's mean energy. Z is the mean of exp(-E/kT) over the training data of the same
    composition (Eq. 3 prints the sum; the authors' published code takes the mean). Z is constant
    within a generation and does not change where an attack goes.

    Attributes:
        kT: eV, or the units of a model surface.
        per_atom: divide energies by the number of atoms, as the authors' published code for ammonia
            does; kT = 20 per atom of NH3 corresponds to 80 for total energies.
        log: minimise -(ln P + ln sigma_F^2), which has the same optima, but a slope that does not
            vanish far from them; None does so for atoms, and not for points of a model surface.
    """

    kT: float
    per_atom: bool = False
    log: bool | None = None

    def __post_init__(self) -> None:
        if not self.kT > 0:
            raise ValueError(f"kT is {self.kT}, expected a positive energy")

    def __call__(self, committee: Committee, dataset: Dataset | None = None) -> Loss:
        training = Dataset() if dataset is None else dataset.of_role(TRAIN)
        if not len(training):
            raise ValueError(
                "the partition function of Eq. 3 needs labelled data: the data set is empty, give"
                " one with structures of the training role"
            )
        energies = torch.from_numpy(training.energies)
        if self.per_atom:
            energies = energies / energies.new_tensor([len(geometry) for geometry in training])
        groups: dict[Composition, list[int]] = {}
        for index, geometry in enumerate(training):
            groups.setdefault(_composition(geometry.numbers, geometry.charge), []).append(index)
        log_z = {
            composition: float(torch.logsumexp(-energies[group] / self.kT, 0))
            - math.log(len(group))
            for composition, group in groups.items()
        }
        log = any(g.numbers.any() for g in training) if self.log is None else self.log
        latest: list[Tensor] = [torch.empty(0), torch.empty(0)]  # the numbers seen last, and ln Z

        def loss(prediction: Prediction, batch: Batch) -> Tensor:
            energy = prediction.energy.double().mean(0)
            if self.per_atom:
                energy = energy / batch.counts
            if latest[0] is not batch.numbers:
                latest[:] = batch.numbers, _log_partition(log_z, batch, log)
            log_p = -energy / self.kT - latest[1]
            variance = force_variance(prediction, batch).double()
            if log:
                return -(log_p + variance.clamp(min=torch.finfo(torch.float64).tiny).log())
            return -log_p.exp() * variance

        return loss


def _composition(numbers: NDArray, charge: int) -> Composition:
    return (charge, *sorted(numbers.tolist()))


def _log_partition(log_z: Mapping[Composition, float], batch: Batch, optional: bool) -> Tensor:
    """Return ln Z (B,) of each geometry's composition; zero if it is missing but `optional`.

    Raises:
        ValueError: the training data do not hold a composition.
    """
    pairs = zip(batch.split(batch.numbers), batch.charge.tolist(), strict=True)
    compositions = [_composition(numbers, charge) for numbers, charge in pairs]
    for charge, *numbers in compositions:
        if not optional and (charge, *numbers) not in log_z:
            formula = Atoms(np.array(numbers)).get_chemical_formula()
            raise ValueError(
                f"the training data hold no {formula} of charge {charge}, so Eq. 3 has no partition"
                " function for it: add such structures, or use log=True, which needs none"
            )
    values = [log_z.get(composition, 0.0) for composition in compositions]
    return torch.tensor(values, dtype=torch.float64, device=batch.positions.device)


@dataclass(frozen=True)
class Variance:
    """Uncertain anywhere: -sigma_F^2 (Schwalbe-Koda 2021, Eq. 2); bound the attack by a Ball."""

    def __call__(self, committee: Committee, dataset: Dataset | None = None) -> Loss:
        return lambda prediction, batch: -force_variance(prediction, batch).double()


@dataclass(frozen=True)
class EnergyVariance:
    """Uncertain in energy: -sigma_E^2 (Schwalbe-Koda 2021, Eq. 9)."""

    def __call__(self, committee: Committee, dataset: Dataset | None = None) -> Loss:
        return lambda prediction, batch: -energy_variance(prediction).double()
