"""Disagreement of the members of a committee, and the errors of their mean.

Variances divide by M - 1; they keep the graph of a prediction, so an attack can differentiate them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from ..batch import Batch, Prediction
from ..dataset import Dataset
from ..settings import table
from .power_law import FLOOR


def _variance(values: Tensor) -> Tensor:
    """Variance over the leading member axis."""
    if values.shape[0] < 2:
        raise ValueError("one member cannot disagree with itself: use a committee of at least two")
    return values.var(0, correction=1)


def energy_variance(prediction: Prediction) -> Tensor:
    """Return the variance of the energy over the members, (B,) eV^2 (Schwalbe-Koda 2021, Eq. 9)."""
    return _variance(prediction.energy)


def component_variance(prediction: Prediction) -> Tensor:
    """Return the variance of every force component over the members, (N, d) (eV/angstrom)^2."""
    return _variance(prediction.forces)


def force_variance(prediction: Prediction, batch: Batch) -> Tensor:
    """Return the mean variance of the force components of each geometry, (B,) (eV/angstrom)^2.

    Schwalbe-Koda 2021, Eq. 10.
    """
    return batch.mean(component_variance(prediction).mean(-1))


def virial_variance(prediction: Prediction, batch: Batch) -> Tensor:
    """Return the variance of stress times volume over atoms, (B, d, d) eV^2.

    NaN where a geometry is not periodic in all directions.
    """
    volume = torch.linalg.det(batch.cell).abs() / batch.counts
    return _variance(prediction.stress.double() * volume[..., None, None])


def atomic_sigma(prediction: Prediction) -> Tensor:
    """Return the uncertainty of the force on each atom, (N,) eV/angstrom (Cezar 2025, Eq. 9).

    It is the norm over the components. :data:`FLOOR` is added under the root, whose slope is
    infinite where the members agree.
    """
    return (component_variance(prediction).sum(-1) + FLOOR**2).sqrt()


class Error(NamedTuple):
    """Mean absolute and root mean square error of so many `values`, in a `unit`."""

    mae: float
    rmse: float
    values: int
    unit: str


class Errors(dict[str, Error]):
    """Errors of a committee's mean by quantity; ``print(errors)`` shows them as a table.

    The quantities are "energy", "energy per atom", components of "forces" and of "forces on H" and
    the other elements, and of "stress"; those that are not labelled are missing.
    """

    @classmethod
    def of(cls, prediction: Prediction, data: Dataset) -> Errors:
        """Compare a prediction (M, ...) of the structures of `data` with their labels."""
        mean, batch = prediction.mean(), Batch.of(list(data))
        errors = cls()

        def add(name: str, predicted: Tensor, true: NDArray, unit: str) -> None:
            error = (predicted.numpy() - true)[np.isfinite(true)]
            if error.size:
                sizes = float(np.abs(error).mean()), float(np.sqrt((error**2).mean()))
                errors[name] = Error(*sizes, error.size, unit)

        add("energy", mean.energy, data.energies, "eV")
        add(
            "energy per atom",
            mean.energy / batch.counts,
            data.energies / batch.counts.numpy(),
            "eV",
        )
        forces, numbers = np.concatenate(data.forces), batch.numbers.numpy()
        add("forces", mean.forces, forces, "eV/Å")
        for z in np.unique(numbers[numbers > 0]):
            on = numbers == z
            add(f"forces on {chemical_symbols[z]}", mean.forces[on], forces[on], "eV/Å")
        periodic = [
            i for i, y in enumerate(data.labels) if y.stress is not None and batch.pbc[i].all()
        ]
        if periodic:
            stress = np.array([data.labels[i].stress for i in periodic])
            add("stress", mean.stress[periodic], stress, "eV/Å³")
        return errors

    def __repr__(self) -> str:
        rows = [("error", "MAE", "RMSE", "unit", "values")]
        for name, (mae, rmse, values, unit) in self.items():
            rows.append((name, f"{1e3 * mae:.4g}", f"{1e3 * rmse:.4g}", f"m{unit}", str(values)))
        return table(rows)
