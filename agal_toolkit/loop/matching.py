"""Whose labels they are: answers from elsewhere to the structures that were asked.

Files round coordinates, and programs write structures in any order, so labels are matched by the
distance of their structures and never by their place in a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..ase_labels import unit
from ..batch import Prediction
from ..dataset import Dataset
from ..distances import euclidean
from ..geometry import Geometry, Labels

ENERGY_UNITS = [(name, unit(name)) for name in ("Hartree", "kcal/mol", "kJ/mol")]
FORCE_UNITS = [(name, unit(name)) for name in ("Hartree/Bohr", "kcal/mol/A", "kJ/mol/A")]
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


@dataclass(frozen=True)
class Matches:
    """Answers beside the geometries that were asked.

    Attributes:
        labels: by the index of their geometry.
        strangers: why answers are none of the geometries, by their place among the answers.
        doubles: which answers are to one geometry, by the place of the later; it gets no label.
    """

    labels: dict[int, Labels] = field(default_factory=dict)
    strangers: dict[int, str] = field(default_factory=dict)
    doubles: dict[int, str] = field(default_factory=dict)


def matched(
    geometries: Sequence[Geometry], answers: Dataset, generation: int, tolerance: float
) -> dict[int, Labels]:
    """Return the labels of :func:`matches` by the index of their geometry.

    Raises:
        ValueError: a structure that was not asked, or two for one geometry.
    """
    found = matches(geometries, answers, generation, tolerance)
    if refused := found.strangers | found.doubles:
        raise ValueError(refused[min(refused)])
    return found.labels


def matches(
    geometries: Sequence[Geometry], answers: Dataset, generation: int, tolerance: float
) -> Matches:
    """Return which geometry each answer belongs to.

    Args:
        geometries: that were asked.
        answers: in any order.
        generation: of the geometries.
        tolerance: largest :func:`distance` to a structure that counts as the same.
    """
    found, told = Matches(), dict[int, int]()
    ids = [id_of(generation, geometry) for geometry in geometries]
    for k, structure in enumerate(answers):
        apart = np.array([distance(structure, geometry) for geometry in geometries])
        charged = np.array([structure.charge != geometry.charge for geometry in geometries])
        near = [int(i) for i in np.lexsort((apart, charged)) if apart[i] <= tolerance]
        name = structure.origin.get("info", {}).get(ID)
        if name is not None and name not in ids:
            found.strangers[k] = f"structure {k} is of another proposal: its {ID} is {name!r}"
            continue
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
            found.strangers[k] = f"structure {k} is {asked}, it {what}: {remedy}"
            continue
        free = [i for i in near if i not in told]
        if not free:
            twice = f"structures {told[near[0]]} and {k} answer the same geometry {near[0]}"
            found.doubles[k] = f"{twice}: give one of them"
            found.labels.pop(near[0], None)
            continue
        found.labels[free[0]], told[free[0]] = answers.labels[k], k
    return found


def unit_doubts(labels: Sequence[Labels], prediction: Prediction) -> list[str]:
    """Return sentences on labels that look like those of another unit or sign.

    Committees err, but seldom by a factor of five: their prediction tells units apart.

    Args:
        labels: of B structures.
        prediction: (M, ...) of the same structures.
    """
    doubts, energies = [], np.array([label.energy for label in labels])
    mean = prediction.energy.mean(0).numpy()
    for name, scale in ENERGY_UNITS:
        error = np.linalg.norm(mean - scale * energies)
        off, size = np.linalg.norm(mean - energies), np.linalg.norm(scale * energies)
        if 5 * error < min(off, size):
            doubts.append(f"energies look like {name}: expected eV")
    if not labels or any(label.forces is None for label in labels):
        return doubts
    forces = np.concatenate([np.asarray(label.forces) for label in labels]).ravel()
    guess = prediction.forces.mean(0).numpy().ravel()
    own, told = np.linalg.norm(guess), np.linalg.norm(forces)
    alike = float(guess @ forces) / max(own * told, 1e-300)
    if alike < -0.7:
        doubts.append("forces have the wrong sign, as gradients have: give minus the gradient")
    ratios = {name: abs(np.log(own / max(scale * told, 1e-300))) for name, scale in FORCE_UNITS}
    nearest = min(ratios, key=lambda name: ratios[name])
    if abs(alike) > 0.7 and ratios[nearest] < np.log(2) < np.log(5) < abs(np.log(own / told)):
        doubts.append(f"forces look like {nearest}: expected eV/angstrom")
    return doubts


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
