"""Properties of a member's simulation of a system (Cezar 2025, Fig. 5), and hydrogen bonds.

The first half of a simulation is left out. What waters have in common with the framework's atoms
is told apart: neighbours and diffusion are those of the oxygen atoms of waters alone. Groups of
mu3-OH give a hydrogen bond to a water, or take one from it, where the two oxygen atoms are within
3.5 angstrom and the hydrogen atom is at most 30 degrees off the line from its own oxygen atom to
the other one (Luzar and Chandler, Nature 379, 55 (1996)).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.analysis import liquids
from agal_toolkit.analysis.estimates import Estimate, blocks_of
from agal_toolkit.dynamics import Frames
from agal_toolkit.geometry import Geometry

from ..water.properties import CUTOFF, WINDOW
from . import protons, sites

BLOCKS = 4
DISTANCE, ANGLE = 3.5, 30.0  # angstrom and degrees, of a hydrogen bond
# what a record depends on, beside its simulation
SETTINGS = {
    "blocks": BLOCKS,
    "neighbours": CUTOFF,
    "hydrogen bond": [DISTANCE, ANGLE],
    "window": list(WINDOW),
    "bonded": protons.BONDED,
}


def measured(frames: Frames) -> dict[str, Any]:
    """Return properties of the second half of a simulation at constant pressure.

    Each number has a standard error. "density" of the whole cell, g/cm3. Of waters, if there are
    two: "coordination", oxygen atoms of waters within 3.3 angstrom of such an atom, their g(r)
    "OO", and "diffusion", cm2/s, with the "window" of its fit, fs. Of each mu3-OH group: hydrogen
    bonds that it gives to waters ("given") and takes from them ("taken").
    """
    half = float(frames.times[-1]) / 2
    estimates = {"density": liquids.density(frames, start=half, blocks=BLOCKS)}
    record: dict[str, Any] = {}
    waters, oxygens = of_waters(frames), sites.oxygens(frames.start)
    if waters is not None:
        g = liquids.radial_distribution(waters, (8, 8), start=half, blocks=BLOCKS)
        estimates["coordination"] = g.coordination(CUTOFF)
        curve = {"r": g.r, "g": g.g.value, "error": g.g.error}
        record["OO"] = {name: np.round(values, 4).tolist() for name, values in curve.items()}
        estimates["diffusion"], record["window"] = diffusion(frames, half)
    groups = sites.hydroxyls(frames.start)
    if len(groups) and len(oxygens):
        blocks = blocks_of(frames, BLOCKS, half)
        for name, counts in zip(("given", "taken"), hydrogen_bonds(frames), strict=True):
            each = [counts[block].mean() / len(groups) for block in blocks]
            estimates[name] = Estimate.of(each)
    numbers = {name: [float(e.value), float(e.error)] for name, e in estimates.items()}
    return numbers | record


def of_waters(frames: Frames) -> Frames | None:
    """Return the same frames with the atoms of waters only, which follow those of the framework.

    There are none with fewer than two waters.
    """
    start, begin = frames.start, sites.framework_size(frames.start)
    if len(start) - begin < 6:
        return None
    numbers, positions = start.numbers[begin:], start.positions[begin:]
    kept = Geometry(positions=positions, numbers=numbers, cell=start.cell, pbc=start.pbc)
    return replace(frames, start=kept, positions=frames.positions[:, begin:])


def diffusion(frames: Frames, start: float) -> tuple[Estimate, list[float]]:
    """Return the self-diffusion of waters, cm2/s, and the window of its fit, fs.

    Mean square displacements of each oxygen atom over all origins are fitted by a line, 6 D t.
    They are relative to the centre of mass of the framework, or of the liquid. The window is 1 to 4
    ps, or, in simulations shorter than twice that, from a quarter to half of what is used, where
    waters may still be caught between their neighbours. The error takes waters as independent.

    Args:
        frames: equally spaced.
        start: fs at the beginning that are left out.
    """
    used = frames.times >= start
    times, step = frames.times[used], float(frames.times[1] - frames.times[0])
    length, masses = float(np.ptp(times)), frames.start.masses
    low, high = WINDOW if length > 2 * WINDOW[1] else (length / 4, length / 2)
    lags = np.arange(int(np.ceil(low / step - 1e-9)), int(high / step + 1e-9) + 1)
    if len(lags) < 2 or lags[0] < 1:
        raise ValueError(
            f"{frames!r} has {len(times)} frames from {start:g} fs on, expected at least 7: keep"
            " more frames, or simulate longer"
        )
    frame = slice(sites.framework_size(frames.start) or len(masses))  # of the atoms that rest
    centre = np.einsum("a,tai->ti", masses[frame] / masses[frame].sum(), frames.positions[:, frame])
    x = (frames.positions[:, sites.oxygens(frames.start)] - centre[:, None])[used]
    curves = [np.square(x[lag:] - x[:-lag]).sum(-1).mean(0) for lag in lags]
    slopes = np.polyfit(lags * step, np.array(curves), 1)[0]
    return Estimate.of(slopes / 6 * liquids.CM2_PER_S), [lags[0] * step, lags[-1] * step]


def hydrogen_bonds(frames: Frames) -> tuple[NDArray, NDArray]:
    """Return (T,) the numbers of hydrogen bonds that mu3-OH groups give to waters, and take.

    Groups are those of the start. A hydrogen atom belongs to the atom that :func:`protons.owners`
    says.
    """
    groups, waters = sites.hydroxyls(frames.start), sites.oxygens(frames.start)
    light, partners = protons.owners(frames)
    counts = np.zeros((2, len(frames)), dtype=int)
    for t, (x, cell) in enumerate(zip(frames.positions, frames.cells, strict=True)):
        for k, (donors, acceptors) in enumerate(((groups, waters), (waters, groups))):
            chosen = np.isin(partners[t], donors)
            donor, hydrogen = x[partners[t, chosen]], x[light[chosen]]
            to_other = sites.nearest(x[acceptors] - donor[:, None], cell)
            to_own = sites.nearest(hydrogen - donor, cell)[:, None]
            lengths = np.linalg.norm(to_other, axis=-1)
            cosine = (to_other * to_own).sum(-1) / lengths / np.linalg.norm(to_own, axis=-1)
            near = lengths < DISTANCE
            counts[k, t] = (near & (cosine > np.cos(np.radians(ANGLE)))).sum()
    return counts[0], counts[1]
