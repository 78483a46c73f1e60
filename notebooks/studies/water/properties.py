"""What AMOEBA's own liquid is: density, structure and diffusion of 64 waters at 300 K and 1 bar.

``python -m studies.water.properties --preset laptop --minutes 60 --processes 2``

Replicas at constant pressure, simulated in pieces of ten picoseconds. A piece is a file that holds
its frames and the state it ended with, so a simulation goes on from its last piece, on any machine.
A piece draws noise of its own, so simulations in one call and in many are the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from numpy.typing import NDArray

from agal_toolkit.analysis.estimates import Estimate, inefficiency
from agal_toolkit.analysis.liquids import RadialDistribution, densities, diffusion
from agal_toolkit.analysis.liquids import radial_distribution as distribution_of
from agal_toolkit.dynamics import Frames
from agal_toolkit.files import atomic_write
from agal_toolkit.geometry import Geometry
from agal_toolkit.settings import machine, to_settings

from ..jobs import Claim, Job, OutOfTime, Record, Runner, agree, parser, raise_errors, runner
from .dynamics import Barostat, WaterDynamics, packed
from .truth import SEED, Sizes, labelled

ATMOSPHERE = Barostat()
CUTOFF = 3.3  # angstrom, of the first coordination number: near the minimum, which is flat
GRID = 1e-3  # angstrom, of stored positions
BLOCKS = 5  # of each replica, for errors
PAIRS = {"OO": (8, 8), "OH": (8, 1), "HH": (1, 1)}
WINDOW = (1000.0, 4000.0)  # fs, of the fit of mean square displacements
VISCOSITY = 0.85  # mPa s, water at 300 K (experiment), for the size correction of the diffusion


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Simulations of the truth at constant temperature and pressure.

    Attributes:
        molecules: in the box.
        replicas: number of independent simulations.
        pieces: number of pieces of each.
        picoseconds: length of a piece.
        skipped: pieces at the beginning of each replica that are not used.
        every: fs between frames.
        dynamics, barostat: how the truth moves.
    """

    molecules: int = 64
    replicas: int = 2
    pieces: int = 11
    picoseconds: float = 10.0
    skipped: int = 1
    every: float = 200.0
    dynamics: WaterDynamics = WaterDynamics()
    barostat: Barostat = ATMOSPHERE


PRESETS = {
    "smoke": Simulation(pieces=3, picoseconds=0.04, every=4.0),
    "laptop": Simulation(),
    "paper": Simulation(replicas=3, pieces=201),
}


@dataclass(frozen=True, eq=False)
class Piece:
    """Frames of a piece and the state it ended with.

    Attributes:
        positions: (T, n, 3) angstrom, on a grid of `GRID`.
        cells: (T, 3, 3) angstrom.
        potential, kinetic: (T,) eV.
        last: (n, 3) angstrom, the last positions to all digits.
        velocities: (n, 3) angstrom/fs, with the last positions.
    """

    positions: NDArray
    cells: NDArray
    potential: NDArray
    kinetic: NDArray
    last: NDArray
    velocities: NDArray

    def write(self, file: Path, settings: Mapping[str, Any]) -> None:
        """Write the piece; positions as differences of integers, which compress well."""
        grid = np.round(self.positions / GRID).astype(np.int32)
        arrays = {
            "steps": np.diff(grid, axis=0, prepend=0),
            "cells": self.cells,
            "potential": self.potential,
            "kinetic": self.kinetic,
            "last": self.last,
            "velocities": self.velocities,
        }
        with atomic_write(file) as part, open(part, "wb") as stream:
            made_with = json.dumps({"settings": dict(settings), **machine()})
            np.savez_compressed(stream, made_with=made_with, **arrays)

    @classmethod
    def read(cls, file: Path, settings: Mapping[str, Any]) -> Piece:
        """Return the piece of a file.

        Raises:
            ValueError: the file was made with other settings.
        """
        with np.load(file) as content:
            agree(json.loads(str(content["made_with"]))["settings"], settings, file)
            names = ("cells", "potential", "kinetic", "last", "velocities")
            return cls(
                positions=np.cumsum(content["steps"], axis=0) * GRID,
                **{name: content[name] for name in names},
            )


def simulated(
    sizes: Simulation, start: Geometry, replica: int, folder: Path, run: Runner
) -> list[Piece]:
    """Return the pieces of a replica; those without a file are simulated, until time is over."""
    pieces: list[Piece] = []
    frames = round(1000 * sizes.picoseconds / sizes.every)
    for index in range(sizes.pieces):
        file = folder / f"replica-{replica}-{index:03d}.npz"
        seed = SEED + 1000 * (replica + 1) + index
        one = replace(sizes, pieces=1, replicas=1, skipped=0)  # a piece is the same in longer runs
        settings = {"simulation": to_settings(one), "seed": seed}
        if not file.exists():
            if not run.has_time():
                raise OutOfTime
            box, velocities = start, None
            if pieces:
                box = replace(start, positions=pieces[-1].last, cell=pieces[-1].cells[-1])
                velocities = pieces[-1].velocities
            path = list(
                sizes.dynamics(
                    box, frames, sizes.every, seed, velocities=velocities, barostat=sizes.barostat
                )
            )
            Piece(
                positions=np.array([frame.geometry.positions for frame in path]),
                cells=np.array([frame.geometry.cell for frame in path]),
                potential=np.array([frame.potential for frame in path]),
                kinetic=np.array([frame.kinetic for frame in path]),
                last=path[-1].geometry.positions,
                velocities=path[-1].velocities,
            ).write(file, settings)
            run.say(f"{file.name}: {sizes.picoseconds:g} ps")
        pieces.append(Piece.read(file, settings))
    return pieces


def joined(sizes: Simulation, start: Geometry, replica: int, pieces: list[Piece]) -> Frames:
    """Return the frames of a replica after its skipped pieces."""
    used = pieces[sizes.skipped :]
    positions = np.concatenate([piece.positions for piece in used])
    return Frames(
        replica=replica,
        start=start,
        temperature=sizes.dynamics.temperature,
        times=np.arange(1, len(positions) + 1) * sizes.every,
        positions=positions,
        cells=np.concatenate([piece.cells for piece in used]),
        energies=np.concatenate([piece.potential for piece in used]),
        kinetic=np.concatenate([piece.kinetic for piece in used]),
        velocities=used[-1].velocities,
    )


def start_box(sizes: Simulation, results: Path) -> Geometry:
    """Return the equilibrated box of 64 waters that is stored, or a packed one of another size."""
    if sizes.molecules == Sizes().molecules:
        return labelled(results / "water" / "box.extxyz.gz", list)[0]
    return packed(sizes.molecules, np.random.default_rng(SEED))


def measured(frames: list[Frames], blocks: int, window: tuple[float, float]) -> Record:
    """Return properties of replicas as numbers with errors, from blocks of all of them."""
    values = [densities(run) for run in frames]
    block_means = [part.mean() for run in values for part in np.array_split(run, blocks)]
    density = Estimate.of(block_means)
    half = min(np.abs(np.diagonal(run.cells, axis1=1, axis2=2)).min() for run in frames) / 2
    record: Record = {
        "density": [float(density.value), float(density.error)],
        "inefficiency_ps": float(
            np.mean([inefficiency(v) for v in values]) * np.diff(frames[0].times[:2])[0] / 1000
        ),
        "picoseconds": float(sum(len(run) * np.diff(run.times[:2])[0] for run in frames) / 1000),
        "temperature": float(
            np.mean([2 * run.kinetic.mean() / (3 * len(run.start) * units.kB) for run in frames])
        ),
    }
    for name, pair in PAIRS.items():
        parts = [distribution_of(run, pair, r_max=half - 1e-6, blocks=blocks) for run in frames]
        g = RadialDistribution(
            parts[0].r,
            np.concatenate([part.blocks for part in parts]),
            np.concatenate([part.counts for part in parts]),
        )
        record[name] = {
            "r": np.round(g.r, 4).tolist(),
            "g": np.round(g.g.value, 4).tolist(),
            "error": np.round(g.g.error, 4).tolist(),
        }
        if name == "OO":
            place, height = g.first_peak((2.0, 3.5))
            count = g.coordination(CUTOFF)
            record["peak"] = [place.value, place.error]
            record["height"] = [height.value, height.error]
            record["coordination"] = [count.value, count.error]
    runs = [diffusion(run, 8, window=window, viscosity=VISCOSITY, blocks=blocks) for run in frames]
    values = np.array([run.coefficient.value for run in runs])
    error = np.sqrt(np.sum([run.coefficient.error**2 for run in runs])) / len(runs)
    shift = runs[0].corrected.value - runs[0].coefficient.value
    record["diffusion"] = [float(values.mean()), float(error)]
    record["diffusion_corrected"] = [float(values.mean() + shift), float(error)]
    return record


def make(sizes: Simulation, replica: int, run: Runner) -> Record:
    """Simulate a replica to its end; its record is the number of its pieces."""
    folder = run.results / "water" / f"truth-{run.preset}"
    return {"pieces": len(simulated(sizes, start_box(sizes, run.results), replica, folder, run))}


def study(run: Runner) -> Path | None:
    """Run the simulations; return the result file once all are finished."""
    sizes = PRESETS[run.preset]
    settings = {"simulation": to_settings(sizes), "seed": SEED}
    jobs = {
        f"replica {k}": Job(
            run.out / f"replica-{k}.json", {**settings, "replica": k}, partial(make, sizes, k)
        )
        for k in range(sizes.replicas)
    }
    raise_errors(run.run(jobs))
    if not all(job.file.exists() for job in jobs.values()):
        return None
    start = start_box(sizes, run.results)
    folder = run.results / "water" / f"truth-{run.preset}"
    frames = [
        joined(sizes, start, k, simulated(sizes, start, k, folder, run))
        for k in range(sizes.replicas)
    ]
    length = sizes.picoseconds * (sizes.pieces - sizes.skipped) * 1000 / BLOCKS
    window = WINDOW if length > 2 * WINDOW[1] else (length / 4, length / 2)
    record = measured(frames, BLOCKS, window)
    return run.write(
        "water_truth",
        seed=SEED,
        seconds={},
        settings={**settings, "window": window, "viscosity": VISCOSITY},
        records=record,
        claims=claims(record, BLOCKS * sizes.replicas),
    )


def claims(record: Record, blocks: int) -> list[Claim]:
    """Return the properties beside those of real water at 300 K."""

    def claim(name: str, key: str, scale: float, unit: str, paper: str) -> Claim:
        value, error = (scale * float(number) for number in record[key])
        spread = (round(value - 1.96 * error, 4), round(value + 1.96 * error, 4))
        return Claim(name=name, value=value, unit=unit, paper=paper, spread=spread, runs=blocks)

    return [
        claim("density of the truth", "density", 1, "g/cm3", "experiment: 0.997"),
        claim("O-O coordination of the truth", "coordination", 1, "", "experiment: 4.3"),
        claim("O-O peak of the truth", "peak", 1, "A", "experiment: 2.80"),
        claim("height of the truth's O-O peak", "height", 1, "", "experiment: 2.57"),
        claim(
            "diffusion of the truth, size corrected",
            "diffusion_corrected",
            1e5,
            "1e-5 cm2/s",
            "experiment: 2.4",
        ),
    ]


def main() -> None:
    """Run from the command line."""
    study(runner(parser(__doc__ or "", PRESETS, "water_truth").parse_args()))


if __name__ == "__main__":  # settings name this module, however it is called
    from studies.water import properties

    properties.main()
