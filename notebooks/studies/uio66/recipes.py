"""What is run on water in UiO-66 (Cezar 2025, Sec. IV E 3): sizes, starts, and strategies.

Several systems share one committee. Each starts from a structure and copies of it, displaced and
strained at random, all labelled and counted; the paper starts from the eleven structures alone,
whose uncertainties nothing could calibrate. Then, as printed: in iterations 1 and 2 five training
structures of each system are attacked with three members drawn at random, from 3 on five frames of
each system from simulations of every member at constant pressure, with four members. Ours is that
each simulation starts from the system's first structure, and that training structures are attacked
where every simulation of a system has broken. Strategies are "attacks" and

- "frames": frames of simulations, drawn at random and labelled as they are; at constant volume in
  iterations 1 and 2. Displaced copies stand in for a system whose simulations have all broken.

Members go on from their last weights from iteration 2 on. There is one law of calibration for all
systems, as in the paper; what each system says of it is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.random import Generator

from agal_toolkit.attack import Attack, TargetError
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import CALIBRATION, TRAIN, Dataset
from agal_toolkit.events import Note, Report, ignore
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.loop.loop import Recipe, Schedule
from agal_toolkit.potentials.density import DensityNet
from agal_toolkit.references import Reference
from agal_toolkit.references.outcomes import Label, Outcomes
from agal_toolkit.references.processes import Processes
from agal_toolkit.sampling import Conditions, FromDataset, MemberDynamics, NoSeeds, PerSystem
from agal_toolkit.sampling.samplers import Sampler
from agal_toolkit.selection import MaxForce, MinDistance
from agal_toolkit.training.folds import Folds
from agal_toolkit.training.trainer import TorchTrainer

from ..water.recipes import (
    ATMOSPHERE,
    CLOSEST,
    LARGEST,
    Shaken,
    calibrated_attack,
    fit,
    small_forces,
)
from .crystals import CRYSTALS, EFFECTIVE_MEDIUM, crystal
from .structures import DRY, LABEL, LIQUID, SEED, SYSTEMS, name
from .structures import start as relaxed_start

STRATEGIES = ("attacks", "frames")
GROUPS = ("all", "one")
EARLY = 2  # iterations that attack training structures
ROUNDS = 4  # of copies at the start, the later ones for copies without a label
TIMEOUT = 3600.0  # seconds of a label; one of 240 atoms takes 20 on a quiet core


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Simulations with the reference, whose frames are for tests alone.

    Attributes:
        timestep: fs; hydrogen has a mass of 4 there, which changes no average over structures.
        steps: between frames.
        skipped: frames before the first that is used, in which the start is forgotten.
        frames: that are used.
        friction: of Langevin's equation, 1/fs.
    """

    timestep: float = 1.5
    steps: int = 20
    skipped: int = 2
    frames: int = 4
    friction: float = 0.02


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of the study; nothing else differs between presets.

    Attributes:
        systems: that share the loop "all".
        one: the system of the loop "one", in which strategies are compared.
        label: of the reference.
        members: of a committee; 12 in the paper.
        attacked: members of an attack from iteration 3 on; three before.
        channels, hidden: of the networks.
        steps: of a training, one structure in each.
        warm: steps of a training that goes on from the last weights.
        start: number of structures of each system at the start.
        calibrate: number of these that calibrate and are not learned.
        count: structures of each system that are chosen in an iteration.
        iterations: number of iterations.
        picoseconds: of each member's simulation of each system.
        timestep: fs.
        target: of attacks, eV/angstrom.
        attack: steps of L-BFGS.
        survive: picoseconds at constant volume and at constant pressure that a member must survive.
        held_out: the reference's own simulations.
        workers: processes that label; 0 labels in this one.
    """

    systems: tuple[str, ...] = (DRY, name(14), name(42), LIQUID)
    one: str = name(14)
    label: Label = LABEL
    members: int = 5
    attacked: int = 4
    channels: int = 16
    hidden: int = 64
    steps: int = 4000
    warm: int = 2000
    start: int = 7
    calibrate: int = 2
    count: int = 5
    iterations: int = 6
    picoseconds: float = 1.0
    timestep: float = 0.5
    target: float = 0.25
    attack: int = 25
    survive: tuple[float, float] = (1.0, 5.0)
    held_out: HeldOut = HeldOut()
    workers: int = field(default=1, compare=False)


PRESETS: Mapping[str, Preset] = {
    # two crystals of eight atoms; shows that everything runs, its pictures mean nothing
    "smoke": Preset(
        systems=tuple(CRYSTALS),
        one="copper",
        label=EFFECTIVE_MEDIUM,
        members=3,
        attacked=2,
        channels=4,
        hidden=8,
        steps=60,
        warm=20,
        start=4,
        count=2,
        iterations=3,
        picoseconds=0.02,
        timestep=1.0,
        attack=2,
        survive=(0.01, 0.02),
        held_out=HeldOut(steps=2, skipped=1, frames=2),
        workers=0,
    ),
    # the lesson's; it reads the records of "laptop"
    "class": Preset(),
    "laptop": Preset(),
    "gpu": Preset(systems=SYSTEMS, members=12, steps=30000, warm=10000, picoseconds=10.0),
    "paper": Preset(
        systems=SYSTEMS,
        one=name(42),
        members=12,
        steps=100000,
        warm=30000,
        iterations=16,
        picoseconds=100.0,
        survive=(25.0, 2000.0),
    ),
}


@dataclass(frozen=True)
class Simulated:
    """Frames of members' simulations; another sampler stands in where all of them broke.

    Attributes:
        dynamics: of the members.
        otherwise: stands in.
    """

    dynamics: MemberDynamics
    otherwise: Sampler

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        rng: Generator,
        report: Report = ignore,
        scratch: Path | None = None,
    ) -> list[Geometry]:
        try:
            return self.dynamics(committee, dataset, rng, report, scratch)
        except NoSeeds as error:
            system = dataset[0].origin.get("system")
            report(Note(None, f"{system}: {type(self.otherwise).__name__} gives seeds: {error}"))
            return self.otherwise(committee, dataset, rng, report, scratch)


class Brief(Processes):
    """Worker processes that end with each call: the seconds of children count once they end."""

    def run(
        self, label: Label, geometries: Sequence[Geometry], timeout: float | None = None
    ) -> Outcomes:
        """Yield (index, outcome) as they arrive; see :meth:`Processes.run`."""
        try:
            yield from super().run(label, geometries, timeout)
        finally:
            self.close()


def systems_of(preset: Preset, group: str) -> tuple[str, ...]:
    """Return the systems of a loop, "all" or "one"."""
    return preset.systems if group == "all" else (preset.one,)


@cache
def first(system: str) -> Dataset:
    """Return the labelled structure that a system starts from; it is read, or made, once.

    Raises:
        ValueError: there is no such system.
    """
    return crystal(system) if system in CRYSTALS else relaxed_start(system)


def reference(preset: Preset) -> Reference:
    """Return the reference; labels with a very large force are refused."""
    if not preset.workers:
        return Reference(preset.label, accept=small_forces)
    workers = Brief(preset.workers)
    return Reference(preset.label, executor=workers, timeout=TIMEOUT, accept=small_forces)


def start(preset: Preset, group: str, seed: int, labels_in: Path) -> Dataset:
    """Return the labelled structures at the start; the last of each system calibrate.

    Copies whose label fails or is refused are drawn again.

    Args:
        preset: sizes.
        group: of systems.
        seed: of the copies.
        labels_in: folder that keeps labels, which are computed once.

    Raises:
        RuntimeError: a system of which too many copies have no label.
    """
    roles = [TRAIN] * (preset.start - preset.calibrate) + [CALIBRATION] * preset.calibrate
    data, label = Dataset(), reference(preset)
    for system in systems_of(preset, group):
        rng = np.random.default_rng([SEED, seed, preset.systems.index(system)])
        mine, failures = first(system), []
        for _ in range(ROUNDS):
            if len(mine) == preset.start:
                break
            copies = Shaken(mine[0], preset.start - len(mine)).draw(rng)
            for i, answer in sorted(label(copies, labels_in), key=itemgetter(0)):
                if isinstance(answer, Labels):
                    mine = mine + Dataset([copies[i]], [answer])
                else:
                    failures.append(str(answer))
        if len(mine) < preset.start:
            wrong = (
                f"{len(failures)} copies of {system} have no label, the last one: {failures[-1]}"
            )
            raise RuntimeError(f"{wrong}; remove {labels_in} to ask again")
        data = data + Dataset(mine.geometries, mine.labels, roles)
    return data


def trainer(preset: Preset, group: str, iteration: int, device: str = "cpu") -> TorchTrainer:
    """Return the trainer of an iteration, from 0."""
    structures = [first(system)[0] for system in systems_of(preset, group)]
    elements = tuple(sorted({int(z) for geometry in structures for z in geometry.numbers}))
    network = partial(DensityNet, elements, channels=preset.channels, hidden=preset.hidden)
    each = preset.start - preset.calibrate + iteration * preset.count
    atoms = float(np.mean([len(geometry) for geometry in structures]))
    learned = each * len(structures)
    return fit(network, atoms, learned, preset.steps, preset.warm, device)


def sampler_of(strategy: str, preset: Preset, iteration: int, structure: Geometry) -> Sampler:
    """Return where a system's candidates of an iteration, from 0, are from."""
    early = iteration < EARLY
    if strategy == "attacks" and early:
        return FromDataset(preset.count)
    conditions = Conditions(
        picoseconds=preset.picoseconds,
        pressure=None if early else ATMOSPHERE,
        timestep=preset.timestep,
        every=min(50.0, 100 * preset.picoseconds),
    )
    skipped = preset.picoseconds / 10
    dynamics = MemberDynamics(
        conditions=conditions, count=preset.count, start=structure, skipped=skipped
    )
    copies = Shaken(structure, preset.count)
    return Simulated(dynamics, FromDataset(preset.count) if strategy == "attacks" else copies)


def simulations(recipe: Recipe) -> list[MemberDynamics]:
    """Return the simulations from which a recipe draws seeds, one for each system."""
    assert isinstance(recipe.sampler, PerSystem)
    found = recipe.sampler.samplers.values()
    return [each.dynamics for each in found if isinstance(each, Simulated)]


def recipe(
    strategy: str, preset: Preset, group: str, iteration: int, device: str = "cpu"
) -> Recipe:
    """Return the recipe of an iteration, from 0."""
    samplers = {
        system: sampler_of(strategy, preset, iteration, first(system)[0])
        for system in systems_of(preset, group)
    }
    attack: Attack | None = None
    if strategy == "attacks":
        few = min(3 if iteration < EARLY else preset.attacked, preset.members)
        attack = calibrated_attack(TargetError(preset.target), preset.attack, few, 256)
    return Recipe(
        trainer=trainer(preset, group, iteration, device),
        sampler=PerSystem(FromDataset(preset.count), samplers),
        attack=attack,
        selectors=[MinDistance(CLOSEST), MaxForce(LARGEST[0])],
        members=preset.members,
        folds=Folds(train=1.0, valid=0.0, bootstrap=True),
        calibrate=0.1,
    )


def schedule(strategy: str, preset: Preset, group: str, device: str = "cpu") -> Schedule:
    """Return the recipes of all iterations."""
    iterations = range(preset.iterations)
    return Schedule({k: recipe(strategy, preset, group, k, device) for k in iterations})
