"""First structures: conformers, minima of any reference, and the curvature there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from ..ase_labels import Structures, structure_of
from ..geometry import Geometry
from ..potentials.ase import GeometryCalculator
from .cache import Cache
from .outcomes import INSTALL, Label
from .reference import Reference

if TYPE_CHECKING:
    from ase.optimize.optimize import Optimizer


class LabelCalculator(GeometryCalculator):
    """A label function as an ASE calculator; reads charge and multiplicity from ``atoms.info``."""

    def __init__(self, label: Label) -> None:
        super().__init__()
        self.function = label  # ASE has a `label` of its own, a file name

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Set energy, forces and, where a label in three dimensions has one, the stress."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        labels = self.function(Geometry.from_ase(self.atoms))
        if labels.forces is None:
            raise PropertyNotImplementedError(f"{self.function!r} gives energies only, no forces")
        self._store(labels.energy, labels.forces, labels.stress)


class NoMinimum(RuntimeError):
    """The relaxation of a structure did not converge; `geometry` is the last step of it."""

    def __init__(self, message: str, geometry: Geometry | None = None) -> None:
        super().__init__(message)
        self.geometry = geometry


def relax(
    calculator: Calculator, start: Geometry, optimiser: type[Optimizer], fmax: float, steps: int
) -> Geometry:
    """Return `start` relaxed at a fixed cell to forces of at most `fmax`.

    Raises:
        NoMinimum: larger forces are left after `steps`.
    """
    atoms = start.to_ase()
    atoms.calc = calculator
    converged = optimiser(atoms, logfile=None).run(fmax=fmax, steps=steps)
    end = start.moved(atoms.positions[:, : start.dimension])
    if converged:
        return end
    left = np.linalg.norm(atoms.get_forces(), axis=1).max()
    wrong = f"after {steps} steps {start!r} has a force of {left:.3g} eV/angstrom"
    remedy = "go on from the error's .geometry, or check whether the structure falls apart"
    raise NoMinimum(f"{wrong}, expected {fmax}: {remedy}", end)


def optimised(
    label: Label | Reference | Calculator,
    structure: Structures,
    fmax: float = 1e-3,
    steps: int = 500,
) -> Geometry:
    """Return a structure (Geometry, ase.Atoms or a file) relaxed by ASE's BFGS at a fixed cell.

    No force on a movable atom exceeds `fmax`, eV/angstrom; its default is tight enough for a
    Hessian.

    Raises:
        NoMinimum: larger forces are left after `steps`; another call goes on from its `geometry`.
        RuntimeError: there are no labels for a step.
    """
    from ase.optimize import BFGS

    reference = label if isinstance(label, Reference) else Reference(label, settings={})
    calculator = LabelCalculator(lambda step: reference.labelled(step).labels[0])
    end = relax(calculator, structure_of(structure), BFGS, fmax, steps)
    return end.moved(end.positions, by="optimised")


def hessian(
    reference: Reference,
    structure: Structures,
    step: float = 0.01,
    cache: Cache | str | Path | None = None,
) -> NDArray:
    """Return (n d, n d) second derivatives of the energy, eV/angstrom^2, zero for fixed particles.

    They are central differences of forces over `step`, angstrom: two labels for each coordinate of
    a movable particle, which the reference's executor computes.

    Raises:
        ValueError: displaced structures without forces, or differences that are not symmetric.
    """
    geometry = structure_of(structure)
    moving = np.flatnonzero(geometry.movable.repeat(geometry.dimension))
    shifts = step * np.eye(geometry.positions.size)[moving].reshape(-1, *geometry.positions.shape)
    ends = [geometry.moved(geometry.positions + x) for shift in shifts for x in (shift, -shift)]
    forces = np.array(reference.labelled(ends, cache).forces)
    if len(forces) < len(ends) or np.isnan(forces).any():
        raise ValueError(f"a Hessian needs forces of all {len(ends)} displaced structures")
    slopes = forces.reshape(len(ends), -1)[:, moving]
    block = (slopes[1::2] - slopes[::2]) / (2 * step)
    if (asymmetry := np.abs(block - block.T).max()) > 0.05 * np.abs(block).max():
        wrong = f"second derivatives differ by {asymmetry:.3g} eV/angstrom^2 from their transposes"
        raise ValueError(f"{wrong}: converge the forces tighter, or take a larger step")
    full = np.zeros((geometry.positions.size,) * 2)
    full[np.ix_(moving, moving)] = (block + block.T) / 2
    return full


def conformer(smiles: str, seed: int = 0) -> Geometry:
    """Return the lowest of ten structures of a molecule: RDKit's ETKDGv3 embeddings, by MMFF94.

    Hydrogens are added: the `smiles` "N" is ammonia. Several molecules ("O=CO.O=CO") are put side
    by side in random directions and relaxed together. Charge and multiplicity are those of the
    SMILES, all unpaired electrons parallel. `seed` is that of the embeddings, at least 0.

    Raises:
        ValueError: a SMILES that RDKit cannot read or embed, or atoms that MMFF94 does not know.
        ImportError: RDKit is missing.
    """
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem import rdDistGeom
        from rdkit.Chem import rdForceFieldHelpers as field
    except ImportError as error:
        raise ImportError(f"conformer() needs RDKit, which is missing: {INSTALL}") from error
    remedy = "hand in a geometry of your own"
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or not molecule.GetNumAtoms():
            raise ValueError(f"RDKit cannot read the SMILES {smiles!r}: correct it, or {remedy}")
        molecule = Chem.AddHs(molecule)
        if not field.MMFFHasAllMoleculeParams(molecule):
            raise ValueError(f"MMFF94 does not know all atoms of {smiles!r}: {remedy}")
        settings, parts = rdDistGeom.ETKDGv3(), Chem.GetMolFrags(molecule)
        lowest, positions = np.inf, None
        for attempt in range(10):
            settings.randomSeed = seed + 1 + 1000 * attempt  # RDKit's seeds 0 and 1 are the same
            if rdDistGeom.EmbedMolecule(molecule, settings) < 0:
                continue
            _put_apart(molecule.GetConformer(), parts, np.random.default_rng(seed + attempt))
            relax = field.MMFFOptimizeMoleculeConfs
            left, energy = relax(molecule, 1, 5000, "MMFF94", 100.0, False)[0]
            if not left and energy < lowest - 1e-3:  # the first of equal ones
                lowest, positions = energy, molecule.GetConformer().GetPositions()
    if positions is None:
        raise ValueError(f"RDKit cannot embed and relax {smiles!r}: try another seed, or {remedy}")
    atoms = list(molecule.GetAtoms())
    return Geometry(
        positions=positions,
        numbers=[atom.GetAtomicNum() for atom in atoms],
        charge=Chem.GetFormalCharge(molecule),
        multiplicity=1 + sum(atom.GetNumRadicalElectrons() for atom in atoms),
        origin={"by": "conformer", "smiles": smiles, "seed": seed},
    )


def _put_apart(conformer: Any, fragments: Sequence[Sequence[int]], rng: Generator) -> None:
    """Move `fragments`, atoms of molecules that RDKit embeds on top of each other, 3 A apart."""
    positions = conformer.GetPositions()
    for index, fragment in enumerate(fragments[1:], start=1):
        placed = positions[[atom for others in fragments[:index] for atom in others]]
        out = rng.normal(size=3)
        while cdist(placed, positions[list(fragment)]).min() < 3.0:
            positions[list(fragment)] += 0.2 * out / np.linalg.norm(out)
    for atom, position in enumerate(positions):
        conformer.SetAtomPosition(atom, position.tolist())
