"""Does a guard stop a simulation before it is absurd? ``python -m studies.malonaldehyde.guard``

A committee learns the first structures of malonaldehyde alone and is sent on hot simulations, where
it soon meets what it does not know. Each runs under a guard that stops it, and is then continued
without, to see what the guard has kept it from. A frame is *unphysical* if two atoms are closer
than half the sum of their covalent radii, or an atom of a bond has gone farther than 1.8 times that
sum. On the reference's own simulation an alarm is *false* if no force there is wrong by the limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.data import covalent_radii
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from numpy.typing import NDArray

import agal_toolkit as agal
from agal_toolkit.committee import Committee
from agal_toolkit.geometry import Geometry
from agal_toolkit.loop.recipe import Recipe
from agal_toolkit.potentials.ase import LimitPassed
from agal_toolkit.settings import to_settings

from ..jobs import Claim, Job, Record, Runner, parser, raise_errors, runner
from . import transfer
from .study import FILE, SEED, Sizes, sized
from .transfer import SMILES

NAME = "malonaldehyde_guard"
STEP = 0.5  # fs
CLOSE, FAR = 0.5, 1.8  # of the sum of covalent radii


@dataclass(frozen=True, kw_only=True)
class GuardSizes(Sizes):
    """Sizes of a preset.

    Attributes:
        trajectories: hot simulations, each in a piece of its own of ten.
        hot, mild: kelvin; of the simulations with the committee and with the reference.
        length: picoseconds of each simulation, with its guard and after it.
        limit: of the guard, eV/angstrom.
    """

    trajectories: int = 100
    hot: float = 1500.0
    mild: float = 300.0
    length: float = 1.0
    limit: float = 1.0


PRESETS: Mapping[str, GuardSizes] = {
    "smoke": GuardSizes(
        structures=12, aside=3, shrink=True, trajectories=2, length=0.02, limit=0.5
    ),
    "laptop": GuardSizes(),
}


class Shape:
    """The bonds of a molecule, and whether another structure of it is unphysical."""

    def __init__(self, ground: Geometry) -> None:
        radii = covalent_radii[ground.numbers]
        self._sums = radii[:, None] + radii
        self._pairs = np.triu_indices(len(ground), 1)
        self._bonded = self._ratios(ground.positions) < 1.3

    def _ratios(self, positions: NDArray) -> NDArray:
        first, second = self._pairs
        apart = np.linalg.norm(positions[first] - positions[second], axis=1)
        return apart / self._sums[self._pairs]

    def unphysical(self, positions: NDArray) -> bool:
        """Return whether atoms (n, 3) are too close, or a bond is torn."""
        ratios = self._ratios(positions)
        sound = np.isfinite(ratios).all()
        return not sound or bool((ratios < CLOSE).any() or (ratios[self._bonded] > FAR).any())


def simulation(atoms: Atoms, calculator: Calculator, temperature: float, seed: int) -> Langevin:
    """Return a simulation with new velocities that has not begun."""
    rng = np.random.default_rng(seed)
    atoms.calc = calculator
    thermalize_momenta(atoms, temperature, rng=rng)
    return Langevin(
        atoms,
        STEP * units.fs,
        temperature_K=temperature,
        friction=0.02 / units.fs,
        fixcm=False,
        rng=rng,
    )


def guarded(committee: Committee, ground: Geometry, sizes: GuardSizes, seed: int) -> Record:
    """Return when a guard stops a hot simulation, and when it is unphysical, fs; None if never."""
    shape, atoms = Shape(ground), ground.to_ase()
    guard = committee.calculator(guard=agal.Guard(sizes.limit, "stop"))
    dynamics = simulation(atoms, guard, sizes.hot, seed)
    stopped, unphysical, steps = None, None, round(1000 * sizes.length / STEP)
    for step in range(2 * steps):
        if step >= steps and stopped is None:
            break  # nothing to see after a guard that did not act
        try:
            dynamics.run(1)
        except LimitPassed:
            stopped, atoms.calc = step * STEP, committee.calculator()
        if shape.unphysical(atoms.positions):
            unphysical = step * STEP
            break
    return {"seed": seed, "stopped": stopped, "unphysical": unphysical}


def on_truth(
    committee: Committee, ground: Geometry, sizes: GuardSizes, temperature: float
) -> Record:
    """Return alarms on the reference's own simulation, one frame each 5 fs, and errors there."""
    reference, atoms = transfer.reference(), ground.to_ase()
    dynamics = simulation(atoms, reference.label.calculator, temperature, SEED)
    frames: list[Geometry] = []
    dynamics.attach(lambda: frames.append(Geometry.from_ase(atoms)), interval=round(5 / STEP))
    dynamics.run(round(1000 * sizes.length / STEP))
    data, prediction = reference.labelled(frames), committee.predict(frames)
    assert committee.calibration is not None
    sigma = committee.calibration.atomic_variance(prediction).sqrt().numpy()
    missed = prediction.forces.mean(0).numpy() - np.concatenate(data.forces)
    error = np.linalg.norm(missed, axis=1).reshape(len(frames), -1).max(1)
    alarms = sigma.reshape(len(frames), -1).max(1) > sizes.limit
    return {
        "temperature": temperature,
        "frames": len(frames),
        "alarms": int(alarms.sum()),
        "false": int((alarms & (error < sizes.limit)).sum()),
        "missed": int((~alarms & (error >= sizes.limit)).sum()),
    }


def committee_in(place: Path, sizes: GuardSizes, run: Runner) -> tuple[Committee, Geometry]:
    """Return a committee of the first structures, kept in a file, and the minimum."""
    reference = transfer.reference()
    ground = agal.optimised(reference, agal.conformer(SMILES, seed=0))
    if not (place / FILE).exists():
        first = agal.start(ground, sizes.structures, sizes.temperature, seed=SEED)
        data = reference.labelled(first, place / "labels", run.report)
        data, _ = data.split(test=sizes.aside, calibration=sizes.aside, seed=SEED)
        loop = agal.Loop(sized(Recipe.for_atoms(data), sizes), reference, seed=SEED)
        loop.ask(data, place / "run", report=run.report).committee.save(place / FILE, data)
    return Committee.load(place / FILE), ground


def piece(sizes: GuardSizes, seeds: range, run: Runner) -> Record:
    """Return some hot simulations; the first piece also has the reference's own."""
    committee, ground = committee_in(run.out / NAME, sizes, run)
    record: Record = {"hot": [guarded(committee, ground, sizes, seed) for seed in seeds]}
    if 0 in seeds:
        record["truth"] = [on_truth(committee, ground, sizes, t) for t in (sizes.mild, sizes.hot)]
    return record


def claims(records: Mapping[str, Any]) -> list[Claim]:
    """Return what the guard stopped, what came after, and alarms on the reference's frames."""
    hot = [each for record in records.values() for each in record["hot"]]
    late = [r for r in hot if r["unphysical"] is not None and r["stopped"] is None]
    saved = [r for r in hot if r["unphysical"] is not None and r["stopped"] is not None]
    counts = {
        "simulations that were unphysical before the guard acted": (len(late), 0.0),
        "simulations that the guard stopped": (sum(r["stopped"] is not None for r in hot), None),
        "stopped simulations that are unphysical when they go on": (len(saved), None),
    }
    result = [
        Claim(name=name, value=value, goal=goal, at_least=False, runs=len(hot))
        for name, (value, goal) in counts.items()
    ]
    for each in (r for record in records.values() for r in record.get("truth", ())):
        at = f"frames of the reference at {each['temperature']:g} K"
        for key in ("alarms", "false", "missed"):
            name = {"alarms": "alarms", "false": "false alarms", "missed": "missed alarms"}[key]
            result.append(Claim(name=f"{name}, {at}", value=each[key], runs=each["frames"]))
    return result


def study(run: Runner) -> Path | None:
    """Run the pieces that are missing; return the result file once at least one is finished.

    Raises:
        ValueError: results of other settings.
        ExceptionGroup: pieces failed; the others are written.
    """
    sizes = PRESETS[run.preset]
    made_with = {"sizes": to_settings(sizes), "seed": SEED, "smiles": SMILES}
    records = run.stored(NAME, made_with)["records"]
    committee_in(run.out / NAME, sizes, run)  # once, before processes ask for it
    jobs = {}
    for begin in range(0, sizes.trajectories, 10):
        seeds = range(begin, min(begin + 10, sizes.trajectories))
        file = run.out / NAME / f"{begin}.json"
        settings = {**made_with, "seeds": [*seeds]}
        jobs[str(begin)] = Job(file, settings, partial(piece, sizes, seeds))
    failed = run.run({name: job for name, job in jobs.items() if name not in records})
    records |= {name: job.record() for name, job in jobs.items() if job.file.exists()}
    place = None
    if records:
        content = {"settings": made_with, "records": records, "claims": claims(records)}
        place = run.write(NAME, seed=SEED, seconds={}, **content)
    raise_errors(failed)
    return place


if __name__ == "__main__":
    study(runner(parser(__doc__ or "", PRESETS, NAME).parse_args()))
