"""Ammonia whose energy is written by hand: springs along N-H and H-H, so that studies can be run
without a quantum chemist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agal_toolkit.geometry import Geometry, Labels
from studies.ammonia.plane import Ground, ammonia

GROUND = ammonia(1.0, 1.0, Ground(0.38, 0.94))


@dataclass(frozen=True)
class Springs:
    """Labels ammonia, nitrogen first: N-H of length 1.02 angstrom, and H-H too short to be flat.

    Attributes:
        bond, side: spring constants, eV/angstrom^2.
        zero: energy of relaxed bonds, eV.
    """

    bond: float = 30.0
    side: float = 5.0
    zero: float = -1500.0

    def __call__(self, geometry: Geometry) -> Labels:
        x, forces, energy = geometry.positions, np.zeros((4, 3)), self.zero
        for first, second, stiffness, length in [(0, k, self.bond, 1.02) for k in (1, 2, 3)] + [
            (a, b, self.side, 1.62) for a, b in ((1, 2), (2, 3), (3, 1))
        ]:
            along = x[second] - x[first]
            r = np.linalg.norm(along)
            energy += 0.5 * stiffness * (r - length) ** 2
            pull = stiffness * (r - length) * along / r
            forces[first] += pull
            forces[second] -= pull
        return Labels(energy=energy, forces=forces)

    def hessian(self, geometry: Geometry) -> np.ndarray:
        """(12, 12) eV/angstrom^2, by central differences of the forces."""
        step, found = 1e-4, np.zeros((12, 12))
        for row in range(12):
            shift = np.zeros(12)
            shift[row] = step
            ahead, behind = (
                self(geometry.moved(geometry.positions + sign * shift.reshape(4, 3))).forces
                for sign in (1, -1)
            )
            found[row] = (behind - ahead).ravel() / (2 * step)
        return (found + found.T) / 2


@dataclass(frozen=True)
class SpringEnergy:
    """The energies (B,) of :class:`Springs` as a torch function of a batch, 0 where relaxed."""

    bond: float = 30.0
    side: float = 5.0

    def __call__(self, batch):
        x = batch.positions.reshape(-1, 4, 3)
        bonds = (x[:, 1:] - x[:, :1]).norm(dim=-1)
        sides = (x[:, [1, 2, 3]] - x[:, [2, 3, 1]]).norm(dim=-1)
        return (0.5 * self.bond * (bonds - 1.02) ** 2 + 0.5 * self.side * (sides - 1.62) ** 2).sum(
            -1
        )

    @property
    def barrier(self):
        """Of the planar molecule with the best radius, by hand."""
        radius = (self.bond * 1.02 + np.sqrt(3) * self.side * 1.62) / (self.bond + 3 * self.side)
        return (
            1.5 * self.bond * (radius - 1.02) ** 2
            + 1.5 * self.side * (np.sqrt(3) * radius - 1.62) ** 2
        )
