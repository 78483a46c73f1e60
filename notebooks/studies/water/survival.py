"""Simulations with single members of a committee: do they survive, and is their liquid the truth's?

A member is stable if it survives at constant volume and at constant pressure (Cezar 2025, Sec.
IV E 2). Simulations are kept on their way and go on where they were stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import numpy as np

from agal_toolkit.dynamics import Frames
from agal_toolkit.sampling import Conditions

from .. import loops
from ..jobs import Record, Runner
from .iterations import box_of, committee_of
from .properties import WINDOW, measured
from .recipes import ATMOSPHERE, PRESETS, Preset
from .truth import SEED

BLOCKS = 4


def conditions(preset: Preset) -> tuple[Conditions, Conditions]:
    """Return the simulations that a member must survive: constant volume, constant pressure."""
    volume, pressure = preset.survive
    common = Conditions(picoseconds=volume, timestep=preset.timestep, every=min(200, 50 * volume))
    return common, replace(
        common, picoseconds=pressure, pressure=ATMOSPHERE, every=min(200, 10 * pressure)
    )


def survived(place: Path, seed: int, iteration: int, member: int, run: Runner) -> Record:
    """Simulate with one member of the committee in `place`; return what became of it.

    The record has the picoseconds that each simulation reached, the reason why one broke, None if
    none did, and properties if none did. All members start from the box of the study.
    """
    preset, committee, box = PRESETS[run.preset], committee_of(run, place), box_of(run)
    scratch, seeds = place / f"member-{member}", (SEED, seed, iteration, member)
    volume, pressure = conditions(preset)
    both = {"volume": volume, "pressure": pressure}
    record, frames = loops.survived(committee, member, box, both, seeds, scratch, run)
    if not record["reason"]:
        record["properties"] = properties(preset, frames)
    rmtree(scratch)
    return record


def properties(preset: Preset, frames: Frames) -> Record:
    """Return properties of a simulation at constant pressure, beside those of the truth."""
    settled = frames.times > 1000 * preset.settle
    kept = replace(
        frames,
        times=frames.times[settled] - frames.times[settled][0],
        positions=frames.positions[settled],
        cells=frames.cells[settled],
        energies=frames.energies[settled],
        kinetic=frames.kinetic[settled],
    )
    length = np.ptp(kept.times) / BLOCKS
    window = WINDOW if length > 2 * WINDOW[1] else (length / 4, length / 2)
    return measured([kept], BLOCKS, window)


def stable(records: Sequence[Record]) -> float:
    """Return the share of members that survived."""
    return float(np.mean([record["reason"] is None for record in records]))
