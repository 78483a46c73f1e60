"""Gradient descent of many members at once.

The parameters of all layers lie in one buffer, a row for each member, so torch's fused Adam updates
a member in one pass and members of one learning rate in one call. It is called as a function: the
optimizer object spends 50 microseconds of Python on each row, which for many small members is more
than their arithmetic.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.adam import adam


class MemberAdam:
    """torch's Adam over a row of weights for each member, with a learning rate, a patience and a
    best epoch of its own.

    Args:
        module: every parameter has a leading member axis; they become views of the rows until
            :meth:`finish`.
        members: M.
        learning_rate: at the start.
        patience: judgements without progress before a member's rate falls; None keeps it.
        factor: by which it falls.
        keep_best: end with the weights of each member's best judgement, not with the last.
    """

    THRESHOLD = 1e-4  # relative gain that counts as progress, torch's default

    def __init__(
        self,
        module: nn.Module,
        members: int,
        learning_rate: float,
        *,
        patience: int | None,
        factor: float,
        keep_best: bool,
    ) -> None:
        self.patience, self.factor, self.keep_best = patience, factor, keep_best
        self.parameters = list(module.parameters())
        self.flat = torch.cat([p.detach().reshape(members, -1) for p in self.parameters], 1)
        self._point_into(self.flat)
        self.gradient = torch.zeros_like(self.flat)
        self.moments = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.steps = [torch.zeros((), device=self.flat.device) for _ in range(members)]
        self.rows = [*zip(self.flat, self.gradient, *self.moments, self.steps, strict=True)]
        self.rates = np.full(members, learning_rate)
        self.best, self.reference = np.full(members, np.inf), np.full(members, np.inf)
        self.waited = np.zeros(members, dtype=int)
        self.best_weights = self.flat.clone()

    def _point_into(self, buffer: Tensor) -> None:
        """Makes the module's parameters views of a buffer (members, weights)."""
        at = 0
        for p in self.parameters:
            size = p.numel() // len(buffer)
            p.data = buffer[:, at : at + size].view(p.shape)
            at += size

    def step(self, loss: Tensor, active: NDArray, scale: float = 1.0) -> None:
        """One update of the `active` members (M,) with `scale` times their learning rates; `loss`
        is the sum of all losses.
        """
        slopes = torch.autograd.grad(loss, self.parameters)
        torch.cat([g.reshape(len(self.flat), -1) for g in slopes], 1, out=self.gradient)
        for rate in np.unique(self.rates[active]):
            rows, gradients, first, second, steps = zip(
                *(self.rows[m] for m in np.flatnonzero(active & (self.rates == rate))), strict=True
            )
            adam(
                list(rows),
                list(gradients),
                list(first),
                list(second),
                [],
                list(steps),
                fused=True,
                amsgrad=False,
                maximize=False,
                beta1=0.9,
                beta2=0.999,
                eps=1e-8,
                weight_decay=0.0,
                lr=scale * float(rate),
            )

    def judge(self, losses: NDArray) -> None:
        """Keeps the best weights of each member and lowers the rate of those that wait too long; a
        loss (M,) that is NaN is no progress.
        """
        better = losses < self.best
        self.best = np.fmin(losses, self.best)
        if self.keep_best and better.any():
            chosen = torch.tensor(np.flatnonzero(better), device=self.flat.device)
            self.best_weights[chosen] = self.flat[chosen]
        if self.patience is None:
            return
        progress = losses < self.reference * (1 - self.THRESHOLD)
        self.reference = np.where(progress, losses, self.reference)
        self.waited = np.where(progress, 0, self.waited + 1)
        tired = self.waited > self.patience
        self.rates = np.where(tired, self.rates * self.factor, self.rates)
        self.waited = np.where(tired, 0, self.waited)

    def finish(self) -> None:
        """Leaves the module with the weights to keep, without a link to the buffers."""
        self._point_into(self.best_weights if self.keep_best else self.flat)
        for p in self.parameters:
            p.data = p.data.clone(memory_format=torch.contiguous_format)

    def save(self, file: Path, fit: str, epoch: int, rngs: Sequence[Generator]) -> None:
        """A checkpoint of the `fit` of that name, written beside the old one and renamed."""
        part = file.with_suffix(".part")
        tensors = {
            "flat": self.flat,
            "best_weights": self.best_weights,
            "first": self.moments[0],
            "second": self.moments[1],
            "steps": torch.stack(self.steps),
        }
        arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        about = json.dumps(
            {"fit": fit, "epoch": epoch, "rngs": [rng.bit_generator.state for rng in rngs]}
        )
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as stream:
                np.savez(
                    stream,
                    **arrays,
                    rates=self.rates,
                    best=self.best,
                    reference=self.reference,
                    waited=self.waited,
                    about=np.array(about),
                )
            part.replace(file)
        except OSError as error:
            raise OSError(
                f"cannot write the checkpoint {file} ({error}): free the disk or give another"
                " directory; finished stages are kept"
            ) from error

    def resume(self, file: Path, fit: str, rngs: Sequence[Generator]) -> int:
        """The epoch to go on with, after a checkpoint was read.

        Raises:
            ValueError: a damaged file, or one of a fit that is not called `fit`; names it.
        """
        names = (
            "flat",
            "best_weights",
            "first",
            "second",
            "steps",
            "rates",
            "best",
            "reference",
            "waited",
            "about",
        )
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in names}
            about = json.loads(str(arrays["about"]))
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"the checkpoint {file} is damaged ({type(error).__name__}: {error}): delete it,"
                " and the fit starts from its beginning"
            ) from error
        if "fit" not in about:
            raise ValueError(
                f"the checkpoint {file} was written by an older version and does not say of which"
                " fit: delete it, and the fit starts from its beginning"
            )
        if about["fit"] != fit:
            raise ValueError(
                f"the checkpoint {file} is of a fit of other data, weights, settings or random"
                " numbers: delete it, and this fit starts from its beginning, or give it a folder"
                " of its own"
            )
        for name, tensor in zip(
            names[:4], (self.flat, self.best_weights, *self.moments), strict=True
        ):
            tensor.copy_(torch.from_numpy(arrays[name]))
        for own, steps in zip(self.steps, arrays["steps"], strict=True):
            own.fill_(float(steps))
        self.rates, self.best, self.reference, self.waited = (
            arrays[name] for name in ("rates", "best", "reference", "waited")
        )
        for rng, state in zip(rngs, about["rngs"], strict=True):
            rng.bit_generator.state = state
        return about["epoch"]
