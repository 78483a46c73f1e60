"""Minimum-energy paths between two structures, by ASE's nudged elastic band.

All images that move are one batch, so a committee evaluates a band for the price of one structure;
whatever says energy and forces is a potential here, ASE calculators too. Atoms keep their places in
the list along a path: an end whose equal atoms were exchanged is another end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.mep import NEB
from ase.optimize import FIRE
from numpy.typing import NDArray

from ..batch import Batch
from ..committee import Committee
from ..dataset import Dataset
from ..events import Progress, Report, ignore
from ..geometry import Geometry, Labels
from ..potentials.ase import CalculatorPotential, PotentialCalculator
from ..potentials.protocol import Potential

Model = Potential | Calculator


@dataclass(frozen=True, eq=False)
class Path:
    """A band of images from one structure to another.

    Attributes:
        images: the structures with the energies (eV) and forces (eV/angstrom) of the potential,
            from first to last; a Dataset, so that it can be written and read.
        converged: every force on the band fell below the wanted one.
        steps: of the optimiser.
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
        """(images,) length of the path up to each image, the Euclidean norm over all coordinates,
        angstrom.
        """
        steps = np.diff(self.positions, axis=0)
        return np.concatenate([[0.0], np.cumsum(np.sqrt(np.square(steps).sum((1, 2))))])

    @property
    def barrier(self) -> float:
        """Energy of the highest image above the first one, eV (Schwalbe-Koda 2021, Fig. 3d); 0
        where none is higher.
        """
        return float(self.energies.max() - self.energies[0])


@dataclass(frozen=True, kw_only=True)
class NudgedElasticBand:
    """Relaxes a band of images with FIRE (Schwalbe-Koda 2021, A.2.2; improved tangents of Henkelman
    2000).

    The paper gives the number of images and the optimiser; the other settings are ours.

    Attributes:
        images: along the path, both ends included. An odd number leaves one in the middle, which on
            a path with mirror symmetry is the transition state.
        climb: once the band has converged, its highest image climbs along the path to the saddle.
        fmax: norm of the force on any particle of the band below which it has converged,
            eV/angstrom.
        spring: constant of the springs between images, eV/angstrom^2.
        steps: of the optimiser at most, with and without climbing together.
        idpp: images start where the distances between atoms are interpolated (Smidstrup 2014), not
            the coordinates. Between
            mirror images it has nothing to say: their distances are equal.
    """

    images: int = 11
    climb: bool = True
    fmax: float = 0.01
    spring: float = 0.1
    steps: int = 1000
    idpp: bool = False

    def __post_init__(self) -> None:
        if self.images < 3 or not self.fmax > 0 or not self.spring > 0 or self.steps < 1:
            raise ValueError(
                f"images={self.images}, fmax={self.fmax}, spring={self.spring}, steps={self.steps}:"
                " at least three images, the others positive"
            )

    def __call__(
        self,
        potential: Model,
        first: Geometry,
        last: Geometry,
        *,
        start: Sequence[Geometry] | None = None,
        device: torch.device | str = "cpu",
        report: Report = ignore,
    ) -> Path:
        """The path from `first` to `last`, which stay as they are.

        Args:
            potential: a potential or an ASE calculator; a label function as
                :class:`~agal_toolkit.references.LabelCalculator`.
            first: one end, a minimum of the potential (see :func:`relaxed`) if the barrier is to
                mean something.
            last: the other end, its particles in the same order.
            start: the images to start from, ends included, instead of interpolation: a path found
                on another potential.
            device: where the potential computes, a committee's ``device``.
            report: hears a Progress at each step.

        Raises:
            ValueError: ends of different particles or cells, or another number of images in
                `start`.
        """
        if not (
            np.array_equal(first.numbers, last.numbers)
            and np.array_equal(first.cell, last.cell)
            and np.array_equal(first.pbc, last.pbc)
        ):
            raise ValueError(
                f"{first!r} and {last!r} are no ends of one path: they must have the same particles"
                " in the same order, and the same cell"
            )
        images = self._start(first, last, start)
        band = _Band(images, potential, first, device, k=self.spring)
        taken, converged = 0, False
        for climb in (False, True)[: 1 + self.climb]:
            band.climb = climb
            optimiser = FIRE(band, logfile=None)
            optimiser.attach(
                lambda before=taken, optimiser=optimiser: report(
                    Progress("path", before + optimiser.nsteps, self.steps)
                )
            )
            converged = bool(optimiser.run(fmax=self.fmax, steps=self.steps - taken))
            taken += optimiser.nsteps
            if not converged:
                break
        found = [
            first,
            *(first.moved(image.positions[:, : first.dimension]) for image in images[1:-1]),
            last,
        ]
        return Path(Dataset(found, band.labels()), converged, taken)

    def _start(
        self, first: Geometry, last: Geometry, start: Sequence[Geometry] | None
    ) -> list[Atoms]:
        """Where the images start, as ASE structures."""
        if start is not None:
            if len(start) != self.images or any(
                not np.array_equal(image.numbers, first.numbers) for image in start
            ):
                raise ValueError(
                    f"start has {len(start)} images, expected {self.images} with the particles of"
                    " the ends"
                )
            return [geometry.to_ase() for geometry in (first, *start[1:-1], last)]
        images = [first.to_ase() for _ in range(self.images - 1)] + [last.to_ase()]
        NEB(images, method="improvedtangent").interpolate(
            "idpp" if self.idpp else "linear", mic=bool(first.pbc.any()), apply_constraint=False
        )
        return images


class _Band(NEB):
    """ASE's band, whose moving images are evaluated together."""

    def __init__(
        self,
        images: list[Atoms],
        potential: Model,
        like: Geometry,
        device: torch.device | str,
        k: float,
    ) -> None:
        super().__init__(images, k=k, method="improvedtangent")
        self._potential = (
            CalculatorPotential(potential) if isinstance(potential, Calculator) else potential
        )
        self._like, self._device, self._at = like, device, None
        self._evaluate([images[0], images[-1]])

    def _evaluate(self, images: list[Atoms]) -> None:
        """Gives each image its energy and forces, as ASE's NEB expects to find them."""
        n, d = self._like.positions.shape
        positions = np.concatenate([image.positions[:, :d] for image in images])
        batch = Batch.of([self._like], self._device).repeat(len(images))
        said = self._potential(batch.at(torch.tensor(positions, device=self._device)))
        energies = said.energy.detach().double().cpu().numpy()
        forces = np.zeros((len(images), n, 3))
        forces[..., :d] = said.forces.detach().double().cpu().numpy().reshape(-1, n, d)
        for image, energy, force in zip(images, energies, forces, strict=True):
            image.calc = SinglePointCalculator(image, energy=float(energy), forces=force)

    def get_forces(self) -> NDArray:
        """(moving particles, 3); ASE's optimisers ask twice at one place, the potential hears it
        once.
        """
        positions = self.get_positions()
        if self._at is None or not np.array_equal(positions, self._at):
            self._evaluate(self.images[1:-1])
            self._at = positions
        return super().get_forces()

    def labels(self) -> list[Labels]:
        """What the potential said of each image where it is."""
        self.get_forces()
        d = self._like.dimension
        return [
            Labels(
                energy=image.get_potential_energy(),
                forces=image.get_forces(apply_constraint=False)[:, :d],
            )
            for image in self.images
        ]


class NoMinimum(RuntimeError):
    """A structure that does not come to rest on a potential."""


def relaxed(
    potential: Model,
    geometry: Geometry,
    *,
    fmax: float = 0.01,
    steps: int = 500,
    device: torch.device | str = "cpu",
) -> Geometry:
    """The minimum that FIRE reaches from `geometry`, at a fixed cell; `fmax` as in
    :class:`NudgedElasticBand`.

    Raises:
        NoMinimum: within so many steps.
    """
    atoms = geometry.to_ase()
    calculator = (
        potential
        if isinstance(potential, Calculator)
        else PotentialCalculator(potential, dimension=geometry.dimension, device=device)
    )
    atoms.calc = calculator
    if not FIRE(atoms, logfile=None).run(fmax=fmax, steps=steps):
        left = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        raise NoMinimum(
            f"a force of {left:.3g} eV/angstrom is left after {steps} steps: allow more, or look"
            f" whether {geometry!r} falls apart on this potential"
        )
    return geometry.moved(atoms.positions[:, : geometry.dimension])


@dataclass(frozen=True)
class CommitteePaths:
    """The paths of a committee (Schwalbe-Koda 2021, Fig. 3d).

    Attributes:
        mean: on the average of the members.
        members: on each member; None where it has no minimum to start from.
    """

    mean: Path
    members: tuple[Path | None, ...]

    @property
    def barriers(self) -> NDArray:
        """(members,) eV, NaN where there is no path; their mean is not the barrier of :attr:`mean`."""
        return np.array([np.nan if path is None else path.barrier for path in self.members])

    @classmethod
    def of(cls, committee: Committee, find: Callable[[Potential], Path]) -> CommitteePaths:
        """What `find` makes of the committee's mean and of each member: a partial of
        :func:`inversion_path`, for example.

        Raises:
            NoMinimum: the mean has none.
        """

        def found(member: Committee) -> Path | None:
            try:
                return find(member.mean)
            except NoMinimum:
                return None

        return cls(
            find(committee.mean), tuple(found(committee[[m]]) for m in range(len(committee)))
        )
