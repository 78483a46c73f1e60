"""One trial of calibrated attacks: structures sent to an error, and the errors they have.

Of each structure are recorded: its uncertainty, which is the average over its atoms of the
calibrated uncertainty of the force (Cezar 2025, Eq. 9), of the attacked members and of all; and its
error, the average over its atoms of the root mean square error of the members against the truth
(Eq. 1), of the attacked members, the others and all; and what :mod:`.records` describes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from agal_toolkit.analysis.reliability import reliability
from agal_toolkit.attack import LBFGS, Attack, Bias, TargetError
from agal_toolkit.attack.target_error import TargetLoss
from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import CALIBRATION, Dataset
from agal_toolkit.dynamics import Watch, nve
from agal_toolkit.geometry import Geometry
from agal_toolkit.potentials import Recorded
from agal_toolkit.references import AMOEBA
from agal_toolkit.uncertainty.calibration import Calibration, samples
from agal_toolkit.uncertainty.power_law import PowerLaw

from ..water.truth import SEED, Water
from .ratios import RATIOS, counted
from .records import APART, BONDS, columns, description, errors, of_members, predict, pressures, rms

NORMS = np.linspace(0.0, 1.5, 151)  # eV/angstrom; of the error of each member on each atom
HOT, STEP, LONGEST = 1000.0, 0.25, 200.0  # K, fs and fs: of simulations
FARTHEST = 1.0  # angstrom: of random displacements


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A way to send structures to an error, from a number of seeds.

    Attributes:
        about: in a few words, for tables.
        target: of the uncertainty: a multiple of the held-out error; eV/angstrom if not `relative`.
        relative: the target is a multiple of the held-out error.
        way: "attack"; "rattle", random displacements of the amplitude that has the target's
            uncertainty; "heat", a simulation with the committee from velocities at :data:`HOT`
            until it has that uncertainty.
        law: "power" and "linear", of all calibration structures; "simulations", the power law of
            those from dynamics alone; "raw", none; "own", the power law of the attacked members
            alone; "second", the power law with the trial's labelled structures of the first round
            among the calibration structures.
        members: number of attacked members, drawn anew for each seed; None attacks all.
        seeds: which half of the truth's test structures.
        count: number of seeds.
        bias: terms of the objective beside the target.
        cell: cells move, too.
        guard: bond lengths stay within limits.
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
        predicted: the members' predictions of them.
        heldout: average over atoms of the root mean square error of the members on the simulated
            ones of `aside`, eV/angstrom.
        steps: of L-BFGS.
    """

    committee: Committee
    data: Water
    aside: Dataset
    predicted: Prediction
    heldout: float
    steps: int

    @classmethod
    def of(cls, committee: Committee, data: Water, steps: int) -> Scene:
        """Return the scene of a trained committee."""
        aside = data.learned.of_role(CALIBRATION)
        predicted = predict(committee, list(aside))
        heldout = float(np.mean(rms(predicted, aside)[simulated(aside)]))
        return cls(committee, data, aside, predicted, heldout, steps)

    def calibration(self, trial: Trial, chosen: NDArray, earlier: Dataset | None) -> Calibration:
        """Return the laws of a trial for the chosen members.

        Args:
            trial: its `law` is fitted.
            chosen: (m,) indices of members.
            earlier: the trial's structures of the first round, for a second one.
        """
        if trial.law == "raw":
            return Calibration(PowerLaw(), PowerLaw(), PowerLaw())
        if trial.law == "own":
            return Calibration.fit_with_fallback(of_members(self.predicted, chosen), self.aside)
        fit = partial(Calibration.fit, quantities=("forces",))
        if trial.law == "simulations":
            alone = self.aside[simulated(self.aside)]
            return fit(predict(self.committee, list(alone)), alone)
        if trial.law == "second":
            if earlier is None:
                raise ValueError(
                    f"{trial.about!r} goes on from a first round: run that trial before"
                )
            return fit(predict(self.committee, [*self.aside, *earlier]), self.aside + earlier)
        return fit(self.predicted, self.aside, trial.law)


def simulated(data: Dataset) -> NDArray:
    """Return (n,) bool: structures from dynamics."""
    return np.array([geometry.origin.get("by") == "dynamics" for geometry in data])


def run(
    trial: Trial, scene: Scene, earlier: Dataset | None = None
) -> tuple[dict[str, Any], Dataset]:
    """Run a trial; return its record and its labelled structures."""
    began, everyone = time.monotonic(), np.arange(len(scene.committee))
    seeds = getattr(scene.data, trial.seeds)[: trial.count]
    target = trial.target * (scene.heldout if trial.relative else 1.0)
    common = None if trial.law == "own" else scene.calibration(trial, everyone, earlier)
    label, rows, labelled = AMOEBA(stress=trial.cell), [], Dataset()
    norms, ratios = np.zeros(len(NORMS), dtype=int), np.zeros(len(RATIOS) + 1, dtype=int)
    for index, seed in enumerate(seeds):
        rng = np.random.default_rng([SEED, index, trial.members or 0])
        chosen = everyone
        if trial.members is not None:
            chosen = np.sort(rng.choice(everyone, trial.members, replace=False))
        row: dict[str, Any] = {"reached": False}
        try:
            calibration = scene.calibration(trial, chosen, earlier) if common is None else common
            geometry, row = send(trial, target, seed, chosen, calibration, scene, rng)
            prediction = predict(scene.committee, [geometry])
            judges = of_members(prediction, chosen) if trial.law == "own" else prediction
            row |= description(geometry, seed, judges, calibration)
            moved = replace(geometry, origin={"by": trial.way, "seed": index})
            data = Dataset([moved], [label(geometry)], [CALIBRATION])
        except (ValueError, RuntimeError) as error:  # the structure fell apart, or has no label
            rows.append(row | {"found": None, "trouble": str(error)})
            continue
        row |= errors(prediction, data, chosen)
        row["rise"] = float(data.energies[0] - seeds.energies[index]) / (len(seed) // 3)
        if trial.cell:
            row |= pressures(prediction, data, seeds[[index]])
        rows.append(row)
        norms += _counts_of_norms(prediction.forces.numpy() - data.forces[0])
        sigma = np.sqrt(calibration.law("forces")(judges.forces.var(0)).numpy())
        ratios += counted((judges.forces.numpy() - data.forces[0]) / sigma)
        labelled = labelled + data
    record = {
        "target": target,
        "structures": columns(rows),
        "norms": norms.tolist(),
        "ratios": ratios.tolist(),
        "seconds": round(time.monotonic() - began, 1),
    }
    if common is not None and len(labelled):
        record["calibration"] = common.to_json()
        points = samples(predict(scene.committee, list(labelled)), labelled)
        result = reliability(points, common.law("forces"))
        record["reliability"] = {
            key: [value.value, value.low, value.high]
            for key, value in (("spread", result.spread), ("slope", result.slope))
        }
    return record, labelled


def _counts_of_norms(differences: NDArray) -> NDArray:
    """Return counts of the norms of (M, n, 3) force errors; the last bin has no upper end."""
    norms = np.linalg.norm(differences, axis=-1).clip(max=NORMS[-1] + 1)
    return np.histogram(norms, [*NORMS, np.inf])[0]


def send(
    trial: Trial,
    target: float,
    seed: Geometry,
    chosen: NDArray,
    calibration: Calibration,
    scene: Scene,
    rng: Generator,
) -> tuple[Geometry, dict[str, Any]]:
    """Move a seed until the chosen members are as uncertain as the target.

    Returns:
        The structure, and "start" and "sigma": average over atoms of the calibrated uncertainty
        before and after, eV/angstrom; "deviation": of the atoms from the target; "reached"; "law":
        its a and b; "evaluations"; "seconds".
    """
    objective, clock = TargetError(target, bias=trial.bias), time.monotonic()
    committee = Committee(scene.committee.members[chosen], calibration)
    move: Callable[[Committee, Geometry, Generator], tuple[Geometry, int]]
    if trial.way == "attack":
        guard = apart_and_bonded if trial.guard else APART
        minimizer = LBFGS(scene.steps)
        move = partial(
            attack, Attack(objective, minimizer, start=0.0, cell=trial.cell, guard=guard)
        )
    else:
        move = partial({"rattle": rattle, "heat": heat}[trial.way], objective)
    geometry, evaluations = move(committee, seed, rng)
    seconds = time.monotonic() - clock
    loss, batch = objective(committee), Batch.of([geometry])
    prediction = predict(committee, [geometry])
    average, deviation = (
        float(value) * target for value in loss.mean_and_deviation(prediction, batch)
    )
    before, law = predict(committee, [seed]), calibration.law("forces")
    return geometry, {
        "evaluations": evaluations,
        "seconds": seconds,
        "law": [law.scale, law.exponent],
        "start": float(calibration.atomic_variance(before).sqrt().mean()),
        "sigma": average,
        "deviation": deviation,
        "reached": bool(loss.reached(prediction, batch)),
    }


def apart_and_bonded(batch: Batch) -> Tensor:
    """Return (B,) whether atoms keep their distance and bonds their lengths."""
    return APART(batch) & BONDS(batch)


def attack(
    attacker: Attack, committee: Committee, seed: Geometry, rng: Generator
) -> tuple[Geometry, int]:
    """Return the end of an attack, and its number of evaluations."""
    (adversary,) = attacker(committee, None, [seed], rng)
    return adversary.geometry, len(adversary.losses)


def rattle(
    objective: TargetError, committee: Committee, seed: Geometry, rng: Generator
) -> tuple[Geometry, int]:
    """Return a random displacement with the target's uncertainty, and evaluations.

    Raises:
        RuntimeError: no amplitude up to FARTHEST has that uncertainty.
    """
    direction, loss = rng.normal(size=seed.positions.shape), objective(committee)
    excesses = []  # of the uncertainty over the target, relative to it

    def excess(amplitude: float) -> float:
        batch = Batch.of([seed.moved(seed.positions + amplitude * direction)])
        excesses.append(float(loss.mean_and_deviation(committee(batch), batch)[0]) - 1)
        return excesses[-1]

    if excess(0.0) >= 0:
        return seed, 1
    high = 0.02
    while excess(high) < 0:
        high *= 1.5
        if high > FARTHEST:
            raise RuntimeError(
                f"no random displacement of up to {FARTHEST} angstrom has the uncertainty"
                f" {objective.target:.3g}: take a smaller target"
            )
    amplitude = brentq(excess, 0.0, high, rtol=0.01)
    return seed.moved(seed.positions + amplitude * direction), len(excesses)


@dataclass(frozen=True)
class _Uncertain:
    """Stop where the recorded members are as uncertain as the loss's target."""

    loss: TargetLoss
    recorded: Recorded
    name: str = "uncertain"

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        return self.loss.mean_and_deviation(self.recorded.prediction, self.recorded.batch)[0] >= 1


def heat(
    objective: TargetError, committee: Committee, seed: Geometry, rng: Generator
) -> tuple[Geometry, int]:
    """Return the first frame of a hot simulation with the target's uncertainty, and evaluations.

    The simulation is at constant energy; if no frame has that uncertainty, the last is returned.
    """
    recorded = Recorded(committee)
    stop = _Uncertain(objective(committee), recorded)
    (frames,) = nve(
        recorded,
        [seed],
        HOT,
        timestep=STEP,
        steps=round(LONGEST / STEP),
        rng=rng,
        watch=Watch(every=1, stops=(stop,)),
    )
    return frames.geometry(-1), recorded.calls
