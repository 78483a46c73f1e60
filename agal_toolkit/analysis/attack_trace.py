"""What a committee predicts along the path of an attack, evaluated in one batch."""

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
    """The s steps of one attack, the start first.

    Attributes:
        geometries: The structure at each step; cut before the first positions that are not finite.
        energies: (members, s) of every member, eV.
        sigma: (s,) root of the force variance (Schwalbe-Koda 2021, Eq. 10), eV/angstrom.
        atomic: (s, n) uncertainty of the force on each atom (Cezar 2025, Eq. 9), eV/angstrom.
        gain: (s,) the adversarial loss as the papers print it, to be maximised; NaN where a guard
            forbade the step.
        kept: Index of the step that the attack kept.
    """

    geometries: tuple[Geometry, ...]
    energies: NDArray
    sigma: NDArray
    atomic: NDArray
    gain: NDArray
    kept: int

    @classmethod
    def of(cls, committee: Committee, adversary: Adversary) -> AttackTrace:
        """Evaluate every member at every step.

        Raises:
            ValueError: a committee of one member, or a structure that the members refuse.
        """
        final, cells = adversary.geometry, adversary.cells
        if cells is None:
            cells = np.broadcast_to(final.cell, (len(adversary.path), *final.cell.shape))
        paths = (adversary.path, cells)
        finite = np.all([np.isfinite(path).all((1, 2)) for path in paths], axis=0)
        count = len(finite) if finite.all() else max(int(finite.argmin()), 1)
        steps = zip(adversary.path[:count], cells[:count], strict=True)
        geometries = tuple(replace(final, positions=x, cell=cell) for x, cell in steps)
        prediction, losses = committee.predict(geometries), adversary.losses[:count]
        return cls(
            geometries=geometries,
            energies=prediction.energy.numpy(),
            sigma=force_variance(prediction, Batch.of(geometries)).sqrt().numpy(),
            atomic=atomic_sigma(prediction).numpy().reshape(count, -1),
            gain=np.where(np.isfinite(losses), -losses, np.nan),
            kept=min(adversary.kept, count - 1),
        )

    def __len__(self) -> int:
        return len(self.geometries)
