"""Energies that compare: those of atoms above the lowest of the same formula."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..dataset import Dataset
from ..geometry import Geometry


def is_surface(geometries: Iterable[Geometry]) -> bool:
    """Return whether all structures (at least one) are single particles in the plane."""
    return {geometry.positions.shape for geometry in geometries} == {(1, 2)}


def formula_key(geometry: Geometry) -> tuple[int, ...]:
    """Return the sorted atomic numbers: total energies compare between structures of one key."""
    return tuple(sorted(geometry.numbers.tolist()))


def lowest_energies(
    geometries: Iterable[Geometry], energies: Iterable[float]
) -> dict[tuple[int, ...], float]:
    """Return the lowest energy of each formula, by :func:`formula_key`."""
    lowest: dict[tuple[int, ...], float] = {}
    for geometry, energy in zip(geometries, energies, strict=True):
        key = formula_key(geometry)
        lowest[key] = min(float(energy), lowest.get(key, np.inf))
    return lowest


def above_lowest(dataset: Dataset, lowest: Mapping[tuple[int, ...], float]) -> NDArray:
    """Return (n,) energies above the lowest of the same formula; a model surface has its own."""
    if is_surface(dataset):
        return dataset.energies
    return dataset.energies - [lowest[formula_key(geometry)] for geometry in dataset]


def energy_histogram(axes: Axes, datasets: Mapping[str, Dataset]) -> None:
    """Draw the energies of named data sets; those of atoms above the lowest of their formula."""
    datasets = {name: dataset for name, dataset in datasets.items() if len(dataset)}
    atoms = not all(map(is_surface, datasets.values()))
    if datasets:
        geometries = [geometry for dataset in datasets.values() for geometry in dataset]
        total = np.concatenate([dataset.energies for dataset in datasets.values()])
        lowest = lowest_energies(geometries, total)
        shown = {name: above_lowest(dataset, lowest) for name, dataset in datasets.items()}
        energies = np.concatenate(list(shown.values()))
        edges = np.linspace(energies.min(), max(energies.max(), energies.min() + 1e-6), 25)
        for (name, values), colour in zip(shown.items(), ("0.6", "k"), strict=False):
            axes.hist(values, bins=edges, color=colour, alpha=0.8, label=name)
    if len(datasets) > 1:
        axes.legend(frameon=False, fontsize=8)
    axes.set(xlabel="energy above the lowest (eV)" if atoms else "energy", ylabel="structures")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_title("energies", fontsize=10)


def force_unit(geometries: Iterable[Geometry]) -> str:
    """Return eV/Å for atoms; particles on a model surface have no unit."""
    return "eV/Å" if all((geometry.numbers > 0).all() for geometry in geometries) else ""
