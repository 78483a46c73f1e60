"""Labelled geometries of ammonia, each set a file: made once, completed where it lacks something,
and refused where it is of other geometries.
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

from ..results import keep
from .recipes import SHOWN, Preset, random
from .truth import Truth


def labelled(
    place: Path,
    geometries: Sequence[Geometry],
    reference: Reference,
    cache: Cache,
    report: Report = ignore,
) -> Dataset:
    """The geometries that get labels, in their order: from the file `place`, which is given those
    that it lacks.

    Raises:
        ValueError: the file has others.
        RuntimeError: none got a label, and there is no file.
    """
    found, held = Dataset.read(place) if place.exists() else Dataset(), dict[int, int]()
    for i, geometry in enumerate(geometries):
        if len(held) < len(found) and _same(found[len(held)], geometry):
            held[i] = len(held)
    if len(held) < len(found):
        raise ValueError(
            f"{place} holds other geometries than are asked for: remove it or give another"
            " --results"
        )
    lacking = [i for i in range(len(geometries)) if i not in held]
    answers = dict(reference([geometries[i] for i in lacking], cache, report)) if lacking else {}
    new = {lacking[k]: answer for k, answer in answers.items() if isinstance(answer, Labels)}
    if lacking and not (held or new):
        raise RuntimeError(
            f"none of the {len(geometries)} geometries of {place} got a label, the first because"
            f" {answers[0]}"
        )
    if new or not place.exists():
        both = sorted({**held, **new})
        keep(
            place,
            Dataset(
                [geometries[i] for i in both],
                [new[i] if i in new else found.labels[held[i]] for i in both],
            ),
        )
        found = Dataset.read(place)
    return found


def _same(one: Geometry, other: Geometry) -> bool:
    """Of equal places; or of equal temperature, for the modes' directions are another platform's
    where their frequencies are equal.
    """
    hot = "temperature" in one.origin and one.origin == other.origin
    return hot or np.allclose(one.positions, other.positions, rtol=0, atol=1e-5)


def judged(place: Path, attacks: Dataset, reference: Reference, cache: Cache) -> Dataset:
    """Those of a committee's unlabelled `attacks` that differ, with the reference's labels;
    ``origin["predicted"]`` is what the committee said, eV.
    """
    deviation, distinct = AlignedRmsd(reflections=True), list[Geometry]()
    for geometry, energy in zip(attacks, attacks.energies, strict=True):
        if all(deviation(geometry, other) > 0.02 for other in distinct):
            distinct.append(
                replace(geometry, origin={**geometry.origin, "predicted": float(energy)})
            )
    return labelled(place, distinct, reference, cache)


def shown(
    preset: Preset, known: Truth, data: Path, reference: Reference, cache: Cache
) -> dict[float, Dataset]:
    """The random geometries of Figs. 3a to 3c by their amplitude, as far as they get labels; files
    of `data`.
    """
    counts = {amplitude: min(count, preset.last) for amplitude, count in SHOWN.items()}
    return {
        a: labelled(
            data / f"shown-{a}-{count}.extxyz", random(a, count, known, 0), reference, cache
        )
        for a, count in counts.items()
    }
