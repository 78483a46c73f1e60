"""Errors of a committee on labelled structures, beside its uncertainties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..batch import Batch
from ..committee import Committee
from ..dataset import Dataset
from ..uncertainty.variance import force_variance


def rmse(committee: Committee, test: Dataset) -> float:
    """Return the RMS error of the mean energy (Schwalbe-Koda 2021, A.2.1), eV."""
    energies = committee.predict(test.geometries).energy.mean(0).numpy()
    return float(np.sqrt(np.mean((energies - test.energies) ** 2)))


@dataclass(frozen=True)
class RmseBelow:
    """:func:`rmse` over structures of low energy, the region of dynamics; NaN if there are none.

    Attributes:
        cap: Largest true energy, eV, or the units of a model surface.
        unit: Unit of the error, eV; ``ase.units.kcal / ase.units.mol`` for kcal/mol.
    """

    cap: float
    unit: float = 1.0

    def __call__(self, committee: Committee, test: Dataset) -> float:
        low = test.energies <= self.cap
        return rmse(committee, test[low]) / self.unit if low.any() else float("nan")


def sigma_and_error(committee: Committee, dataset: Dataset) -> tuple[NDArray, NDArray]:
    """Return the force uncertainty and the true force error of each structure.

    Returns:
        (n,) root of the force variance (Schwalbe-Koda 2021, Eq. 10) and (n,) RMS error of the mean
        force over components, eV/angstrom; NaN where forces are not labelled.
    """
    prediction, batch = committee.predict(dataset.geometries), Batch.of(dataset.geometries)
    sigma = force_variance(prediction, batch).sqrt().numpy()
    pairs = zip(batch.split(prediction.forces.mean(0)), dataset.forces, strict=True)
    return sigma, np.array([np.sqrt(np.mean((f - true) ** 2)) for f, true in pairs])
