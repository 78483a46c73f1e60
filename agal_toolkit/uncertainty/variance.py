"""Disagreement of the members of a committee.

Variances divide by M - 1; they keep the graph of a prediction, so an attack can differentiate them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..batch import Batch, Prediction
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
