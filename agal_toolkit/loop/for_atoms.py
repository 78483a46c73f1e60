"""The fields of a recipe for atoms, with numbers from labelled structures."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from ase.units import kB

from ..ase_labels import unit
from ..attack import Adam, Apart, Attack, Ball, BoltzmannVariance
from ..batch import Batch
from ..dataset import Dataset, chunks
from ..potentials import DensityNet
from ..potentials.neighbours import pairs_within
from ..sampling import FromDataset
from ..selection import AtMost, Deduplicate, MaxForce, MinDistance, VariancePercentile
from ..training import Folds, TorchTrainer

HOTTER = 2.5  # kT of an attack relative to that of the data


def fields_for(data: Dataset, kT: float | str | None) -> dict[str, Any]:
    """Return the fields of :meth:`Recipe.for_atoms`."""
    if not isinstance(data, Dataset):
        wrong = f"the data are a {type(data).__name__}"
        raise TypeError(f"{wrong}: give a Dataset, for example reference.labelled(structures)")
    for index, geometry in enumerate(data):
        if geometry.dimension != 3 or not geometry.numbers.all():
            wrong = f"structure {index} is {geometry!r}"
            raise ValueError(f"{wrong}: this is for atoms in space; write a Recipe(...) for it")
    forces = [label.forces for label in data.labels if label.forces is not None]
    if not forces:
        wrong = f"none of {len(data)} structures has forces"
        raise ValueError(f"{wrong}: label them with forces, which members are trained on")
    elements = sorted({int(z) for geometry in data for z in geometry.numbers})
    counts = [len(geometry) for geometry in data]
    parts = [Batch.of(data.geometries[part]) for part in chunks(counts)]
    distances = np.concatenate([pairs_within(part, 3.0)[1].numpy() for part in parts])
    shortest = _rounded(0.8 * (distances.min() if len(distances) else 1.0))
    largest = _rounded(max(1.0, *(np.linalg.norm(f, axis=1).max() for f in forces)))
    pairs = zip(data, data.labels, strict=True)
    stress = any(g.pbc.all() and label.stress is not None for g, label in pairs)
    few = int(np.clip(50 // np.mean(counts), 1, 5))  # structures in a step, about 50 atoms
    trainer = TorchTrainer(
        network=partial(DensityNet, elements, channels=16, hidden=64, cutoff=5.0),
        epochs=max(1, round(1500 * few / len(data))),
        learning_rate=4e-3,
        optimizer="muon",
        batch_size=few,
        stress_weight=100.0 if stress else 0.0,
        patience=None,
        keep_best=False,
        anneal=True,
        large_force=largest,
    )
    kT = HOTTER * thermal_energy(data) if kT is None else _energy(kT)
    attack = Attack(
        BoltzmannVariance(kT=_rounded(kT), log=True),
        Adam(0.01, 60),
        bound=Ball(1.0, float("inf"), strain=0.05) if stress else None,
        cell=stress,
        guard=Apart(shortest),
    )
    alike = _rounded(0.05 * min(counts) ** 0.5)
    sound = MinDistance(shortest), MaxForce(3 * largest)
    return {
        "trainer": trainer,
        "sampler": FromDataset(int(np.clip(2000 // np.mean(counts), 10, 40))),
        "attack": attack,
        "selectors": (*sound, VariancePercentile(50), Deduplicate(alike), AtMost(10)),
        "folds": Folds(train=0.8, valid=0.2),
        "calibrate": 0.1,
        "reserve": 0.15,
        "errors_of": "mean",
    }


def thermal_energy(data: Dataset) -> float:
    """Return the kT, eV, of harmonic structures whose energies spread as those of `data`.

    A classical harmonic system of f degrees of freedom has energies of variance f (kT)^2 / 2. The
    variances are those around the mean of each set of structures of the same atoms.

    Raises:
        ValueError: no two structures of the same atoms, or no spread.
    """
    groups: dict[tuple, list[int]] = {}
    for index, g in enumerate(data):
        kind = (g.charge, g.multiplicity, g.movable.sum(), g.pbc.any(), *np.sort(g.numbers))
        groups.setdefault(kind, []).append(index)
    squares = total = 0.0
    for group in groups.values():
        g, energies = data[group[0]], data.energies[group]
        free = g.movable.all() and not g.pbc.any()  # moves and turns without a change of energy
        freedom = max(1, 3 * int(g.movable.sum()) - (6 if free else 0))
        squares += float(np.square(energies - energies.mean()).sum()) * 2 / freedom
        total += len(group) - 1
    if not squares > 0:
        wrong = "the energies of structures of the same atoms have no spread, or there are no two"
        raise ValueError(f'{wrong}: give kT="5 kcal/mol", or more structures')
    return (squares / total) ** 0.5


def _energy(kT: float | str) -> float:
    """Return an energy in eV that is a number, or a text with a unit or in kelvin."""
    number, _, name = str(kT).partition(" ")
    try:
        return float(number) * (kB if name == "K" else unit(name or "eV"))
    except ValueError as error:
        raise ValueError(f'kT is {kT!r} ({error}): give eV, or "5 kcal/mol", "2500 K"') from None


def _rounded(value: float) -> float:
    """Return a number with two digits, which people can read and change."""
    return float(f"{value:.2g}")
