"""Structures, labels and adversaries as named arrays and back, float for float, no pickles."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..attack.attack import Adversary
from ..dataset import Dataset
from ..geometry import Geometry, Labels

Arrays = Mapping[str, Any]
LabelsAndFailures = tuple[Dataset, dict[int, str]]
Answers = Callable[[], Iterable[tuple[int, Labels | Exception | None]]]


def _joined(parts: Sequence[ArrayLike], shape: tuple[int, ...], dtype: type = float) -> NDArray:
    """Parts (n, *shape) in one array, which keeps its shape if there are none."""
    return np.concatenate([np.zeros((0, *shape), dtype), *parts])


def pack_geometries(geometries: Sequence[Geometry]) -> Arrays:
    """Return structures of one dimension as concatenated arrays.

    Raises:
        ValueError: structures of different dimensions.
    """
    n, d = len(geometries), geometries[0].dimension if len(geometries) else 0
    if any(geometry.dimension != d for geometry in geometries):
        raise ValueError("geometries of different dimensions cannot be stored together")
    rest = [
        {"charge": g.charge, "multiplicity": g.multiplicity, "origin": dict(g.origin)}
        | ({} if g.isotopes is None else {"isotopes": g.isotopes.tolist()})
        for g in geometries
    ]
    return {
        "counts": np.array([len(g) for g in geometries], dtype=np.int64),
        "positions": _joined([g.positions for g in geometries], (d,)),
        "numbers": _joined([g.numbers for g in geometries], (), np.int64),
        "movable": _joined([g.movable for g in geometries], (), bool),
        "cell": np.array([g.cell for g in geometries]).reshape(n, d, d),
        "pbc": np.array([g.pbc for g in geometries], dtype=bool).reshape(n, d),
        "about": np.array(json.dumps(rest)),
    }


def _parts(arrays: Arrays) -> list[slice]:
    ends = np.cumsum(arrays["counts"])
    return [slice(end - count, end) for end, count in zip(ends, arrays["counts"], strict=True)]


def unpack_geometries(arrays: Arrays) -> list[Geometry]:
    """Invert :func:`pack_geometries`."""
    rest = json.loads(str(arrays["about"]))
    return [
        Geometry(
            positions=arrays["positions"][part],
            numbers=arrays["numbers"][part],
            movable=arrays["movable"][part],
            cell=arrays["cell"][i],
            pbc=arrays["pbc"][i],
            **rest[i],
        )
        for i, part in enumerate(_parts(arrays))
    ]


def pack_labels(value: LabelsAndFailures) -> Arrays:
    """Return labelled structures with their roles, and reasons of failures by index, as arrays."""
    dataset, failures = value
    n, d = len(dataset), dataset[0].dimension if len(dataset) else 0
    stresses = [label.stress for label in dataset.labels]
    nothing = np.full((d, d), np.nan)
    return {
        **pack_geometries(dataset.geometries),
        "energy": dataset.energies.astype(float),
        "forces": _joined(dataset.forces, (d,)),
        "stress": np.array([nothing if s is None else s for s in stresses]).reshape(n, d, d),
        "has_stress": np.array([s is not None for s in stresses], dtype=bool),
        "roles": np.array(json.dumps(dataset.roles)),
        "failed": np.array(sorted(failures), dtype=np.int64),
        "reasons": np.array([failures[i] for i in sorted(failures)], dtype=np.str_),
    }


def unpack_labels(arrays: Arrays) -> LabelsAndFailures:
    """Invert :func:`pack_labels`."""
    labels = [
        Labels(
            energy=arrays["energy"][i],
            forces=None if np.isnan(arrays["forces"][part]).all() else arrays["forces"][part],
            stress=arrays["stress"][i] if arrays["has_stress"][i] else None,
        )
        for i, part in enumerate(_parts(arrays))
    ]
    dataset = Dataset(unpack_geometries(arrays), labels, json.loads(str(arrays["roles"])))
    failures = zip(arrays["failed"], arrays["reasons"], strict=True)
    return dataset, {int(i): str(reason) for i, reason in failures}


def pack_adversaries(adversaries: Sequence[Adversary]) -> Arrays:
    """Return the adversaries of one attack, whose paths have equally many steps, as arrays."""
    paths = [adversary.path for adversary in adversaries]
    cells = [adversary.cells for adversary in adversaries if adversary.cells is not None]
    return {
        **pack_geometries([adversary.geometry for adversary in adversaries]),
        "seed": np.array([adversary.seed for adversary in adversaries], dtype=np.int64),
        "paths": np.concatenate(paths, axis=1) if paths else np.zeros((0, 0, 0)),
        "losses": np.array([adversary.losses for adversary in adversaries]),
        "kept": np.array([adversary.kept for adversary in adversaries], dtype=np.int64),
        "reached": np.array([adversary.reached for adversary in adversaries], dtype=bool),
        "reasons": np.array([adversary.reason or "" for adversary in adversaries], dtype=np.str_),
        **({"cells": np.stack(cells)} if cells else {}),
    }


def unpack_adversaries(arrays: Arrays) -> list[Adversary]:
    """Invert :func:`pack_adversaries`."""
    geometries = unpack_geometries(arrays)
    reasons = arrays.get("reasons", [""] * len(geometries))  # older files have none
    return [
        Adversary(
            seed=int(arrays["seed"][i]),
            geometry=geometries[i],
            path=arrays["paths"][:, part].copy(),  # a view would keep all paths alive
            losses=arrays["losses"][i],
            kept=int(arrays["kept"][i]),
            reached=bool(arrays["reached"][i]),
            cells=arrays["cells"][i] if "cells" in arrays else None,
            reason=str(reasons[i]) or None,
        )
        for i, part in enumerate(_parts(arrays))
    ]
