"""What a committee says along the path of an attack: every step evaluated once, in one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..attack import Adversary
from ..batch import Batch
from ..committee import Committee
from ..geometry import Geometry
from ..uncertainty.variance import atomic_sigma, force_variance


@dataclass(frozen=True, eq=False)
class AttackTrace:
    """The steps of one attack, the start first.

    Attributes:
        geometries: where the structure was, s of them, each in its own cell; a path is cut where it
            leaves the numbers.
        energies: (members, s) of every member, eV.
        sigma: (s,) root of the force variance (Schwalbe-Koda 2021, Eq. 10), eV/angstrom.
        atomic: (s, n) uncertainty of the force on each atom (Cezar 2025, Eq. 9), eV/angstrom.
        gain: (s,) the adversarial loss as the papers print it, which the attack makes large; NaN
            where a guard forbade the step.
        kept: the step that the attack kept.
    """

    geometries: tuple[Geometry, ...]
    energies: NDArray
    sigma: NDArray
    atomic: NDArray
    gain: NDArray
    kept: int

    @classmethod
    def of(cls, committee: Committee, adversary: Adversary) -> AttackTrace:
        """Asks every member about every step.

        Raises:
            ValueError: a committee of one member, or a structure that the members refuse.
        """
        finite = np.isfinite(adversary.path).all(axis=(1, 2))
        if adversary.cells is not None:
            finite &= np.isfinite(adversary.cells).all(axis=(1, 2))
        count = len(finite) if finite.all() else max(int(finite.argmin()), 1)
        cells = (
            [adversary.geometry.cell] * count
            if adversary.cells is None
            else adversary.cells[:count]
        )
        geometries = tuple(
            replace(adversary.geometry, positions=positions, cell=cell)
            for positions, cell in zip(adversary.path[:count], cells, strict=True)
        )
        prediction, batch = committee.predict(geometries), Batch.of(geometries)
        gain = np.where(np.isfinite(adversary.losses[:count]), -adversary.losses[:count], np.nan)
        atomic = atomic_sigma(prediction).numpy().reshape(count, -1)
        return cls(
            geometries,
            prediction.energy.numpy(),
            force_variance(prediction, batch).sqrt().numpy(),
            atomic,
            gain,
            min(adversary.kept, count - 1),
        )

    def __len__(self) -> int:
        return len(self.geometries)
