"""Maps of structures: what they look like to SOAP, and UMAP's picture of that in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry import Geometry


@dataclass(frozen=True, kw_only=True)
class Soap:
    """Smooth overlap of atomic positions, one vector for each structure (Schwalbe-Koda 2021,
    A.2.2).

    Spherical primitive Gaussian orbitals as radial basis; coefficients are averaged over the atoms
    before magnetic quantum numbers are summed (dscribe's ``average="inner"``). Rotations,
    reflections, translations and exchanges of equal atoms do not change it.

    Attributes:
        r_cut: cutoff, angstrom.
        n_max: number of radial functions.
        l_max: highest degree of spherical harmonics.
        sigma: standard deviation of the Gaussian at each atom, angstrom.
        species: atomic numbers the vector has room for; None takes those that are there, so that
            vectors of different calls compare only if they hold the same elements.
    """

    r_cut: float = 5.0
    n_max: int = 5
    l_max: int = 6
    sigma: float = 1.0
    species: tuple[int, ...] | None = None

    def __call__(self, geometries: Sequence[Geometry]) -> NDArray:
        """(n, features) of n structures in three dimensions.

        Raises:
            ValueError: no structures, other dimensions, particles without a name, or open and
                periodic structures together.
        """
        from dscribe.descriptors import SOAP

        periodic = {bool(geometry.pbc.any()) for geometry in geometries}
        if len(periodic) != 1:
            raise ValueError(
                "SOAP needs structures that are all open or all periodic, and at least one:"
                " describe them apart"
            )
        numbers = np.unique(np.concatenate([geometry.numbers for geometry in geometries]))
        if {geometry.dimension for geometry in geometries} != {3} or not numbers.all():
            raise ValueError(
                "SOAP describes atoms of known elements in three dimensions: a model surface has"
                " its coordinates instead"
            )
        species = numbers.tolist() if self.species is None else list(self.species)
        describe = SOAP(
            species=species,
            r_cut=self.r_cut,
            n_max=self.n_max,
            l_max=self.l_max,
            sigma=self.sigma,
            rbf="gto",
            average="inner",
            periodic=periodic.pop(),
        )
        found = describe.create([geometry.to_ase() for geometry in geometries], n_jobs=1)
        return np.reshape(found, (len(geometries), -1))


@dataclass(frozen=True, kw_only=True)
class Umap:
    """Uniform manifold approximation and projection (McInnes 2018): the axes of Schwalbe-Koda 2021,
    Fig. 3a.

    Distances between vectors, neighbours and the smallest distance are our choice (umap-learn's
    defaults); the paper names none. Only neighbourhoods mean something in the picture, so both axes
    belong on one scale and have no unit.

    Attributes:
        neighbours: how many nearest structures count as the neighbourhood of one; all others where
            there are fewer.
        nearest: smallest distance between points of the map.
        metric: umap-learn's name of the distance between feature vectors.
        seed: of the layout; equal seeds give equal maps on one machine.
    """

    neighbours: int = 15
    nearest: float = 0.1
    metric: str = "euclidean"
    seed: int = 0

    def __call__(self, features: NDArray) -> NDArray:
        """(n, 2) of n feature vectors (n, features).

        Structures are mapped together or not at all: a map of more of them is another map.

        Raises:
            ValueError: fewer than five vectors, of which there is no map, or NaN.
        """
        features = np.asarray(features, dtype=float)
        if features.ndim != 2 or len(features) < 5 or not np.isfinite(features).all():
            raise ValueError(
                f"features have shape {features.shape}, expected at least five finite vectors (n,"
                " features)"
            )
        from umap import UMAP

        neighbours = min(self.neighbours, len(features) - 1)
        # umap-learn warns that a seed leaves it one thread, unless it is told so.
        layout = UMAP(
            n_neighbors=neighbours,
            min_dist=self.nearest,
            metric=self.metric,
            random_state=self.seed,
            n_jobs=1,
        )
        return np.asarray(layout.fit_transform(features), dtype=float)
