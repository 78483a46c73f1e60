"""Public frames of 64 waters at revPBE0-D3, read from a folder, and how they are split.

Schran, Brezina, Marsalek, J. Chem. Phys. 153, 104105 (2020), generation 1; CC-BY-SA-4.0. A query by
committee chose the 111 frames from one simulation, so many are neighbours in time: half of them
have another one within 0.75 A (root mean square displacement of the atoms).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from ase import units
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels

from .truth import SEED

ELEMENTS = {"O": 8, "H": 1}
CONVERTED, ORIGINAL = "water_revPBE0-D3_111.extxyz.gz", "input.data"
SOURCE = "https://github.com/MarsalekGroup/paper-c-nnp"
TESTED = 0.2  # share of the frames
NEIGHBOURS = 1.0  # angstrom, root mean square displacement within a family


def frames(folder: Path) -> tuple[Dataset, str]:
    """Return the labelled frames of a folder, and the sha256 of their file.

    Raises:
        FileNotFoundError: a folder without the data.
    """
    for name, read in ((CONVERTED, Dataset.read), (ORIGINAL, original)):
        if (folder / name).exists():
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            return read(folder / name), digest
    raise FileNotFoundError(
        f"{folder} has neither {ORIGINAL} nor {CONVERTED}: download"
        f" generation-1/training-set/{ORIGINAL} of {SOURCE} into a folder and give it with --data"
    )


def original(file: Path) -> Dataset:
    """Return the frames of a file of n2p2, which has atomic units, in eV and angstrom."""
    geometries, labels = [], []
    for frame in file.read_text().split("begin\n")[1:]:
        lines = [line.split() for line in frame.splitlines()]
        cell = np.array([line[1:4] for line in lines if line[0] == "lattice"], dtype=float)
        atoms = [line for line in lines if line[0] == "atom"]
        values = np.array([[*line[1:4], *line[7:10]] for line in atoms], dtype=float)
        (energy,) = [float(line[1]) for line in lines if line[0] == "energy"]
        positions, forces = values[:, :3] * units.Bohr, values[:, 3:] * units.Hartree / units.Bohr
        numbers = [ELEMENTS[line[4]] for line in atoms]
        geometries.append(
            Geometry(positions=positions, numbers=numbers, cell=cell * units.Bohr, pbc=True)
        )
        labels.append(Labels(energy=energy * units.Hartree, forces=forces))
    return Dataset(geometries, labels)


def displacements(data: Dataset) -> NDArray:
    """Return (n, n) root mean square displacements of the atoms from frame to frame, angstrom.

    Displacements are to the nearest image, without that of all atoms together.

    Raises:
        ValueError: frames with different atoms or cells.
    """
    first = data[0]
    for index, frame in enumerate(data):
        same = np.array_equal(frame.numbers, first.numbers)
        if not same or not np.allclose(frame.cell, first.cell):
            raise ValueError(
                f"frame {index} has other atoms or another cell than frame 0: give the frames of"
                " one simulation at constant volume"
            )
    scaled = np.array([frame.positions for frame in data]) @ np.linalg.inv(first.cell)
    result = np.zeros((len(data), len(data)))
    for index, frame in enumerate(scaled):
        steps = scaled - frame
        steps = (steps - np.round(steps)) @ first.cell
        steps -= steps.mean(axis=1, keepdims=True)
        result[index] = np.sqrt(np.mean(np.sum(steps**2, axis=-1), axis=-1))
    return (result + result.T) / 2


def held_out(distances: NDArray, split: str) -> NDArray:
    """Return (n,) bool: a fifth of the frames, drawn with the seed, for the test.

    Args:
        distances: (n, n) of :func:`displacements`.
        split: "random", or "apart": families, which single linkage within `NEIGHBOURS` makes, are
            drawn one after the other, and each is tested if all of it still fits.

    Raises:
        ValueError: no family is small enough, so nothing would be tested.
    """
    n, rng = len(distances), np.random.default_rng([SEED, 2])
    families, chosen = np.arange(n), np.zeros(n, dtype=bool)
    if split == "apart":
        tree = linkage(squareform(distances, checks=False), "single")
        families = fcluster(tree, NEIGHBOURS, "distance")
    for family in rng.permutation(np.unique(families)):
        if chosen.sum() + np.sum(families == family) <= round(TESTED * n):
            chosen |= families == family
    if not chosen.any():
        raise ValueError(
            f"each family of neighbours has more than {TESTED:.0%} of the {n} frames, so none can"
            " be tested: give more frames, or frames farther apart in time"
        )
    return chosen
