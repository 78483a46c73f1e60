"""The pictures and checks of the lesson on water in UiO-66, which its notebook calls by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from agal_toolkit import plots
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import CALIBRATION, TRAIN, Dataset
from agal_toolkit.dynamics import Frames
from agal_toolkit.geometry import Geometry
from agal_toolkit.plots.scene import element_colours
from agal_toolkit.potentials.density import DensityNet
from agal_toolkit.training.trainer import TorchTrainer

from .. import lessons, loops
from ..calibrated.records import predict
from ..water.lesson import show_simulations as of_members
from ..water.lesson import uncertainties
from ..water.recipes import fit
from . import figures, pores, properties, protons, sites, structures
from .examples import examples
from .iterations import of_system, trusted
from .pore_view import Pore, draw_pore

__all__ = ["begin", "check", "examples", "whole"]

MEV = 1000.0  # in an eV
FORCES = "meV/Å"
check, whole = lessons.check, sites.whole


@dataclass(frozen=True)
class Sizes:
    """Sizes of the lesson, which do not change the study.

    Attributes:
        steps: of the training of its committee.
        attack: steps of L-BFGS.
        picoseconds: of the simulation of each member.
    """

    steps: int = 360
    attack: int = 12
    picoseconds: float = 0.1


PRESETS: Mapping[str, Sizes] = {
    "smoke": Sizes(steps=12, attack=2, picoseconds=0.005),
    **dict.fromkeys(("class", "laptop", "gpu", "paper"), Sizes()),
}


def begin() -> Sizes:
    """Return the sizes of the chosen preset."""
    return lessons.begin(PRESETS)[1]


def is_weight(answer: float, waters: int) -> bool:
    """Return whether an answer is the mass of waters in per cent of the dry framework's."""
    return bool(np.isclose(answer, structures.weight_percent(waters), atol=0.3))


def filled(waters: int, seed: int = 0) -> Geometry:
    """Return the framework with waters at random places of its pores."""
    rng = np.random.default_rng(seed)
    return pores.filled(structures.primitive(), structures.water(), waters, rng)


def trainer(preset: Sizes, data: Dataset) -> TorchTrainer:
    """Return a short training of small members that know the four elements."""
    atoms = float(np.mean([len(geometry) for geometry in data]))
    network = partial(DensityNet, (1, 6, 8, 40), channels=8, hidden=32)
    return fit(network, atoms, len(data), preset.steps, None)


def trained(preset: Sizes, data: Dataset, members: int = 3) -> Committee:
    """Return a committee that is calibrated with the data set aside, and learned from the others.

    Members differ in their bootstraps and in their first weights.
    """
    rng, learned = np.random.default_rng(0), data.of_role(TRAIN)
    shares = np.full(len(learned), 1 / len(learned))
    weights = rng.multinomial(len(learned), shares, members).astype(float)
    unused = np.zeros_like(weights, dtype=bool)  # no member stops early
    fitted = trainer(preset, learned).fit(learned, weights, unused, rng)
    aside = data.of_role(CALIBRATION)  # two structures have too few energies for a law
    return Committee(fitted).calibrated(aside, "linear", quantities=("forces",))


def show_errors_of(committee: Committee, data: Dataset) -> None:
    """Print the errors of each system on the structures that were set aside."""
    for system in dict.fromkeys(str(geometry.origin["system"]) for geometry in data):
        aside = of_system(data, system).of_role(CALIBRATION)
        found = loops.errors(predict(committee, list(aside)), aside, [len(g) for g in aside])
        size = float(np.sqrt(np.mean(np.concatenate(aside.forces) ** 2)))
        print(f"{system}: force error {MEV * found['forces']:.0f} of {MEV * size:.0f} {FORCES},")
        print(f"    energy error {MEV * found['energy']:.1f} meV/atom,")
        print(f"    error over uncertainty {trusted(committee, aside)['ratio']:.2f}")


def show_doubt(committee: Committee, named: Mapping[str, Geometry], most: float) -> None:
    """Draw structures with each atom's calibrated uncertainty, eV/angstrom up to `most`."""
    _draw([(title, each, committee) for title, each in named.items()], most)


def show_doubts(committees: Mapping[str, Committee], geometry: Geometry, most: float) -> None:
    """Draw a structure with the uncertainties of several committees."""
    _draw([(title, geometry, committee) for title, committee in committees.items()], most)


def _draw(shown: Sequence[tuple[str, Geometry, Committee]], most: float) -> None:
    size = (4.6 * len(shown), 4.1)
    _, panels = plt.subplots(1, len(shown), figsize=size, layout="constrained", squeeze=False)
    panels = list(panels[0])
    for axes, (title, geometry, committee) in zip(panels, shown, strict=True):
        sigma = uncertainties(committee, geometry)
        draw_pore(axes, sites.whole(geometry), plots.heat(sigma, most))
        axes.set_title(f"{title}, mean {MEV * sigma.mean():.0f} {FORCES}", fontsize=10)
    plots.heat_bar(panels, MEV * most, f"uncertainty of the force ({FORCES})")


def pore_of(committee: Committee, geometry: Geometry, most: float) -> Pore:
    """Return a view of a structure with each atom's uncertainty, eV/angstrom up to `most`."""
    colours = plots.heat(uncertainties(committee, geometry), most)
    view = Pore(size=(4.6, 4.4))
    view.show(sites.whole(geometry), colours=colours)
    return view


def by_kind(committee: Committee, structures: Sequence[Geometry]) -> dict[str, NDArray]:
    """Return uncertainties of the atoms of each kind, meV/angstrom."""
    sigma = MEV * np.concatenate([uncertainties(committee, each) for each in structures])
    kinds = np.concatenate([sites.kinds(each) for each in structures])
    return {name: sigma[kinds == k] for k, name in enumerate(sites.KINDS) if k in kinds}


def show_kinds(shown: Mapping[str, tuple[Committee, Sequence[Geometry]]], target: float) -> None:
    """Draw the mean uncertainty of each kind of atom in structures, as committees see them.

    Args:
        shown: name of the bars -> a committee and structures.
        target: of attacks, eV/angstrom.
    """
    values = {name: by_kind(*each) for name, each in shown.items()}
    _, axes = plt.subplots(figsize=(8.4, 3.6), layout="constrained")
    figures.doubt_by_kind(axes, values, f"mean uncertainty ({FORCES})", MEV * target)


def show_simulations(runs: Sequence[Sequence[Frames]]) -> None:
    """Draw the simulations of members, say which of them broke, and which protons hopped."""
    of_members(runs)
    for member, (frames,) in enumerate(runs, 1):
        hops = protons.hops(frames)
        first = f", the first at {hops[0].time:.0f} fs" if hops else ""
        print(f"member {member}: {len(hops)} proton hops{first}")


def show_bonds(geometry: Geometry) -> None:
    """Draw what is around each mu3-OH group; print its hydrogen bonds with waters."""
    frame = protons.as_frames(geometry)
    given, taken = properties.hydrogen_bonds(frame)
    groups = sites.hydroxyls(geometry)
    text = f"hydrogen bonds given to waters: {given[0]}, taken from waters: {taken[0]}"
    print(f"{len(groups)} µ₃-OH groups, {text}")
    light, partners = protons.owners(frame)
    _, panels = plt.subplots(1, len(groups), figsize=(11.4, 3.0), layout="constrained")
    for axes, group in zip(np.atleast_1d(panels), groups, strict=True):
        (hydrogen, *_) = light[partners[0] == group]
        near = protons.around(geometry, hydrogen)
        cut = sites.nearest(geometry.positions[near] - geometry.positions[hydrogen], geometry.cell)
        colours = element_colours(shown := Geometry(positions=cut, numbers=geometry.numbers[near]))
        colours[near == hydrogen] = protons.PROTON
        (up,) = -cut[near == group] / np.linalg.norm(cut[near == group])
        right = np.cross(up, np.eye(3)[np.abs(up).argmin()])
        right /= np.linalg.norm(right)
        turn = np.stack([right, up, np.cross(right, up)])  # the bond points upward
        plots.molecule(axes, shown, colours=colours, view=turn, bar=True)
        axes.set_title(f"hydrogen {hydrogen}", fontsize=10)
