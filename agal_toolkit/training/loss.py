"""The loss of a fit: its data as tensors, and which structures each epoch visits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from ..batch import Batch
from ..dataset import Dataset
from ..potentials.protocol import Baseline, derive


@dataclass(frozen=True)
class TrainingData:
    """n labelled structures as tensors.

    Attributes:
        batch: the structures, N particles in d dimensions.
        energy: (n,) float64, baseline subtracted.
        forces: (N, d), zero where there are none.
        has_forces: (n,) bool; None if all structures have them.
        stress: (n, d, d), zero where there is none.
        has_stress: (n,) bool.
        weights: of the squared errors of energy, forces and stress in the loss of a structure
            (Schwalbe-Koda 2021, Eq. 8, with means over components).
    """

    batch: Batch
    energy: Tensor
    forces: Tensor
    has_forces: Tensor | None
    stress: Tensor
    has_stress: Tensor
    weights: tuple[float, float, float]

    @classmethod
    def of(
        cls, data: Dataset, baseline: Baseline, weights: tuple[float, float, float], device: str
    ) -> TrainingData:
        """Convert `data` to tensors and subtract the `baseline` from the energies."""
        batch = Batch.of(data, device)
        energy = torch.tensor(data.energies, device=device)
        if baseline.energies:
            energy = energy - baseline(batch)
        nothing = np.zeros((batch.dimension, batch.dimension))
        stress = [nothing if label.stress is None else label.stress for label in data.labels]
        labelled = torch.tensor([label.stress is not None for label in data.labels], device=device)
        known = torch.tensor([label.forces is not None for label in data.labels], device=device)
        return cls(
            batch,
            energy,
            torch.tensor(np.nan_to_num(np.concatenate(data.forces)), device=device),
            None if bool(known.all()) else known,
            torch.tensor(np.stack(stress), device=device),
            labelled & batch.pbc.all(-1),
            weights,
        )

    def losses(
        self, module: nn.Module, structures: NDArray, shares: NDArray, *, graph: bool
    ) -> Tensor:
        """Return the members' losses (M,): sums over `structures` (k,) with `shares` (M, k).

        `graph` keeps them differentiable in the parameters.
        """
        index = torch.tensor(structures, device=self.energy.device)
        batch, particles = self.batch.take(index)
        size = next(module.parameters()).shape[0]
        energy_weight, forces_weight, stress_weight = self.weights
        if forces_weight == 0 and stress_weight == 0:
            with torch.set_grad_enabled(graph):
                positions = batch.positions.expand(size, *batch.positions.shape[-2:])
                error = module(batch.at(positions)) - self.energy[index]
                loss = energy_weight * error.square()
        else:
            prediction = derive(module, batch, graph=graph, members=size)
            loss = energy_weight * (prediction.energy - self.energy[index]).square()
            error = prediction.forces - self.forces[particles]
            if self.has_forces is not None:
                known = self.has_forces[index][batch.owner]
                error = torch.where(known[:, None], error, 0.0)
            loss = loss + forces_weight * batch.mean(error.square().mean(-1))
            has_stress = self.has_stress[index]
            if stress_weight and bool(has_stress.any()):
                error = prediction.stress - self.stress[index]
                error = torch.where(has_stress[:, None, None], error, 0.0)
                loss = loss + stress_weight * error.square().mean((-2, -1))
        return (loss * torch.tensor(shares, device=loss.device)).sum(1)


class EpochOrder:
    """The visits of one epoch and the weight of each.

    Attributes:
        visits: indices of the structures that an epoch visits, with repetitions.
        loss_weights: (M, n) weight of a visit in the loss of each member.
        steps: batches of an epoch.
    """

    def __init__(
        self, weights: NDArray, batch_size: int, structure_weights: NDArray, equal: bool = True
    ) -> None:
        """Repeat structures whose `weights` (M, n) are at least two for all members that see them.

        Args:
            weights: (M, n) of each structure for each member.
            batch_size: largest number of structures in one step.
            structure_weights: (n,) factors of the loss that leave the visits as they are.
            equal: batches differ by one structure at most; otherwise the last has what is left.
        """
        seen = np.flatnonzero(weights.any(axis=0))
        smallest = np.where(weights > 0, weights, np.inf).min(axis=0)[seen]
        repeats = np.maximum(np.floor(smallest), 1).astype(int)
        self.visits = np.repeat(seen, repeats)
        visit = weights.copy()
        visit[:, seen] /= repeats
        mean = visit[:, self.visits].mean(axis=1, keepdims=True)
        self.loss_weights = visit / mean * structure_weights
        self.batch_size, self.equal = batch_size, equal
        self.steps = math.ceil(len(self.visits) / batch_size)

    def shuffled(self, rng: Generator) -> list[NDArray]:
        """Return the structure indices of each batch of one epoch."""
        order = rng.permutation(self.visits)
        if self.equal:
            return np.array_split(order, self.steps)
        return [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
