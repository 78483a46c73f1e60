"""Structures and what stages make of them as plain arrays, for npz files without pickles.

Every ``pack_*`` gives named arrays, texts as JSON inside a zero-dimensional string array; every
``unpack_*`` reads them back exactly, float for float.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..attack.attack import Adversary
from ..dataset import Dataset
from ..geometry import Geometry, Labels

Arrays = Mapping[str, NDArray]


def pack_geometries(geometries: Sequence[Geometry]) -> dict[str, NDArray]:
    """Structures of one dimension, concatenated.

    Raises:
        ValueError: structures of different dimensions.
    """
    d = geometries[0].dimension if len(geometries) else 0
    if any(geometry.dimension != d for geometry in geometries):
        raise ValueError("geometries of different dimensions cannot be stored together")
    about = [
        {"charge": g.charge, "multiplicity": g.multiplicity, "origin": dict(g.origin)}
        for g in geometries
    ]
    return {
        "counts": np.array([len(g) for g in geometries], dtype=np.int64),
        "positions": np.concatenate([np.zeros((0, d)), *(g.positions for g in geometries)]),
        "numbers": np.concatenate([np.zeros(0, dtype=np.int64), *(g.numbers for g in geometries)]),
        "movable": np.concatenate([np.zeros(0, dtype=bool), *(g.movable for g in geometries)]),
        "cell": np.array([g.cell for g in geometries]).reshape(len(geometries), d, d),
        "pbc": np.array([g.pbc for g in geometries], dtype=bool).reshape(len(geometries), d),
        "about": np.array(json.dumps(about)),
    }


def _parts(counts: NDArray) -> list[slice]:
    ends = np.cumsum(counts)
    return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]


def unpack_geometries(arrays: Arrays) -> list[Geometry]:
    """The inverse of :func:`pack_geometries`."""
    about = json.loads(str(arrays["about"]))
    return [
        Geometry(
            positions=arrays["positions"][part],
            numbers=arrays["numbers"][part],
            movable=arrays["movable"][part],
            cell=arrays["cell"][i],
            pbc=arrays["pbc"][i],
            **about[i],
        )
        for i, part in enumerate(_parts(arrays["counts"]))
    ]


def pack_dataset(dataset: Dataset) -> dict[str, NDArray]:
    """Structures, labels and roles."""
    d = dataset[0].dimension if len(dataset) else 0
    nothing = np.full((d, d), np.nan)
    return {
        **pack_geometries(dataset.geometries),
        "energy": dataset.energies.astype(float),
        "forces": np.concatenate([np.zeros((0, d)), *dataset.forces]),
        "stress": np.array(
            [nothing if label.stress is None else label.stress for label in dataset.labels]
        ).reshape(len(dataset), d, d),
        "has_stress": np.array([label.stress is not None for label in dataset.labels], dtype=bool),
        "roles": np.array(json.dumps(dataset.roles)),
    }


def unpack_dataset(arrays: Arrays) -> Dataset:
    """The inverse of :func:`pack_dataset`."""
    labels = [
        Labels(
            energy=arrays["energy"][i],
            forces=arrays["forces"][part],
            stress=arrays["stress"][i] if arrays["has_stress"][i] else None,
        )
        for i, part in enumerate(_parts(arrays["counts"]))
    ]
    return Dataset(unpack_geometries(arrays), labels, json.loads(str(arrays["roles"])))


def pack_adversaries(adversaries: Sequence[Adversary]) -> dict[str, NDArray]:
    """Adversaries of one attack, whose paths have equally many steps."""
    return {
        **pack_geometries([adversary.geometry for adversary in adversaries]),
        "seed": np.array([adversary.seed for adversary in adversaries], dtype=np.int64),
        "paths": np.concatenate([adversary.path for adversary in adversaries], axis=1)
        if len(adversaries)
        else np.zeros((0, 0, 0)),
        "losses": np.array([adversary.losses for adversary in adversaries]),
        "kept": np.array([adversary.kept for adversary in adversaries], dtype=np.int64),
        "reached": np.array([adversary.reached for adversary in adversaries], dtype=bool),
        **(
            {"cells": np.stack([adversary.cells for adversary in adversaries])}
            if len(adversaries) and adversaries[0].cells is not None
            else {}
        ),
    }


def unpack_adversaries(arrays: Arrays) -> list[Adversary]:
    """The inverse of :func:`pack_adversaries`."""
    geometries = unpack_geometries(arrays)
    return [
        Adversary(
            int(arrays["seed"][i]),
            geometries[i],
            arrays["paths"][:, part],
            arrays["losses"][i],
            int(arrays["kept"][i]),
            bool(arrays["reached"][i]),
            arrays["cells"][i] if "cells" in arrays else None,
        )
        for i, part in enumerate(_parts(arrays["counts"]))
    ]
