"""Fitting all members of a committee at once.

Every member has its own weights on the data, its own learning rate and its own best epoch, so the optimiser here is
Adam written over the member axis: torch's keeps one learning rate for all. Parameters, gradients and moments lie in one
flat buffer, so an update is a handful of passes over memory whatever the number of layers or members.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from .dataset import Dataset
from .events import Epoch, Report, ignore
from .geometry import Batch, Prediction
from .potentials.protocol import Baseline, Members, derive
from .potentials.stacked import Stacked


class Trainer(Protocol):
    """Fits all members at once, and stores and reads them."""

    def fit(self, data: Dataset, weights: NDArray, valid: NDArray, rng: Generator, report: Report = ignore, scratch: Path | None = None) -> Members:
        """Members trained on `data`: `weights` (M, n) on the loss, `valid` (M, n) for early decisions, `scratch` for checkpoints."""
        ...

    def save(self, members: Members, folder: Path) -> None: ...

    def load(self, folder: Path) -> Members: ...


class TrainingFailed(RuntimeError):
    """The loss of a member is no longer a number."""


@dataclass(frozen=True, kw_only=True)
class TorchTrainer:
    """Adam on energies and forces, all members in one pass (Schwalbe-Koda 2021, Eq. 8).

    The loss of a structure is the squared energy error times `energy_weight` plus the *mean* squared error of its force
    components times `forces_weight`: Eq. 8 prints sums, the authors' published code takes means. An epoch visits a
    structure as often as its weight is shared by all members; what weight is left multiplies its loss.

    Attributes:
        network: called with one seed for each member, returns a module as :class:`~agal_toolkit.potentials.Stacked` takes it;
            ``partial(MLP, 2, width=128)``.
        epochs: passes over the training data.
        learning_rate: of Adam, at the start.
        batch_size: structures in one step.
        energy_weight: alpha_E of Eq. 8.
        forces_weight: alpha_F of Eq. 8; 0 trains on energies alone.
        stress_weight: for periodic structures whose stress is labelled.
        patience: epochs without a better validation loss before a member's learning rate falls; None keeps it. Without
            validation data the training loss decides, here and for `keep_best`.
        factor: by which it falls.
        keep_best: a member ends with the weights of its best validation epoch, not of its last.
        baseline: isolated-atom energies in eV; None fits them to the initial structures, so that they stay the same when data grow.
        device: "cpu", "cuda", ...
        checkpoint: seconds between checkpoints of a long fit.
    """

    network: Callable[[Sequence[int]], nn.Module]
    epochs: int
    learning_rate: float = 1e-3
    batch_size: int = 35
    energy_weight: float = 1.0
    forces_weight: float = 1.0
    stress_weight: float = 0.0
    patience: int | None = 50
    factor: float = 0.5
    keep_best: bool = True
    baseline: Baseline | None = None
    device: str = field(default="cpu", compare=False)
    checkpoint: float = field(default=60.0, compare=False)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise ValueError(f"epochs={self.epochs}, batch_size={self.batch_size} and learning_rate={self.learning_rate} must be positive")

    def fit(self, data: Dataset, weights: NDArray, valid: NDArray, rng: Generator, report: Report = ignore, scratch: Path | None = None) -> Stacked:
        """Members trained from scratch.

        Args:
            data: n labelled structures.
            weights: (M, n), not negative; zero where a member must not look.
            valid: (M, n) bool, structures that decide the learning rate and the best epoch.
            rng: gives the members' seeds and the order of the data.
            report: hears an :class:`~agal_toolkit.events.Epoch` each epoch.
            scratch: folder for checkpoints; a fit that finds one goes on from it and ends the same.

        Raises:
            ValueError: a member without training data.
            TrainingFailed: a loss that is no longer a number.
        """
        if weights.shape != valid.shape or weights.shape[1] != len(data):
            raise ValueError(f"weights {weights.shape} and valid {valid.shape} must both be (members, {len(data)})")
        if not (weights > 0).any(axis=1).all():
            raise ValueError(f"member {int(np.argmin((weights > 0).any(axis=1)))} has no training data: give it structures of positive weight")
        module = self.network(rng.integers(2**31, size=len(weights)).tolist()).to(self.device)
        members = Stacked(module, self._baseline(data))
        targets = _Targets.of(data, members.baseline, self)
        descent = _Descent(module, len(weights), self)
        order = _Order(weights, self.batch_size, self.device)
        checks = torch.tensor(valid.any(axis=0).nonzero()[0], device=self.device)
        valid_share = torch.tensor(valid, dtype=torch.float64, device=self.device)[:, checks]
        valid_share = valid_share / valid_share.sum(1, keepdim=True)              # NaN for a member without validation data
        file = None if scratch is None else scratch / "fit.npz"
        start = descent.resume(file, rng) if file is not None and file.exists() else 0
        saved = time.monotonic()
        for epoch in range(start, self.epochs):
            total = torch.zeros(len(weights), dtype=torch.float64, device=self.device)
            visits = order.shuffled(rng)
            for chosen in visits:
                loss = (targets.losses(module, chosen, graph=True) * order.loss_weights[:, chosen]).mean(1)
                descent.step(loss.sum())
                total += loss.detach() * len(chosen)
            total /= sum(map(len, visits))
            checked = (targets.losses(module, checks, graph=False) * valid_share).sum(1) if len(checks) else torch.full_like(total, torch.nan)
            train, validated = total.cpu().numpy(), checked.detach().cpu().numpy()
            if not np.isfinite(train).all():
                worst = int(np.argmin(np.isfinite(train)))
                raise TrainingFailed(f"the loss of member {worst} is {train[worst]} in epoch {epoch + 1}: lower the learning rate ({self.learning_rate}) or look for wrong labels")
            descent.judge(np.where(np.isnan(validated), train, validated))
            report(Epoch(epoch + 1, self.epochs, train, validated, descent.rates.copy()))
            if file is not None and time.monotonic() - saved > self.checkpoint:
                descent.save(file, epoch + 1, rng)
                saved = time.monotonic()
        descent.finish()
        if file is not None:
            file.unlink(missing_ok=True)
        return members

    def _baseline(self, data: Dataset) -> Baseline:
        """The given baseline, or one fitted to the structures of generation 0."""
        if self.baseline is not None:
            return self.baseline
        first = data[data.generations == 0]
        return Baseline.fit([g.numbers for g in first], first.energies)

    def save(self, members: Stacked, folder: Path) -> None:
        """Parameters as npz, everything else as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "parameters.npz", **{name: value.detach().cpu().numpy() for name, value in members.module.state_dict().items()})
        (folder / "members.json").write_text(json.dumps({"members": len(members), "baseline": members.baseline.to_json()}))

    def load(self, folder: Path) -> Stacked:
        """What :meth:`save` wrote, with this trainer's network.

        Raises:
            ValueError: parameters that do not fit the network.
        """
        about = json.loads((folder / "members.json").read_text())
        module = self.network([0] * about["members"])
        with np.load(folder / "parameters.npz", allow_pickle=False) as arrays:
            state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"the parameters in {folder} belong to another network than {module}: {error}") from None
        return Stacked(module.to(self.device), Baseline(about["baseline"]))


@dataclass(frozen=True)
class _Targets:
    """All structures and their labels as tensors, and the loss of each."""

    batch: Batch
    energy: Tensor             # (n,) float64, baseline subtracted
    forces: Tensor             # (N, d)
    stress: Tensor             # (n, d, d), zero where there is none
    has_stress: Tensor         # (n,)
    trainer: TorchTrainer

    @classmethod
    def of(cls, data: Dataset, baseline: Baseline, trainer: TorchTrainer) -> _Targets:
        batch = Batch.of(data, trainer.device)
        energy = torch.tensor(data.energies, device=trainer.device)
        if baseline.energies:
            energy = energy - baseline(batch)
        d = batch.dimension
        stress = np.stack([np.zeros((d, d)) if label.stress is None else label.stress for label in data.labels])
        has = np.array([label.stress is not None and g.pbc.all() for label, g in zip(data.labels, data, strict=True)])
        return cls(
            batch, energy, torch.tensor(np.concatenate(data.forces), device=trainer.device),
            torch.tensor(stress, device=trainer.device), torch.tensor(has, device=trainer.device), trainer,
        )

    def losses(self, module: nn.Module, chosen: Tensor, graph: bool) -> Tensor:
        """(M, k) loss of each chosen structure (Schwalbe-Koda 2021, Eq. 8, means over force components)."""
        batch, particles = self.batch.take(chosen)
        size = next(module.parameters()).shape[0]
        if self.trainer.forces_weight == 0 and self.trainer.stress_weight == 0:
            with torch.set_grad_enabled(graph):
                energy = module(batch.at(batch.positions.expand(size, *batch.positions.shape)))
            return self.trainer.energy_weight * (energy - self.energy[chosen]).square()
        said: Prediction = derive(module, batch, graph=graph, members=size)
        loss = self.trainer.energy_weight * (said.energy - self.energy[chosen]).square()
        loss = loss + self.trainer.forces_weight * batch.mean((said.forces - self.forces[particles]).square().mean(-1))
        if self.trainer.stress_weight and bool(self.has_stress.any()):
            errors = torch.where(self.has_stress[chosen][:, None, None], said.stress - self.stress[chosen], 0.0)
            loss = loss + self.trainer.stress_weight * errors.square().mean((-2, -1))
        return loss


class _Order:
    """Which structures an epoch visits, and the weight of each visit."""

    def __init__(self, weights: NDArray, batch_size: int, device: str) -> None:
        seen = np.flatnonzero(weights.any(axis=0))
        shared = np.where(weights > 0, weights, np.inf).min(axis=0)[seen]
        repeats = np.maximum(np.floor(shared), 1).astype(int)
        self.visits = np.repeat(seen, repeats)
        each = weights.copy()
        each[:, seen] /= repeats
        self.loss_weights = torch.tensor(each / each[:, self.visits].mean(axis=1, keepdims=True), device=device)
        self.batch_size, self.device = batch_size, device

    def shuffled(self, rng: Generator) -> list[Tensor]:
        """One epoch's batches of structure indices."""
        return list(torch.tensor(rng.permutation(self.visits), device=self.device).split(self.batch_size))


class _Descent:
    """Adam with a learning rate, a patience and a best epoch for each member, on flat buffers."""

    BETA1, BETA2, EPSILON, THRESHOLD = 0.9, 0.999, 1e-8, 1e-4

    def __init__(self, module: nn.Module, members: int, trainer: TorchTrainer) -> None:
        self.trainer = trainer
        self.parameters = list(module.parameters())
        self.flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        at = 0
        for p in self.parameters:
            p.data = self.flat[at : at + p.numel()].view_as(p)
            at += p.numel()
        self.first, self.second = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.best_weights = self.flat.clone()
        self.steps = 0
        self.rates = np.full(members, trainer.learning_rate)
        self.best, self.reference = np.full(members, np.inf), np.full(members, np.inf)
        self.waited = np.zeros(members, dtype=int)
        self.spread_rates = self._spread(self.rates)

    def _spread(self, per_member: NDArray) -> Tensor:
        """A value of each member at each of its parameters in the flat buffer."""
        values = torch.tensor(per_member, device=self.flat.device)
        values = values if values.dtype == torch.bool else values.to(self.flat.dtype)
        return torch.cat([values.repeat_interleave(p.numel() // len(values)) for p in self.parameters])

    def step(self, loss: Tensor) -> None:
        """One update of all members; `loss` is the sum of theirs."""
        gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, self.parameters)])
        self.steps += 1
        self.first.lerp_(gradient, 1 - self.BETA1)
        self.second.mul_(self.BETA2).addcmul_(gradient, gradient, value=1 - self.BETA2)
        scale = math.sqrt(1 - self.BETA2**self.steps)
        update = self.first / self.second.sqrt().div_(scale).add_(self.EPSILON)
        self.flat.addcmul_(update, self.spread_rates, value=-1 / (1 - self.BETA1**self.steps))

    def judge(self, losses: NDArray) -> None:
        """Keeps the best weights of each member and lowers the rate of those that wait too long."""
        better = losses < self.best
        self.best = np.minimum(losses, self.best)
        if self.trainer.keep_best and better.any():
            if better.all():
                self.best_weights.copy_(self.flat)
            else:
                self.best_weights = torch.where(self._spread(better), self.flat, self.best_weights)
        if self.trainer.patience is None:
            return
        progress = losses < self.reference * (1 - self.THRESHOLD)
        self.reference = np.where(progress, losses, self.reference)
        self.waited = np.where(progress, 0, self.waited + 1)
        tired = self.waited > self.trainer.patience
        if tired.any():
            self.rates = np.where(tired, self.rates * self.trainer.factor, self.rates)
            self.waited = np.where(tired, 0, self.waited)
            self.spread_rates = self._spread(self.rates)

    def finish(self) -> None:
        """Leaves the module with the weights to keep, without a link to the buffers."""
        kept = self.best_weights if self.trainer.keep_best else self.flat
        at = 0
        for p in self.parameters:
            p.data = kept[at : at + p.numel()].clone().view_as(p)
            at += p.numel()

    def save(self, file: Path, epoch: int, rng: Generator) -> None:
        """A checkpoint, written beside the old one and renamed."""
        part = file.with_suffix(".part")
        tensors = {"flat": self.flat, "first": self.first, "second": self.second, "best_weights": self.best_weights}
        arrays = {name: value.cpu().numpy() for name, value in tensors.items()}
        about = json.dumps({"epoch": epoch, "steps": self.steps, "rng": rng.bit_generator.state})
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            np.savez(stream, **arrays, rates=self.rates, best=self.best, reference=self.reference, waited=self.waited, about=np.array(about))
        part.replace(file)

    def resume(self, file: Path, rng: Generator) -> int:
        """The epoch to go on with, after a checkpoint was read."""
        with np.load(file, allow_pickle=False) as arrays:
            for name in ("flat", "first", "second", "best_weights"):
                getattr(self, name).copy_(torch.from_numpy(arrays[name]))
            self.rates, self.best, self.reference, self.waited = (arrays[name] for name in ("rates", "best", "reference", "waited"))
            about = json.loads(str(arrays["about"]))
        self.steps = about["steps"]
        self.spread_rates = self._spread(self.rates)
        rng.bit_generator.state = about["rng"]
        return about["epoch"]
