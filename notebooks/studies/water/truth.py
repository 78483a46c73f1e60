"""What AMOEBA knows of liquid water: a box, simulations of it, rattled copies, all labelled, each a
file once it is there.

The start box is packed, relaxed and equilibrated, and is no frame of a simulation. Simulations are
independent replicas: some are learned from and calibrated on, the others are for tests, so nothing
that is tested was a few femtoseconds away from what was learned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agal_toolkit.dataset import CALIBRATION, TRAIN, Dataset
from agal_toolkit.geometry import Geometry
from agal_toolkit.references import AMOEBA

from ..results import keep
from .dynamics import WaterDynamics, packed

SEED = 2025


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of the truth is looked at.

    Attributes:
        molecules: in the box; never fewer than 64, whose cell just takes the cutoff.
        equilibrate: fs, from the packed box to the start box.
        settle: fs that each replica forgets the start box in.
        every: fs between frames.
        train, calibrate: frames of each of the two replicas that are learned from.
        test: frames of each of the two others.
        rattled: of the frames that are learned from, as many are rattled again for each role:
            training, calibration, test.
        amplitude: of a rattle: each copy draws its own standard deviation up to this, angstrom.
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
        moved: of the truth's own dynamics, for training and calibration (roles).
        rattled: copies of these, rattled, for training and calibration.
        first, second: of the truth's own dynamics, for tests and as seeds of attacks.
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
    place: Path,
    make: Callable[[], list[Geometry]],
    roles: Callable[[int], str] = lambda index: TRAIN,
    say: Callable[[str], None] = lambda text: None,
) -> Dataset:
    """The structures of a file, which is made first if it is missing: geometries, their labels, and
    the role of each.
    """
    if not place.exists():
        geometries, label = make(), AMOEBA()
        keep(
            place,
            Dataset(
                geometries,
                [label(geometry) for geometry in geometries],
                [roles(index) for index in range(len(geometries))],
            ),
        )
        say(f"{place.name}: {len(geometries)} labelled")
    return Dataset.read(place)


def box(place: Path, sizes: Sizes) -> Geometry:
    """The start box, from its file or made."""

    def make() -> list[Geometry]:
        start = packed(sizes.molecules, np.random.default_rng(SEED))
        (last,) = sizes.dynamics(start, 1, sizes.equilibrate, SEED, relax=200)
        return [replace(last.geometry, origin={"by": "packed and equilibrated"})]

    return labelled(place, make)[0]


def replica(
    place: Path,
    start: Geometry,
    sizes: Sizes,
    index: int,
    roles: Callable[[int], str] = lambda index: TRAIN,
    say: Callable[[str], None] = lambda text: None,
) -> Dataset:
    """Frames of one simulation of the truth, from their file or made."""
    count = sizes.test if index >= 2 else sizes.train + sizes.calibrate

    def make() -> list[Geometry]:
        skipped = round(sizes.settle / sizes.every)
        frames = sizes.dynamics(start, skipped + count, sizes.every, SEED + 1 + index)
        return [
            replace(
                frame.geometry, origin={**frame.geometry.origin, "by": "dynamics", "replica": index}
            )
            for k, frame in enumerate(frames)
            if k >= skipped
        ]

    return labelled(place, make, roles, say)


def folded(geometry: Geometry) -> Geometry:
    """The same waters, each with its oxygen inside the cell, as a picture wants them."""
    oxygen = geometry.positions.reshape(-1, 3, 3)[:, :1]
    back = np.floor(oxygen @ np.linalg.inv(geometry.cell)) @ geometry.cell
    return geometry.moved((geometry.positions.reshape(-1, 3, 3) - back).reshape(-1, 3))


def rattle(geometries: list[Geometry], count: int, amplitude: float, seed: int) -> list[Geometry]:
    """`count` of the structures, drawn at random, each displaced normally with a standard deviation
    of its own up to `amplitude`, angstrom.
    """
    rng = np.random.default_rng([SEED, seed])
    chosen = rng.choice(len(geometries), count, replace=count > len(geometries))
    return [
        geometries[i].moved(
            geometries[i].positions
            + rng.normal(0, rng.uniform(0, amplitude), geometries[i].positions.shape),
            by="rattle",
            seed=int(i),
        )
        for i in chosen
    ]


def water(
    folder: Path, sizes: Sizes = Sizes(), say: Callable[[str], None] = lambda text: None
) -> Water:
    """All of it, from the files of `folder` where they are there."""
    start = box(folder / "box.extxyz.gz", sizes)
    parts = [
        replica(
            folder / f"dynamics-{i}.extxyz.gz",
            start,
            sizes,
            i,
            lambda k: CALIBRATION if k >= sizes.train else TRAIN,
            say,
        )
        for i in range(2)
    ]
    tests = [replica(folder / f"dynamics-{i}.extxyz.gz", start, sizes, i, say=say) for i in (2, 3)]
    moved = parts[0] + parts[1]
    train, calibrate, test = sizes.rattled
    rattled = labelled(
        folder / "rattled.extxyz.gz",
        lambda: (
            rattle(list(moved.of_role(TRAIN)), train, sizes.amplitude, 1)
            + rattle(list(moved.of_role(CALIBRATION)), calibrate, sizes.amplitude, 2)
        ),
        lambda k: TRAIN if k < train else CALIBRATION,
        say,
    )
    shaken = labelled(
        folder / "rattled-test.extxyz.gz",
        lambda: rattle(list(tests[0]), test, sizes.amplitude, 3),
        say=say,
    )
    return Water(start, moved, rattled, tests[0], tests[1], shaken)
