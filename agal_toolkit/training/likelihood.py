"""A short fit of all members together, on the likelihood of forces and energies.

It makes the members' spread as large as their errors, after "How to train a shallow ensemble"
(arXiv:2602.15747); there members share most of their weights, here each has its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..events import Note
from ..files import absolute
from ..potentials.members import Stacked
from ..potentials.protocol import derive
from .loss import TrainingData
from .member_adam import MemberAdam, is_count

FLOOR = 1e-12  # eV^2 and (eV/angstrom)^2, of variances


def normal_nll(values: Tensor, labels: Tensor) -> Tensor:
    """Return -ln of the normal density of labels, with mean and variance of `values` (M, ...)."""
    variance = values.var(0, correction=1) + FLOOR
    squares = (values.mean(0) - labels).square()
    return 0.5 * (math.log(2 * math.pi) + variance.log() + squares / variance)


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """Fine-tuning of trained members, all together, with Adam.

    The loss of a structure is the mean over its force components of ln s + (F - mean)^2 / (2 s^2),
    with the mean and the variance s^2 of the members, plus `energy_weight` times the same of its
    energy; stresses are no part of it. All members learn from all structures on which one of them
    was trained. The epoch, or the members as they were, is chosen on structures that validate and
    that none was trained on (``Folds(shared=True)``); without any, the last epoch stays. Errors on
    training structures are smaller than on others, so calibrate afterwards.

    Attributes:
        epochs: passes over the training data.
        learning_rate: at the start; it falls to zero along half a cosine.
        energy_weight: of the energy's term.
    """

    epochs: int
    learning_rate: float = 1e-4
    energy_weight: float = 0.1

    def __post_init__(self) -> None:
        right = is_count(self.epochs) and 0 < self.learning_rate < math.inf
        if not right or not self.energy_weight >= 0:
            expected = "give a whole number of epochs, a positive rate and no negative weight"
            raise ValueError(f"{self}: {expected}")

    def losses(
        self, module: nn.Module, data: TrainingData, structures: NDArray, *, graph: bool
    ) -> Tensor:
        """Return the losses (k,) of `structures`, differentiable in parameters if `graph`."""
        index = torch.tensor(structures, device=data.energy.device)
        batch, particles = data.batch.take(index)
        members = next(module.parameters()).shape[0]
        prediction = derive(module, batch, graph=graph, members=members)
        forces = normal_nll(prediction.forces, data.forces[particles]).mean(-1)
        if data.has_forces is not None:
            forces = torch.where(data.has_forces[index][batch.owner], forces, 0.0)
        energy = normal_nll(prediction.energy, data.energy[index])
        return batch.mean(forces) + self.energy_weight * energy


def tuned(trainer: Any, members: Stacked, *parts: Any) -> Stacked:
    """Return the members of a trainer's fit of some parts after that of its likelihood, if any."""
    if (fit := trainer.likelihood) is None:
        return members
    data, weights, valid, baseline, rng, report, scratch = parts
    seen, held = weights.any(axis=0), valid.any(axis=0) & ~weights.any(axis=0)
    tensors = TrainingData.of(data, baseline, (1.0, 1.0, 0.0), trainer.device)
    known = tensors.has_forces
    if len(members) < 2 or (known is not None and not bool(known.any())):
        raise ValueError("a likelihood needs two members and labelled forces: leave it out")
    module, choosing = members.module.requires_grad_(True), bool(held.any())
    adam = MemberAdam(module, len(members), fit.learning_rate, None, 1.0, choosing)

    def average(structures: NDArray, scale: float | None = None) -> float:
        """Return the mean loss; with a `scale` of the rate, take a step after each batch."""
        total, whole = 0.0, data.weights[structures].sum()
        for part in np.array_split(structures, math.ceil(len(structures) / trainer.batch_size)):
            losses = fit.losses(module, tensors, part, graph=scale is not None)
            loss = (losses * torch.tensor(data.weights[part] / whole).to(losses)).sum()
            total += float(loss.detach())
            if scale is not None:
                adam.step(loss * len(structures) / len(part), scale)
        return total

    def end_epoch() -> None:  # and keep the weights if they are the best
        if choosing:
            adam.end_epoch(np.full(len(members), average(np.flatnonzero(held))))

    name = f"{fit!r} after {trainer.fit_name(data, weights, valid, rng, module, None)}"
    file = None if scratch is None else absolute(scratch) / "likelihood.npz"
    done = adam.resume(file, name, rng) if file is not None and file.exists() else 0
    if not done:
        end_epoch()  # the members as they were
    for epoch in range(done, fit.epochs):
        scale = (1 + math.cos(math.pi * epoch / fit.epochs)) / 2
        loss = average(rng.permutation(np.flatnonzero(seen)), scale)
        end_epoch()
        if file is not None:
            adam.save(file, name, epoch + 1, rng)
        report(Note(None, f"likelihood, epoch {epoch + 1} of {fit.epochs}: {loss:.4g}"))
    adam.finish()
    return Stacked(module.requires_grad_(False), baseline)
