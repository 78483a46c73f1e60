"""One trial of calibrated attacks: structures sent to an error, by an attack or otherwise, and what
they turn out to be.

What is recorded of each structure: the promise, which is the average over its atoms of the
calibrated uncertainty of the force (Cezar 2025, Eq. 9), as those members see it that were attacked
and as all do; and what was delivered, the average over its atoms of the root mean square error of
the members against the truth (Eq. 1), of those attacked, the others and all. Beside it, where in
the structure the uncertainty sits, whether the structure is a decent one, and, where cells move,
its pressure before, as the members say, and in truth.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from ase import units
from ase.data import atomic_masses
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from agal_toolkit.analysis.reliability import RATIOS, counted, reliability
from agal_toolkit.attack import LBFGS, Apart, Attack, Bias, BondLengths, TargetError
from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import CALIBRATION, Dataset
from agal_toolkit.geometry import Geometry
from agal_toolkit.references import AMOEBA
from agal_toolkit.references.amoeba import whole
from agal_toolkit.uncertainty.calibration import Calibration, samples
from agal_toolkit.uncertainty.power_law import PowerLaw

from ..water.truth import SEED, Water
from .localisation import internal_share, participation
from .ways import attacked, heated, rattled

NORMS = np.linspace(0.0, 1.5, 151)  # eV/angstrom; of the error of each member on each atom
MASSES = atomic_masses[[8, 1, 1]]
BONDS = BondLengths()
APART = Apart(0.75)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is tried, from each of some seeds.

    Attributes:
        about: in a few words, for tables.
        target: of the uncertainty: a multiple of the held-out error, or, where not `relative`,
            eV/angstrom.
        relative: see there.
        way: "attack"; "rattle", random displacements of the amplitude that is as uncertain; "heat",
            a simulation with the committee from the velocities of :data:`.calibrated_ways.HOT`,
            until it is.
        law: "power" and "linear", of all structures put aside; "simulations", the power law of
            those from dynamics alone; "raw", none; "own", the power law of the attacked members by
            themselves; "second", the power law when this trial's labelled structures of the first
            round are among those put aside.
        members: attacked, drawn anew for each seed; None attacks all.
        seeds: which half of the truth's test structures.
        count: how many of them.
        bias: wishes beside the target.
        cell: cells move, too.
        guard: bond lengths are kept.
    """

    about: str
    target: float
    relative: bool = True
    way: Literal["attack", "rattle", "heat"] = "attack"
    law: Literal["power", "linear", "simulations", "raw", "own", "second"] = "power"
    members: int | None = None
    seeds: Literal["first", "second"] = "first"
    count: int = 40
    bias: tuple[Bias, ...] = ()
    cell: bool = False
    guard: bool = False


@dataclass(frozen=True, eq=False)
class Scene:
    """What all trials share.

    Attributes:
        committee: all members, not calibrated.
        data: of the truth.
        aside: structures that laws are fitted on.
        said: what the members predict of them.
        heldout: average over atoms of the root mean square error of the members on those `aside`
            that dynamics gave, eV/angstrom.
        steps: of L-BFGS.
    """

    committee: Committee
    data: Water
    aside: Dataset
    said: Prediction
    heldout: float
    steps: int

    @classmethod
    def of(cls, committee: Committee, data: Water, steps: int) -> Scene:
        """Of a trained committee."""
        aside = data.learned.of_role(CALIBRATION)
        said = predicted(committee, list(aside))
        return cls(
            committee, data, aside, said, float(np.mean(rms(said, aside)[simulated(aside)])), steps
        )

    def calibration(self, trial: Trial, chosen: NDArray, earlier: Dataset | None) -> Calibration:
        """The laws of a trial for the chosen members; `earlier` are its structures of the first
        round.
        """
        if trial.law == "raw":
            return Calibration(PowerLaw(), PowerLaw(), PowerLaw())
        if trial.law == "own":
            return Calibration.fit_with_fallback(picked(self.said, chosen), self.aside)
        if trial.law == "simulations":
            keep = simulated(self.aside)
            return Calibration.fit(
                predicted(self.committee, list(self.aside[keep])),
                self.aside[keep],
                quantities=("forces",),
            )
        if trial.law == "second":
            if earlier is None:
                raise ValueError(
                    f"{trial.about!r} goes on from a first round: run that trial before"
                )
            return Calibration.fit(
                predicted(self.committee, [*self.aside, *earlier]),
                self.aside + earlier,
                quantities=("forces",),
            )
        return Calibration.fit(self.said, self.aside, trial.law, quantities=("forces",))


def predicted(committee: Committee, geometries: Sequence[Geometry]) -> Prediction:
    """All members' predictions; boxes fill the memory one by one."""
    return committee.predict(geometries, particles=1)


def picked(said: Prediction, members: NDArray) -> Prediction:
    """Those of some members."""
    return Prediction(said.energy[members], said.forces[members], said.stress[members])


def simulated(data: Dataset) -> NDArray:
    """(n,) bool: structures that dynamics gave."""
    return np.array([geometry.origin.get("by") == "dynamics" for geometry in data])


def rms(said: Prediction, data: Dataset) -> NDArray:
    """(n,) average over atoms of the root mean square, over members, of the norm of the force
    error, eV/angstrom.
    """
    errors = said.forces.double().numpy() - np.concatenate(data.forces)
    atoms = np.sqrt(np.square(errors).sum(-1).mean(0))
    return np.array(
        [part.mean() for part in np.split(atoms, np.cumsum([len(g) for g in data])[:-1])]
    )


def run(
    trial: Trial, scene: Scene, earlier: Dataset | None = None
) -> tuple[dict[str, Any], Dataset]:
    """A trial: its record, and its labelled structures."""
    began, everyone = time.monotonic(), np.arange(len(scene.committee))
    seeds = getattr(scene.data, trial.seeds)[: trial.count]
    target = trial.target * (scene.heldout if trial.relative else 1.0)
    common = None if trial.law == "own" else scene.calibration(trial, everyone, earlier)
    label, rows, labelled = AMOEBA(stress=trial.cell), [], Dataset()
    norms, ratios = np.zeros(len(NORMS), dtype=int), np.zeros(len(RATIOS) + 1, dtype=int)
    for index, seed in enumerate(seeds):
        rng = np.random.default_rng([SEED, index, trial.members or 0])
        chosen = (
            everyone
            if trial.members is None
            else np.sort(rng.choice(everyone, trial.members, replace=False))
        )
        row: dict[str, Any] = {"reached": False}
        try:
            calibration = scene.calibration(trial, chosen, earlier) if common is None else common
            geometry, row = sent(trial, target, seed, chosen, calibration, scene, rng)
            said = predicted(scene.committee, [geometry])
            judges = picked(said, chosen) if trial.law == "own" else said
            row |= looks_of(geometry, seed, judges, calibration)
            data = Dataset(
                [replace(geometry, origin={"by": trial.way, "seed": index})],
                [label(geometry)],
                [CALIBRATION],
            )
        except (ValueError, RuntimeError) as error:  # taken apart, or no label
            rows.append(row | {"found": None, "trouble": str(error)})
            continue
        row |= delivered(said, data, chosen) | {
            "rise": float(data.energies[0] - seeds.energies[index]) / (len(seed) // 3)
        }
        rows.append(row | (pressures(said, data, seeds[[index]]) if trial.cell else {}))
        norms += np.histogram(
            np.linalg.norm(said.forces.numpy() - data.forces[0], axis=-1).clip(max=NORMS[-1] + 1),
            [*NORMS, np.inf],
        )[0]
        ratios += counted(
            (judges.forces.numpy() - data.forces[0])
            / np.sqrt(calibration.forces(judges.forces.var(0)).numpy())
        )
        labelled = labelled + data
    record = {
        "target": target,
        "structures": _columns(rows),
        "norms": norms.tolist(),
        "ratios": ratios.tolist(),
        "seconds": round(time.monotonic() - began, 1),
    }
    if common is not None and len(labelled):
        record["calibration"] = common.to_json()
        held = reliability(
            samples(predicted(scene.committee, list(labelled)), labelled), common.forces
        )
        record["reliability"] = {
            key: [value.value, value.low, value.high]
            for key, value in (("spread", held.spread), ("slope", held.slope))
        }
    return record, labelled


def sent(
    trial: Trial,
    target: float,
    seed: Geometry,
    chosen: NDArray,
    calibration: Calibration,
    scene: Scene,
    rng: Generator,
) -> tuple[Geometry, dict[str, Any]]:
    """Where a seed arrives when the chosen members are attacked, and what they promise there.

    Returns:
        The structure, and "start" and "sigma": average over atoms of their calibrated uncertainty
        before and after, eV/angstrom; "deviation": of the atoms from the target; "reached"; "law":
        its a and b; "evaluations"; "seconds".
    """
    aim, clock = TargetError(target, bias=trial.bias), time.monotonic()
    attack = Attack(
        aim, LBFGS(scene.steps), start=0.0, cell=trial.cell, guard=guarded if trial.guard else APART
    )
    asked = Committee(scene.committee.members[chosen], calibration)
    way = {
        "attack": partial(attacked, attack),
        "rattle": partial(rattled, aim),
        "heat": partial(heated, aim),
    }[trial.way]
    geometry, evaluations = way(asked, seed, rng)
    seconds = time.monotonic() - clock
    loss, batch, said = aim(asked), Batch.of([geometry]), predicted(asked, [geometry])
    average, deviation = (float(value) * target for value in loss.mean_and_deviation(said, batch))
    start = float(calibration.atomic_variance(predicted(asked, [seed])).sqrt().mean())
    return geometry, {
        "evaluations": evaluations,
        "seconds": seconds,
        "law": [calibration.forces.scale, calibration.forces.exponent],
        "start": start,
        "sigma": average,
        "deviation": deviation,
        "reached": bool(loss.reached(said, batch)),
    }


def guarded(batch: Batch) -> Tensor:
    """(B,) whether atoms are apart, and bonds as long as bonds are."""
    return APART(batch) & BONDS(batch)


def delivered(said: Prediction, data: Dataset, chosen: NDArray) -> dict[str, Any]:
    """What the truth finds of a structure: the error of all members, of those attacked and of the
    rest, eV/angstrom, and its largest force.
    """
    rest = np.setdiff1d(np.arange(len(said.forces)), chosen)
    return {
        "found": float(rms(said, data)[0]),
        "found attacked": float(rms(picked(said, chosen), data)[0]),
        "found rest": float(rms(picked(said, rest), data)[0]) if len(rest) else None,
        "largest force": float(np.linalg.norm(data.forces[0], axis=1).max()),
    }


def pressures(said: Prediction, data: Dataset, seed: Dataset) -> dict[str, float]:
    """GPa, of a labelled structure without the motion of its atoms: in truth before and after it
    was sent, and as the members' mean says.
    """
    stresses = {
        "pressure before": seed.labels[0].stress,
        "pressure": data.labels[0].stress,
        "pressure said": said.stress[:, 0].mean(0).numpy(),
    }
    return {key: float(-np.trace(stress) / 3 / units.GPa) for key, stress in stresses.items()}


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns, numbers rounded to what they are worth; None where a row has none."""
    names = dict.fromkeys(name for row in rows for name in row)

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(each) for each in value]
        return float(f"{value:.5g}") if isinstance(value, float) else value

    return {name: [short(row.get(name)) for row in rows] for name in names}


def looks_of(
    geometry: Geometry, seed: Geometry, said: Prediction, calibration: Calibration
) -> dict[str, Any]:
    """Where the uncertainty of a structure sits, and whether the structure is a decent one, before
    anyone labels it.

    Returns:
        "sigma all": average over atoms of the calibrated uncertainty of all members (of those
        attacked, where the law is their own), eV/angstrom; "participation" of it; "internal": the
        share of the members' disagreement on forces that changes molecules' shapes; "moved": root
        mean square displacement from the seed, angstrom, and "moved internally", the share of it
        that changes them; "bonds": shortest and longest O-H bond; "closest": of atoms that are not
        bonded, angstrom; "mean force": the largest of the members' mean, eV/angstrom; "passes": the
        filters of Cezar 2025, Sec. IV E 2, and "bonded": all bonds between 0.85 and 1.15 angstrom.
    """
    atomic = calibration.atomic_variance(said).sqrt().numpy()
    waters, way = (
        whole(geometry).reshape(-1, 3, 3),
        (geometry.positions - seed.positions @ np.linalg.solve(seed.cell, geometry.cell)).reshape(
            -1, 3, 3
        ),
    )
    differences = (said.forces - said.forces.mean(0)).numpy().reshape(len(said.forces), -1, 3, 3)
    lengths = np.linalg.norm(waters[:, 1:] - waters[:, :1], axis=-1)
    batch = Batch.of([geometry])
    largest = float(said.forces.mean(0).norm(dim=-1).max())
    moved = float(np.sqrt(np.square(way).sum(-1).mean()))
    midway = waters - way / 2  # as seen from there a rotation of any angle leaves shapes alone
    return {
        "sigma all": float(atomic.mean()),
        "participation": participation(atomic),
        "internal": internal_share(differences, waters, MASSES, forces=True),
        "moved": moved,
        "moved internally": internal_share(way, midway, MASSES, forces=False)
        if moved > 1e-9
        else None,
        "bonds": [float(lengths.min()), float(lengths.max())],
        "closest": _closest(geometry),
        "mean force": largest,
        "passes": largest <= 40 and bool(APART(batch).all()),
        "bonded": bool(((lengths >= BONDS.shortest) & (lengths <= BONDS.longest)).all()),
    }


def _closest(geometry: Geometry) -> float:
    """Shortest distance of atoms of different molecules, angstrom."""
    x = geometry.positions
    steps = (x[:, None] - x) @ np.linalg.inv(geometry.cell)
    distances = np.linalg.norm((steps - np.round(steps)) @ geometry.cell, axis=-1)
    molecule = np.arange(len(x)) // 3
    return float(distances[molecule[:, None] != molecule].min())
