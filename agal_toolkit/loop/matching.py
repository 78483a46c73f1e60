"""Whose labels they are: answers from elsewhere to the structures that were asked.

Files round coordinates, and programs write structures in any order, so labels are matched by the
distance of their structures and never by their place in a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..dataset import Dataset
from ..distances import euclidean
from ..geometry import Geometry, Labels

ID = "agal_id"  # key of ``atoms.info`` that says which structure of which proposal this is


def distance(one: Geometry, other: Geometry) -> float:
    """Return the root mean square distance of the particles of two structures, angstrom.

    It is infinite between structures of other elements, in another order, or of another
    periodicity.
    """
    if not np.array_equal(one.numbers, other.numbers):
        return np.inf
    # files of many programs do not have charges
    alike = replace(one, charge=other.charge, multiplicity=other.multiplicity)
    return euclidean(alike, other) / np.sqrt(len(one))


def id_of(generation: int, geometry: Geometry) -> str:
    """Return the id of a structure to label."""
    return f"generation-{generation + 1}-{geometry.digest()}"


def matched(
    geometries: Sequence[Geometry], answers: Dataset, generation: int, tolerance: float
) -> dict[int, Labels]:
    """Return labels by the index of their geometry.

    Args:
        geometries: that were asked.
        answers: in any order.
        generation: of the geometries.
        tolerance: largest :func:`distance` to a structure that counts as the same.

    Raises:
        ValueError: a structure that was not asked, or two for one geometry.
    """
    labels: dict[int, Labels] = {}
    told: dict[int, int] = {}
    ids = [id_of(generation, geometry) for geometry in geometries]
    for k, structure in enumerate(answers):
        apart = np.array([distance(structure, geometry) for geometry in geometries])
        charged = np.array([structure.charge != geometry.charge for geometry in geometries])
        near = [int(i) for i in np.lexsort((apart, charged)) if apart[i] <= tolerance]
        name = structure.origin.get("info", {}).get(ID)
        if name is not None and name not in ids:
            raise ValueError(f"structure {k} is of another proposal: its {ID} is {name!r}")
        if name is not None:
            near = [i for i in near if ids[i] == name]
        if not near:
            nearest = float(apart.min(initial=np.inf))
            what = f"is {nearest:.2g} angstrom from the nearest of them"
            if nearest == np.inf:
                what = "has other elements, another order of them, or another periodicity"
            elif name is not None:
                away = apart[ids.index(name)]
                what = f"has the id of one from which it is {away:.2g} angstrom away"
            asked = f"none of the {len(geometries)} geometries of generation {generation + 1}"
            remedy = "give the structures as they were asked, or a larger tolerance"
            raise ValueError(f"structure {k} is {asked}, it {what}: {remedy}")
        free = [i for i in near if i not in labels]
        if not free:
            twice = f"structures {told[near[0]]} and {k} answer the same geometry {near[0]}"
            raise ValueError(f"{twice}: give one of them")
        labels[free[0]], told[free[0]] = answers.labels[k], k
    return labels


def in_order(geometries: Sequence[Geometry], answers: Sequence[object]) -> dict[int, Labels]:
    """Return the labels among `answers`, one for each geometry, by the index of their geometry.

    Raises:
        ValueError: another number of answers.
        TypeError: an answer that is neither labels nor an exception nor None.
    """
    if len(answers) != len(geometries):
        wrong = f"{len(answers)} answers to {len(geometries)} geometries"
        remedy = "give one for each, None where there is none; or a Dataset, which is matched"
        raise ValueError(f"{wrong}: {remedy}")
    labels: dict[int, Labels] = {}
    for i, answer in enumerate(answers):
        if isinstance(answer, Labels):
            labels[i] = answer.check(geometries[i], f"geometry {i}")
        elif not isinstance(answer, (Exception, type(None))):
            raise TypeError(
                f"answer {i} is a {type(answer).__name__}: give Labels(energy=..., forces=...), an"
                " exception, or None where there is none; or all answers as a Dataset"
            )
    return labels


def for_each(
    geometries: Sequence[Geometry], answers: Dataset | Iterable[Any], index: int, tolerance: float
) -> list[Any]:
    """Return the answer to each of `geometries`, None where a data set has none; see `matched`."""
    if isinstance(answers, (str, Path, Labels, Mapping)):
        wrong = f"answers is a {type(answers).__name__}"
        raise TypeError(f"{wrong}: give a Dataset, or a list with an answer for each geometry")
    answers = answers if isinstance(answers, Dataset) else list(answers)
    if not isinstance(answers, Dataset) and any(isinstance(a, Atoms) for a in answers):
        answers = Dataset.from_ase(answers)  # or it raises
    if not isinstance(answers, Dataset):
        return answers
    matches = matched(geometries, answers, index, tolerance)
    return [matches.get(i) for i in range(len(geometries))]
