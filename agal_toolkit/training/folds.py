"""How the members of a committee share a data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..dataset import TRAIN, Dataset


@dataclass(frozen=True)
class Folds:
    """Split of a data set into training and validation structures of each member.

    Attributes:
        train: fraction of the initial structures that a member trains on.
        valid: fraction that decides when a member's learning rate falls and which weights it keeps;
            the rest is left out.
        shared: all members share one split (the double well of Schwalbe-Koda 2021); otherwise each
            draws its own (its ammonia).
        bootstrap: each member draws its training part with replacement.
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
            remedy = "give a positive weight, or None to split acquired structures like the others"
            raise ValueError(f"acquired={self.acquired}: {remedy}")
        total = self.train + self.valid
        if not (0 < self.train <= 1 and 0 <= self.valid < 1 and total <= 1 + 1e-9):
            shares = f"train={self.train} and valid={self.valid}"
            raise ValueError(f"{shares} must be fractions whose sum is at most 1")

    def __call__(self, dataset: Dataset, members: int, rng: Generator) -> tuple[NDArray, NDArray]:
        """Return weights (members, n) of the training loss and a validation mask (members, n).

        Generations are split one after the other, so with the same random numbers a structure keeps
        its place when later generations are added. Weights above one are multiplicities: an epoch
        repeats a structure as often as all members do.

        Raises:
            ValueError: a data set that is empty or too small to split.
        """
        n, generations = len(dataset), dataset.generations
        later = np.zeros(n, dtype=bool) if self.acquired is None else generations > 0
        learnable = np.array([role == TRAIN for role in dataset.roles], dtype=bool)
        split = np.flatnonzero(learnable & ~later)
        fractions = [self.train, self.valid] if self.valid else [self.train]
        if any(round(fraction * len(split)) < 1 for fraction in fractions):
            shares = f"train={self.train} and valid={self.valid}"
            small = f"a data set of {len(split)} structures to split is too small for {shares}"
            raise ValueError(f"{small}: give more structures, or Folds(train=1, valid=0)")
        weights, valid = np.zeros((members, n)), np.zeros((members, n), dtype=bool)
        weights[:, learnable & later] = self.acquired or 0.0
        total = trained = validated = 0
        for generation in np.unique(generations[split]):
            part = split[generations[split] == generation]
            # rounded over all generations so far, so that a generation of two is split fairly, too
            total += len(part)
            n_train = round(self.train * total) - trained
            n_valid = min(round(self.valid * total) - validated, len(part) - n_train)
            trained, validated = trained + n_train, validated + n_valid
            order = rng.permutation(part)
            for m in range(members):
                if m and not self.shared:
                    order = rng.permutation(part)
                valid[m, order[n_train : n_train + n_valid]] = True
                chosen = order[:n_train]
                if self.bootstrap and n_train:
                    chosen = rng.choice(chosen, n_train)
                np.add.at(weights[m], chosen, 1.0)
        return weights, valid
