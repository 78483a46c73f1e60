"""Molecules for quantum-chemical labels: starting structures and input checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from numpy.random import Generator
from scipy.spatial.distance import cdist

from ..geometry import Geometry
from ..potentials.ase import GeometryCalculator
from .outcomes import INSTALL, Label

# angstrom; bonded nuclei are never this close, and their basis functions would nearly coincide
CLOSEST = 0.2


def check_molecule(geometry: Geometry, name: str) -> None:
    """Refuse periodic structures and what :func:`check_electrons` refuses; `name` as there."""
    if geometry.pbc.any():
        remedy = "use a reference for crystals and liquids, or pbc=False"
        raise ValueError(f"{name} labels isolated molecules, not periodic {geometry!r}: {remedy}")
    check_electrons(geometry, name)


def check_electrons(geometry: Geometry, name: str, cores: int = 0) -> None:
    """Refuse what no electronic structure can be computed for; errors call the method `name`.

    `cores` electrons of the atoms take no part in the method.

    Raises:
        ValueError: not three-dimensional, nameless particles, an impossible number of electrons or
            multiplicity, or atoms closer than 0.2 angstrom, periodic images included.
    """
    if geometry.dimension != 3 or not geometry.numbers.all():
        remedy = "give atomic numbers and (n, 3) positions"
        raise ValueError(f"{name} labels atoms in three dimensions, not {geometry!r}: {remedy}")
    charge, multiplicity = geometry.charge, geometry.multiplicity
    electrons, unpaired = int(geometry.numbers.sum()) - cores - charge, multiplicity - 1
    kind = "valence electrons" if cores else "electrons"
    if electrons < 1:
        remedy = "give the charge in elementary charges"
        raise ValueError(f"{geometry!r} with charge {charge} has no electrons left: {remedy}")
    if unpaired > electrons or (electrons - unpaired) % 2:
        possible = 2 if electrons % 2 else 1
        wrong = f"{electrons} {kind} cannot have multiplicity {multiplicity}, but {possible}"
        remedy = f"give {geometry!r} another multiplicity or charge"
        raise ValueError(f"{wrong}, {possible + 2}, ...: {remedy}")
    distances = geometry.to_ase().get_all_distances(mic=bool(geometry.pbc.any()))
    close = np.argwhere(np.triu(distances < CLOSEST, 1))
    if len(close):
        i, j = close[0]
        wrong = f"atoms {i} and {j} of {geometry!r} are {distances[i, j]:.3g} angstrom apart"
        remedy = "drop the geometry, with MinDistance before labelling"
        raise ValueError(f"{wrong}, on top of each other: {remedy}")


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


def conformer(smiles: str, seed: int = 0) -> Geometry:
    """Return a starting structure of a molecule: RDKit's ETKDGv3 embedding, relaxed with MMFF94.

    Hydrogens are added: the `smiles` "N" is ammonia. Several molecules ("O=CO.O=CO") are put side
    by side in random directions and relaxed together. Charge and multiplicity are those of the
    SMILES, all unpaired electrons parallel. `seed` is that of the embedding, at least 0.

    Raises:
        ValueError: a SMILES that RDKit cannot read or embed, or atoms that MMFF94 does not know.
        ImportError: RDKit is missing.
    """
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
    except ImportError as error:
        raise ImportError(f"conformer() needs RDKit, which is missing: {INSTALL}") from error
    remedy = "hand in a geometry of your own"
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or not molecule.GetNumAtoms():
            raise ValueError(f"RDKit cannot read the SMILES {smiles!r}: correct it, or {remedy}")
        molecule = Chem.AddHs(molecule)
        settings = rdDistGeom.ETKDGv3()
        settings.randomSeed = seed + 1  # RDKit's seeds 0 and 1 are the same
        if rdDistGeom.EmbedMolecule(molecule, settings) < 0:
            raise ValueError(f"RDKit cannot embed {smiles!r}: try another seed, or {remedy}")
        if not rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule):
            raise ValueError(f"MMFF94 does not know all atoms of {smiles!r}: {remedy}")
        _put_apart(molecule.GetConformer(), Chem.GetMolFrags(molecule), np.random.default_rng(seed))
        if rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, "MMFF94", 5000, 100.0, -1, False):
            raise ValueError(f"MMFF94 does not relax {smiles!r}: try another seed, or {remedy}")
    atoms = list(molecule.GetAtoms())
    return Geometry(
        positions=molecule.GetConformer().GetPositions(),
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
