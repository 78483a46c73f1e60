"""What fits learn from: tasks, the loss of each structure, and the tensors and the order in which
an epoch takes them.

One task may hold any structures; those of several tasks, one for each of as many independent fits,
run in lockstep on the member axis where they are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..batch import Batch, Prediction
from ..dataset import Dataset
from ..potentials.protocol import Baseline, derive


@dataclass(frozen=True, eq=False)
class Task:
    """What one fit learns from.

    Attributes:
        data: n labelled structures.
        weights: (M, n), not negative; zero where a member must not look.
        valid: (M, n) bool, structures that decide the learning rate and the best epoch.
        rng: gives the members' seeds and the order of the data.
    """

    data: Dataset
    weights: NDArray
    valid: NDArray
    rng: Generator

    def check(self) -> None:
        """Raises ValueError where shapes do not belong together or a member has nothing to learn
        from.
        """
        if self.weights.shape != self.valid.shape or self.weights.shape[1] != len(self.data):
            raise ValueError(
                f"weights {self.weights.shape} and valid {self.valid.shape} must both be (members,"
                f" {len(self.data)})"
            )
        if (self.weights < 0).any():
            raise ValueError(f"weights go down to {self.weights.min()}: they must not be negative")
        learns = (self.weights > 0).any(axis=1)
        if not learns.all():
            raise ValueError(
                f"member {int(np.argmin(learns))} has no training data: give it structures of"
                " positive weight"
            )


@dataclass(frozen=True)
class Loss:
    """Squared errors of a structure's energy, force components and stress components (Schwalbe-Koda
    2021, Eq. 8, means over components).

    Attributes:
        energy, forces, stress: weights.
    """

    energy: float
    forces: float
    stress: float

    def __call__(
        self,
        module: nn.Module,
        batch: Batch,
        energy: Tensor,
        forces: Tensor,
        stress: Tensor,
        has_stress: Tensor,
        graph: bool,
    ) -> Tensor:
        """(M, B) loss of each structure of a batch.

        Args:
            energy: (B,) or (M, B) targets, baseline subtracted.
            forces: (N, d) or (M, N, d).
            stress: (B, d, d), used where `has_stress` (B,).
            graph: differentiable in the parameters.
        """
        size = next(module.parameters()).shape[0]
        if self.forces == 0 and self.stress == 0:
            with torch.set_grad_enabled(graph):
                return (
                    self.energy
                    * (
                        module(batch.at(batch.positions.expand(size, *batch.positions.shape[-2:])))
                        - energy
                    ).square()
                )
        said: Prediction = derive(module, batch, graph=graph, members=size)
        loss = self.energy * (said.energy - energy).square()
        loss = loss + self.forces * batch.mean((said.forces - forces).square().mean(-1))
        if self.stress and bool(has_stress.any()):
            loss = loss + self.stress * torch.where(
                has_stress[:, None, None], said.stress - stress, 0.0
            ).square().mean((-2, -1))
        return loss


@dataclass(frozen=True)
class Targets:
    """All n structures and their labels as tensors, and the loss of each.

    Attributes:
        batch: the structures, N particles in d dimensions.
        energy: (n,) float64, baseline subtracted.
        forces: (N, d).
        stress: (n, d, d), zero where there is none.
        has_stress: (n,).
        loss: of a structure.
    """

    batch: Batch
    energy: Tensor
    forces: Tensor
    stress: Tensor
    has_stress: Tensor
    loss: Loss

    @classmethod
    def of(cls, data: Dataset, baseline: Baseline, loss: Loss, device: str) -> Targets:
        """Everything of a data set; the `baseline` is subtracted from its energies."""
        batch = Batch.of(data, device)
        energy = torch.tensor(data.energies, device=device)
        if baseline.energies:
            energy = energy - baseline(batch)
        d = batch.dimension
        stress = np.stack(
            [np.zeros((d, d)) if label.stress is None else label.stress for label in data.labels]
        )
        has = np.array(
            [
                label.stress is not None and g.pbc.all()
                for label, g in zip(data.labels, data, strict=True)
            ]
        )
        return cls(
            batch,
            energy,
            torch.tensor(np.concatenate(data.forces), device=device),
            torch.tensor(stress, device=device),
            torch.tensor(has, device=device),
            loss,
        )

    def losses(
        self, module: nn.Module, chosen: Sequence[NDArray], shares: Sequence[NDArray], graph: bool
    ) -> Tensor:
        """(M,) weighted sum over the chosen structures; there is one task, so one entry in each
        list.
        """
        index = torch.tensor(chosen[0], device=self.energy.device)
        batch, particles = self.batch.take(index)
        each = self.loss(
            module,
            batch,
            self.energy[index],
            self.forces[particles],
            self.stress[index],
            self.has_stress[index],
            graph,
        )
        return (each * torch.tensor(shares[0], device=each.device)).sum(1)


@dataclass(frozen=True)
class Together:
    """K tasks over structures of one composition, charge and multiplicity: each member sees those
    of its own task.

    Attributes:
        positions: (K, n, p, d), padded to the longest task.
        energy: (K, n).
        forces: (K, n, p, d).
        one: the first structure.
        members: of each task.
        loss: of a structure.
    """

    positions: Tensor
    energy: Tensor
    forces: Tensor
    one: Batch
    members: list[int]
    loss: Loss

    @classmethod
    def of(cls, targets: Sequence[Targets], members: list[int]) -> Together:
        """Those of several tasks with so many `members` each.

        Raises:
            ValueError: structures that differ in more than their positions, or are periodic.
        """
        one, _ = targets[0].batch.take(
            torch.zeros(1, dtype=torch.int64, device=targets[0].batch.owner.device)
        )
        for each in targets:
            alike = one.repeat(len(each.batch))
            same = all(
                torch.equal(getattr(each.batch, name), getattr(alike, name))
                for name in ("numbers", "charge", "multiplicity")
            )
            if not same or bool(each.batch.pbc.any()):
                raise ValueError(
                    "fits run in lockstep only where all structures have the same composition,"
                    " charge and multiplicity, and no cell: fit them one by one"
                )

        def stack(values: Sequence[Tensor], *shape: int) -> Tensor:
            return pad_sequence([v.view(-1, *shape) for v in values], batch_first=True)

        d, p = one.dimension, len(one.numbers)
        return cls(
            stack([t.batch.positions for t in targets], p, d),
            stack([t.energy for t in targets]),
            stack([t.forces for t in targets], p, d),
            one,
            members,
            targets[0].loss,
        )

    def losses(
        self, module: nn.Module, chosen: Sequence[NDArray], shares: Sequence[NDArray], graph: bool
    ) -> Tensor:
        """(M,) weighted sums over the structures chosen for each task, padded with structures of no
        weight.
        """
        device, longest = self.energy.device, max(map(len, chosen))
        index, weight = (
            np.zeros((len(chosen), longest), dtype=np.int64),
            np.zeros((sum(self.members), longest)),
        )
        row = 0
        for k, (own, share) in enumerate(zip(chosen, shares, strict=True)):
            index[k, : len(own)], weight[row : row + len(share), : len(own)] = own, share
            row += len(share)
        task, spread = (
            torch.arange(len(chosen), device=device)[:, None],
            torch.tensor(self.members, device=device),
        )
        picked = torch.tensor(index, device=device)

        def each(values: Tensor) -> Tensor:
            return values[task, picked].repeat_interleave(spread, 0, output_size=len(weight))

        p, d = len(self.one.numbers), self.one.dimension
        batch = Batch(
            positions=each(self.positions).flatten(1, 2),
            numbers=self.one.numbers.repeat(longest),
            owner=torch.arange(longest, device=device).repeat_interleave(p),
            cell=torch.zeros(longest, d, d, dtype=torch.float64, device=device),
            pbc=torch.zeros(longest, d, dtype=torch.bool, device=device),
            charge=self.one.charge.expand(longest),
            multiplicity=self.one.multiplicity.expand(longest),
        )
        none = torch.zeros(longest, dtype=torch.bool, device=device)
        loss = self.loss(
            module,
            batch,
            each(self.energy),
            each(self.forces).flatten(1, 2),
            batch.cell,
            none,
            graph,
        )
        return (loss * torch.tensor(weight, device=device)).sum(1)


class Order:
    """Which structures an epoch visits, and the weight of each visit: `worth` (n,) multiplies what
    the visits are weighted with.
    """

    def __init__(self, weights: NDArray, batch_size: int, worth: NDArray) -> None:
        seen = np.flatnonzero(weights.any(axis=0))
        shared = np.where(weights > 0, weights, np.inf).min(axis=0)[seen]
        repeats = np.maximum(np.floor(shared), 1).astype(int)
        self.visits = np.repeat(seen, repeats)
        each = weights.copy()
        each[:, seen] /= repeats
        self.loss_weights = each / each[:, self.visits].mean(axis=1, keepdims=True) * worth
        self.batch_size = batch_size

    def shuffled(self, rng: Generator) -> list[NDArray]:
        """One epoch's batches of structure indices."""
        order = rng.permutation(self.visits)
        return [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
