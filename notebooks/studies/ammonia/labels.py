"""Labelled geometries of ammonia, each set a file: made once, completed where labels are missing,
and refused if it holds other geometries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from agal_toolkit.analysis.rmsd import AlignedRmsd
from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Report, ignore
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.references import Cache, Reference

from ..jobs import save
from .recipes import SHOWN, Preset, random
from .truth import Truth


def labelled(
    file: Path,
    geometries: Sequence[Geometry],
    reference: Reference,
    cache: Cache,
    report: Report = ignore,
) -> Dataset:
    """Return the geometries that get labels, in order, from `file`; add those that it lacks.

    Raises:
        ValueError: the file has other geometries.
        RuntimeError: no geometry got a label, and there is no file.
    """
    data, rows = Dataset.read(file) if file.exists() else Dataset(), dict[int, int]()
    for i, geometry in enumerate(geometries):
        if len(rows) < len(data) and _same(data[len(rows)], geometry):
            rows[i] = len(rows)
    if len(rows) < len(data):
        raise ValueError(
            f"{file} holds other geometries than are asked for: remove it or give another --results"
        )
    missing = [i for i in range(len(geometries)) if i not in rows]
    outcomes = dict(reference([geometries[i] for i in missing], cache, report)) if missing else {}
    new = {missing[k]: labels for k, labels in outcomes.items() if isinstance(labels, Labels)}
    if missing and not (rows or new):
        raise RuntimeError(
            f"none of the {len(geometries)} geometries of {file} got a label, the first because"
            f" {outcomes[0]}"
        )
    if not new and file.exists():
        return data
    both = sorted({**rows, **new})
    labels = [new[i] if i in new else data.labels[rows[i]] for i in both]
    save(file, Dataset([geometries[i] for i in both], labels))
    return Dataset.read(file)


def _same(one: Geometry, other: Geometry) -> bool:
    """Return whether positions agree, or both are from the same normal-mode sample.

    Degenerate modes may have other directions on another platform.
    """
    same_sample = "temperature" in one.origin and one.origin == other.origin
    return same_sample or np.allclose(one.positions, other.positions, rtol=0, atol=1e-5)


def labelled_attacks(file: Path, attacks: Dataset, reference: Reference, cache: Cache) -> Dataset:
    """Return the distinct attacks of a committee with the reference's labels.

    ``origin["predicted"]`` is the committee's energy, eV, which is the label of `attacks`.
    """
    deviation, distinct = AlignedRmsd(reflections=True), list[Geometry]()
    for geometry, energy in zip(attacks, attacks.energies, strict=True):
        if all(deviation(geometry, other) > 0.02 for other in distinct):
            origin = {**geometry.origin, "predicted": float(energy)}
            distinct.append(replace(geometry, origin=origin))
    return labelled(file, distinct, reference, cache)


def random_sets(
    preset: Preset, truth: Truth, data: Path, reference: Reference, cache: Cache
) -> dict[float, Dataset]:
    """Return the random geometries of Figs. 3a to 3c by amplitude, files of `data`."""
    sets = {}
    for amplitude, count in SHOWN.items():
        count = min(count, preset.last)
        file = data / f"shown-{amplitude}-{count}.extxyz"
        geometries = random(amplitude, count, truth, 0)
        sets[amplitude] = labelled(file, geometries, reference, cache)
    return sets
