"""AMOEBA's liquid water: a box, simulations of it and rattled copies, all labelled, each a file.

The start box is packed, relaxed and equilibrated, and is no frame of a simulation. Simulations are
independent replicas: some are used for training and calibration, the others for tests, so no tested
structure was a few femtoseconds away from a training structure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from agal_toolkit.dataset import CALIBRATION, TRAIN, Dataset
from agal_toolkit.geometry import Geometry
from agal_toolkit.references import AMOEBA

from ..jobs import save
from .dynamics import WaterDynamics, packed

SEED = 2025


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of the truth is sampled.

    Attributes:
        molecules: in the box; at least 64, whose cell is just large enough for the cutoff.
        equilibrate: fs from the packed box to the start box.
        settle: fs in which each replica forgets the start box.
        every: fs between frames.
        train, calibrate: number of frames of each of the two replicas for training and calibration.
        test: number of frames of each of the two others.
        rattled: number of rattled frames for training, calibration and test.
        amplitude: largest standard deviation of a rattle, angstrom; each copy draws its own.
        dynamics: how the truth moves.
    """

    molecules: int = 64
    equilibrate: float = 4000.0
    settle: float = 2000.0
    every: float = 250.0
    train: int = 32
    calibrate: int = 10
    test: int = 40
    rattled: tuple[int, int, int] = (32, 16, 20)
    amplitude: float = 0.06
    dynamics: WaterDynamics = WaterDynamics()


@dataclass(frozen=True)
class Water:
    """Labelled liquid water.

    Attributes:
        box: the start box, unlabelled.
        moved: from the truth's own dynamics, for training and calibration (roles).
        rattled: rattled copies of `moved`, for training and calibration.
        first, second: from the truth's own dynamics, for tests and as seeds of attacks.
        shaken: rattled copies of `first`, for tests.
    """

    box: Geometry
    moved: Dataset
    rattled: Dataset
    first: Dataset
    second: Dataset
    shaken: Dataset

    @property
    def learned(self) -> Dataset:
        """Everything for training and calibration."""
        return self.moved + self.rattled


def labelled(
    file: Path,
    make: Callable[[], list[Geometry]],
    train: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Dataset:
    """Return the structures of a file, which is made first if it is missing.

    Args:
        file: of the structures, their labels and roles.
        make: returns the geometries.
        train: number of training structures, the first ones; the others are for calibration. None:
            all are training structures.
        say: called when the file is made.
    """
    if not file.exists():
        geometries, label = make(), AMOEBA()
        labels = [label(geometry) for geometry in geometries]
        count = len(geometries) if train is None else train
        roles = [TRAIN if k < count else CALIBRATION for k in range(len(geometries))]
        save(file, Dataset(geometries, labels, roles))
        say(f"{file.name}: {len(geometries)} labelled")
    return Dataset.read(file)


def equilibrated(sizes: Sizes) -> list[Geometry]:
    """Return the start box."""
    start = packed(sizes.molecules, np.random.default_rng(SEED))
    (last,) = sizes.dynamics(start, 1, sizes.equilibrate, SEED, relax=200)
    return [replace(last.geometry, origin={"by": "packed and equilibrated"})]


def replica(start: Geometry, sizes: Sizes, index: int, count: int) -> list[Geometry]:
    """Return frames of one simulation of the truth."""
    skipped = round(sizes.settle / sizes.every)
    frames = list(sizes.dynamics(start, skipped + count, sizes.every, SEED + 1 + index))
    origin = {"by": "dynamics", "replica": index}
    geometries = [frame.geometry for frame in frames[skipped:]]
    return [replace(geometry, origin={**geometry.origin, **origin}) for geometry in geometries]


def folded(geometry: Geometry) -> Geometry:
    """Return the same waters, each with its oxygen inside the cell, for pictures."""
    oxygen = geometry.positions.reshape(-1, 3, 3)[:, :1]
    back = np.floor(oxygen @ np.linalg.inv(geometry.cell)) @ geometry.cell
    return geometry.moved((geometry.positions.reshape(-1, 3, 3) - back).reshape(-1, 3))


def rattle(geometries: list[Geometry], count: int, amplitude: float, seed: int) -> list[Geometry]:
    """Return `count` of the structures, drawn at random, each displaced normally.

    Each draws a standard deviation of its own up to `amplitude`, angstrom.
    """
    rng = np.random.default_rng([SEED, seed])
    result = []
    for i in rng.choice(len(geometries), count, replace=count > len(geometries)):
        positions = geometries[i].positions
        displacement = rng.normal(0, rng.uniform(0, amplitude), positions.shape)
        result.append(geometries[i].moved(positions + displacement, by="rattle", seed=int(i)))
    return result


def water(
    folder: Path, sizes: Sizes = Sizes(), say: Callable[[str], None] = lambda text: None
) -> Water:
    """Return all of it, from the files of `folder`; missing files are made."""
    start = labelled(folder / "box.extxyz.gz", partial(equilibrated, sizes))[0]

    def simulated(index: int, count: int, train: int | None = None) -> Dataset:
        make = partial(replica, start, sizes, index, count)
        return labelled(folder / f"dynamics-{index}.extxyz.gz", make, train, say)

    def shaken(data: Dataset, count: int, seed: int) -> list[Geometry]:
        return rattle(list(data), count, sizes.amplitude, seed)

    count = sizes.train + sizes.calibrate
    moved = simulated(0, count, sizes.train) + simulated(1, count, sizes.train)
    first, second = simulated(2, sizes.test), simulated(3, sizes.test)
    train, calibrate, test = sizes.rattled
    rattled = labelled(
        folder / "rattled.extxyz.gz",
        lambda: (
            shaken(moved.of_role(TRAIN), train, 1)
            + shaken(moved.of_role(CALIBRATION), calibrate, 2)
        ),
        train,
        say,
    )
    tests = labelled(folder / "rattled-test.extxyz.gz", lambda: shaken(first, test, 3), say=say)
    return Water(start, moved, rattled, first, second, tests)
