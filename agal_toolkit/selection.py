"""Selectors: which candidates get a label.

Selectors are applied in order and each sees what the earlier ones kept; the first that drops a
candidate is its verdict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .batch import Batch
from .committee import Committee
from .dataset import TRAIN, Dataset
from .distances import distances_to, euclidean
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
        note: annotation of a person who reviewed it.
    """

    geometry: Geometry
    seed: int
    loss: float
    adversary: Any = None
    verdict: str = KEPT
    outcome: Labels | str | None = None
    role: str = TRAIN
    note: str = ""


def kind_of(verdict: str) -> str:
    """Return a verdict without its details, which stand in parentheses or after a colon."""
    return re.split(r" \(|: ", verdict)[0]


Candidates = Sequence[Candidate]


class Selector(Protocol):
    """Returns a mask (n,) of the candidates to keep."""

    def __call__(
        self, committee: Committee, dataset: Dataset, candidates: Candidates, rng: Generator
    ) -> NDArray: ...


@dataclass(frozen=True)
class _Percentile:
    """Settings of the filters that compare variances with those of the training structures."""

    percentile: float = 80.0

    def __post_init__(self) -> None:
        if not 0 <= self.percentile <= 100:
            raise ValueError(f"percentile is {self.percentile}, expected 0 to 100")


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
        variance = component_variance(committee.predict(geometries))
        parts = Batch.of(geometries).split(variance)
        return np.array([bool((part >= threshold).all()) for part in parts])


def _geometries(candidates: Candidates) -> list[Geometry]:
    return [candidate.geometry for candidate in candidates]


def _variances(committee: Committee, geometries: Sequence[Geometry]) -> NDArray:
    """Return the force variance (n,) of each geometry, (eV/angstrom)^2."""
    return force_variance(committee.predict(geometries), Batch.of(geometries)).numpy()


@dataclass(frozen=True)
class Deduplicate:
    """Keep the candidate of lowest loss of each cluster (Schwalbe-Koda 2021, A.2.1).

    Clusters are hierarchical with single linkage; the paper does not say which member is kept.

    Attributes:
        threshold: distance up to which neighbours share a cluster.
        distance: function of two geometries.
        known: also drop candidates within the threshold of a labelled structure.

    Raises:
        ValueError: a distance that is NaN.
    """

    threshold: float
    distance: Callable[[Geometry, Geometry], float] = euclidean
    known: bool = True

    def __call__(
        self, committee: Committee, dataset: Dataset, candidates: Candidates, rng: Generator
    ) -> NDArray:
        from scipy.cluster.hierarchy import fcluster, linkage  # slow to import

        geometries, keep = _geometries(candidates), np.ones(len(candidates), dtype=bool)
        if self.known and dataset is not None and len(dataset):
            labelled = dataset.geometries
            near = [(self._to(g, labelled) <= self.threshold).any() for g in geometries]
            keep = ~np.array(near, dtype=bool)
        left = np.flatnonzero(keep)
        if len(left) < 2:
            return keep
        rows = [
            self._to(geometries[k], [geometries[i] for i in left[j + 1 :]])
            for j, k in enumerate(left)
        ]
        condensed = np.minimum(np.concatenate(rows), 1e300)
        clusters = fcluster(linkage(condensed, "single"), self.threshold, "distance")
        losses = np.array([candidates[int(i)].loss for i in left])
        losses = np.where(np.isnan(losses), np.inf, losses)
        for cluster in np.unique(clusters):
            inside = np.flatnonzero(clusters == cluster)
            keep[left[inside]] = inside == inside[np.argmin(losses[inside])]
        return keep

    def _to(self, one: Geometry, others: Sequence[Geometry]) -> NDArray:
        """Return the distances (n,) of a structure to others."""
        if self.distance is euclidean:
            return distances_to(one, others)
        distances = np.array([self.distance(one, other) for other in others], dtype=float)
        if np.isnan(distances).any():
            pair = f"{one!r} and {others[int(np.isnan(distances).argmax())]!r}"
            raise ValueError(f"the distance of {pair} is NaN: return a number or infinity")
        return distances


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
        geometries = _geometries(candidates)
        forces = committee.predict(geometries).forces.mean(0).norm(dim=-1)
        return (Batch.of(geometries).largest(forces) <= self.largest).numpy()


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
class MostUncertain:
    """Keep the `count` candidates of the largest force variance (Schwalbe-Koda 2021, Eq. 10).

    Candidates whose variance is not finite are dropped.

    Attributes:
        count: largest number of candidates.
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"MostUncertain({self.count}) would keep nothing: give at least 1")

    def __call__(
        self, committee: Committee, dataset: Dataset, candidates: Candidates, rng: Generator
    ) -> NDArray:
        variances = _variances(committee, _geometries(candidates))
        variances = np.where(np.isfinite(variances), variances, -np.inf)
        ranks = np.argsort(np.argsort(-variances))
        return (ranks < self.count) & np.isfinite(variances)


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
