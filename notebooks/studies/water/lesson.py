"""The pictures and checks of the lesson on the loop of water, which its notebook calls by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from ase import units
from IPython.display import Markdown
from numpy.typing import NDArray

from agal_toolkit import plots
from agal_toolkit.analysis.estimates import Estimate
from agal_toolkit.analysis.liquids import densities
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.dynamics import Frames
from agal_toolkit.geometry import Geometry
from agal_toolkit.uncertainty.calibration import Calibration

from .. import lessons
from ..calibrated.records import predict
from ..jobs import RESULTS, Record, markdown, read
from . import figures
from . import recipes as study
from .iterations import errors
from .truth import Sizes, Water, folded, water

__all__ = ["begin", "check", "folded"]

MEV = 1000.0  # in an eV
FORCES = "meV/Å"
WATER = RESULTS / "water"
LOOP = WATER / "loop-laptop"  # committees and labels of the stored loop
SIZES = study.PRESETS["laptop"]  # of the stored loop
NAME = "attacks warm 0"

check = lessons.check


def begin() -> tuple[study.Preset, Water]:
    """Return the sizes of the chosen preset, and the truth's data."""
    _, preset = lessons.begin(study.PRESETS)
    return preset, water(WATER, Sizes())


def committee(iteration: int) -> Committee:
    """Return the stored committee of an iteration, counted from 1."""
    place = LOOP / f"committee-{iteration}"
    members = study.trainer(SIZES, "warm", 0).load(place)
    laws = Calibration.from_json(json.loads((place / "calibration.json").read_text()))
    return Committee(members, laws)


def labels() -> Dataset:
    """Return the stored labels in the order in which they were made; the first ten at the start."""
    return Dataset.read(LOOP / "labels.extxyz.gz")


def force_errors(committee: Committee, water: Water, every: int = 8) -> dict[str, float]:
    """Return errors on frames of the truth's own simulations, see :func:`.iterations.errors`."""
    return errors(committee, (water.first + water.second)[::every])


# -- the lesson


def inside(committee: Committee, water: Water) -> float:
    """Return the share of the squared force errors that changes the shapes of molecules."""
    return force_errors(committee, water)["inside"]


def show_uncertainty(committee: Committee, structures: dict[str, Geometry], most: float) -> None:
    """Draw structures with each atom's calibrated uncertainty, eV/angstrom up to `most`."""
    _, panels = plt.subplots(1, len(structures), figsize=(9.8, 3.7), layout="constrained")
    assert committee.calibration is not None
    for axes, (title, geometry) in zip(np.atleast_1d(panels), structures.items(), strict=True):
        variance = committee.calibration.atomic_variance(predict(committee, [geometry]))
        sigma = variance.sqrt().numpy()
        plots.molecule(axes, folded(geometry), colours=plots.heat(sigma, most))
        axes.set_title(f"{title}, mean {MEV * sigma.mean():.0f} {FORCES}", fontsize=10)
    plots.heat_bar(panels, MEV * most, f"uncertainty of the force ({FORCES})")


def temperatures(frames: Frames) -> NDArray:
    """Return (T,) K of the moving atoms."""
    return 2 * frames.kinetic / (3 * (len(frames.start) - 1) * units.kB)


def show_simulations(runs: Sequence[Sequence[Frames]]) -> None:
    """Draw temperature and density of simulations of members, and say which of them broke."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9.8, 3.2), layout="constrained")
    shown = plots.looks([f"member {member + 1}" for member in range(len(runs))])
    for (name, look), replicas in zip(shown.items(), runs, strict=True):
        for frames in replicas:
            style = {"color": look.colour, "lw": 1.2, "label": name}
            left.plot(frames.times / 1000, temperatures(frames), **style)
            right.plot(frames.times / 1000, densities(frames), **style)
            end = frames.reason or "survived"
            print(f"{name}: {end} ({frames.times[-1] / 1000:.2f} ps)")
    left.set(xlabel="time (ps)", ylabel="temperature (K)")
    right.set(xlabel="time (ps)", ylabel="density (g/cm³)")
    for axes in (left, right):
        axes.grid(alpha=0.25)
    plots.framed_legend(left)


def force_error(committee: Committee, test: Dataset) -> float:
    """Return the root mean square error of the mean's force components, eV/angstrom."""
    return errors(committee, test)["forces"]


# -- the record of the study


@cache
def record() -> dict[str, Any]:
    """Return the stored result."""
    return read(RESULTS / "water-laptop.json")


def _records() -> dict[str, Record]:
    return record()["records"]


def _iterations(name: str = NAME) -> list[Record]:
    return _records()[name]["iterations"]


def show_errors() -> None:
    """Draw errors of forces and energies against the number of labels."""
    records = _records()
    _, panels = plt.subplots(1, 3, figsize=(11.4, 3.9), layout="constrained")
    numbers = {
        f"force error of the mean ({FORCES})": "forces",
        "energy error (meV/molecule)": "energy",
        "energy error without shift (meV/molecule)": "energy without shift",
    }
    shown = figures.looks_of(list(figures.loops(records)))
    for axes, (label, key) in zip(panels, numbers.items(), strict=True):
        runs = figures.curves(records, lambda r, key=key: MEV * r["errors"][key])
        plots.property_curves(axes, runs, label=label, marks=figures.PAPER, shown=shown)
        axes.set_ylim(0, None)


def show_learned() -> None:
    """Draw where errors sit, inside or between molecules, and what the attacks found."""
    records = _records()
    _, (left, right) = plt.subplots(1, 2, figsize=(9.8, 3.9), layout="constrained")
    shown = figures.looks_of(list(figures.loops(records)))
    runs = figures.curves(records, lambda r: 100 * r["errors"]["inside"])
    label = "share of the force error inside molecules (%)"
    plots.property_curves(left, runs, label=label, shown=shown)
    left.set_ylim(0, 100)
    figures.delivered(right, _iterations(), 0.2)


def show_survival() -> None:
    """Draw the share of members that survive, and the density, against the number of labels."""
    records = _records()
    _, (left, right) = plt.subplots(1, 2, figsize=(9.8, 3.9), layout="constrained")
    shown = figures.looks_of(list(figures.loops(records)))
    runs = figures.simulated(
        records, lambda members: 100 * np.mean([m["reason"] is None for m in members])
    )
    marks = figures.PAPER
    plots.property_curves(left, runs, label="members that survive (%)", marks=marks, shown=shown)
    left.set_ylim(0, 105)
    runs = figures.simulated(records, figures.average("density"))
    truth = figures.as_estimate(records["truth"], "density")
    label = "density (g/cm³)"
    plots.property_curves(right, runs, truth, label=label, marks=marks, shown=shown)


def show_liquid(name: str = NAME) -> None:
    """Draw density and g(r) of the members of the last committee beside the truth's."""
    truth, survival = _records()["truth"], _records()[name]["survival"]
    members = [*survival[max(survival)].values()]
    _, panels = plt.subplots(2, 2, figsize=(9.8, 7.2), layout="constrained")
    band = figures.band(members, "density")
    exact = figures.as_estimate(truth, "density")
    plots.member_values(panels[0, 0], band, exact, "density (g/cm³)")
    kept = [m["properties"] for m in members if m["reason"] is None]
    for axes, pair in zip(panels.flat[1:], ("OO", "OH", "HH"), strict=True):
        count = min(len(truth[pair]["r"]), *(len(each[pair]["r"]) for each in kept))
        curves = [figures.cut(m, pair, count) for m in members]
        exact = Estimate(*(np.array(truth[pair][key][:count]) for key in ("g", "error")))
        r, label = np.array(truth[pair]["r"][:count]), f"g({pair[0]}-{pair[1]})"
        plots.distribution_band(axes, r, figures.band(curves, pair), exact, label)


def liquid_table(name: str = NAME) -> Markdown:
    """Return properties of the liquid: the truth, and the average over members that survived."""
    truth, survival = _records()["truth"], _records()[name]["survival"]
    members = [*survival[max(survival)].values()]
    rows = []
    for label, key, scale in (
        ("density (g/cm³)", "density", 1.0),
        ("O-O neighbours within 3.3 Å", "coordination", 1.0),
        ("first O-O peak, place (Å)", "peak", 1.0),
        ("first O-O peak, height", "height", 1.0),
        ("diffusion (1e-5 cm²/s)", "diffusion", 1e5),
    ):
        band, exact = figures.band(members, key), figures.as_estimate(truth, key)
        mean, spread = float(band.mean), float(np.std(band.values, ddof=1))
        deviation = f"{100 * (mean / float(exact.value) - 1):+.1f} %"
        committee = f"{scale * mean:.3f} ± {scale * spread:.3f}"
        ours = f"{scale * float(exact.value):.3f} ± {scale * float(exact.error):.3f}"
        rows.append((label, ours, committee, deviation))
    return Markdown(markdown(("", "truth", "committee", "deviation"), rows))


def show_ledger(name: str = NAME) -> None:
    """Draw the minutes of each iteration by stage, trained warm and afresh."""
    records = _records()
    names = [n for n in (name, name.replace("warm", "afresh")) if n in records]
    _, panels = plt.subplots(
        1, len(names), figsize=(9.8, 3.6), layout="constrained", sharey=True, squeeze=False
    )
    for axes, each in zip(panels.flat, names, strict=True):
        figures.ledger(axes, _iterations(each))
        axes.set_title(f"members trained {each.split()[1]}", fontsize=10)


def beside_the_paper() -> Markdown:
    """Return the claims of the study."""
    rows = []
    for claim in record()["claims"]:
        low_high = [f"{bound:.3g}" for bound in claim["spread"] or ()]
        value = f"{claim['value']:.3g} {claim['unit']}".strip().replace("meV/A", FORCES)
        goal = "" if claim["goal"] is None else f"{claim['goal']:g}"
        row = (claim["name"], value, " to ".join(low_high), goal, claim["paper"] or "")
        rows.append(row)
    return Markdown(markdown(("what", "found", "95 % interval", "goal", "paper"), rows))
