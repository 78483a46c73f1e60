"""Maps of structures: SOAP vectors, and their projection to the plane by UMAP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry import Geometry


@dataclass(frozen=True, kw_only=True)
class Soap:
    """Smooth overlap of atomic positions, one vector per structure (Schwalbe-Koda 2021, A.2.2).

    The radial basis is spherical primitive Gaussian orbitals; coefficients are averaged over the
    atoms before magnetic quantum numbers are summed (dscribe's ``average="inner"``). The vector
    does not change with rotations, reflections, translations and exchanges of equal atoms.

    Attributes:
        r_cut: Cutoff, angstrom.
        n_max: Number of radial functions.
        l_max: Highest degree of spherical harmonics.
        sigma: Standard deviation of the Gaussian at each atom, angstrom.
        species: Atomic numbers that the vector has room for; None takes those in the structures.
    """

    r_cut: float = 5.0
    n_max: int = 5
    l_max: int = 6
    sigma: float = 1.0
    species: tuple[int, ...] | None = None

    def __call__(self, geometries: Sequence[Geometry]) -> NDArray:
        """Return (n, features) of n structures in three dimensions.

        Raises:
            ValueError: no structures, other dimensions, particles without a name, or open and
                periodic structures together.
        """
        from ase.geometry import complete_cell
        from dscribe.descriptors import SOAP

        periodic = {bool(geometry.pbc.any()) for geometry in geometries}
        if len(periodic) != 1:
            kinds = "structures that are all open or all periodic, and at least one"
            raise ValueError(f"SOAP needs {kinds}: describe them apart")
        numbers = np.unique(np.concatenate([geometry.numbers for geometry in geometries]))
        if {geometry.dimension for geometry in geometries} != {3} or not numbers.all():
            remedy = "use the coordinates of a model surface"
            raise ValueError(f"SOAP describes known elements in three dimensions: {remedy}")
        soap = SOAP(
            species=numbers.tolist() if self.species is None else list(self.species),
            r_cut=self.r_cut,
            n_max=self.n_max,
            l_max=self.l_max,
            sigma=self.sigma,
            rbf="gto",
            average="inner",
            periodic=periodic.pop(),
        )
        frames = [geometry.to_ase() for geometry in geometries]
        for atoms in frames:
            atoms.set_cell(complete_cell(atoms.cell))  # a slab may have no third vector
            atoms.wrap()  # the library looks for neighbours of atoms inside the cell only
        features = soap.create(frames, n_jobs=1)
        return np.reshape(features, (len(geometries), -1))


@dataclass(frozen=True, kw_only=True)
class Umap:
    """Uniform manifold approximation and projection (McInnes 2018; Schwalbe-Koda 2021, Fig. 3a).

    The metric, neighbours and smallest distance are umap-learn's defaults; the paper names none.
    Only neighbourhoods have a meaning in the map, so both axes share one scale without a unit.

    Attributes:
        neighbours: Number of nearest structures in a neighbourhood, at most all others.
        nearest: Smallest distance between points of the map.
        metric: umap-learn's name of the distance between feature vectors.
        seed: Of the layout; equal seeds give equal maps on one machine.
    """

    neighbours: int = 15
    nearest: float = 0.1
    metric: str = "euclidean"
    seed: int = 0

    def __call__(self, features: NDArray) -> NDArray:
        """Return (n, 2) for n feature vectors (n, features), which are mapped together.

        Raises:
            ValueError: fewer than five vectors, or values that are not finite.
        """
        features = np.asarray(features, dtype=float)
        if features.ndim != 2 or len(features) < 5 or not np.isfinite(features).all():
            expected = "at least five finite vectors (n, features)"
            raise ValueError(f"features have shape {features.shape}, expected {expected}")
        from umap import UMAP

        layout = UMAP(
            n_neighbors=min(self.neighbours, len(features) - 1),
            min_dist=self.nearest,
            metric=self.metric,
            random_state=self.seed,
            n_jobs=1,  # else umap-learn warns that a seed leaves it one thread
        )
        return np.asarray(layout.fit_transform(features), dtype=float)
