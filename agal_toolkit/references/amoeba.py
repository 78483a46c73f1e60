"""Water by AMOEBA: polarisable, flexible, many-body, and fast enough to be a study's truth.

Every size has the same Hamiltonian: cutoff, Ewald coefficient and accuracy of the dipoles are
fixed, dispersion beyond the cutoff is integrated, and a cell with an edge too short for the cutoff
is labelled as its supercell and divided. OpenMM has no virial; stress is six central differences of
the energy in strain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units
from numpy.typing import NDArray

from ..geometry import Geometry, Labels
from .outcomes import INSTALL, NotConverged

if TYPE_CHECKING:
    from openmm import Context, System

ENERGY = units.kJ / units.mol  # eV
SLOPE = ENERGY / 10.0  # kJ/mol/nm in eV/angstrom
BOUND = 2.0  # angstrom; longest O-H distance within a molecule
CLOSEST = 0.2
# angstrom; lattices have many coordinates at zero, and OpenMM's reciprocal grid loses an atom whose
# coordinate is minus a rounding error
OFFSET = np.array([0.0137, 0.0271, 0.0411])
_LOCK = Lock()  # threads share contexts


@dataclass(frozen=True)
class AMOEBA:
    """Liquid water in any periodic cell by the AMOEBA model (``amoeba2018.xml``) of OpenMM.

    Atoms are in the order O H H, O H H, ...; molecules may be broken by the cell, and bonds never
    break in the model.

    Attributes:
        cutoff: Of direct space and of van der Waals, angstrom.
        ewald: Coefficient of the Ewald sum, 1/angstrom; it leaves out erfc(ewald cutoff).
        spacing: Largest spacing of the reciprocal grid, angstrom.
        dipoles: Largest change of the induced dipoles in their last iteration, debye.
        strain: Of the differences that give the stress.
        stress: Compute the stress, twelve more energies.
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
        """Return energy, forces and stress.

        Raises:
            ValueError: no periodic water, or one with broken molecules.
            NotConverged: the induced dipoles.
            ImportError: OpenMM is missing.
        """
        positions = whole(geometry)
        cell, turn = standard(geometry.cell)
        copies = np.ceil(2 * self.cutoff * (1 + 2 * self.strain) / np.diag(cell)).astype(int)
        count = int(copies.prod())
        large, x = _supercell(cell, positions @ turn, copies)
        grid = tuple(reciprocal_grid(np.diag(large), self.spacing))
        context = _context(self, len(geometry) // 3 * count, grid)
        energy, forces = _state(context, large, x, forces=True)
        stress = None
        if self.stress:
            slope = self._strain_slope(context, large, x)
            stress = turn @ (slope / abs(np.linalg.det(large))) @ turn.T
        forces = forces[: len(geometry)] @ turn.T
        return Labels(energy=energy / count, forces=forces, stress=stress)

    def _strain_slope(self, context: Context, cell: NDArray, positions: NDArray) -> NDArray:
        """(3, 3) slope of the energy in a symmetric strain, eV."""
        slope = np.zeros((3, 3))
        for a, b in zip(*np.triu_indices(3), strict=True):
            energies = []
            for sign in (1, -1):
                stretch = np.eye(3)
                stretch[a, b] += sign * self.strain / 2
                stretch[b, a] += sign * self.strain / 2
                strained, turn = standard(cell @ stretch)
                moved = positions @ stretch @ turn
                energies.append(_state(context, strained, moved, forces=False)[0])
            slope[a, b] = slope[b, a] = (energies[0] - energies[1]) / (2 * self.strain)
        return slope


def whole(geometry: Geometry) -> NDArray:
    """Return (n, 3) positions with each hydrogen beside its oxygen.

    Raises:
        ValueError: no periodic cell, other atoms than O H H, O H H, ..., or a broken molecule.
    """
    if geometry.dimension != 3 or not geometry.pbc.all():
        remedy = "give a cell and pbc=True"
        raise ValueError(f"AMOEBA labels water in a periodic cell, not {geometry!r}: {remedy}")
    n = len(geometry)
    if n % 3 or not np.array_equal(geometry.numbers, np.tile([8, 1, 1], n // 3)):
        remedy = f"sort the atoms of {geometry!r}, or use another reference"
        raise ValueError(f"AMOEBA knows waters in the order O H H, O H H, ...: {remedy}")
    x = geometry.positions.reshape(-1, 3, 3)
    bonds = x[:, 1:] - x[:, :1]
    fractional = bonds @ np.linalg.inv(geometry.cell)
    bonds = (fractional - np.round(fractional)) @ geometry.cell
    lengths = np.linalg.norm(bonds, axis=-1)
    if lengths.max() > BOUND or lengths.min() < CLOSEST:
        worst = int(np.argmax(np.abs(lengths - 1).max(1)))
        one, other = lengths[worst]
        raise ValueError(
            f"water {worst} of {geometry!r} has O-H distances of {one:.2f} and {other:.2f} angstrom"
            ": drop the geometry (MinDistance, or a guard), or sort the atoms by molecule"
        )
    return np.concatenate([x[:, :1], x[:, :1] + bonds], axis=1).reshape(n, 3)


def standard(cell: NDArray) -> tuple[NDArray, NDArray]:
    """Return the cell lower triangular and reduced, as OpenMM wants it, and the rotation to it."""
    turn, upper = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(upper))
    turn, lower = turn * signs, (upper * signs[:, None]).T
    lower[2] -= lower[1] * np.round(lower[2, 1] / lower[1, 1])
    lower[2] -= lower[0] * np.round(lower[2, 0] / lower[0, 0])
    lower[1] -= lower[0] * np.round(lower[1, 0] / lower[0, 0])
    return lower, turn


def _supercell(cell: NDArray, positions: NDArray, copies: NDArray) -> tuple[NDArray, NDArray]:
    """Cell and positions of `copies` (3,) along each vector, the original first."""
    steps = np.stack(np.meshgrid(*map(np.arange, copies), indexing="ij"), -1)
    shifts = steps.reshape(-1, 3) @ cell
    return standard(cell * copies[:, None])[0], (positions + shifts[:, None]).reshape(-1, 3)


def reciprocal_grid(edges: NDArray, spacing: float) -> list[int]:
    """Return the points of the reciprocal grid, multiples of 8: cells of similar size share one."""
    return (8 * np.ceil(edges / spacing / 8)).astype(int).tolist()


def _state(
    context: Context, cell: NDArray, positions: NDArray, forces: bool
) -> tuple[float, NDArray]:
    """Energy, eV, and forces (n, 3), eV/angstrom, or (0, 3) without `forces`."""
    import openmm

    unit: Any = openmm.unit  # its prefixed units are made at run time
    try:
        with _LOCK:
            context.setPeriodicBoxVectors(*(cell / 10))
            context.setPositions((positions + OFFSET) / 10)
            state = context.getState(getEnergy=True, getForces=forces)
    except openmm.OpenMMException as error:
        size = f"{len(positions)} atoms in a cell of {np.diag(cell).round(2)} angstrom"
        remedy = "drop the geometry if molecules overlap"
        raise NotConverged(f"AMOEBA has no energy for {size} ({error}): {remedy}") from error
    kilojoule = unit.kilojoule_per_mole
    energy = state.getPotentialEnergy().value_in_unit(kilojoule) * ENERGY
    if not forces:
        return energy, np.zeros((0, 3))
    slope = state.getForces(asNumpy=True).value_in_unit(kilojoule / unit.nanometer)
    return energy, np.asarray(slope) * SLOPE


@lru_cache(maxsize=8)
def _context(settings: AMOEBA, molecules: int, grid: tuple[int, int, int]) -> Context:
    """OpenMM's context; making one takes a second, so processes keep theirs."""
    system = waters(settings, molecules, grid)
    import openmm

    platform = openmm.Platform.getPlatformByName("Reference")
    return openmm.Context(system, openmm.VerletIntegrator(0.001), platform)


def waters(settings: AMOEBA, molecules: int, grid: tuple[int, int, int]) -> System:
    """Return OpenMM's system of `molecules` waters with a reciprocal grid of `grid` points.

    Raises:
        ImportError: OpenMM is missing.
    """
    try:
        import openmm
        from openmm import app
    except ImportError as error:
        raise ImportError(f"AMOEBA() needs OpenMM, which is missing: {INSTALL}") from error
    unit: Any = openmm.unit  # its prefixed units are made at run time
    force_field: Any = app.ForceField("amoeba2018.xml")
    topology = app.Topology()
    chain = topology.addChain()
    for _ in range(molecules):
        residue = topology.addResidue("HOH", chain)
        oxygen = topology.addAtom("O", app.element.oxygen, residue)
        for name in ("H1", "H2"):
            topology.addBond(oxygen, topology.addAtom(name, app.element.hydrogen, residue))
    edge = (2.2 * settings.cutoff / 10 + 1) * np.eye(3)  # each geometry sets its own cell
    topology.setPeriodicBoxVectors(edge * unit.nanometer)
    cutoff = settings.cutoff / 10 * unit.nanometer
    periodic = {"nonbondedMethod": app.PME, "nonbondedCutoff": cutoff, "vdwCutoff": cutoff}
    flexible = {"constraints": None, "rigidWater": False, "removeCMMotion": False}
    dipoles = {"polarization": "mutual", "mutualInducedTargetEpsilon": settings.dipoles}
    options = {**periodic, **flexible, **dipoles, "useDispersionCorrection": True}
    system = force_field.createSystem(topology, **options)
    # terms of molecules other than water are empty, and compiling them takes fifteen seconds
    terms = {
        "CustomCompoundBondForce": "getNumBonds",
        "PeriodicTorsionForce": "getNumTorsions",
        "AmoebaTorsionTorsionForce": "getNumTorsionTorsions",
    }
    for index in reversed(range(system.getNumForces())):
        force = system.getForce(index)
        count = terms.get(type(force).__name__)
        if isinstance(force, openmm.AmoebaMultipoleForce):
            force.setPMEParameters(10 * settings.ewald, *grid)
            force.setMutualInducedMaxIterations(200)
        elif count is not None and not getattr(force, count)():
            system.removeForce(index)
    return system
