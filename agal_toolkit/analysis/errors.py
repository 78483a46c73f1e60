"""How wrong a committee is on labelled structures, and whether it knew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..batch import Batch
from ..committee import Committee
from ..dataset import Dataset
from ..uncertainty.variance import force_variance


def rmse(committee: Committee, test: Dataset) -> float:
    """Root mean square error of the committee's mean energy (Schwalbe-Koda 2021, A.2.1), eV."""
    return float(
        np.sqrt(
            np.mean(
                (committee.predict(test.geometries).energy.mean(0).numpy() - test.energies) ** 2
            )
        )
    )


@dataclass(frozen=True)
class RmseBelow:
    """The same over structures whose true energy is at most `cap`: the region that dynamics visits;
    NaN where there are none.

    Attributes:
        cap: eV, or the units of a model surface.
        unit: what the error is given in, eV; ``ase.units.kcal / ase.units.mol`` for kcal/mol.
    """

    cap: float
    unit: float = 1.0

    def __call__(self, committee: Committee, test: Dataset) -> float:
        low = test.energies <= self.cap
        return rmse(committee, test[low]) / self.unit if low.any() else float("nan")


def sigma_and_error(committee: Committee, dataset: Dataset) -> tuple[NDArray, NDArray]:
    """For each structure the uncertainty of its forces and their true error, both root mean squares
    over components, (n,) eV/angstrom.

    The uncertainty is the root of Schwalbe-Koda 2021, Eq. 10, the error that of the committee's
    mean.
    """
    said = committee.predict(dataset.geometries)
    sigma = force_variance(said, Batch.of(dataset.geometries)).sqrt().numpy()
    counts = np.cumsum([len(geometry) for geometry in dataset])[:-1]
    found = np.split(said.forces.mean(0).numpy(), counts)
    return sigma, np.array(
        [
            np.sqrt(np.mean((f - label.forces) ** 2))
            for f, label in zip(found, dataset.labels, strict=True)
        ]
    )
