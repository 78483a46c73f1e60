"""Records of one structure that was sent to an error: its errors, the place of its uncertainty, and
whether it is a physical structure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import units
from ase.data import atomic_masses
from numpy.typing import NDArray

from agal_toolkit.attack import Apart, BondLengths
from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry
from agal_toolkit.references.amoeba import whole
from agal_toolkit.uncertainty.calibration import Calibration

from .localisation import internal_share, participation

MASSES = atomic_masses[[8, 1, 1]]
BONDS = BondLengths()
APART = Apart(0.75)


def predict(committee: Committee, geometries: Sequence[Geometry]) -> Prediction:
    """Return all members' predictions; boxes are evaluated one by one, because they fill memory."""
    return committee.predict(geometries, particles=1)


def of_members(prediction: Prediction, members: NDArray) -> Prediction:
    """Return the prediction of some members."""
    return Prediction(
        prediction.energy[members], prediction.forces[members], prediction.stress[members]
    )


def rms(prediction: Prediction, data: Dataset) -> NDArray:
    """Return (n,) average over atoms of the force error, eV/angstrom.

    The error of an atom is the root mean square, over members, of its norm (Cezar 2025, Eq. 1).
    """
    errors = prediction.forces.double().numpy() - np.concatenate(data.forces)
    atoms = np.sqrt(np.square(errors).sum(-1).mean(0))
    ends = np.cumsum([len(geometry) for geometry in data])[:-1]
    return np.array([part.mean() for part in np.split(atoms, ends)])


def errors(prediction: Prediction, data: Dataset, chosen: NDArray) -> dict[str, Any]:
    """Return the error of one labelled structure and its largest true force, eV/angstrom.

    The error is that of all members, of those attacked (`chosen`) and of the rest.
    """
    rest = np.setdiff1d(np.arange(len(prediction.forces)), chosen)
    return {
        "found": float(rms(prediction, data)[0]),
        "found attacked": float(rms(of_members(prediction, chosen), data)[0]),
        "found rest": float(rms(of_members(prediction, rest), data)[0]) if len(rest) else None,
        "largest force": float(np.linalg.norm(data.forces[0], axis=1).max()),
    }


def pressures(prediction: Prediction, data: Dataset, seed: Dataset) -> dict[str, float]:
    """Return pressures without the motion of the atoms, GPa.

    They are the true ones of the seed and of the labelled structure, and the members' mean.
    """
    stresses = {
        "pressure before": seed.labels[0].stress,
        "pressure": data.labels[0].stress,
        "pressure said": prediction.stress[:, 0].mean(0).numpy(),
    }
    return {key: float(-np.trace(stress) / 3 / units.GPa) for key, stress in stresses.items()}


def description(
    geometry: Geometry, seed: Geometry, prediction: Prediction, calibration: Calibration
) -> dict[str, Any]:
    """Return where the uncertainty of a structure sits, and whether it is a physical structure.

    Returns:
        "sigma all": average over atoms of the calibrated uncertainty of all members (of those
        attacked, if the law is their own), eV/angstrom; "participation" of it; "internal": the
        share of the members' disagreement on forces that changes molecules' shapes; "moved": root
        mean square displacement from the seed, angstrom, and "moved internally", the share of it
        that changes shapes; "bonds": shortest and longest O-H bond, angstrom; "closest": distance
        of atoms that are not bonded, angstrom; "mean force": the largest of the members' mean,
        eV/angstrom; "passes": the filters of Cezar 2025, Sec. IV E 2; "bonded": all bonds are
        between 0.85 and 1.15 angstrom.
    """
    atomic = calibration.atomic_variance(prediction).sqrt().numpy()
    waters = whole(geometry).reshape(-1, 3, 3)
    strained = seed.positions @ np.linalg.solve(seed.cell, geometry.cell)
    displacement = (geometry.positions - strained).reshape(-1, 3, 3)
    members = len(prediction.forces)
    differences = (prediction.forces - prediction.forces.mean(0)).numpy()
    lengths = np.linalg.norm(waters[:, 1:] - waters[:, :1], axis=-1)
    largest = float(prediction.forces.mean(0).norm(dim=-1).max())
    moved = float(np.sqrt(np.square(displacement).sum(-1).mean()))
    midway = waters - displacement / 2  # seen from there, a rotation by any angle keeps shapes
    return {
        "sigma all": float(atomic.mean()),
        "participation": participation(atomic),
        "internal": internal_share(
            differences.reshape(members, -1, 3, 3), waters, MASSES, forces=True
        ),
        "moved": moved,
        "moved internally": internal_share(displacement, midway, MASSES, forces=False)
        if moved > 1e-9
        else None,
        "bonds": [float(lengths.min()), float(lengths.max())],
        "closest": _closest(geometry),
        "mean force": largest,
        "passes": largest <= 40 and bool(APART(Batch.of([geometry])).all()),
        "bonded": bool(((lengths >= BONDS.shortest) & (lengths <= BONDS.longest)).all()),
    }


def _closest(geometry: Geometry) -> float:
    """Return the shortest distance of atoms of different molecules, angstrom."""
    x = geometry.positions
    steps = (x[:, None] - x) @ np.linalg.inv(geometry.cell)
    distances = np.linalg.norm((steps - np.round(steps)) @ geometry.cell, axis=-1)
    molecule = np.arange(len(x)) // 3
    return float(distances[molecule[:, None] != molecule].min())


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return rows as columns with numbers of five digits; None where a row has no value."""

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(entry) for entry in value]
        return float(f"{value:.5g}") if isinstance(value, float) else value

    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [short(row.get(name)) for row in rows] for name in names}
