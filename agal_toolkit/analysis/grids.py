"""Potentials on grids: what a model says of a plane, and how far it is from the truth there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

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
        limit: the grid spans [-limit, limit] in both coordinates.
        points: along each side.
    """

    limit: float = 1.5
    points: int = 100

    @property
    def axis(self) -> NDArray:
        """(points,) the coordinates along a side."""
        return np.linspace(-self.limit, self.limit, self.points)

    @property
    def positions(self) -> NDArray:
        """(points^2, 2); reshaping a column to (points, points) gives rows of constant y, as
        contour plots take it.
        """
        x, y = np.meshgrid(self.axis, self.axis)
        return np.column_stack([x.ravel(), y.ravel()])

    @property
    def geometries(self) -> list[Geometry]:
        """Each point as a structure."""
        return points(self.positions)

    def labelled(self, label: Callable[[Geometry], Labels]) -> Dataset:
        """The grid as test data: the 100 x 100 grid of Schwalbe-Koda 2021, A.2.1."""
        return Dataset(self.geometries, [label(geometry) for geometry in self.geometries])


def ask(committee: Committee, positions: NDArray) -> tuple[Prediction, Batch]:
    """What a committee says of a particle at each of `positions` (n, 2), on the CPU in float64;
    without n structures on the way.
    """
    here = Batch.of(points(positions[:1])).repeat(len(positions)).at(torch.tensor(positions))
    said = committee(
        Batch(*(getattr(here, field.name).to(committee.device) for field in fields(here)))
    )
    return Prediction(
        *(values.detach().double().cpu() for values in (said.energy, said.forces, said.stress))
    ), here


@dataclass(frozen=True, eq=False)
class Surface:
    """A committee on a grid.

    Attributes:
        grid: where.
        energy: (points, points) mean energy.
        sigma: (points, points) root of the force variance (Schwalbe-Koda 2021, Eq. 10).
    """

    grid: Grid
    energy: NDArray
    sigma: NDArray

    @classmethod
    def of(cls, committee: Committee, grid: Grid = Grid()) -> Surface:
        """Mean energy and uncertainty at every point."""
        said, batch = ask(committee, grid.positions)
        variance = force_variance(said, batch)
        shape = (grid.points, grid.points)
        return cls(
            grid, said.energy.mean(0).numpy().reshape(shape), variance.sqrt().numpy().reshape(shape)
        )
