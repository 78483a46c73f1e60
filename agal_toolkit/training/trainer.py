"""Fitting all members of a committee at once.

Every member has its own weights on the data, its own learning rate and its own best epoch, and all
take each step together; so do, where structures are alike, the members of several independent fits.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import nn

from ..dataset import Dataset, chunks
from ..events import Epoch, Report, ignore
from ..potentials.members import Stacked
from ..potentials.protocol import Baseline, Members
from .loss import Loss, Order, Targets, Task, Together
from .member_adam import MemberAdam


class Trainer(Protocol):
    """Fits all members at once, and stores and reads them."""

    def fit(
        self,
        data: Dataset,
        weights: NDArray,
        valid: NDArray,
        rng: Generator,
        report: Report = ignore,
        scratch: Path | None = None,
    ) -> Members:
        """Members trained on `data`: `weights` (M, n) on the loss, `valid` (M, n) for early
        decisions, `scratch` for checkpoints.
        """
        ...

    def save(self, members: Members, folder: Path) -> None:
        """Writes members into a folder, as plain arrays and JSON."""
        ...

    def load(self, folder: Path) -> Members:
        """Reads what :meth:`save` wrote."""
        ...


class TrainingFailed(RuntimeError):
    """The loss of a member is no longer a number, or its validation loss never was one."""


@dataclass(frozen=True, kw_only=True)
class TorchTrainer:
    """Adam on energies and forces, all members in one pass (Schwalbe-Koda 2021, Eq. 8).

    The loss of a structure is the squared energy error times `energy_weight` plus the *mean*
    squared error of its force
    components times `forces_weight`: Eq. 8 prints sums, the authors' published code takes means. An
    epoch visits a structure as often as the smallest positive weight that a member gives it,
    rounded down; what is left of a weight multiplies its loss.

    Attributes:
        network: called with one seed for each member, returns a module as
            :class:`~agal_toolkit.potentials.Stacked` takes it; ``partial(MLP, 2, width=128)``.
        epochs: passes over the training data.
        learning_rate: of Adam, at the start.
        batch_size: structures in one step.
        energy_weight: alpha_E of Eq. 8.
        forces_weight: alpha_F of Eq. 8; 0 trains on energies alone.
        stress_weight: for periodic structures whose stress is labelled.
        patience: epochs without a better validation loss before a member's learning rate falls;
            None keeps it. Without validation data the training loss decides, here and for
            `keep_best`.
        factor: by which it falls.
        keep_best: a member ends with the weights of its best validation epoch, not of its last.
        anneal: the learning rate also falls to zero along half a cosine, so that the last epochs
            settle what the first ones found.
        large_force: the loss of a structure is divided by 1 + (f / large_force)^2, where f is the
            largest component of its labelled
            forces: little where f is small, by two where they are equal, and where f is much
            larger, errors count relative to it. None counts all errors alike.
        baseline: isolated-atom energies in eV; None fits them to the initial structures, so that
            they stay the same when data grow.
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
    anneal: bool = False
    large_force: float | None = None
    baseline: Baseline | None = None
    device: str = field(default="cpu", compare=False)
    checkpoint: float = field(default=60.0, compare=False)

    def __post_init__(self) -> None:
        if (
            not 0 < self.factor <= 1
            or min(self.energy_weight, self.forces_weight, self.stress_weight) < 0
        ):
            raise ValueError(
                f"factor={self.factor} must be above 0 and at most 1, weights of the loss must not"
                " be negative"
            )
        if self.large_force is not None and not self.large_force > 0:
            raise ValueError(
                f"large_force is {self.large_force}, expected a positive force, or None"
            )
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0:
            raise ValueError(
                f"epochs={self.epochs}, batch_size={self.batch_size} and"
                f" learning_rate={self.learning_rate} must be positive"
            )

    def fit(
        self,
        data: Dataset,
        weights: NDArray,
        valid: NDArray,
        rng: Generator,
        report: Report = ignore,
        scratch: Path | None = None,
    ) -> Stacked:
        """Members trained from scratch.

        Args:
            data: n labelled structures.
            weights: (M, n), not negative; zero where a member must not look.
            valid: (M, n) bool, structures that decide the learning rate and the best epoch. Where
                they decide nothing, their loss is computed every tenth epoch.
            rng: gives the members' seeds and the order of the data.
            report: hears an :class:`~agal_toolkit.events.Epoch` each epoch.
            scratch: folder for checkpoints; a fit that finds one goes on from it and ends the same.
                Remove it when the members are saved.

        Raises:
            ValueError: a member without training data, a damaged checkpoint, or one of a fit of
                other data, weights, settings or random numbers.
            TrainingFailed: a training loss that is no longer a number, or validation losses of
                which none is finite where `keep_best` needs one.
        """
        return self.fit_many([Task(data, weights, valid, rng)], report, scratch)[0]

    def fit_many(
        self, tasks: Sequence[Task], report: Report = ignore, scratch: Path | None = None
    ) -> list[Stacked]:
        """Several independent fits in lockstep on the member axis: the same numbers as one by one,
        within rounding, but in fewer, larger passes.

        All structures of several tasks must have the same composition, in open cells. The events
        report all members of all tasks.

        Raises:
            ValueError: structures that differ between several tasks; otherwise as :meth:`fit`.
        """
        for task in tasks:
            task.check()
        seeds = [task.rng.integers(2**31, size=len(task.weights)).tolist() for task in tasks]
        module = self.network([seed for own in seeds for seed in own]).to(self.device)
        baselines = [self._baseline(task.data[task.weights.any(axis=0)]) for task in tasks]
        loss = Loss(self.energy_weight, self.forces_weight, self.stress_weight)
        targets = [
            Targets.of(task.data, baseline, loss, self.device)
            for task, baseline in zip(tasks, baselines, strict=True)
        ]
        together = (
            targets[0]
            if len(tasks) == 1
            else Together.of(targets, [len(task.weights) for task in tasks])
        )
        descent = MemberAdam(
            module,
            sum(map(len, seeds)),
            self.learning_rate,
            patience=self.patience,
            factor=self.factor,
            keep_best=self.keep_best,
        )
        worth = [self._worth(task.data) for task in tasks]
        orders = [
            Order(task.weights, self.batch_size, own)
            for task, own in zip(tasks, worth, strict=True)
        ]
        checks = [np.flatnonzero(task.valid.any(axis=0)) for task in tasks]
        check_weights = [
            (task.valid * own)[:, check] / np.maximum(task.valid[:, check].sum(1, keepdims=True), 1)
            for task, own, check in zip(tasks, worth, checks, strict=True)
        ]
        sizes = max(
            (
                [len(task.data[int(i)]) for i in check]
                for task, check in zip(tasks, checks, strict=True)
            ),
            key=len,
        )
        unchecked = np.concatenate([~task.valid.any(axis=1) for task in tasks])
        every = 1 if self.keep_best or self.patience is not None else 10
        file = None if scratch is None else scratch / "fit.npz"
        rngs = [task.rng for task in tasks]
        name = "" if file is None else self._name(tasks, module)
        start = descent.resume(file, name, rngs) if file is not None and file.exists() else 0
        saved = time.monotonic()
        for epoch in range(start, self.epochs):
            scale = (1 + math.cos(math.pi * epoch / self.epochs)) / 2 if self.anneal else 1.0
            visits = [order.shuffled(rng) for order, rng in zip(orders, rngs, strict=True)]
            total = torch.zeros(len(unchecked), dtype=torch.float64, device=self.device)
            for step in range(max(map(len, visits))):
                chosen = [
                    own[step] if step < len(own) else np.zeros(0, dtype=np.int64) for own in visits
                ]
                shares = [
                    order.loss_weights[:, own] / max(len(own), 1)
                    for order, own in zip(orders, chosen, strict=True)
                ]
                losses = together.losses(module, chosen, shares, graph=True)
                descent.step(
                    losses.sum(),
                    np.repeat(
                        [len(own) > 0 for own in chosen], [len(task.weights) for task in tasks]
                    ),
                    scale,
                )
                total += losses.detach() * torch.tensor(
                    np.repeat([len(own) for own in chosen], [len(task.weights) for task in tasks]),
                    device=self.device,
                )
            total /= torch.tensor(
                np.repeat(
                    [len(order.visits) for order in orders], [len(task.weights) for task in tasks]
                ),
                device=self.device,
            )
            train = total.cpu().numpy()
            validated = np.full(len(train), np.nan)
            if not unchecked.all() and (epoch % every == 0 or epoch == self.epochs - 1):
                parts = [
                    ([own[part] for own in checks], [own[:, part] for own in check_weights])
                    for part in chunks(sizes)
                ]
                validated = (
                    sum(together.losses(module, *part, graph=False) for part in parts).cpu().numpy()
                )
                validated[unchecked] = np.nan
            if not np.isfinite(train).all():
                worst = int(np.argmin(np.isfinite(train)))
                raise TrainingFailed(
                    f"the loss of {_named(worst, seeds)} is {train[worst]} in epoch {epoch + 1}:"
                    f" lower the learning rate ({self.learning_rate}) or look for wrong labels"
                )
            descent.judge(np.where(unchecked, train, validated))
            report(Epoch(epoch + 1, self.epochs, train, validated, descent.rates * scale))
            if file is not None and time.monotonic() - saved > self.checkpoint:
                descent.save(file, name, epoch + 1, rngs)
                saved = time.monotonic()
        if self.keep_best and not np.isfinite(descent.best).all():
            worst = int(np.argmin(np.isfinite(descent.best)))
            raise TrainingFailed(
                f"no epoch's validation loss of {_named(worst, seeds)} was finite, so none is the"
                " best: look for wrong validation labels or structures, or set keep_best=False"
            )
        descent.finish()
        fitted = Stacked(module.requires_grad_(False))  # attacks differentiate in positions only
        ends = np.cumsum([len(own) for own in seeds])
        return [
            Stacked(fitted[np.arange(end - len(own), end)].module, baseline)
            for own, end, baseline in zip(seeds, ends, baselines, strict=True)
        ]

    def _name(self, tasks: Sequence[Task], module: nn.Module) -> str:
        """A digest of what decides a fit before its first step: settings, networks, data and random
        numbers.

        Weights as they start and baselines follow from these; their last bits differ between
        processors, and a fit may go on on another one.
        """
        settings = {
            f.name: repr(getattr(self, f.name))
            for f in fields(self)
            if f.compare and f.name not in ("network", "baseline")
        }
        told = [
            settings,
            repr(module),
            repr(self.baseline),
            [task.rng.bit_generator.state for task in tasks],
        ]
        sha = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for task in tasks:
            for geometry, label in zip(task.data, task.data.labels, strict=True):
                sha.update(geometry.digest().encode())
                sha.update(
                    b"".join(
                        np.asarray(part, dtype=float).tobytes()
                        for part in (label.energy, label.forces, label.stress)
                        if part is not None
                    )
                )
            sha.update(
                np.asarray(task.weights, dtype=float).tobytes()
                + np.asarray(task.valid, dtype=bool).tobytes()
            )
        return sha.hexdigest()

    def _worth(self, data: Dataset) -> NDArray:
        """(n,) what the loss of each structure is multiplied with, see `large_force`."""
        if self.large_force is None:
            return np.ones(len(data))
        return 1 / (
            1 + (np.array([np.abs(forces).max() for forces in data.forces]) / self.large_force) ** 2
        )

    def _baseline(self, learned: Dataset) -> Baseline:
        """The given baseline, or one fitted to those initial structures that some member learns
        from.
        """
        if self.baseline is not None:
            return self.baseline
        first = learned[learned.generations == 0] if (learned.generations == 0).any() else learned
        return Baseline.fit([g.numbers for g in first], first.energies)

    def save(self, members: Stacked, folder: Path) -> None:
        """Parameters as npz, everything else as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / "parameters.npz",
            **{
                name: value.detach().cpu().numpy()
                for name, value in members.module.state_dict().items()
            },
        )
        about = {
            "members": len(members),
            "baseline": members.baseline.to_json(),
            "network": repr(members.module),
        }
        (folder / "members.json").write_text(json.dumps(about))

    def load(self, folder: Path) -> Stacked:
        """What :meth:`save` wrote, with this trainer's network.

        Raises:
            ValueError: parameters of a network of other sizes or, as its ``repr`` tells, another
                order of elements or another cutoff.
        """
        about = json.loads((folder / "members.json").read_text())
        module = self.network([0] * about["members"])
        if about.get("network", repr(module)) != repr(module):  # older files do not say it
            raise ValueError(
                f"the parameters in {folder} belong to another network than {module}: they are"
                f" those of {about['network']}"
            )
        with (
            (folder / "parameters.npz").open("rb") as stream,
            np.load(stream, allow_pickle=False) as arrays,
        ):
            state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(
                f"the parameters in {folder} belong to another network than {module}: {error}"
            ) from None
        return Stacked(module.to(self.device).requires_grad_(False), Baseline(about["baseline"]))


def _named(member: int, seeds: Sequence[Sequence[int]]) -> str:
    """Which of all members of all fits this is, where each fit has its own `seeds`."""
    ends = np.cumsum([len(own) for own in seeds])
    fit = int(np.searchsorted(ends, member, side="right"))
    return f"member {member - int(ends[fit]) + len(seeds[fit])}" + (
        f" of fit {fit}" if len(seeds) > 1 else ""
    )
