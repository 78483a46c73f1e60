"""The pictures and checks of the lesson on the loop of water, which its notebook calls by name.

A picture of the record that is not computed yet is a sentence that says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from ase import units
from ase.neighborlist import neighbor_list
from IPython.display import Markdown
from numpy.typing import NDArray

from agal_toolkit import plots
from agal_toolkit.analysis.estimates import Band, reweight
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
from .bands import PAIRS, as_estimate, band, covered, distribution, survivors
from .claims import TARGET
from .costs_figure import costs
from .iterations import errors
from .properties import CUTOFF
from .truth import Sizes, Water, folded, water

__all__ = ["begin", "check", "folded"]

MEV = 1000.0  # in an eV
FORCES = "meV/Å"
WATER = RESULTS / "water"
LOOP = WATER / "loop-laptop"  # committees and labels of the stored loop
SIZES = study.PRESETS["laptop"]  # of the stored loop
NAME = "attacks warm 0"
LEAST = 20  # effective frames of a reweighted average

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


def _row(columns: int, height: float, **options: Any) -> tuple[Any, Any]:
    return plt.subplots(1, columns, figsize=(9.8, height), layout="constrained", **options)


# -- the lesson


def is_density(answer: float, box: Geometry) -> bool:
    """Return whether an answer is the density of a box, g/cm3."""
    mass = float(box.to_ase().get_masses().sum())
    density = mass / abs(np.linalg.det(box.cell)) * 1e24 / units.kg * 1e3
    return bool(np.isclose(answer, density, rtol=5e-3))


def show_errors_of(committee: Committee, water: Water, every: int = 8) -> None:
    """Print errors on frames of the truth's own simulations."""
    found = errors(committee, (water.first + water.second)[::every])
    print(f"force error of the mean: {MEV * found['forces']:.0f} {FORCES} per component")
    print(f"share of its square that changes the shapes of molecules: {found['inside']:.0%}")


def force_error(committee: Committee, test: Dataset) -> float:
    """Return the root mean square error of the mean's force components, meV/angstrom."""
    return MEV * errors(committee, test)["forces"]


def show_uncertainty(committee: Committee, structures: dict[str, Geometry], most: float) -> None:
    """Draw structures with each atom's calibrated uncertainty, eV/angstrom up to `most`."""
    _, panels = _row(len(structures), 4.2, squeeze=False)
    panels = list(panels[0])
    assert committee.calibration is not None
    for axes, (title, geometry) in zip(panels, structures.items(), strict=True):
        variance = committee.calibration.atomic_variance(predict(committee, [geometry]))
        sigma = variance.sqrt().numpy()
        plots.molecule(axes, folded(geometry), colours=plots.heat(sigma, most))
        axes.set_title(f"{title}, mean {MEV * sigma.mean():.0f} {FORCES}", fontsize=10)
    plots.heat_bar(panels, MEV * most, f"uncertainty of the force ({FORCES})")


def temperatures(frames: Frames) -> NDArray:
    """Return (T,) K, of boxes whose centre of mass rests."""
    return 2 * frames.kinetic / (3 * (len(frames.start) - 1) * units.kB)


def show_simulations(runs: Sequence[Sequence[Frames]]) -> None:
    """Draw temperature and closest pair of simulations of members, and say which of them broke."""
    _, (left, right) = _row(2, 3.4)
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
            reached = f"{times[-1]:.2f} ps" if len(frames) else "no step"
            print(f"{name}: {end} ({reached}, {densities(frames)[-1]:.3f} g/cm³)")
    left.set(xlabel="time (ps)", ylabel="temperature (K)")
    right.set(xlabel="time (ps)", ylabel="closest pair of atoms (Å)", ylim=(0.35, None))
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
    try:
        print(Band.reweighted(values, energies, frames.energies, temperature, least=LEAST))
    except ValueError as refused:
        print(f"refused: {refused}")
    apart = energies - frames.energies
    effective = [reweight(own, frames.energies, temperature, least=0).effective for own in energies]
    _, (left, right) = _row(2, 3.4)
    numbers = np.arange(len(energies)) + 1
    left.bar(numbers, apart.std(axis=1), color=plots.ADVERSARIAL, width=0.6)
    kT = units.kB * temperature
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


# -- the record of the study


@cache
def record(study: str = "water") -> dict[str, Any] | None:
    """Return a stored result, None if there is none yet."""
    file = RESULTS / f"{study}-laptop.json"
    return read(file) if file.exists() else None


def _not_yet(what: str) -> str:
    """Return the sentence that stands for a picture."""
    return f"Not computed yet: {what}."


def _records() -> dict[str, Record]:
    """Return the records of loops, and the truth's if it is known."""
    stored, truth = record(), record("water_truth")
    records = dict(stored["records"]) if stored else {}
    if truth is not None:
        records.setdefault("truth", truth["records"])
    return records


def _iterations(name: str = NAME) -> list[Record]:
    return _records().get(name, {}).get("iterations", [])


def _last_committee(name: str = NAME) -> tuple[int, list[Record]]:
    """Return the last iteration whose members were simulated, from 1, and their records."""
    survival = _records().get(name, {}).get("survival", {})
    last = max(survival, key=int, default="0")
    return int(last), [*survival.get(last, {}).values()]


def _curves(number: Any) -> tuple[dict[str, Any], dict[str, plots.Look]]:
    runs = figures.curves(_records(), number)
    return runs, figures.looks_of(list(runs))


def show_errors() -> None:
    """Draw errors of forces and energies against the number of labels."""
    numbers = {
        f"force error ({FORCES})": "forces",
        "energy error (meV/molecule)": "energy",
        "without its mean (meV/molecule)": "energy without shift",
    }
    done = figures.loops(_records())
    if not done:
        print(_not_yet("loops"))
        return
    _, panels = plt.subplots(1, 3, figsize=(11.4, 3.9), layout="constrained")
    for axes, (label, key) in zip(panels, numbers.items(), strict=True):
        runs, shown = _curves(lambda r, key=key: MEV * r["errors"][key])
        plots.property_curves(axes, runs, label=label, marks=figures.PAPER, shown=shown)
        axes.set_ylim(0, None)
        if key != "forces":
            axes.get_legend().remove()  # that of the left panel is for all
    if missing := [strategy for strategy in study.STRATEGIES if strategy not in done]:
        print(_not_yet(f"loops of the strategies {', '.join(missing)}"))


def show_learned() -> None:
    """Draw where errors sit, inside or between molecules, and what the attacks found."""
    runs, shown = _curves(lambda r: 100 * r["errors"]["inside"])
    if not _iterations():
        print(_not_yet("loops of attacks"))
        return
    _, (left, right) = _row(2, 3.9)
    label = "force error inside molecules (% of its square)"
    plots.property_curves(left, runs, label=label, shown=shown)
    left.set_ylim(0, 100)
    figures.delivered(right, _iterations(), TARGET)


def show_survival() -> None:
    """Draw members that survive, density and neighbours against the number of labels."""
    records = _records()
    runs = figures.simulated(records, lambda each: 100 * len(survivors(each)) / len(each))
    if not runs:
        print(_not_yet("simulations of the members"))
        return
    _, panels = plt.subplots(1, 3, figsize=(11.4, 3.9), layout="constrained")
    looks = {"marks": figures.PAPER, "shown": figures.looks_of(list(runs))}
    plots.property_curves(panels[0], runs, label="members that survive (%)", **looks)
    panels[0].set_ylim(0, 105)
    quantities = {"density (g/cm³)": "density", f"O-O neighbours within {CUTOFF} Å": "coordination"}
    for axes, (label, key) in zip(panels[1:], quantities.items(), strict=True):
        truth = as_estimate(records["truth"], key) if "truth" in records else None
        runs = figures.simulated(records, figures.average(key))
        plots.property_curves(axes, runs, truth, label, **looks)
    for name, loop in records.items():
        for iteration, members in loop.get("survival", {}).items():
            if len(members) < SIZES.members:
                done = f"{len(members)} of {SIZES.members} members are simulated"
                print(f"{name}, iteration {iteration}: {done} so far.")


def _liquid_missing(name: str) -> str | None:
    """Return what a comparison of the liquid lacks, None if nothing."""
    if "truth" not in _records():
        return _not_yet("the truth's own liquid")
    if len(survivors(_last_committee(name)[1])) < 2:
        return _not_yet("simulations that two members survive")
    return None


def show_liquid(name: str = NAME) -> None:
    """Draw density and g(r) of the members of the last committee beside the truth's."""
    if missing := _liquid_missing(name):
        print(missing)
        return
    truth, (iteration, members) = _records()["truth"], _last_committee(name)
    figure, panels = plt.subplots(2, 2, figsize=(9.8, 7.2), layout="constrained")
    density, exact = band(members, "density"), as_estimate(truth, "density")
    plots.member_values(panels[0, 0], density, exact, "density (g/cm³)")
    low, high = panels[0, 0].get_ylim()
    panels[0, 0].set_ylim(low, high + 0.4 * (high - low))  # leaves room for the legend
    for axes, pair in zip(panels.flat[1:], PAIRS, strict=True):
        label = f"g({pair[0]}-{pair[1]})"
        r, found, exact = distribution(members, truth, pair)
        plots.distribution_band(axes, r, found, exact, label)
        if pair != "OO":  # the bonds' peaks would hide the rest
            axes.set_ylim(0, 1.5 * float(found.values[:, r > 1.7].max()))
    labelled = _iterations(name)[iteration - 1]["labels"]
    figure.suptitle(f"committee of {labelled} labels, each member by itself", fontsize=11)


def liquid_table(name: str = NAME) -> Markdown:
    """Return properties of the liquid: the truth, the members that survived, and their band."""
    if missing := _liquid_missing(name):
        return Markdown(missing)
    truth, (_, members) = _records()["truth"], _last_committee(name)
    rows = []
    for label, key, scale in (
        ("density (g/cm³)", "density", 1.0),
        (f"O-O neighbours within {CUTOFF} Å", "coordination", 1.0),
        ("first O-O peak, place (Å)", "peak", 1.0),
        ("first O-O peak, height", "height", 1.0),
        ("diffusion (10⁻⁵ cm²/s)", "diffusion", 1e5),
    ):
        found, exact = band(members, key), as_estimate(truth, key)
        mean, value = float(found.mean), float(exact.value)
        rows.append(
            (
                label,
                f"{scale * value:.3f} ± {scale * float(exact.error):.3f}",
                f"{scale * mean:.3f} ± {scale * float(found.spread):.3f}",
                f"{100 * (mean / value - 1):+.1f} %",
                f"± {scale * float(found.margin(exact.error)):.3f}",
                "yes" if found.inside(exact) else "no",
            )
        )
    for pair in PAIRS:
        share = f"{100 * covered(members, truth, pair):.0f} % of bins"
        rows.append((f"g({pair[0]}-{pair[1]})", "", "", "", "", share))
    head = ("", "truth ± error", "members ± spread", "deviation", "95 % band", "truth in the band")
    return Markdown(markdown(head, rows))


def show_ledger(name: str = NAME) -> None:
    """Draw the minutes of each iteration by stage, trained warm and afresh."""
    names = [n for n in (name, name.replace("warm", "afresh")) if _iterations(n)]
    if not names:
        print(_not_yet("loops of attacks"))
        return
    _, panels = _row(len(names), 3.6, sharey=True, squeeze=False)
    for axes, each in zip(panels.flat, names, strict=True):
        figures.ledger(axes, _iterations(each))
        axes.set_title(f"members trained {each.split()[1]}", fontsize=10)
    if len(names) < 2:
        print(_not_yet("the same loop with members trained afresh"))


def show_shares() -> None:
    """Draw which stages the labels, force calls and seconds of the loop were spent on."""
    if not _iterations():
        print(_not_yet("loops of attacks"))
        return
    _, axes = plt.subplots(figsize=(9.8, 3.0), layout="constrained")
    figures.cost_shares(axes, figures.costs_of(_iterations()))


def show_costs() -> None:
    """Draw seconds and memory against the size of the box."""
    stored = record("water_costs")
    if stored is None:
        print(_not_yet("costs of larger boxes"))
        return
    _, (left, right) = _row(2, 4.2)
    costs(left, stored["records"])
    costs(right, stored["records"], "memory", named=False)


def costs_table() -> Markdown:
    """Return how costs grow with the number of atoms."""
    stored = record("water_costs")
    if stored is None:
        return Markdown(_not_yet("costs of larger boxes"))
    claims = {claim["name"]: claim["value"] for claim in stored["claims"]}
    rows, tasks = [], stored["records"]
    waters = f"{max(row['atoms'] for sizes in tasks.values() for row in sizes) // 3} waters"
    for task in tasks:
        exponent = f"{claims[f'slope of log(seconds) against log(atoms), {task}']:.2f}"
        seconds = f"{claims[f'{task}, {waters}']:.2f}"
        rows.append((task, exponent, seconds, f"{claims[f'peak memory, {task}, {waters}']:.0f}"))
    head = ("", "exponent of the atoms", f"seconds, {waters}", f"peak memory (MB), {waters}")
    return Markdown(markdown(head, rows))


def public_table() -> Markdown:
    """Return errors and costs of committees that learned from density functional theory."""
    stored = record("water_public")
    if stored is None:
        return Markdown(_not_yet("committees on density functional theory"))
    claims: Mapping[str, Any] = {claim["name"]: claim for claim in stored["claims"]}
    rows = []
    for fit in stored["records"]:
        error = claims[f"force error per component, mean of the members, {fit}"]
        low, high = error["spread"]
        single = claims[f"force error per component, single members, {fit}"]["value"]
        energy = claims[f"energy error per atom, constant shift removed, {fit}"]["value"]
        steps = claims[f"steps of the training, {fit}"]["value"]
        seconds = claims[f"processor time of the training, {fit}"]["value"]
        interval = f"{error['value']:.0f} ({low:.0f} to {high:.0f})"
        row = (fit, f"{steps:,.0f}", f"{seconds:.0f}", interval, f"{single:.0f}", f"{energy:.2f}")
        rows.append(row)
    forces = f"force error ({FORCES}, 95 %)"
    head = ("", "steps", "seconds of a core", forces, "single members", "energy (meV/atom)")
    return Markdown(markdown(head, rows))


def beside_the_paper() -> Markdown:
    """Return the claims of the study."""
    rows, stored = [], record()
    if stored is None:
        return Markdown(_not_yet("the study"))
    for claim in stored["claims"]:
        low_high = [f"{bound:.3g}" for bound in claim["spread"] or ()]
        value = f"{claim['value']:.3g} {claim['unit']}".strip().replace("meV/A", FORCES)
        goal = "" if claim["goal"] is None else _goal(claim)
        row = (claim["name"], value, " to ".join(low_high), goal, claim["paper"] or "")
        rows.append(row)
    return Markdown(markdown(("what", "found", "95 % interval", "goal", "paper"), rows))


def _goal(claim: Mapping[str, Any]) -> str:
    """Return the bound of a claim and whether it is met."""
    bound = f"{'≥' if claim['at_least'] else '≤'} {claim['goal']:g}"
    return f"{bound}, {'met' if claim['met'] else 'missed'}"
