"""Committees and labels on a grid of a two-dimensional surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..batch import Batch, Prediction
from ..committee import Committee
from ..dataset import Dataset
from ..geometry import Geometry, Labels, points
from ..uncertainty.variance import force_variance


@dataclass(frozen=True)
class Grid:
    """A square grid of points of a two-dimensional surface.

    Attributes:
        limit: The grid spans [-limit, limit] in both coordinates.
        points: Number of points along each side.
    """

    limit: float = 1.5
    points: int = 100

    @property
    def axis(self) -> NDArray:
        """(points,) coordinates along a side."""
        return np.linspace(-self.limit, self.limit, self.points)

    @property
    def positions(self) -> NDArray:
        """(points^2, 2); a column reshaped to (points, points) has rows of constant y."""
        x, y = np.meshgrid(self.axis, self.axis)
        return np.column_stack([x.ravel(), y.ravel()])

    @property
    def geometries(self) -> list[Geometry]:
        """Each point as a structure."""
        return points(self.positions)

    def labelled(self, label: Callable[[Geometry], Labels]) -> Dataset:
        """Return the grid as test data: the 100 x 100 grid of Schwalbe-Koda 2021, A.2.1."""
        geometries = self.geometries
        return Dataset(geometries, [label(geometry) for geometry in geometries])


def predict_at(committee: Committee, positions: NDArray) -> tuple[Prediction, Batch]:
    """Return the prediction for a particle at each of `positions` (n, 2), and its batch.

    Both are on the CPU in float64. Does not make n structures, which would be slow.
    """

    def batch(device: torch.device | str) -> Batch:
        one = Batch.of(points(positions[:1]), device)
        return one.repeat(len(positions)).at(torch.tensor(positions, device=device))

    prediction = committee(batch(committee.device))
    values = (prediction.energy, prediction.forces, prediction.stress)
    return Prediction(*(value.detach().double().cpu() for value in values)), batch("cpu")


@dataclass(frozen=True, eq=False)
class Surface:
    """A committee on a grid.

    Attributes:
        grid: The points.
        energy: (points, points) mean energy.
        sigma: (points, points) root of the force variance (Schwalbe-Koda 2021, Eq. 10).
        prediction: Prediction of every member at every point.
        batch: The points as structures.
    """

    grid: Grid
    energy: NDArray
    sigma: NDArray
    prediction: Prediction
    batch: Batch

    @classmethod
    def of(cls, committee: Committee, grid: Grid = Grid()) -> Surface:
        """Evaluate mean energy and uncertainty at every point."""
        prediction, batch = predict_at(committee, grid.positions)
        mean, sigma = prediction.energy.mean(0), force_variance(prediction, batch).sqrt()
        shape = (grid.points, grid.points)
        mean, sigma = mean.numpy().reshape(shape), sigma.numpy().reshape(shape)
        return cls(grid, mean, sigma, prediction, batch)
