"""What a person must know of a structure before it is labelled: numbers, seed and place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes

from .. import plots
from ..analysis.grids import Surface
from ..batch import Batch
from ..geometry import Geometry
from ..loop.generation import Proposal
from ..plots.style import plain
from ..selection import Candidate
from ..uncertainty.variance import atomic_sigma
from .energies import force_unit, formula_key, is_surface, lowest_energies

Rows = list[tuple[str, str]]


def seed_of(candidate: Candidate) -> Geometry | None:
    """Return where the attack of a candidate started; None without an attack."""
    attack = candidate.adversary
    if attack is None:
        return None
    cell = candidate.geometry.cell if attack.cells is None else attack.cells[0]
    return replace(candidate.geometry, positions=attack.path[0], cell=cell)


def numbers_of(proposal: Proposal, target: float | None = None) -> list[Rows]:
    """Return names and values of what the committee predicts of each structure to label.

    Args:
        proposal: with at least one such structure.
        target: error that the attack aimed at, eV/angstrom.
    """
    committee, known, geometries = proposal.committee, proposal.dataset, proposal.geometries
    prediction, batch = committee.predict(geometries), Batch.of(geometries)
    laws = committee.force_laws
    name, atomic = "force uncertainty", atomic_sigma(prediction)
    if laws is not None:
        name, atomic = "predicted force error", laws.atomic_variance(prediction, batch).sqrt()
    doubts, most = batch.mean(atomic).tolist(), batch.largest(atomic).tolist()
    forces = batch.largest(prediction.forces.mean(0).norm(dim=-1)).tolist()
    energies, spread = prediction.energy.mean(0).tolist(), prediction.energy.std(0).tolist()
    lowest, plane = lowest_energies(known, known.energies), is_surface(geometries)
    unit = f" {force_unit(geometries)}".rstrip()
    rows: list[Rows] = []
    for i, candidate in enumerate(proposal.chosen):
        zero = 0.0 if plane else lowest.get(formula_key(candidate.geometry))
        above = "" if plane else " eV above the data's lowest"
        energy = "no data of this formula"
        if zero is not None:
            energy = f"{plain(energies[i] - zero)} ± {plain(spread[i])}{above}"
        doubt = f"{plain(doubts[i])}{unit}"
        aimed = [] if target is None else [("target", f"{plain(target)}{unit}")]
        if len(candidate.geometry) > 1:
            doubt += f", {plain(most[i])} on the worst atom"
        rows.append([(name, doubt), *aimed, ("energy", energy)])
        rows[i].append(("largest force", f"{plain(forces[i])}{unit}"))
        if (seed := seed_of(candidate)) is not None:
            moved = np.linalg.norm(candidate.geometry.positions - seed.positions, axis=1).max()
            length = "" if plane else " Å"
            rows[i].append(("seed", f"{candidate.seed + 1}, moved by up to {plain(moved)}{length}"))
    return rows


def draw_on_plane(axes: Axes, proposal: Proposal, surface: Surface, index: int) -> None:
    """Draw the structures to label on a surface, with the path to the one at `index`."""
    plots.energy_surface(axes, surface.grid, surface.energy)
    points = np.array([geometry.positions[0] for geometry in proposal.geometries])
    axes.plot(*points.T, "o", ms=4, color="0.2", alpha=0.6)
    axes.plot(*points[index], "o", ms=11, mfc="none", mec="k", mew=2, zorder=8)
    candidate = proposal.chosen[index]
    plots.attack_paths(axes, [candidate.adversary] if candidate.adversary is not None else [])
