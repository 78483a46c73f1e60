"""Selectors: which candidates get a label.

Selectors are applied in order and each sees what the earlier ones kept; the first that drops a
candidate is its verdict.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
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
from .uncertainty.variance import component_variance, force_variance

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


Candidates = Sequence[Candidate]


class Selector(Protocol):
    """Returns a mask (n,) of the candidates to keep."""

    def __call__(
        self, committee: Committee, dataset: Dataset, candidates: Candidates, rng: Generator
    ) -> NDArray: ...


@dataclass(frozen=True)
class _Percentile(ABC):
    """Settings of the filters that compare variances with those of the training structures."""

    percentile: float = 80.0

    def __post_init__(self) -> None:
        if not 0 <= self.percentile <= 100:
            raise ValueError(f"percentile is {self.percentile}, expected 0 to 100")

    @abstractmethod
    def __call__(
        self, committee: Committee, dataset: Dataset, candidates: Candidates, rng: Generator
    ) -> NDArray: ...


@dataclass(frozen=True)
class VariancePercentile(_Percentile):
    """Keep uncertain candidates: the usual filter, for molecules and crystals of any size.

    The force variance of the geometry, the mean over its components (Schwalbe-Koda 2021, Eq. 10),
    must reach a percentile of those of the training structures.

    Attributes:
        percentile: 0 to 100.
    """

    def __call__(
        self, committee: Committee, dataset: Dataset, candidates: Candidates, rng: Generator
    ) -> NDArray:
        training = _variances(committee, dataset.of_role(TRAIN).geometries)
        threshold = np.percentile(training, self.percentile)
        return _variances(committee, _geometries(candidates)) >= threshold


@dataclass(frozen=True)
class UncertaintyPercentile(_Percentile):
    """Keep candidates that are uncertain in every component (Schwalbe-Koda 2021, A.2.1).

    The variance of each force component must reach a percentile of those of the training set, the
    paper's rule for the two components of its double well. Few structures of many atoms pass it:
    use :class:`VariancePercentile` for them.

    Attributes:
        percentile: 0 to 100.
    """

    def __call__(
        self, committee: Committee, dataset: Dataset, candidates: Candidates, rng: Generator
    ) -> NDArray:
        training = dataset.of_role(TRAIN).geometries
        threshold = committee.component_percentile(training, self.percentile)
        geometries = _geometries(candidates)
        variance = component_variance(committee.predict(geometries)).numpy()
        ends = np.cumsum([len(geometry) for geometry in geometries])
        return np.array([bool((part >= threshold).all()) for part in np.split(variance, ends[:-1])])


def _geometries(candidates: Candidates) -> list[Geometry]:
    return [candidate.geometry for candidate in candidates]


def _variances(committee: Committee, geometries: Sequence[Geometry]) -> NDArray:
    """Return the force variance (n,) of each geometry, (eV/angstrom)^2."""
    return force_variance(committee.predict(geometries), Batch.of(geometries)).numpy()


def euclidean(one: Geometry, other: Geometry) -> float:
    """Return the norm of the difference of all coordinates and cell vectors, angstrom.

    Periodic particles are compared with their nearest images. The distance is infinite between
    structures of different elements, charges, multiplicities or periodicity.
    """
    same = one.charge == other.charge and one.multiplicity == other.multiplicity
    if not (same and np.array_equal(one.numbers, other.numbers) and (one.pbc == other.pbc).all()):
        return np.inf
    shift = one.positions - other.positions
    if one.pbc.any():
        cell, cells = one.cell[one.pbc], one.cell - other.cell
        turns = np.round(shift @ np.linalg.pinv(cell))
        shift = np.concatenate([shift - turns @ cell, cells])
    return float(np.linalg.norm(shift))


@dataclass(frozen=True)
class Deduplicate:
    """Keep the candidate of lowest loss of each cluster (Schwalbe-Koda 2021, A.2.1).

    Clusters are hierarchical with single linkage; the paper does not say which member is kept.

    Attributes:
        threshold: distance up to which neighbours share a cluster.
        distance: function of two geometries.
    """

    threshold: float
    distance: Callable[[Geometry, Geometry], float] = euclidean

    def __call__(
        self, committee: Committee, dataset: Dataset, candidates: Candidates, rng: Generator
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
                pair = candidates[i].geometry, candidates[k].geometry
                distances[i, k] = distances[k, i] = self.distance(*pair)
        condensed = squareform(np.nan_to_num(distances, posinf=1e300), checks=False)
        clusters = fcluster(linkage(condensed, "single"), self.threshold, "distance")
        losses = np.nan_to_num([candidate.loss for candidate in candidates], nan=0.0, posinf=np.inf)
        for cluster in np.unique(clusters):
            inside = np.flatnonzero(clusters == cluster)
            keep[inside] = inside == inside[np.argmin(losses[inside])]
        return keep


@dataclass(frozen=True)
class MaxForce:
    """Keep candidates without a large force, as predicted by the committee's mean.

    Attributes:
        largest: largest norm of the force on a particle, eV/angstrom (Cezar 2025: 40).
    """

    largest: float

    def __call__(
        self, committee: Committee, dataset: Dataset, candidates: Candidates, rng: Generator
    ) -> NDArray:
        batch = committee.batch([candidate.geometry for candidate in candidates])
        forces = committee(batch).forces.mean(0).norm(dim=-1)
        return (batch.largest(forces) <= self.largest).cpu().numpy()


@dataclass(frozen=True)
class MinDistance:
    """Keep candidates without a pair of atoms closer than `shortest`; periodic images count.

    Attributes:
        shortest: angstrom.
    """

    shortest: float

    def __call__(
        self, committee: Committee, dataset: Dataset, candidates: Candidates, rng: Generator
    ) -> NDArray:
        batches = [Batch.of([candidate.geometry]) for candidate in candidates]
        return np.array([not any_closer(batch, self.shortest) for batch in batches])


@dataclass(frozen=True)
class AtMost:
    """Keep at most `count` candidates, drawn at random.

    Attributes:
        count: largest number of candidates.
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"AtMost({self.count}) would keep nothing: give a positive number")

    def __call__(
        self, committee: Committee, dataset: Dataset, candidates: Candidates, rng: Generator
    ) -> NDArray:
        keep = np.zeros(len(candidates), dtype=bool)
        keep[rng.choice(len(candidates), min(self.count, len(candidates)), replace=False)] = True
        return keep
