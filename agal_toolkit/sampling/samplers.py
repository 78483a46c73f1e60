"""Where attacks start, and what is proposed where there is no attack.

A sampler is called with the committee, the labelled structures that some member learns from, a
random generator, a listener and a scratch folder for long runs; it returns geometries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from ..committee import Committee
from ..dataset import Dataset
from ..events import Report, ignore
from ..geometry import Geometry

Sampler = Callable[[Committee, Dataset, Generator, Report, Path | None], list[Geometry]]


@dataclass(frozen=True)
class FromDataset:
    """The labelled structures themselves: every training point is a seed (Schwalbe-Koda 2021,
    A.2.1).

    Attributes:
        count: this many of them, drawn at random; None takes all.
    """

    count: int | None = None

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        rng: Generator,
        report: Report = ignore,
        scratch: Path | None = None,
    ) -> list[Geometry]:
        if self.count is None or self.count >= len(dataset):
            return list(dataset)
        return [dataset[i] for i in np.sort(rng.choice(len(dataset), self.count, replace=False))]


@dataclass(frozen=True)
class Mixture:
    """What several samplers propose, one after the other.

    Attributes:
        samplers: at least one.
    """

    samplers: Sequence[Sampler]

    def __post_init__(self) -> None:
        if not self.samplers:
            raise ValueError("Mixture() has no samplers: give at least one")
        object.__setattr__(self, "samplers", tuple(self.samplers))

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        rng: Generator,
        report: Report = ignore,
        scratch: Path | None = None,
    ) -> list[Geometry]:
        folders = [
            None if scratch is None else scratch / str(index) for index in range(len(self.samplers))
        ]
        return [
            geometry
            for sampler, own in zip(self.samplers, folders, strict=True)
            for geometry in sampler(committee, dataset, rng, report, own)
        ]


@dataclass(frozen=True)
class Copies:
    """One structure, as often as it shall be attacked: a start displaces each copy otherwise
    (Schwalbe-Koda 2021, A.2.2, for ammonia).

    Attributes:
        geometry: the structure.
        count: how often.
    """

    geometry: Geometry
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"Copies(count={self.count}): give a positive number")

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        rng: Generator,
        report: Report = ignore,
        scratch: Path | None = None,
    ) -> list[Geometry]:
        return [self.geometry] * self.count


@dataclass(frozen=True)
class Rattle:
    """Random displacements of the labelled structures, uniform or normal in each coordinate.

    With uniform displacements of the training points and past samples, the random baseline of
    Schwalbe-Koda 2021, A.2.1.

    Attributes:
        amplitude: half the width of the uniform distribution, or the standard deviation of the
            normal one, angstrom.
        normal: draw from the normal distribution.
        copies: displaced structures made of each.
    """

    amplitude: float
    normal: bool = False
    copies: int = 1

    def __post_init__(self) -> None:
        if not self.amplitude > 0 or self.copies < 1:
            raise ValueError(
                f"Rattle(amplitude={self.amplitude}, copies={self.copies}): both must be positive"
            )

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        rng: Generator,
        report: Report = ignore,
        scratch: Path | None = None,
    ) -> list[Geometry]:
        rattled = []
        for index, geometry in enumerate(dataset):
            for _ in range(self.copies):
                shape = geometry.positions.shape
                shift = (
                    rng.normal(0.0, self.amplitude, shape)
                    if self.normal
                    else rng.uniform(-self.amplitude, self.amplitude, shape)
                )
                rattled.append(
                    geometry.moved(
                        geometry.positions + shift * geometry.movable[:, None],
                        by="rattle",
                        seed=index,
                    )
                )
        return rattled
