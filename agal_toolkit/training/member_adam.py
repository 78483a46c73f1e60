"""Adam for all members of a committee at once.

The parameters of all layers lie in one buffer, a row for each member, so torch's fused Adam updates
a member in one pass and members of one learning rate in one call. It is called as a function: the
optimizer object spends 50 microseconds of Python on each row, which for many small members is more
than their arithmetic.

Networks on atoms learn several times faster if the steps of their weight matrices are orthogonal
(Muon: Jordan 2024, kellerjordan.github.io/posts/muon). The momentum of each matrix is taken to the
nearest matrix with orthogonal rows or columns, and scaled so that its root mean square is that of
Adam's steps (Liu 2025, arXiv:2502.16982): learning rates mean the same. Biases and vectors are left
to Adam.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.adam import adam

from ..files import checkpoint_write, read_arrays, reading, write_arrays

# torch's defaults
ADAM: dict[str, Any] = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
ADAM |= {"fused": True, "amsgrad": False, "maximize": False}
THRESHOLD = 1e-4  # relative gain that counts as progress
MOMENTUM = 0.95  # of Muon
NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315  # a, b, c of a X + b X X' X + c (X X')^2 X


def is_count(number: float) -> bool:
    """Return whether a number is whole and positive."""
    return number >= 1 and number % 1 == 0


def rate_doubts(learning_rate: float, patience: int | None) -> list[str]:
    """Return what makes learning rates useless, one sentence for each."""
    texts = []
    if learning_rate > 1:
        far = f"learning_rate={learning_rate:g}: Adam moves each weight about that far in a step"
        texts.append(f"{far}, which saturates a network; 0.01 or less is usual")
    if patience == 1:
        often = "two epochs without a better loss, for which noise is enough"
        texts.append(f"patience=1: learning rates fall after {often}; give 10 or more")
    return texts


def orthogonal(matrices: Tensor) -> Tensor:
    """Return about the nearest orthogonal matrices to `matrices` (..., a, b).

    Five steps of Newton and Schulz take all singular values to between 0.7 and 1.2.
    """
    wide = matrices.shape[-2] <= matrices.shape[-1]
    X = matrices if wide else matrices.mT
    X = X / X.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-30)
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        square = X @ X.mT
        X = a * X + (b * square + c * square @ square) @ X
    return X if wide else X.mT


class MemberAdam:
    """Adam with a learning rate, a patience and a best epoch for each member.

    Args:
        module: every parameter has a leading member axis; they become views of the rows until
            :meth:`finish`.
        members: M.
        learning_rate: at the start.
        patience: epochs without progress before a member's rate falls; None keeps the rate.
        factor: by which it falls.
        keep_best: end with the weights of each member's best epoch, not of the last.
        muon: weight matrices (members, ..., a, b), with neither a nor b equal to one, take
            orthogonal steps.
    """

    def __init__(
        self,
        module: nn.Module,
        members: int,
        learning_rate: float,
        patience: int | None,
        factor: float,
        keep_best: bool,
        muon: bool = False,
    ) -> None:
        self.patience, self.factor, self.keep_best = patience, factor, keep_best
        vectors = list(module.parameters())
        matrices = [p for p in vectors if muon and p.ndim > 2 and min(p.shape[-2:]) > 1]
        vectors = [p for p in vectors if not any(p is matrix for matrix in matrices)]
        self.parameters = vectors + matrices
        self.flat = torch.cat([p.detach().reshape(members, -1) for p in self.parameters], 1)
        self._point_into(self.flat)
        self.gradient = torch.zeros_like(self.flat)
        self.moments = torch.zeros_like(self.flat), torch.zeros_like(self.flat)
        self.steps = [torch.zeros((), device=self.flat.device) for _ in range(members)]
        adams = sum(p.numel() for p in vectors) // members
        buffers = (self.flat, self.gradient, *self.moments)
        self.rows = [*zip(*(x[:, :adams] for x in buffers), self.steps, strict=True)]
        self.matrices, start = [], adams  # views of weights, slopes and momentum
        for p in matrices:
            end = start + p.numel() // members
            views = (x[:, start:end].unflatten(1, p.shape[1:]) for x in buffers[:3])
            self.matrices.append(tuple(views))
            start = end
        self.rates = np.full(members, learning_rate)
        self.best, self.reference = np.full(members, np.inf), np.full(members, np.inf)
        self.waited = np.zeros(members, dtype=int)
        self.epoch, self.best_epoch = 0, np.zeros(members, dtype=int)
        self.best_weights = self.flat.clone()

    def _point_into(self, buffer: Tensor) -> None:
        """Make the module's parameters views of a buffer (members, weights)."""
        start = 0
        for p in self.parameters:
            size = p.numel() // len(buffer)
            p.data = buffer[:, start : start + size].view(p.shape)
            start += size

    def step(self, loss: Tensor, scale: float = 1.0) -> None:
        """Update all members with `scale` times their rates; `loss` sums the members' losses."""
        gradients = torch.autograd.grad(loss, self.parameters)
        torch.cat([g.reshape(len(self.flat), -1) for g in gradients], 1, out=self.gradient)
        for rate in np.unique(self.rates):
            members = np.flatnonzero(self.rates == rate)
            columns = zip(*(self.rows[m] for m in members), strict=True)
            weights, slopes, first, second, steps = map(list, columns)
            adam(weights, slopes, first, second, [], steps, lr=scale * float(rate), **ADAM)
        rates = self.flat.new_tensor(scale * self.rates)
        for weights, slopes, momentum in self.matrices:
            momentum.lerp_(slopes, 1 - MOMENTUM)
            size = 0.2 * math.sqrt(max(weights.shape[-2:]))
            step = size * orthogonal(slopes.lerp(momentum, MOMENTUM))
            weights.sub_(step * rates.view(-1, *(1 for _ in weights.shape[1:])))

    def end_epoch(self, losses: NDArray) -> None:
        """Keep each member's best weights and lower the rates of members without progress.

        A loss (M,) that is NaN is no progress.
        """
        better = losses < self.best
        self.epoch += 1
        self.best_epoch = np.where(better, self.epoch, self.best_epoch)
        self.best = np.fmin(losses, self.best)
        if self.keep_best and better.any():
            members = torch.tensor(np.flatnonzero(better), device=self.flat.device)
            self.best_weights[members] = self.flat[members]
        if self.patience is None:
            return
        progress = losses < self.reference * (1 - THRESHOLD)
        self.reference = np.where(progress, losses, self.reference)
        self.waited = np.where(progress, 0, self.waited + 1)
        stalled = self.waited > self.patience
        self.rates = np.where(stalled, self.rates * self.factor, self.rates)
        self.waited = np.where(stalled, 0, self.waited)

    def keep_last(self, members: NDArray) -> None:
        """Keep the last weights of some members (M,), whatever their best epoch was."""
        chosen = torch.tensor(np.flatnonzero(members), device=self.flat.device)
        self.best_weights[chosen] = self.flat[chosen]

    def finish(self) -> None:
        """Give the module the weights to keep, without a link to the buffers."""
        self._point_into(self.best_weights if self.keep_best else self.flat)
        for p in self.parameters:
            p.data = p.data.clone(memory_format=torch.contiguous_format)

    def _state(self) -> dict[str, Any]:
        first, second = self.moments
        tensors = {"flat": self.flat, "best_weights": self.best_weights}
        tensors |= {"first": first, "second": second, "steps": torch.stack(self.steps)}
        histories = ("rates", "best", "reference", "waited", "best_epoch")
        state = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        return state | {name: getattr(self, name) for name in histories}

    def save(self, file: Path, fit: str, epoch: int, rng: Generator) -> None:
        """Write a checkpoint of the `fit` of that name."""
        record = json.dumps({"epoch": epoch, "rng": rng.bit_generator.state})
        arrays = self._state() | {"about": np.array(record)}
        with checkpoint_write(file, parents=False) as part:
            write_arrays(part, arrays, {"fit": fit})

    def resume(self, file: Path, fit: str, rng: Generator) -> int:
        """Read a checkpoint and return the epoch to go on with.

        Raises:
            DamagedFile: a damaged file, or one of a fit that is not called `fit`; names it.
        """
        remedy = (
            "delete it, and the fit starts from its beginning; a fit of other data, weights,"
            " settings or random numbers needs a folder of its own"
        )
        with reading(file, remedy):
            arrays = read_arrays(file, {"fit": fit})
            record = json.loads(str(arrays["about"]))
            tensors = (self.flat, self.best_weights, *self.moments)
            for name, tensor in zip(self._state(), tensors, strict=False):
                tensor.copy_(torch.from_numpy(arrays[name]))
            for step, stored_step in zip(self.steps, arrays["steps"], strict=True):
                step.fill_(float(stored_step))
            self.rates, self.best = arrays["rates"], arrays["best"]
            self.reference, self.waited = arrays["reference"], arrays["waited"]
            self.epoch, self.best_epoch = record["epoch"], arrays["best_epoch"]
            rng.bit_generator.state = record["rng"]
            return record["epoch"]
