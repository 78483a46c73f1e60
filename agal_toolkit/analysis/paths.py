"""Minimum-energy paths between two structures, by ASE's nudged elastic band.

All moving images are evaluated as one batch, by one call of the potential. Atoms keep their order
along a path: exchanging two atoms of the same element in an end makes it a different end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.mep import NEB
from ase.optimize import FIRE
from numpy.typing import NDArray

from ..batch import Batch
from ..dataset import Dataset
from ..distances import euclidean
from ..events import Progress, Report, ignore
from ..geometry import Geometry, Labels
from ..potentials.ase import CalculatorPotential, PotentialCalculator
from ..potentials.protocol import Potential, device_of
from ..references.molecules import relax

Model = Potential | Calculator
Device = torch.device | str | None


@dataclass(frozen=True, eq=False)
class ReactionPath:
    """A band of images from one structure to another.

    Attributes:
        images: The structures from first to last with the potential's energies and forces.
        converged: True if every force on the band fell below the `fmax` of the search.
        steps: Number of steps of the optimiser.
    """

    images: Dataset
    converged: bool
    steps: int

    @property
    def positions(self) -> NDArray:
        """(images, n, d), angstrom."""
        return np.stack([geometry.positions for geometry in self.images])

    @property
    def energies(self) -> NDArray:
        """(images,), eV."""
        return self.images.energies

    @property
    def lengths(self) -> NDArray:
        """(images,) length of the path up to each image, norm over all coordinates, angstrom.

        Periodic particles move to the nearest image, wherever the ends are written.
        """
        steps = [euclidean(one, other) for one, other in pairwise(self.images)]
        return np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def barrier(self) -> float:
        """Highest energy minus that of the first (Schwalbe-Koda 2021, Fig. 3d), eV, at least 0."""
        return float(self.energies.max() - self.energies[0])


@dataclass(frozen=True, kw_only=True)
class NudgedElasticBand:
    """Relax a band with FIRE (Schwalbe-Koda 2021, A.2.2; improved tangents of Henkelman 2000).

    The paper gives the number of images and the optimiser; the other settings are ours.

    Attributes:
        images: Number of images, ends included; an odd number has one in the middle.
        climb: After the band has converged, its highest image climbs to the saddle.
        fmax: Largest force on a particle of a converged band, eV/angstrom.
        spring: Constant of the springs between images, eV/angstrom^2.
        steps: Largest number of steps, those of the climb included.
        idpp: Start from interpolated distances between atoms (Smidstrup 2014), not coordinates;
            useless between mirror images, whose distances are equal.
    """

    images: int = 11
    climb: bool = True
    fmax: float = 0.01
    spring: float = 0.1
    steps: int = 1000
    idpp: bool = False

    def __post_init__(self) -> None:
        if self.images < 3 or not self.fmax > 0 or not self.spring > 0 or self.steps < 1:
            raise ValueError(f"{self}: expected at least three images and positive values")

    def __call__(
        self,
        potential: Model,
        first: Geometry,
        last: Geometry,
        *,
        start: Sequence[Geometry] | None = None,
        device: Device = None,
        report: Report = ignore,
    ) -> ReactionPath:
        """Return the path from `first` to `last`, which do not move.

        Args:
            potential: A potential or an ASE calculator; wrap a label function in
                :class:`~agal_toolkit.references.LabelCalculator`.
            first: One end; for a meaningful barrier a minimum, see :func:`relaxed`.
            last: The other end, its particles in the same order.
            start: Images to start from, of which the ends are not used; None interpolates.
            device: where the potential computes; None asks it.
            report: Receives a Progress at each step.

        Raises:
            ValueError: ends of different particles or cells, or a `start` that does not fit.
        """
        fields = [(g.numbers, g.cell, g.pbc) for g in (first, last)]
        if not all(map(np.array_equal, *fields)):
            remedy = "give the same particles in the same order, and the same cell"
            raise ValueError(f"{first!r} and {last!r} are no ends of one path: {remedy}")
        images = self._start(first, last, start)
        band = _Band(images, potential, first, device, self.spring)
        fire: Any = FIRE  # ASE's annotations leave out that it optimises bands
        steps, converged = 0, False
        for climb in (False, True)[: 1 + self.climb]:
            band.climb = climb
            optimiser, before = fire(band, logfile=None), steps

            def progress(optimiser: Any = optimiser, before: int = before) -> None:
                report(Progress("path", before + optimiser.nsteps, self.steps))

            optimiser.attach(progress)
            converged = bool(optimiser.run(fmax=self.fmax, steps=self.steps - steps))
            steps += optimiser.nsteps
            if not converged:
                break
        between = [first.moved(image.positions[:, : first.dimension]) for image in images[1:-1]]
        return ReactionPath(Dataset([first, *between, last], band.labels()), converged, steps)

    def _start(
        self, first: Geometry, last: Geometry, start: Sequence[Geometry] | None
    ) -> list[Atoms]:
        if start is None:
            images = [first.to_ase() for _ in range(self.images - 1)] + [last.to_ase()]
            method, mic = "idpp" if self.idpp else "linear", bool(first.pbc.any())
            NEB(images, method="improvedtangent").interpolate(method, mic, apply_constraint=False)
            return images
        fits = all(np.array_equal(image.numbers, first.numbers) for image in start)
        if len(start) != self.images or not fits:
            raise ValueError(
                f"start has {len(start)} images, expected {self.images} with the ends' particles"
            )
        return [geometry.to_ase() for geometry in (first, *start[1:-1], last)]


class _Band(NEB):
    """ASE's band, whose moving images are evaluated together."""

    def __init__(
        self, images: list[Atoms], potential: Model, like: Geometry, device: Device, spring: float
    ) -> None:
        super().__init__(images, k=spring, method="improvedtangent")
        is_calculator = isinstance(potential, Calculator)
        self._potential = CalculatorPotential(potential) if is_calculator else potential
        self._like, self._evaluated = like, None
        self._device = device_of(self._potential) if device is None else device
        self._evaluate([images[0], images[-1]])

    def _evaluate(self, images: list[Atoms]) -> None:
        """Give each image its energy and forces, as ASE's NEB expects them."""
        n, d = self._like.positions.shape
        positions = np.concatenate([image.positions[:, :d] for image in images])
        batch = Batch.of([self._like], self._device).repeat(len(images))
        prediction = self._potential(batch.at(torch.tensor(positions, device=self._device)))
        energies = prediction.energy.detach().double().cpu().numpy()
        forces = np.zeros((len(images), n, 3))
        forces[..., :d] = prediction.forces.detach().double().cpu().numpy().reshape(-1, n, d)
        for image, energy, force in zip(images, energies, forces, strict=True):
            image.calc = SinglePointCalculator(image, energy=float(energy), forces=force)

    def get_forces(self) -> NDArray:
        """Return (moving particles, 3), computed once although ASE's optimisers ask twice."""
        positions = self.get_positions()
        if self._evaluated is None or not np.array_equal(positions, self._evaluated):
            self._evaluate(self.images[1:-1])
            self._evaluated = positions
        return super().get_forces()

    def labels(self) -> list[Labels]:
        """Return the potential's energy and forces of each image."""
        self.get_forces()
        labels = []
        for image in self.images:
            forces = image.get_forces(apply_constraint=False)[:, : self._like.dimension]
            labels.append(Labels(energy=image.get_potential_energy(), forces=forces))
        return labels


def relaxed(
    potential: Model,
    geometry: Geometry,
    *,
    fmax: float = 0.01,
    steps: int = 500,
    device: Device = None,
) -> Geometry:
    """Return the minimum that FIRE reaches from `geometry` at a fixed cell.

    `potential`, `fmax` and `device` are as in :class:`NudgedElasticBand`; it takes at most `steps`.

    Raises:
        NoMinimum: larger forces are left after `steps`.
    """
    if not isinstance(potential, Calculator):
        potential = PotentialCalculator(potential, dimension=geometry.dimension, device=device)
    return relax(potential, geometry, FIRE, fmax, steps)
