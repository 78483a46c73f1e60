"""How much the members of a committee disagree.

Variances divide by M - 1 everywhere. Each takes a prediction with a leading member axis and keeps
its graph, so an attack can differentiate it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..batch import Batch, Prediction


def _spread(values: Tensor) -> Tensor:
    """Variance over the leading member axis, ddof = 1."""
    if values.shape[0] < 2:
        raise ValueError("one member cannot disagree with itself: use a committee of at least two")
    return values.var(0, correction=1)


def energy_variance(prediction: Prediction) -> Tensor:
    """(B,) eV^2: variance of the energy over the members (Schwalbe-Koda 2021, Eq. 9)."""
    return _spread(prediction.energy)


def component_variance(prediction: Prediction) -> Tensor:
    """(N, d) (eV/angstrom)^2: variance of every force component over the members."""
    return _spread(prediction.forces)


def force_variance(prediction: Prediction, batch: Batch) -> Tensor:
    """(B,) (eV/angstrom)^2: variance of the forces, averaged over the n d components of a geometry
    (Schwalbe-Koda 2021, Eq. 10).
    """
    return batch.mean(component_variance(prediction).mean(-1))


def virial_variance(prediction: Prediction, batch: Batch) -> Tensor:
    """(B, d, d) eV^2: variance of the virial per atom, stress times volume over atoms; NaN where a
    geometry is not periodic in all directions.
    """
    size = torch.linalg.det(batch.cell).abs() / batch.counts
    return _spread(prediction.stress.double() * size[..., None, None])


def atomic_sigma(prediction: Prediction, floor: float = 1e-12) -> Tensor:
    """(N,) eV/angstrom: uncertainty of the force on each atom, the norm over its components (Cezar
    2025, Eq. 9).

    `floor` is added under the root, whose slope is infinite where the members agree.
    """
    return (component_variance(prediction).sum(-1) + floor**2).sqrt()
