"""Water by AMOEBA: polarisable, flexible, many-body, and quick enough to be the truth of a study on
a laptop.

One Hamiltonian at every size: the real-space cutoff, the Ewald coefficient and the accuracy of the
induced dipoles are fixed, dispersion beyond the cutoff is integrated, and a cell with an edge too
short for the cutoff is labelled as its supercell along that edge and divided. OpenMM has no virial;
stress is six central differences of the energy in strain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from ase import units
from numpy.typing import NDArray

from ..geometry import Geometry, Labels
from .outcomes import NotConverged

if TYPE_CHECKING:
    from openmm import Context, System

ENERGY = units.kJ / units.mol  # eV
SLOPE = ENERGY / 10.0  # kJ/mol/nm in eV/angstrom
BOUND = 2.0  # angstrom; a hydrogen further from its oxygen is no water's any more
CLOSEST = 0.2
OFFSET = np.array(
    [0.0137, 0.0271, 0.0411]
    # angstrom; at a coordinate of minus a rounding error OpenMM's reciprocal grid loses the atom, and
    # lattices have many at zero
)


@dataclass(frozen=True)
class AMOEBA:
    """Labels liquid water in any periodic cell: energy, forces and stress of the AMOEBA model
    (``amoeba2018.xml``), by OpenMM.

    Atoms come molecule by molecule, oxygen first; molecules may be broken by the cell, and bonds
    never break in the model.

    Attributes:
        cutoff: of direct space and of van der Waals, angstrom.
        ewald: coefficient of the Ewald sum, 1/angstrom; with the cutoff it leaves erfc(ewald
            cutoff) of a charge's direct sum.
        spacing: of the reciprocal grid, angstrom, at most.
        dipoles: largest change of the induced dipoles in their last iteration, debye.
        strain: of the differences that give the stress.
        stress: ask for it; twelve more energies.

    Raises:
        ValueError: settings out of range.
    """

    cutoff: float = 6.0
    ewald: float = 0.545
    spacing: float = 0.5
    dipoles: float = 1e-6
    strain: float = 5e-4
    stress: bool = True

    def __post_init__(self) -> None:
        if not min(self.cutoff, self.ewald, self.spacing, self.dipoles, self.strain) > 0:
            raise ValueError(f"{self}: lengths, tolerances and the strain must be positive")

    def __call__(self, geometry: Geometry) -> Labels:
        """Energy, forces and stress.

        Raises:
            ValueError: no periodic water, or one that is taken apart.
            NotConverged: induced dipoles that do not settle.
            ImportError: OpenMM is missing.
        """
        positions = whole(geometry)
        cell, turn = standard(geometry.cell)
        copies = np.ceil(2 * self.cutoff * (1 + 2 * self.strain) / np.diag(cell)).astype(int)
        large, x = _supercell(cell, positions @ turn, copies)
        context = _context(
            self,
            len(geometry) // 3 * int(copies.prod()),
            tuple(reciprocal_grid(np.diag(large), self.spacing)),
        )
        energy, forces = _state(context, large, x, forces=True)
        count = int(copies.prod())
        labels = {"energy": energy / count, "forces": forces[: len(geometry)] @ turn.T}
        if self.stress:
            labels["stress"] = (
                turn @ (self._strained(context, large, x) / abs(np.linalg.det(large))) @ turn.T
            )
        return Labels(**labels)

    def _strained(self, context: Context, cell: NDArray, positions: NDArray) -> NDArray:
        """(3, 3) slope of the energy in a symmetric strain, eV."""
        slope = np.zeros((3, 3))
        for a in range(3):
            for b in range(a, 3):
                sides = []
                for sign in (1, -1):
                    stretch = np.eye(3)
                    stretch[a, b] += sign * self.strain / 2
                    stretch[b, a] += sign * self.strain / 2
                    strained, turn = standard(cell @ stretch)
                    sides.append(
                        _state(context, strained, positions @ stretch @ turn, forces=False)[0]
                    )
                slope[a, b] = slope[b, a] = (sides[0] - sides[1]) / (2 * self.strain)
        return slope


def whole(geometry: Geometry) -> NDArray:
    """(n, 3) positions with each hydrogen beside its oxygen.

    Raises:
        ValueError: not periodic in three dimensions, atoms that are not O H H, O H H, ..., a
            hydrogen far from its oxygen, or atoms on top of each other.
    """
    if geometry.dimension != 3 or not geometry.pbc.all():
        raise ValueError(
            f"AMOEBA labels water in a periodic cell and {geometry!r} is something else: give a"
            " cell and pbc=True"
        )
    n = len(geometry)
    if n % 3 or not np.array_equal(
        geometry.numbers.reshape(-1, 3), np.tile([8, 1, 1], (n // 3, 1))
    ):
        raise ValueError(
            f"AMOEBA knows waters in the order O H H, O H H, ...; sort the atoms of {geometry!r},"
            " or take another reference"
        )
    x = geometry.positions.reshape(-1, 3, 3)
    arms = x[:, 1:] - x[:, :1]
    fractional = arms @ np.linalg.inv(geometry.cell)
    arms = (fractional - np.round(fractional)) @ geometry.cell
    lengths = np.linalg.norm(arms, axis=-1)
    if lengths.max() > BOUND or lengths.min() < CLOSEST:
        worst = int(np.argmax(np.abs(lengths - 1).max(1)))
        raise ValueError(
            f"water {worst} of {geometry!r} has O-H distances of {lengths[worst, 0]:.2f} and"
            f" {lengths[worst, 1]:.2f} angstrom: drop the geometry (MinDistance, or a guard on"
            " covalent distances), or sort the atoms molecule by molecule"
        )
    return np.concatenate([x[:, :1], x[:, :1] + arms], axis=1).reshape(n, 3)


def standard(cell: NDArray) -> tuple[NDArray, NDArray]:
    """The same lattice as OpenMM wants it, lower triangular and reduced, and the rotation that
    takes positions there.
    """
    turn, upper = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(upper))
    turn, lower = turn * signs, (upper * signs[:, None]).T
    lower[2] -= lower[1] * np.round(lower[2, 1] / lower[1, 1])
    lower[2] -= lower[0] * np.round(lower[2, 0] / lower[0, 0])
    lower[1] -= lower[0] * np.round(lower[1, 0] / lower[0, 0])
    return lower, turn


def _supercell(cell: NDArray, positions: NDArray, copies: NDArray) -> tuple[NDArray, NDArray]:
    """Cell and positions of `copies` (3,) along each vector, the original first."""
    shifts = (
        np.stack(np.meshgrid(*(np.arange(c) for c in copies), indexing="ij"), -1).reshape(-1, 3)
        @ cell
    )
    large = cell * copies[:, None]
    return standard(large)[0], (positions + shifts[:, None]).reshape(-1, 3)


def reciprocal_grid(edges: NDArray, spacing: float) -> list[int]:
    """Points of the reciprocal grid: multiples of eight, so that cells of about one size share one."""
    return (8 * np.ceil(edges / spacing / 8)).astype(int).tolist()


_ONE = Lock()  # contexts are shared by the threads of a process


def _state(
    context: Context, cell: NDArray, positions: NDArray, forces: bool
) -> tuple[float, NDArray]:
    """Energy, eV, and forces (n, 3), eV/angstrom.

    Raises:
        NotConverged: induced dipoles that do not settle, or whatever else OpenMM refuses.
    """
    from openmm import OpenMMException, unit

    try:
        with _ONE:
            context.setPeriodicBoxVectors(*(cell / 10))
            context.setPositions((positions + OFFSET) / 10)
            state = context.getState(getEnergy=True, getForces=forces)
    except OpenMMException as error:
        raise NotConverged(
            f"AMOEBA has no energy for {len(positions)} atoms in a cell of {np.diag(cell).round(2)}"
            f" angstrom: {error}; are molecules on top of each other?"
        ) from error
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) * ENERGY
    if not forces:
        return energy, np.zeros((0, 3))
    return (
        energy,
        np.asarray(
            state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        )
        * SLOPE,
    )


@lru_cache(maxsize=8)
def _context(settings: AMOEBA, molecules: int, grid: tuple[int, int, int]) -> Context:
    """What OpenMM computes with; making one takes a second, so processes keep theirs."""
    system = waters(settings, molecules, grid)
    import openmm

    return openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )


def waters(settings: AMOEBA, molecules: int, grid: tuple[int, int, int]) -> System:
    """OpenMM's system of so many waters, in a cell whose reciprocal grid has these numbers of
    points.

    Raises:
        ImportError: OpenMM is missing.
    """
    try:
        import openmm
        from openmm import app, unit
    except ImportError as error:
        raise ImportError(
            "AMOEBA() computes with OpenMM, which is missing: pip install"
            " 'agal_toolkit[references]'"
        ) from error
    topology = app.Topology()
    chain = topology.addChain()
    for _ in range(molecules):
        residue = topology.addResidue("HOH", chain)
        oxygen = topology.addAtom("O", app.element.oxygen, residue)
        for name in ("H1", "H2"):
            topology.addBond(oxygen, topology.addAtom(name, app.element.hydrogen, residue))
    edge = (2.2 * settings.cutoff / 10 + 1) * np.eye(3)  # set anew for each geometry
    topology.setPeriodicBoxVectors(edge * unit.nanometer)
    cutoff = settings.cutoff / 10 * unit.nanometer
    system = app.ForceField("amoeba2018.xml").createSystem(
        topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=cutoff,
        vdwCutoff=cutoff,
        constraints=None,
        rigidWater=False,
        polarization="mutual",
        mutualInducedTargetEpsilon=settings.dipoles,
        useDispersionCorrection=True,
        removeCMMotion=False,
    )
    for index in reversed(range(system.getNumForces())):
        force = system.getForce(index)
        if isinstance(force, openmm.AmoebaMultipoleForce):
            force.setPMEParameters(10 * settings.ewald, *grid)
            force.setMutualInducedMaxIterations(200)
        elif type(force).__name__ in _EMPTY and not any(
            getattr(force, count)() for count in _EMPTY[type(force).__name__]
        ):
            system.removeForce(
                index
            )  # of other molecules; compiling their terms takes fifteen seconds
    return system


_EMPTY = {
    "CustomCompoundBondForce": ("getNumBonds",),
    "PeriodicTorsionForce": ("getNumTorsions",),
    "AmoebaTorsionTorsionForce": ("getNumTorsionTorsions",),
}
