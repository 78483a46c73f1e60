"""The pictures and checks of the lesson on the loop of water, which its notebook calls by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from ase import units
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from agal_toolkit import AMOEBA, plots
from agal_toolkit.analysis.estimates import Band, reweight
from agal_toolkit.attack import Adversary
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.dynamics import Frames
from agal_toolkit.geometry import Geometry
from agal_toolkit.uncertainty.calibration import Calibration

from .. import lessons
from ..calibrated.records import predict, rms
from ..jobs import RESULTS
from . import recipes as study
from .claims import TARGET
from .iterations import errors
from .properties import CUTOFF
from .truth import Sizes, Water, folded, water

__all__ = ["begin", "check", "folded"]

MEV = 1000.0  # in an eV
FORCES = "meV/Å"
WATER = RESULTS / "water"
LOOP = WATER / "loop-laptop"  # committees and labels of the stored loop
SIZES = study.PRESETS["laptop"]  # of the stored loop
LEAST = 20  # effective frames of a reweighted average

check = lessons.check


def begin() -> tuple[study.Preset, Water]:
    """Return the sizes of the chosen preset, and the truth's data."""
    _, preset = lessons.begin(study.PRESETS)
    return preset, water(WATER, Sizes())


def committee(iteration: int) -> Committee:
    """Return the stored committee of an iteration, counted from 1."""
    place = LOOP / f"committee-{iteration}"
    members = study.trainer(SIZES, "afresh", 0).load(place)
    laws = Calibration.from_json(json.loads((place / "calibration.json").read_text()))
    return Committee(members, laws)


def labels() -> Dataset:
    """Return the stored labels in the order in which they were made; the first ten at the start.

    Molecules are moved into the cell, for pictures.
    """
    stored = Dataset.read(LOOP / "labels.extxyz.gz")
    return Dataset([folded(geometry) for geometry in stored], stored.labels, stored.roles)


def _row(columns: int, height: float, **options: Any) -> tuple[Any, Any]:
    return plt.subplots(1, columns, figsize=(9.8, height), layout="constrained", **options)


# -- the lesson


def is_density(answer: float, box: Geometry) -> bool:
    """Return whether an answer is the density of a box, g/cm3."""
    mass = float(box.to_ase().get_masses().sum())
    density = mass / abs(np.linalg.det(box.cell)) * 1e24 / units.kg * 1e3
    return bool(np.isclose(answer, density, rtol=5e-3))


def show_errors_of(committee: Committee, water: Water, every: int = 8) -> None:
    """Print errors on every eighth frame, or another one, of the truth's own simulations."""
    frames = (water.first + water.second)[::every]
    found = errors(committee, frames)
    of = f"of the mean, {len(frames)} frames"
    print(f"force error {of}: {MEV * found['forces']:.0f} {FORCES} per component")
    print(f"share of its square that changes the shapes of molecules: {found['inside']:.0%}")


def force_error(committee: Committee, test: Dataset) -> float:
    """Return the root mean square error of the mean's force components, meV/angstrom."""
    return MEV * errors(committee, test)["forces"]


def show_uncertainty(committee: Committee, structures: dict[str, Geometry], most: float) -> None:
    """Draw structures with each atom's calibrated uncertainty, eV/angstrom up to `most`."""
    size = (4.2 * len(structures), 3.7)
    _, panels = plt.subplots(1, len(structures), figsize=size, layout="constrained", squeeze=False)
    panels = list(panels[0])
    for axes, (title, geometry) in zip(panels, structures.items(), strict=True):
        sigma = uncertainties(committee, geometry)
        plots.molecule(axes, folded(geometry), colours=plots.heat(sigma, most))
        axes.set_title(f"{title}, mean {MEV * sigma.mean():.0f} {FORCES}", fontsize=10)
    plots.heat_bar(panels, MEV * most, f"uncertainty of the force ({FORCES})")


def uncertainties(committee: Committee, geometry: Geometry) -> NDArray:
    """Return (n,) calibrated uncertainty of the force on each atom, eV/angstrom."""
    assert committee.calibration is not None
    return committee.calibration.atomic_variance(predict(committee, [geometry])).sqrt().numpy()


def show_found(committee: Committee, adversaries: Sequence[Adversary]) -> None:
    """Ask the truth about attacked structures; print uncertainty and error, averages over atoms."""
    label = AMOEBA(stress=False)
    for adversary in adversaries:
        known = Dataset([adversary.geometry], [label(adversary.geometry)])
        sigma = MEV * uncertainties(committee, adversary.geometry)
        error = MEV * rms(predict(committee, [adversary.geometry]), known)[0]
        print(
            f"uncertainty {sigma.mean():.0f} ± {sigma.std():.0f} {FORCES}, mean ± spread of atoms"
        )
        print(f"error found {error:.0f} {FORCES}; the target is {MEV * TARGET:.0f}")
        print(adversary.reason or "the target is reached")


def temperatures(frames: Frames) -> NDArray:
    """Return (T,) K, of boxes whose centre of mass rests."""
    return 2 * frames.kinetic / (3 * (len(frames.start) - 1) * units.kB)


def show_simulations(runs: Sequence[Sequence[Frames]]) -> None:
    """Draw temperature and closest pair of simulations of members, and say which of them broke."""
    _, (left, right) = _row(2, 3.2)
    shown = plots.looks([f"member {member + 1}" for member in range(len(runs))])
    for (name, look), replicas in zip(shown.items(), runs, strict=True):
        for number, frames in enumerate(replicas):
            style = {"color": look.colour, "lw": 1.4, "label": None if number else name}
            times = frames.times / 1000
            left.plot(times, temperatures(frames), **style)
            right.plot(times, [closest(frames.geometry(k)) for k in range(len(frames))], **style)
            if frames.reason is not None and len(frames):
                left.plot(times[-1], temperatures(frames)[-1], "x", color=look.colour, ms=9)
            end = f"broke: {frames.reason}" if frames.reason else "survived"
            print(f"{name}: {end} ({f'{times[-1]:.2f} ps' if len(frames) else 'no step'})")
    left.set(xlabel="time (ps)", ylabel="temperature (K)")
    right.set(xlabel="time (ps)", ylabel="closest pair of atoms (Å)", ylim=(0.35, 1.0))
    right.axhline(0.4, color="k", ls=":", lw=1.2, label="broken")
    for axes in (left, right):
        axes.grid(alpha=0.25)
    plots.framed_legend(left)
    plots.framed_legend(right)


def closest(geometry: Geometry) -> float:
    """Return the smallest distance of two atoms, angstrom; at most 1.2."""
    return float(min(neighbor_list("d", geometry.to_ase(), 1.2), default=1.2))


def neighbours(geometry: Geometry) -> float:
    """Return the mean number of oxygens within CUTOFF of an oxygen."""
    pairs = neighbor_list("i", geometry.to_ase(), {("O", "O"): CUTOFF})
    return 3 * len(pairs) / len(geometry)


def show_reweighting(committee: Committee, frames: Dataset, temperature: float = 300.0) -> None:
    """Draw how many frames of the truth's run would count for each member; print what is refused.

    Args:
        committee: whose members' averages are wanted.
        frames: of the truth's own run, with its energies.
        temperature: K, of that run.
    """
    energies = predict(committee, list(frames)).energy.numpy()
    values = [neighbours(frame) for frame in frames]
    apart, kT = energies - frames.energies, units.kB * temperature
    times = apart.std(axis=1) / kT
    print(f"spread of the difference in energy: {times.min():.1f} to {times.max():.1f} kT")
    try:
        print(Band.reweighted(values, energies, frames.energies, temperature, least=LEAST))
    except ValueError as refused:
        print(f"refused: {str(refused).partition(' (')[0]}")
    effective = [reweight(own, frames.energies, temperature, least=0).effective for own in energies]
    _, (left, right) = _row(2, 3.2)
    numbers = np.arange(len(energies)) + 1
    left.bar(numbers, apart.std(axis=1), color=plots.ADVERSARIAL, width=0.6)
    left.axhline(kT, color="k", ls="--", lw=1.2, label=f"kT, {kT:.3f} eV")
    left.set_ylabel("spread of the difference in energy (eV)")
    left.set_ylim(0, 1.3 * max(*apart.std(axis=1), kT))  # leaves room for the legend
    right.bar(numbers, effective, color=plots.ADVERSARIAL, width=0.6)
    right.axhline(LEAST, color="k", ls="--", lw=1.2, label="needed")
    right.set(ylabel=f"effective frames of {len(frames)}", ylim=(0, 1.3 * LEAST))
    for axes in (left, right):
        axes.set(xlabel="member", xticks=numbers)
        axes.grid(axis="y", alpha=0.25)
        plots.framed_legend(axes)
