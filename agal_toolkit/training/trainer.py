"""Fitting all members of a committee at once.

Every member has its own weights on the data, its own learning rate and its own best epoch; all take
each step together.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import nn

from ..dataset import Dataset, chunks
from ..events import Epoch, Event, Note, Report, ignore
from ..files import absolute
from ..potentials.members import Stacked
from ..potentials.protocol import Baseline, Members
from .learning import (
    check_weights,
    doubts,
    has_learned,
    named,
    training_errors,
    weights_of,
    without_unknown_elements,
)
from .likelihood import Likelihood, tuned
from .loss import EpochOrder, TrainingData
from .member_adam import MemberAdam, is_count, rate_doubts
from .weights import WarmStart, load_members, save_members, taken_over

Errors = tuple[NDArray, NDArray]  # of the members on what they train on, and its spread
OTHERS = "network", "warm", "likelihood"  # fields that do not matter for a checkpoint
ENOUGH = 300  # steps after which a member that learned nothing never will


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
        start: Members | None = None,
    ) -> Members:
        """Train on n structures with `weights` and `valid` (M, n); checkpoints go to `scratch`.

        A loop gives a `start` only to trainers with a :class:`WarmStart` as their `warm`; others
        need no such argument.
        """
        ...

    def save(self, members: Members, folder: Path) -> None:
        """Write members into a folder, as plain arrays and JSON."""

    def load(self, folder: Path) -> Members:
        """Read members that :meth:`save` wrote."""
        ...


class TrainingFailed(RuntimeError):
    """A training loss is not finite, or a member did not learn."""


@dataclass(frozen=True, kw_only=True)
class TorchTrainer:
    """Adam on energies and forces, all members in one pass (Schwalbe-Koda 2021, Eq. 8).

    The loss of a structure is `energy_weight` times the squared energy error plus `forces_weight`
    times the *mean* squared error of its force components: Eq. 8 prints sums, the published
    code takes means. An epoch visits a structure as often as the smallest positive weight that a
    member gives it, rounded down; the rest of a weight multiplies the loss.

    Attributes:
        network: called with one seed for each member, returns a module as
            :class:`~agal_toolkit.potentials.Stacked` takes it; ``partial(MLP, 2, width=128)``.
        epochs: passes over the training data.
        learning_rate: at the start.
        optimizer: "adam", or "muon", which is Adam with orthogonal steps of weight matrices: the
            faster one on atoms (:mod:`~agal_toolkit.training.member_adam`).
        batch_size: largest number of structures in one step.
        energy_weight: alpha_E of Eq. 8.
        forces_weight: alpha_F of Eq. 8; 0 trains on energies alone.
        stress_weight: for labelled stresses. Notes and warnings tell of a weight without labels, of
            structures that differ only in charge or spin, and of copies of calibration structures.
        patience: epochs without a better validation loss before a member's learning rate falls;
            None keeps the rate. Members without validation data use their training loss, here and
            for `keep_best`.
        factor: by which the rate falls.
        keep_best: a member ends with the weights of its best validation epoch, not of its last.
        anneal: the learning rate also falls to zero along half a cosine, so that the last epochs
            settle what the first ones found.
        large_force: the loss of a structure is divided by 1 + (f / large_force)^2, where f is the
            largest component of its labelled forces, so errors count relative to f where f is much
            larger. None counts all errors alike.
        equal_batches: batches of an epoch differ by one structure at most. Otherwise the last has
            the remaining structures: a step with one to three of them makes the losses jump.
        must_learn: a member whose training forces (energies, if only these are learned) are no
            better than their spread is trained again from another seed, and fails the fit if that
            does not help; a member whose best epoch was its first ends with the weights of the
            last. Otherwise such members are kept.
        baseline: isolated-atom energies in eV; None fits them to the initial structures, so that
            they stay the same when data grow.
        warm: how a fit goes on from the members that it is given, in a loop from those of the last
            generation; None always trains afresh.
        likelihood: a short fit of all members together at the end, None for none.
        device: "cpu", "cuda", ...
        checkpoint: seconds between checkpoints of a long fit.
    """

    network: Callable[[Sequence[int]], nn.Module]
    epochs: int
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    batch_size: int = 35
    energy_weight: float = 1.0
    forces_weight: float = 1.0
    stress_weight: float = 0.0
    patience: int | None = 50
    factor: float = 0.5
    keep_best: bool = True
    anneal: bool = False
    large_force: float | None = None
    equal_batches: bool = True
    must_learn: bool = True
    baseline: Baseline | None = None
    warm: WarmStart | None = None
    likelihood: Likelihood | None = None
    device: str = field(default="cpu", compare=False)
    checkpoint: float = field(default=60.0, compare=False)

    def __post_init__(self) -> None:
        smallest = min(self.energy_weight, self.forces_weight, self.stress_weight)
        if not 0 < self.factor <= 1 or smallest < 0:
            wrong = f"factor={self.factor} must be above 0 and at most 1"
            raise ValueError(f"{wrong}, weights of the loss must not be negative")
        if self.optimizer not in ("adam", "muon"):
            raise ValueError(f'optimizer is {self.optimizer!r}, expected "adam" or "muon"')
        if self.large_force is not None and not self.large_force > 0:
            raise ValueError(
                f"large_force is {self.large_force}, expected a positive force, or None"
            )
        sizes = is_count(self.epochs) and is_count(self.batch_size)
        if not sizes or not 0 < self.learning_rate < math.inf:
            sizes = f"epochs={self.epochs}, batch_size={self.batch_size}"
            wrong = f"{sizes} and learning_rate={self.learning_rate} must be positive"
            raise ValueError(f"{wrong}, the first two of them whole numbers")
        if self.patience is not None and not is_count(self.patience):
            remedy = "give a whole number of epochs, 10 or more, or None to keep the learning rate"
            raise ValueError(f"patience is {self.patience}: {remedy}")

    def fit(
        self,
        data: Dataset,
        weights: NDArray,
        valid: NDArray,
        rng: Generator,
        report: Report = ignore,
        scratch: Path | None = None,
        start: Members | None = None,
    ) -> Stacked:
        """Train members, from scratch or, if this trainer is `warm`, from a `start`.

        Structures that no member trains or validates on are left alone. A member does not validate
        on elements that it does not train on.

        Args:
            data: n labelled structures.
            weights: (M, n), not negative; zero where a member must not look.
            valid: (M, n) bool, structures that decide the learning rate and the best epoch. Where
                they decide nothing, their loss is computed every tenth epoch.
            rng: draws the members' seeds and the order of the data.
            report: receives an :class:`~agal_toolkit.events.Epoch` after each epoch, and notes.
            scratch: folder for checkpoints; a fit goes on from a checkpoint there and ends the
                same. Remove the folder when the members are saved.
            start: M members of this network to go on from, which keep their baseline; not used
                without `warm`. Members that then learned nothing are trained from scratch.

        Raises:
            StartRefused: a start of another network, number of members or baseline.
            ValueError: a member without training data, a damaged checkpoint, or one of a fit of
                other data, weights, settings or random numbers.
            TrainingFailed: a training loss that is not finite, validation losses of which none is
                finite where `keep_best` needs one, or members that did not learn.
        """
        check_weights(data, weights, valid)
        first, start = self, None if self.warm is None else start
        if self.warm is not None and start is not None:
            begun = taken_over(self.network, start, len(weights), self.baseline, self.device)
            shorter = f"{self.warm.epochs} epochs instead of {self.epochs}"
            report(Note(None, f"members go on from their last weights: {shorter}"))
            if not self.warm.epochs:
                return Stacked(begun.module.requires_grad_(False), begun.baseline)
            rate = self.warm.learning_rate or self.learning_rate
            changes = {"epochs": self.warm.epochs, "learning_rate": rate, "anneal": True}
            first = replace(self, baseline=begun.baseline, **changes)
        valid = without_unknown_elements(data, weights, valid, report)
        used = weights.any(axis=0) | valid.any(axis=0)
        texts = doubts(data, np.flatnonzero(used), self.forces_weight, self.stress_weight)
        for text in texts + rate_doubts(first.learning_rate, self.patience):
            warnings.warn(text, stacklevel=2)
            report(Note(None, text))
        data, weights, valid = data[used], weights[:, used], valid[:, used]
        baseline = first._baseline(data[weights.any(axis=0)])
        parts = data, weights, valid, baseline, rng, report, scratch
        members, stuck, _ = first._fit(*parts, start)
        if not stuck.any():
            return tuned(self, members, *parts)
        again = np.flatnonzero(stuck)

        def expanded(event: Event) -> None:
            """Report epochs of the second training after those of the first, for all members."""
            if isinstance(event, Epoch):
                columns = np.full((3, len(weights)), np.nan)
                columns[:, again] = event.train, event.valid, event.learning_rate
                numbers = first.epochs + event.epoch, first.epochs + self.epochs
                event = Epoch(*numbers, *columns)
            report(event)

        report(Note(None, f"{named(again)} learned nothing, trained again from another seed"))
        folder = None if scratch is None else scratch / "again"
        some = data, weights[again], valid[again], baseline, rng, expanded, folder
        second, stuck, errors = self._fit(*some)
        if stuck.any():
            label = "forces" if self.forces_weight else "energies"
            error, spread = (np.array2string(part[stuck], precision=3) for part in errors)
            raise TrainingFailed(
                f"{named(again[stuck])} did not learn, trained twice from different seeds: the"
                f" RMSE of the training {label} is {error}, their spread {spread}. More epochs"
                f" ({self.epochs}), another learning rate ({self.learning_rate}), no patience"
                f" ({self.patience}) or another network may help; must_learn=False keeps them"
            )
        for mine, new in zip(members.module.parameters(), second.module.parameters(), strict=True):
            mine.data[torch.as_tensor(again, device=mine.device)] = new.data
        return tuned(self, members, *parts)

    def _fit(
        self,
        data: Dataset,
        weights: NDArray,
        valid: NDArray,
        baseline: Baseline,
        rng: Generator,
        report: Report,
        scratch: Path | None,
        start: Members | None = None,
    ) -> tuple[Stacked, NDArray, Errors]:
        """Train once; return members, which of them learned nothing, their errors and spreads."""
        seeds = rng.integers(2**31, size=len(weights)).tolist() if start is None else []

        def begin() -> Stacked:
            if start is None:
                return Stacked(self.network(seeds).to(self.device), baseline)
            return taken_over(self.network, start, len(weights), baseline, self.device)

        module = begin().module
        loss_weights = (self.energy_weight, self.forces_weight, self.stress_weight)
        training = TrainingData.of(data, baseline, loss_weights, self.device)
        rates = self.learning_rate, self.patience, self.factor, self.keep_best
        optimizer = MemberAdam(module, len(weights), *rates, muon=self.optimizer == "muon")
        structure_weights = weights_of(data, self.large_force)
        order = EpochOrder(weights, self.batch_size, structure_weights, self.equal_batches)

        # validation: each member's mean over its structures, in chunks
        checked = np.flatnonzero(valid.any(axis=0))
        counts = np.maximum(valid[:, checked].sum(1, keepdims=True), 1)
        shares = (valid * structure_weights)[:, checked] / counts
        parts = chunks([len(data[int(i)]) for i in checked])
        without = ~valid.any(axis=1)
        every = 1 if self.keep_best or self.patience is not None else 10

        file = None if scratch is None else absolute(scratch) / "fit.npz"
        if file is not None:  # later it is not made anew, should it be removed
            file.parent.mkdir(parents=True, exist_ok=True)
        name = "" if file is None else self.fit_name(data, weights, valid, rng, module, start)
        done = optimizer.resume(file, name, rng) if file is not None and file.exists() else 0
        saved = time.monotonic()
        trained = np.zeros(len(weights))
        for epoch in range(done, self.epochs):
            scale = (1 + math.cos(math.pi * epoch / self.epochs)) / 2 if self.anneal else 1.0
            total = torch.zeros(len(weights), dtype=torch.float64, device=self.device)
            for visits in order.shuffled(rng):
                visit_weights = order.loss_weights[:, visits] / len(visits)
                losses = training.losses(module, visits, visit_weights, graph=True)
                optimizer.step(losses.sum(), scale)
                total += losses.detach() * len(visits)
            trained = (total / len(order.visits)).cpu().numpy()
            if not np.isfinite(trained).all():
                member = int(np.argmin(np.isfinite(trained)))
                wrong = f"the loss of member {member} is {trained[member]} in epoch {epoch + 1}"
                remedy = f"lower the learning rate ({self.learning_rate}) or look for wrong labels"
                raise TrainingFailed(f"{wrong}: {remedy}")
            validated = np.full(len(weights), np.nan)
            if not without.all() and (epoch % every == 0 or epoch == self.epochs - 1):
                total = torch.zeros_like(total)
                for part in parts:
                    total += training.losses(module, checked[part], shares[:, part], graph=False)
                validated = np.where(without, np.nan, total.cpu().numpy())
            optimizer.end_epoch(np.where(without, trained, validated))
            report(Epoch(epoch + 1, self.epochs, trained, validated, optimizer.rates * scale))
            if file is not None and time.monotonic() - saved > self.checkpoint:
                optimizer.save(file, name, epoch + 1, rng)
                saved = time.monotonic()
        if self.keep_best and not np.isfinite(optimizer.best).all():
            member = int(np.argmin(np.isfinite(optimizer.best)))
            wrong = f"no epoch's validation loss of member {member} was finite"
            remedy = "look for wrong validation labels or structures, or set keep_best=False"
            raise TrainingFailed(f"{wrong}, so none is the best: {remedy}")
        first = (optimizer.best_epoch == 1) & (start is None)
        enough = self.epochs * order.steps >= ENOUGH
        if self.must_learn and self.keep_best and self.epochs > 1 and first.any():
            optimizer.keep_last(first)
            if enough:
                which = f"{named(np.flatnonzero(first))}: the best validation epoch was the first"
                report(Note(None, f"{which}, the weights of the last epoch are kept"))
        optimizer.finish()
        # attacks differentiate in positions only
        members = Stacked(module.requires_grad_(False), baseline)
        if not self.must_learn:
            return members, np.zeros(len(weights), dtype=bool), (trained, trained)
        judge = partial(training_errors, data=data, weights=weights * structure_weights)
        judge = partial(judge, forces=self.forces_weight > 0)
        errors, spread = judge(members)
        stuck = ~has_learned(errors, spread)
        if stuck.any() and not enough:  # a fit that moved at all may only need more epochs
            before, _ = judge(begin())
            lost = has_learned(before, spread) & (start is not None)
            stuck &= lost | (np.isclose(errors, before, rtol=1e-3) & (self.epochs >= 25))
        elif stuck.any() and self.keep_best:  # validation may not tell what training learned
            best = optimizer.best_weights.clone()
            optimizer.keep_last(stuck)
            optimizer.finish()
            last, _ = judge(members)
            rescued = stuck & has_learned(last, spread)
            errors, stuck = np.where(rescued, last, errors), stuck & ~rescued
            back = torch.tensor(np.flatnonzero(stuck), device=best.device)
            optimizer.best_weights[back] = best[back]
            optimizer.finish()
        return members, stuck, (errors, spread)

    def fit_name(
        self,
        data: Dataset,
        weights: NDArray,
        valid: NDArray,
        rng: Generator,
        module: nn.Module,
        start: Members | None,
    ) -> str:
        """Return a digest of everything that determines a fit, for its checkpoints.

        Initial parameters and baselines follow from these if there is no `start`; their last bits
        differ between processors, and a fit may go on on another one.
        """
        names = [f.name for f in fields(self) if f.compare and f.name not in OTHERS]
        settings = {name: repr(getattr(self, name)) for name in names}
        plain = [settings, repr(module), rng.bit_generator.state, data.digest()]
        sha = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
        sha.update(np.asarray(weights, dtype=float).tobytes())
        sha.update(np.asarray(valid, dtype=bool).tobytes())
        for value in module.state_dict().values() if start is not None else ():
            sha.update(value.cpu().numpy().tobytes())
        return sha.hexdigest()

    def _baseline(self, learned: Dataset) -> Baseline:
        """The given baseline, or one fitted to the initial structures among the `learned` ones."""
        if self.baseline is not None:
            return self.baseline
        first = learned[learned.generations == 0] if (learned.generations == 0).any() else learned
        return Baseline.fit([g.numbers for g in first], first.energies)

    def save(self, members: Stacked, folder: Path) -> None:
        """Write parameters as npz and everything else as JSON."""
        save_members(members, folder)

    def load(self, folder: Path) -> Stacked:
        """Read members that :meth:`save` wrote into this trainer's network.

        Raises:
            DamagedFile: damaged files, or files of different committees.
            ValueError: parameters of a network whose sizes, elements or cutoff are different.
        """
        return load_members(self.network, folder, self.device)
