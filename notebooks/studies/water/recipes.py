"""What is run on water (Cezar 2025, Sec. IV E 2): sizes, the start, and ways to choose structures.

Everything starts from one box of 64 waters. The paper's initial data are not published; ours are
the box and nine copies of it, displaced and strained at random, all labelled and counted. Then, as
printed: in iterations 1 and 2 five training structures are attacked with three members drawn at
random, in 3 and 4 twenty frames of simulations at constant volume with all members, from 5 on of
simulations at constant pressure. Strategies are

- "attacks": as printed;
- "frames": frames of the same simulations, drawn at random and labelled as they are;
- "uncertain": of ten times as many such frames, those of the largest force variance;
- "rattled": displaced and strained copies of the box, as those at the start;
- "relative": attacks as printed, whose target is 1.5 times the error found in calibration, so that
  it falls while the members learn.

Trainings are "afresh", as printed, or "warm": members go on from their last weights with a fit of a
third of the steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from ase import units
from numpy.random import Generator

from agal_toolkit.attack import LBFGS, Apart, Attack, TargetError
from agal_toolkit.batch import Batch
from agal_toolkit.dataset import CALIBRATION, TRAIN, Dataset
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.loop.loop import Recipe, Schedule
from agal_toolkit.potentials.density import DensityNet
from agal_toolkit.references import AMOEBA, Reference
from agal_toolkit.sampling import Conditions, FromDataset, MemberDynamics
from agal_toolkit.sampling.samplers import StructureSampler
from agal_toolkit.selection import MaxForce, MinDistance, MostUncertain
from agal_toolkit.training.folds import Folds
from agal_toolkit.training.trainer import TorchTrainer
from agal_toolkit.training.weights import WarmStart

from .truth import SEED

STRATEGIES = ("attacks", "frames", "uncertain", "rattled", "relative")
TRAININGS = ("afresh", "warm")
ATMOSPHERE = 1.01325 * units.bar
CLOSEST = 0.75  # angstrom; closer atoms are not labelled
LARGEST = (40.0, 30.0)  # eV/angstrom; forces predicted before a label, and of the label


def in_words(strategy: str, training: str) -> str:
    """Return the name of loops, without their seed, in claims and pictures."""
    return strategy if training == "afresh" else f"{strategy}, warm"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of the study; nothing else differs between presets.

    Attributes:
        members: of a committee; 12 in the paper.
        channels, hidden: of the networks.
        steps: of a training, one box in each.
        warm: steps of a training that goes on from the last weights.
        start: number of structures at the start.
        calibrate: number of these that calibrate and are not learned.
        first: structures chosen in iterations 1 and 2.
        later: structures chosen in further ones.
        iterations: number of iterations.
        constant_volume, constant_pressure: picoseconds of each member's simulation.
        timestep: fs.
        attack: steps of L-BFGS.
        tested: frames of the truth's simulations for tests; None takes all.
        survive: picoseconds at constant volume and at constant pressure that a member must survive.
        settle: picoseconds at constant pressure before properties are measured.
        lesson_epochs, lesson_picoseconds: of the lesson's own training and simulation.
    """

    members: int = 8
    channels: int = 16
    hidden: int = 64
    steps: int = 5000
    warm: int = 1700
    start: int = 10
    calibrate: int = 2
    first: int = 5
    later: int = 20
    iterations: int = 5
    constant_volume: float = 2.0
    constant_pressure: float = 2.0
    timestep: float = 0.5
    attack: int = 25
    tested: int | None = None
    survive: tuple[float, float] = (10.0, 50.0)
    settle: float = 10.0
    lesson_epochs: int = 40
    lesson_picoseconds: float = 0.2


PRESETS: Mapping[str, Preset] = {
    # shows that everything runs; its pictures mean nothing
    "smoke": Preset(
        members=3,
        channels=4,
        hidden=8,
        steps=20,
        warm=10,
        start=5,
        first=2,
        later=2,
        iterations=3,
        constant_volume=0.005,
        constant_pressure=0.005,
        attack=2,
        tested=2,
        survive=(0.01, 0.05),
        settle=0.01,
        lesson_epochs=3,
        lesson_picoseconds=0.01,
    ),
    # the lesson's; it reads the committee and the records of "laptop"
    "class": Preset(),
    "laptop": Preset(),
    "gpu": Preset(members=12, steps=30000, warm=10000, iterations=8, constant_volume=50.0),
    "paper": Preset(
        members=12,
        steps=100000,
        warm=30000,
        iterations=16,
        constant_volume=50.0,
        constant_pressure=100.0,
        timestep=0.25,
        survive=(25.0, 2000.0),
        settle=100.0,
    ),
}


@dataclass(frozen=True)
class Shaken(StructureSampler):
    """Copies of a box, displaced and strained at random, without close atoms.

    Attributes:
        box: the structure.
        count: number of copies.
        displacement: standard deviation of each coordinate, angstrom.
        strain: standard deviation of each component of the symmetric strain.
    """

    box: Geometry
    count: int
    displacement: float = 0.05
    strain: float = 0.02

    def draw(self, rng: Generator) -> list[Geometry]:
        """Return the copies; those with atoms closer than CLOSEST are drawn again.

        Raises:
            ValueError: nearly all copies have close atoms.
        """
        copies: list[Geometry] = []
        apart = Apart(CLOSEST)
        for _ in range(100 * self.count):
            if len(copies) == self.count:
                break
            strain = rng.normal(0, self.strain, (3, 3))
            stretch = np.eye(3) + (strain + strain.T) / 2
            shift = rng.normal(0, self.displacement, self.box.positions.shape)
            moved = self.box.moved((self.box.positions + shift) @ stretch, by="shaken")
            moved = replace(moved, cell=self.box.cell @ stretch)
            if bool(apart(Batch.of([moved]))):
                copies.append(moved)
        if len(copies) < self.count:
            wrong = f"only {len(copies)} of {self.count} copies have no atoms within {CLOSEST} A"
            raise ValueError(f"{wrong}: displace by less than {self.displacement} A")
        return copies


def small_forces(geometry: Geometry, labels: Labels) -> str | None:
    """Return why a label is refused: a force above 30 eV/angstrom (Cezar 2025, Sec. IV D)."""
    largest = float(np.linalg.norm(labels.forces, axis=1).max())
    return None if largest <= LARGEST[1] else f"a force of {largest:.1f} eV/angstrom"


def reference() -> Reference:
    """Return the truth, whose labels are refused where a force is very large."""
    return Reference(AMOEBA(stress=True), accept=small_forces)


def start(box: Geometry, preset: Preset, seed: int) -> Dataset:
    """Return the labelled structures at the start: the box and copies, the last ones calibrate."""
    copies = Shaken(box, preset.start - 1).draw(np.random.default_rng([SEED, seed, 1]))
    geometries, label = [box, *copies], AMOEBA(stress=True)
    roles = [TRAIN] * (preset.start - preset.calibrate) + [CALIBRATION] * preset.calibrate
    return Dataset(geometries, [label(geometry) for geometry in geometries], roles)


def planned(preset: Preset, iteration: int) -> int:
    """Return the number of labels before an iteration, from 0, if none is refused."""
    few = min(iteration, 2)
    return preset.start + few * preset.first + (iteration - few) * preset.later


def trainer(preset: Preset, training: str, iteration: int, device: str = "cpu") -> TorchTrainer:
    """Return the trainer of an iteration; epochs are chosen for about the same number of steps."""
    learned = planned(preset, iteration) - preset.calibrate
    network = partial(DensityNet, (1, 8), channels=preset.channels, hidden=preset.hidden)
    warm = preset.warm if training == "warm" else None
    return fit(network, 192, learned, preset.steps, warm, device)


def fit(
    network: partial[DensityNet],
    atoms: float,
    learned: int,
    steps: int,
    warm: int | None,
    device: str = "cpu",
) -> TorchTrainer:
    """Return a trainer of about the same number of steps whatever the data.

    Args:
        network: of the members.
        atoms: in a structure, on average.
        learned: number of structures.
        steps: of a fit from scratch, one structure in each.
        warm: steps of a fit that goes on from the last weights; None always trains afresh.
        device: where members are trained.
    """
    return TorchTrainer(
        network=network,
        epochs=max(1, round(steps / learned)),
        learning_rate=5e-3,
        optimizer="muon",
        batch_size=1,
        energy_weight=5 / atoms**2,  # the paper's weight 5 of the energy per atom
        forces_weight=1.0,
        stress_weight=100.0,
        patience=None,
        keep_best=False,
        anneal=True,
        warm=None if warm is None else WarmStart(epochs=max(1, round(warm / learned))),
        device=device,
    )


def calibrated_attack(target: TargetError, steps: int, members: int | None, chunk: int) -> Attack:
    """Return an attack toward an error of forces; structures that miss it are labelled, too."""
    return Attack(
        target,
        LBFGS(steps),
        start=0.0,
        cell=True,
        guard=Apart(CLOSEST),
        members=members,
        accept=("target missed",),
        record=5,
        chunk=chunk,
    )


def recipe(
    strategy: str, preset: Preset, training: str, iteration: int, box: Geometry, device: str = "cpu"
) -> Recipe:
    """Return the recipe of an iteration, from 0."""
    early, count = iteration < 2, preset.first if iteration < 2 else preset.later
    pressure = ATMOSPHERE if iteration >= 4 else None
    conditions = Conditions(
        picoseconds=preset.constant_pressure if pressure else preset.constant_volume,
        pressure=pressure,
        timestep=preset.timestep,
        every=min(50.0, 200 * preset.constant_volume),
    )
    settled = conditions.picoseconds / 10
    simulated = partial(MemberDynamics, conditions=conditions, start=box, skipped=settled)
    sound = [MinDistance(CLOSEST), MaxForce(LARGEST[0])]
    attack = None
    if strategy in ("attacks", "relative"):
        sampler = FromDataset(count) if early else simulated(count=count)
        few = min(3, preset.members) if early else None
        target = TargetError(0.2) if strategy == "attacks" else TargetError(1.5, relative=True)
        attack = calibrated_attack(target, preset.attack, few, 192)
    elif strategy == "frames":
        sampler = simulated(count=count)
    elif strategy == "uncertain":
        sampler = simulated(count=10 * count)
        sound.append(MostUncertain(count))
    else:
        sampler = Shaken(box, count)
    return Recipe(
        trainer=trainer(preset, training, iteration, device),
        sampler=sampler,
        attack=attack,
        selectors=sound,
        members=preset.members,
        folds=Folds(train=1.0, valid=0.0, bootstrap=True),
        calibrate=0.1,
    )


def schedule(
    strategy: str, preset: Preset, training: str, box: Geometry, device: str = "cpu"
) -> Schedule:
    """Return the recipes of all iterations."""
    return Schedule(
        {k: recipe(strategy, preset, training, k, box, device) for k in range(preset.iterations)}
    )
