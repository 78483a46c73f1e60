"""Samplers: where attacks start, or what is proposed without an attack.

A loop calls a sampler with the committee, the structures that some member learns from, a random
generator, a listener, and a scratch folder for long runs; the sampler returns geometries. A sampler
that needs no committee also has a method `draw`, which takes only what it needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.random import Generator

from ..committee import Committee
from ..dataset import Dataset
from ..events import Note, Report, ignore
from ..geometry import Geometry

Sampler = Callable[[Committee, Dataset, Generator, Report, Path | None], list[Geometry]]


class NoSeeds(RuntimeError):
    """A sampler found no structure to start from."""


def _some(dataset: Dataset) -> Dataset:
    if not len(dataset):
        remedy = (
            "give the loop data, or a sampler with a structure of its own (Copies, or a start=)"
        )
        raise NoSeeds(f"there are no labelled structures to draw from: {remedy}")
    return dataset


def starts_of(
    start: Geometry | None, dataset: Dataset, count: int, rng: Generator
) -> list[Geometry]:
    """Return `count` starts: copies of `start`, or structures drawn from the data if it is None."""
    if start is not None:
        return [start] * count
    return [dataset[int(i)] for i in rng.integers(len(_some(dataset)), size=count)]


class DatasetSampler(ABC):
    """A sampler that needs data, but no committee."""

    @abstractmethod
    def draw(self, dataset: Dataset, rng: Generator) -> list[Geometry]:
        """Return geometries drawn from the data."""

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        rng: Generator,
        report: Report = ignore,
        scratch: Path | None = None,
    ) -> list[Geometry]:
        return self.draw(_some(dataset), rng)


class StructureSampler(ABC):
    """A sampler that needs neither a committee nor data."""

    @abstractmethod
    def draw(self, rng: Generator) -> list[Geometry]:
        """Return geometries made from the sampler's own structure."""

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        rng: Generator,
        report: Report = ignore,
        scratch: Path | None = None,
    ) -> list[Geometry]:
        return self.draw(rng)


@dataclass(frozen=True)
class FromDataset(DatasetSampler):
    """The labelled structures themselves: each is a seed (Schwalbe-Koda 2021, A.2.1).

    Attributes:
        count: number of structures to draw at random; None takes all.
    """

    count: int | None = None

    def draw(self, dataset: Dataset, rng: Generator) -> list[Geometry]:
        """Return `count` of the structures, in their order."""
        if self.count is None or self.count >= len(dataset):
            return list(dataset)
        return [dataset[i] for i in np.sort(rng.choice(len(dataset), self.count, replace=False))]


@dataclass(frozen=True)
class Rattle(DatasetSampler):
    """Random displacements of the labelled structures.

    Uniform displacements of the training points and past samples are the random baseline of
    Schwalbe-Koda 2021, A.2.1.

    Attributes:
        amplitude: half the width of the uniform distribution of each coordinate, or the standard
            deviation of the normal one, angstrom.
        normal: draw from the normal distribution.
        copies: number of displaced copies of each structure.
    """

    amplitude: float
    normal: bool = False
    copies: int = 1

    def __post_init__(self) -> None:
        if not self.amplitude > 0 or self.copies < 1:
            given = f"Rattle(amplitude={self.amplitude}, copies={self.copies})"
            raise ValueError(f"{given}: both must be positive")

    def draw(self, dataset: Dataset, rng: Generator) -> list[Geometry]:
        """Return `copies` displaced copies of each structure; unmovable particles stay."""
        rattled = []
        for index, geometry in enumerate(dataset):
            for _ in range(self.copies):
                shape = geometry.positions.shape
                if self.normal:
                    shift = rng.normal(0.0, self.amplitude, shape)
                else:
                    shift = rng.uniform(-self.amplitude, self.amplitude, shape)
                positions = geometry.positions + shift * geometry.movable[:, None]
                rattled.append(geometry.moved(positions, by="rattle", seed=index))
        return rattled


@dataclass(frozen=True)
class Copies(StructureSampler):
    """`count` copies of one structure; the attack's random start displaces each copy differently.

    Attributes:
        geometry: for ammonia the ground state (Schwalbe-Koda 2021, A.2.2).
        count: number of copies.
    """

    geometry: Geometry
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"Copies(count={self.count}): give a positive number")

    def draw(self, rng: Generator | None = None) -> list[Geometry]:
        """Return the copies; nothing is random about them."""
        return [self.geometry] * self.count


@dataclass(frozen=True)
class Mixture:
    """The geometries of several samplers, one sampler after the other.

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
        geometries = []
        for index, sampler in enumerate(self.samplers):
            folder = None if scratch is None else scratch / str(index)
            geometries += sampler(committee, dataset, rng, report, folder)
        return geometries


@dataclass(frozen=True)
class PerSystem:
    """A sampler that is called once for each system among the data, with its structures only.

    Structures of one system have the same ``origin["system"]``, and those without are a system,
    too; seeds keep it. Each system has its own random numbers and scratch folder. One for which the
    sampler raises :class:`NoSeeds` is left out, with a note, unless all systems are.

    Attributes:
        sampler: of the systems that `samplers` does not name.
        samplers: by the name of the system.

    Raises:
        ValueError: `samplers` for a system that no structure belongs to.
        NoSeeds: no system has seeds.
    """

    sampler: Sampler
    samplers: Mapping[str, Sampler] = field(default_factory=dict)

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        rng: Generator,
        report: Report = ignore,
        scratch: Path | None = None,
    ) -> list[Geometry]:
        systems: dict[str | None, list[int]] = {}
        for index, geometry in enumerate(dataset):
            systems.setdefault(geometry.origin.get("system"), []).append(index)
        if unknown := [name for name in self.samplers if name not in systems]:
            wrong = f"samplers are given for {unknown}, the data have the systems {[*systems]}"
            raise ValueError(f'{wrong}: give each structure its origin["system"]')
        seeds, failures = [], []
        streams = rng.spawn(len(systems))
        for index, (system, structures) in enumerate(systems.items()):
            sampler = self.sampler if system is None else self.samplers.get(system, self.sampler)
            folder = None if scratch is None else scratch / str(index)
            try:
                found = sampler(committee, dataset[structures], streams[index], report, folder)
            except NoSeeds as error:
                failures.append(f"system {system!r} has no seeds: {error}")
                report(Note(None, failures[-1]))
                continue
            name = {} if system is None else {"system": system}
            seeds += [replace(seed, origin={**seed.origin, **name}) for seed in found]
        if failures and len(failures) == len(systems):
            raise NoSeeds("; ".join(failures))
        return seeds
