"""Which candidates are worth a label.

Selectors are applied in order and each sees what the earlier ones kept; the first that drops a
candidate is its verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .batch import Batch
from .committee import Committee
from .dataset import TRAIN, Dataset
from .geometry import Geometry, Labels
from .potentials.neighbours import any_closer
from .uncertainty.variance import component_variance

KEPT = "kept"


@dataclass(frozen=True, eq=False)
class Candidate:
    """A geometry that may be labelled: how it was found, and what became of it.

    Attributes:
        geometry: the structure.
        seed: index of the seed it came from.
        loss: of its attack, smaller is better; NaN without an attack.
        adversary: the attack's record (:class:`~agal_toolkit.attack.Adversary`); None without an
            attack.
        verdict: "kept", or the reason why it is not labelled.
        outcome: the labels, or the reason why labelling failed; None if it was not labelled.
        role: "train" or "calibration", the role of the labelled structure.
    """

    geometry: Geometry
    seed: int
    loss: float
    adversary: Any = None
    verdict: str = KEPT
    outcome: Labels | str | None = None
    role: str = TRAIN


class Selector(Protocol):
    """A mask (n,) of the candidates to keep."""

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        candidates: Sequence[Candidate],
        rng: Generator,
    ) -> NDArray: ...


@dataclass(frozen=True)
class UncertaintyPercentile:
    """Keeps candidates *all* of whose force-component variances reach a percentile of the training
    set's (Schwalbe-Koda 2021, A.2.1).

    Attributes:
        percentile: 0 to 100.
    """

    percentile: float = 80.0

    def __post_init__(self) -> None:
        if not 0 <= self.percentile <= 100:
            raise ValueError(f"percentile is {self.percentile}, expected 0 to 100")

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        candidates: Sequence[Candidate],
        rng: Generator,
    ) -> NDArray:
        threshold = committee.component_percentile(
            dataset.of_role(TRAIN).geometries, self.percentile
        )
        geometries = [candidate.geometry for candidate in candidates]
        variance = component_variance(committee.predict(geometries)).numpy()
        ends = np.cumsum([len(geometry) for geometry in geometries])
        return np.array([bool((part >= threshold).all()) for part in np.split(variance, ends[:-1])])


def euclidean(one: Geometry, other: Geometry) -> float:
    """Return the norm of the difference of all coordinates; infinite for other compositions."""
    if not np.array_equal(one.numbers, other.numbers):
        return np.inf
    return float(np.linalg.norm(one.positions - other.positions))


@dataclass(frozen=True)
class Deduplicate:
    """Keeps one candidate, that of the lowest loss, of each cluster (hierarchical, single linkage;
    Schwalbe-Koda 2021, A.2.1).

    The paper does not say which of a cluster is kept.

    Attributes:
        threshold: distance below which neighbours share a cluster.
        distance: between two geometries.
    """

    threshold: float
    distance: Callable[[Geometry, Geometry], float] = euclidean

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        candidates: Sequence[Candidate],
        rng: Generator,
    ) -> NDArray:
        from scipy.cluster.hierarchy import fcluster, linkage  # slow to import
        from scipy.spatial.distance import squareform

        n = len(candidates)
        keep = np.ones(n, dtype=bool)
        if n < 2:
            return keep
        distances = np.zeros((n, n))
        for i in range(n):
            for k in range(i):
                distances[i, k] = distances[k, i] = self.distance(
                    candidates[i].geometry, candidates[k].geometry
                )
        finite = np.nan_to_num(distances, posinf=1e300)
        clusters = fcluster(
            linkage(squareform(finite, checks=False), "single"), self.threshold, "distance"
        )
        losses = np.nan_to_num([candidate.loss for candidate in candidates], nan=0.0, posinf=np.inf)
        for cluster in np.unique(clusters):
            inside = np.flatnonzero(clusters == cluster)
            keep[inside] = inside == inside[np.argmin(losses[inside])]
        return keep


@dataclass(frozen=True)
class MaxForce:
    """Keeps candidates on which the committee's mean predicts no larger force than this (Cezar 2025
    uses 40 eV/angstrom).

    Attributes:
        largest: norm of the force on a particle, eV/angstrom.
    """

    largest: float

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        candidates: Sequence[Candidate],
        rng: Generator,
    ) -> NDArray:
        batch = committee.batch([candidate.geometry for candidate in candidates])
        forces = committee(batch).forces.mean(0).norm(dim=-1)
        return (batch.largest(forces) <= self.largest).cpu().numpy()


@dataclass(frozen=True)
class MinDistance:
    """Keeps candidates without a pair of atoms closer than this; periodic images count.

    Attributes:
        shortest: angstrom.
    """

    shortest: float

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        candidates: Sequence[Candidate],
        rng: Generator,
    ) -> NDArray:
        batches = [Batch.of([candidate.geometry]) for candidate in candidates]
        return np.array([not any_closer(batch, self.shortest) for batch in batches])


@dataclass(frozen=True)
class AtMost:
    """Keeps this many candidates, drawn at random.

    Attributes:
        count: how many.
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"AtMost({self.count}) would keep nothing: give a positive number")

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        candidates: Sequence[Candidate],
        rng: Generator,
    ) -> NDArray:
        keep = np.zeros(len(candidates), dtype=bool)
        keep[rng.choice(len(candidates), min(self.count, len(candidates)), replace=False)] = True
        return keep
