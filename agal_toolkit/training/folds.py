"""How the members of a committee share a data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..dataset import TRAIN, Dataset


@dataclass(frozen=True)
class Folds:
    """How the members of a committee share a data set.

    Attributes:
        train: fraction of the initial structures that a member trains on.
        valid: fraction that decides when its learning rate falls and which weights it keeps; the
            rest is left out.
        shared: all members share one split (the double well of Schwalbe-Koda 2021), or each draws
            its own (its ammonia).
        bootstrap: the training part is drawn with replacement, each member by itself.
        acquired: weight of structures acquired later, which then all members train on; None splits
            them like the others. The authors' published code repeats acquired points four times.
    """

    train: float = 0.6
    valid: float = 0.2
    shared: bool = False
    bootstrap: bool = False
    acquired: float | None = None

    def __post_init__(self) -> None:
        if self.acquired is not None and not self.acquired > 0:
            raise ValueError(
                f"acquired={self.acquired}: a weight is positive; None splits acquired structures"
                " like the others"
            )
        if not (
            0 < self.train <= 1 and 0 <= self.valid < 1 and self.train + self.valid <= 1 + 1e-9
        ):
            raise ValueError(
                f"train={self.train} and valid={self.valid} must be fractions whose sum is at"
                " most 1"
            )

    def __call__(self, dataset: Dataset, members: int, rng: Generator) -> tuple[NDArray, NDArray]:
        """Weights (members, n) on the training loss and the validation mask (members, n).

        Generations are split one after the other, so a structure keeps its place when those of
        later ones are added, if `rng` starts equal. Weights above one are multiplicities: what all
        members share of them becomes repetition within an epoch.

        Raises:
            ValueError: a data set that is empty or too small to split.
        """
        n, generations = len(dataset), dataset.generations
        learnable = np.array([role == TRAIN for role in dataset.roles], dtype=bool)
        later = (
            learnable & (generations > 0) if self.acquired is not None else np.zeros(n, dtype=bool)
        )
        split = np.flatnonzero(learnable & ~later)
        if round(self.train * len(split)) < 1 or (
            self.valid > 0 and round(self.valid * len(split)) < 1
        ):
            raise ValueError(
                f"a data set of {len(split)} structures to split is too small for"
                f" train={self.train} and valid={self.valid}: give more structures, or"
                " Folds(train=1, valid=0)"
            )
        weights, valid = np.zeros((members, n)), np.zeros((members, n), dtype=bool)
        weights[:, later] = self.acquired or 0.0
        total = trained = checked = 0
        for generation in np.unique(generations[split]):
            part = split[generations[split] == generation]
            total += len(part)
            n_train = (
                round(self.train * total) - trained
            )  # of all so far: a part of two is split fairly, too
            n_valid = min(round(self.valid * total) - checked, len(part) - n_train)
            trained, checked = trained + n_train, checked + n_valid
            order = rng.permutation(part)
            for m in range(members):
                if m and not self.shared:
                    order = rng.permutation(part)
                valid[m, order[n_train : n_train + n_valid]] = True
                chosen = (
                    rng.choice(order[:n_train], n_train)
                    if self.bootstrap and n_train
                    else order[:n_train]
                )
                np.add.at(weights[m], chosen, 1.0)
        return weights, valid
