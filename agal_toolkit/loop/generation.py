"""Frozen records of one turn of the loop, which plots and widgets read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..attack.attack import Adversary
from ..committee import Committee
from ..dataset import Dataset
from ..geometry import Geometry, Labels
from ..selection import KEPT, Candidate, kind_of
from ..training.learning import has_learned, training_errors
from .matching import ID, id_of


@dataclass(frozen=True, eq=False, kw_only=True)
class Proposal:
    """A generation up to the question which structures to label.

    Attributes:
        index: of the generation, from 0; people read it from 1, as in the papers.
        dataset: labelled structures that the committee was trained on.
        committee: trained on `dataset`.
        candidates: all structures that might be labelled, with their verdicts.
        seconds: wall time of each stage that was run; stages that were read are missing.
        weights: (M, n) of the structures of `dataset` in the training of each member; None for a
            committee that was given.
    """

    index: int
    dataset: Dataset
    committee: Committee
    candidates: tuple[Candidate, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    weights: NDArray | None = None

    @cached_property
    def training_errors(self) -> tuple[NDArray, NDArray]:
        """RMSEs (M,) of the members' forces on what they train on, and the spread of these forces.

        A member whose error is no smaller than the spread never learned.
        """
        if not len(self.dataset):
            return np.zeros(len(self.committee)), np.zeros(len(self.committee))
        weights = np.ones((len(self.committee), len(self.dataset)))
        members, data = self.committee.members, self.dataset
        return training_errors(members, data, weights if self.weights is None else self.weights)

    @property
    def unlearned(self) -> tuple[int, ...]:
        """Indices of the members that never learned."""
        return tuple(np.flatnonzero(~has_learned(*self.training_errors)).tolist())

    def write(self, path: str | Path) -> None:
        """Write the structures to label in any format of ASE, as its suffix says.

        Extended xyz and trajectories keep the id of each structure ("agal_id"). Labels of them, in
        any order, are read by :meth:`Dataset.read` and told by :meth:`Loop.tell`.

        Raises:
            ValueError: a suffix that ASE cannot write, or writes for a single structure only.
        """
        from ase.io import write  # takes half a second to import
        from ase.io.formats import UnknownFileTypeError

        frames = []
        for geometry in self.geometries:
            frames.append(geometry.to_ase())
            frames[-1].info[ID] = id_of(self.index, geometry)
        try:
            write(path, frames)
        except (UnknownFileTypeError, ValueError) as error:
            wrong = f"{len(frames)} structures are not written as {Path(path).name} ({error})"
            ids = ".extxyz, .xyz or .traj, which keep the ids"
            remedy = f"give a name that ends with {ids}, or .json, .db, .cif or .pdb"
            raise ValueError(f"{wrong}: {remedy}") from error

    @property
    def adversaries(self) -> tuple[Adversary, ...]:
        """Records of the attack in the order of the candidates; empty without an attack."""
        return tuple(c.adversary for c in self.candidates if c.adversary is not None)

    @property
    def verdicts(self) -> tuple[str, ...]:
        """For each candidate "kept", or the reason why it is not labelled."""
        return tuple(candidate.verdict for candidate in self.candidates)

    @property
    def chosen(self) -> tuple[Candidate, ...]:
        """The candidates to label."""
        return tuple(candidate for candidate in self.candidates if candidate.verdict == KEPT)

    @property
    def geometries(self) -> list[Geometry]:
        """The structures to label, in the order of the candidates."""
        return [candidate.geometry for candidate in self.chosen]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Generation(Proposal):
    """A complete turn of the loop: outcomes of its candidates, metrics on the test data."""

    metrics: Mapping[str, float]

    @cached_property
    def labelled(self) -> Dataset:
        """The labelled structures of this generation, in the order of the candidates."""
        labelled = [(c, c.outcome) for c in self.chosen if isinstance(c.outcome, Labels)]
        return Dataset(
            [candidate.geometry for candidate, _ in labelled],
            [labels for _, labels in labelled],
            [candidate.role for candidate, _ in labelled],
        )

    @property
    def failures(self) -> dict[int, str]:
        """Reasons of failed labels, by index among :attr:`geometries`."""
        return {i: c.outcome for i, c in enumerate(self.chosen) if isinstance(c.outcome, str)}

    @cached_property
    def grown(self) -> Dataset:
        """The data of the next generation."""
        return self.dataset + self.labelled

    @cached_property
    def found(self) -> tuple[float, float, float]:
        """:meth:`Committee.force_errors` on the new labels, before they are learned."""
        return self.committee.force_errors(self.labelled)

    def __repr__(self) -> str:
        kinds = Counter(map(kind_of, self.verdicts))
        counts = [f"{count} {kind}" for kind, count in kinds.items()]
        head = f"Generation {self.index + 1}: {len(self.dataset)} structures,"
        head += f" {len(self.candidates)} candidates ({', '.join(counts)}),"
        head += f" {len(self.labelled)} labelled, {len(self.failures)} failed"
        error, promise, force = self.found
        promised = f" ({promise:.3g} promised)" if promise == promise else ""
        found = f"force error there {error:.3g} of {force:.3g} eV/Å{promised}"
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        spent = f"{sum(self.seconds.values()):.0f} s" if self.seconds else "read from disk"
        parts = head, found * (error == error), metrics and f"test {metrics}", spent
        return "; ".join(part for part in parts if part)
