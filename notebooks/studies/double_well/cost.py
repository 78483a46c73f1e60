"""What a double-well study will cost before it is run: matrix products counted, their speed
measured here.

Counted are the products of the hidden layers, which are nearly all there is at the paper's width:
six for each row and hidden layer in a training step (values, slopes, and the derivatives of both),
four in a step of an attack.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from agal_toolkit.loop.loop import Recipe

from .recipes import STRATEGIES, VARIANTS, Preset, recipe, start

ACQUIRED = {"adversarial": 12, "random": 18}  # labels of a generation, about; at preset laptop
POINTS = 58  # initial structures, about; 800 draws


@dataclass(frozen=True)
class Cost:
    """An estimate.

    Attributes:
        work: floating-point operations of all pairs.
        speed: operations in a second, measured on a few steps of training.
    """

    work: float
    speed: float

    @property
    def hours(self) -> float:
        """On the measured device, one process."""
        return self.work / self.speed / 3600

    def __str__(self) -> str:
        return (
            f"{self.work / 1e12:.1f} TFLOP at {self.speed / 1e9:.0f} GFLOP/s here: {self.hours:.2f}"
            " hours in one process"
        )


def work(preset: Preset, variant: str, strategy: str) -> float:
    """Floating-point operations of one loop."""
    chosen = recipe(strategy, preset, variant)
    trainer, folds = chosen.trainer, chosen.folds
    product, total = _product(chosen), 0.0
    for generation in range(preset.generations):
        acquired = generation * ACQUIRED[strategy]
        visits, seeds = (
            folds.train * POINTS + folds.acquired * acquired,
            folds.train * POINTS + acquired,
        )
        total += 6 * product * trainer.epochs * visits
        total += (
            4 * product * chosen.attack.minimizer.steps * seeds
            if chosen.attack is not None
            else 0.0
        )
    return total


def estimate(
    preset: Preset, variant: str, pairs: int, device: str = "cpu", epochs: int = 12
) -> Cost:
    """The cost of all pairs of a variant, with the speed of a short fit of one loop."""
    chosen, data = recipe(STRATEGIES[0], preset, variant, device), start(0, variant)[:35]
    trainer = replace(chosen.trainer, epochs=epochs, patience=None, keep_best=False)
    everything, nothing = (
        np.ones((chosen.members, len(data))),
        np.zeros((chosen.members, len(data)), dtype=bool),
    )
    for _ in range(2):  # the first warms up
        began = time.perf_counter()
        trainer.fit(data, everything, nothing, np.random.default_rng(0))
        if device != "cpu":
            torch.cuda.synchronize()
        passed = time.perf_counter() - began
    done = 6 * _product(chosen) * epochs * len(data)
    return Cost(
        pairs * sum(work(preset, variant, s) for s in VARIANTS[variant].strategies), done / passed
    )


def _product(chosen: Recipe) -> float:
    """Operations of one row in the hidden layers of all members, once."""
    return 2 * chosen.trainer.network.keywords["width"] ** 2 * 2 * chosen.members
