"""The pictures and checks of the lesson on a molecule of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms
from IPython.display import Markdown

import agal_toolkit as agal
from agal_toolkit import plots
from agal_toolkit.analysis.paths import ReactionPath
from agal_toolkit.committee import Committee, CommitteeCalculator
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry
from agal_toolkit.loop.recipe import Recipe
from agal_toolkit.widgets import AttackPlayer

from .. import lessons
from ..jobs import RESULTS, markdown, read
from . import study, transfer
from .study import Sizes, sized
from .transfer import KCAL, Coordinate, heights
from .use import simulated, used
from .view import COORDINATE, HIGHEST, TransferView, draw_band

__all__ = ["KCAL", "Coordinate", "TransferView", "begin", "check", "fit", "used"]

MEV = 1000.0  # in an eV
FORCES = "meV/Å"

check = lessons.check


@dataclass(frozen=True, kw_only=True)
class Preset(Sizes):
    """Sizes of the lesson.

    Attributes:
        few: first structures of the other systems.
        asked: attacks with a target.
    """

    few: int = 30
    asked: int = 6


_SMALL: dict[str, Any] = vars(study.PRESETS["smoke"]) | {"few": 8, "asked": 2}
PRESETS = {"smoke": Preset(**_SMALL), "class": Preset(), "laptop": Preset()}


def begin() -> tuple[Preset, Path]:
    """Return the sizes of the chosen preset, and a new folder for the run."""
    _, sizes = lessons.begin(PRESETS)
    return sizes, Path(mkdtemp(prefix="mine-"))


def fit(recipe: Recipe, sizes: Sizes) -> Recipe:
    """Return the recipe itself; in smoke a smaller one."""
    return sized(recipe, sizes)


def true_band(ground: Geometry) -> ReactionPath:
    """Return the path of the hydrogen on GFN2, of eleven images."""
    return transfer.true_band(transfer.reference(), ground)


def _row(columns: int, height: float, **options: Any) -> tuple[Any, Any]:
    return plt.subplots(1, columns, figsize=(9.4, height), layout="constrained", **options)


def _above(data: Dataset, zero: float) -> Any:
    return (data.energies - zero) / KCAL


# -- the lesson


def nearest(player: AttackPlayer, coordinate: Coordinate) -> int:
    """Return the index of the attack that ends nearest to the middle of the transfer."""
    ends = [abs(coordinate(adversary.geometry)) for adversary in player.adversaries]
    return int(np.argmin(ends))


def show_start(data: Dataset, ground: Geometry) -> None:
    """Draw energies of the start, and the distances of its hydrogen to both oxygens."""
    coordinate = Coordinate.of(ground)
    _, (left, right) = _row(2, 2.7)
    left.hist(_above(data, data.energies.min()), bins=15, color="0.6")
    left.set(xlabel="energy above the lowest (kcal/mol)", ylabel="structures")
    right.hist([coordinate(geometry) for geometry in data], bins=15, color="0.6")
    right.axvline(0, color="k", ls="--", lw=1.2, label="middle of the transfer")
    right.set(xlabel=COORDINATE, ylabel="structures", xlim=(-1.2, 1.2))
    plots.framed_legend(right, place="upper left")


def show_transfer(
    committees: Mapping[str, Committee], path: ReactionPath, steps: int = 300
) -> None:
    """Draw energies along GFN2's band, a panel for each committee, and print the barriers.

    Committees have at most `steps` for a band of their own.
    """
    coordinate = Coordinate.of(path.images[0])
    places = [coordinate(image) for image in path.images]
    true = (path.energies - path.energies[0]) / KCAL
    _, panels = _row(len(committees), 3.6)
    for axes, (name, committee) in zip(panels, committees.items(), strict=True):
        energies = heights(committee, path)
        draw_band(axes, places, true, {name: energies.mean(0)}, {name: energies})
        top, own = energies.mean(0).max(), transfer.barrier(committee.mean, path.images[0], steps)
        print(f"{name}: {top:.2f} kcal/mol at the top of GFN2's band, wrong by", end=" ")
        barrier = f"{own[0]:.2f} kcal/mol" if own[1] else "did not converge"
        print(f"{abs(top - true.max()):.2f}; its own band: {barrier}")
    print(f"GFN2: {true.max():.2f} kcal/mol")


def show_labels(run: agal.Run, path: ReactionPath) -> None:
    """Draw where the labels of each generation lie, and say how many are near the middle."""
    view = TransferView(path)
    names = [f"generation {k + 1}" for k in range(len(run.labelled))]
    shown = plots.looks(names)
    _, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    start = {"marker": "o", "mfc": "white", "mec": "0.4", "ms": 5, "ls": "", "label": "start"}
    axes.plot(*view.places(run.start), **start)
    for name, data in zip(names, run.labelled, strict=True):
        colour = {"mfc": shown[name].colour, "mec": "white", "mew": 0.5}
        axes.plot(*view.places(data), "o", ms=6.5, label=name, **colour)
        near = sum(abs(x) < 0.3 for x in view.places(data)[0])
        print(f"{name}: {near} of {len(data)} labels within 0.3 Å of the middle")
    places = [view.coordinate(image) for image in path.images]
    axes.plot(places, view.true, "-", color=plots.TRUTH, lw=1.8, label="GFN2's band")
    axes.axvline(0, color="k", ls="--", lw=1.0)
    axes.set(xlabel=COORDINATE, ylabel="energy (kcal/mol)", ylim=(-1, HIGHEST))
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def show_uncertainty(committees: Mapping[str, Committee], path: ReactionPath) -> None:
    """Draw three structures of the band in colours of each committee's uncertainty."""
    middle = len(path.images) // 2
    shown = {"minimum": 0, "half-way up": middle // 2, "middle": middle}
    sigma = {
        (name, title): _uncertainty(committee, path.images[k])
        for name, committee in committees.items()
        for title, k in shown.items()
    }
    most = max(float(values.max()) for values in sigma.values())
    rows = (len(committees), len(shown))
    size = (8.6, 2.5 * len(committees))
    _, panels = plt.subplots(*rows, figsize=size, layout="constrained", squeeze=False)
    for line, name in zip(panels, committees, strict=True):
        for axes, (title, k) in zip(line, shown.items(), strict=True):
            values = sigma[name, title]
            colours, view = plots.heat(values, most), _flat(path.images[0])
            plots.molecule(axes, path.images[k], colours=colours, view=view)
            mean = MEV * float(np.sqrt(np.mean(values**2)))
            axes.set_title(f"{name}: {title}, {mean:.0f} {FORCES}", fontsize=9.5)
    plots.heat_bar(list(panels.flat), MEV * most, f"uncertainty of the force ({FORCES})")


def _flat(geometry: Geometry) -> Any:
    """Return the rotation that shows a planar molecule from above."""
    centred = geometry.positions - geometry.positions.mean(axis=0)
    turn = np.linalg.svd(centred)[2]
    return turn * np.array([[1.0], [1.0], [np.linalg.det(turn)]])


def _uncertainty(committee: Committee, geometry: Geometry) -> Any:
    """Return (n,) uncertainty of the force on each atom, eV/angstrom, as calculators tell it."""
    atoms = geometry.to_ase()
    atoms.calc = committee.calculator()
    atoms.get_forces()
    return atoms.calc.results["uncertainty"]


def show_simulation(atoms: Atoms, picoseconds: float, path: ReactionPath) -> None:
    """Simulate at constant energy; draw the transfer, and what the potential promises of forces.

    GFN2 labels some of the frames.
    """
    frames, energies, temperatures, largest = simulated(atoms, picoseconds, seed=0)
    times = 0.02 * np.arange(len(frames))
    coordinate = Coordinate.of(path.images[0])
    every = max(1, len(frames) // 25)
    truth = transfer.reference().labelled(frames[::every])
    calculator = atoms.calc
    assert isinstance(calculator, CommitteeCalculator)
    committee = calculator.committee
    off = committee.predict(list(truth)).forces.mean(0).numpy() - np.concatenate(truth.forces)
    wrong = np.linalg.norm(off.reshape(len(truth), -1, 3), axis=2).max(axis=1)
    _, (left, right) = _row(2, 3.1)
    left.plot(times, [coordinate(frame) for frame in frames], color=plots.ADVERSARIAL, lw=1.2)
    left.axhline(0, color="k", ls="--", lw=1.0)
    left.set(xlabel="time (ps)", ylabel=COORDINATE)
    right.plot(times, largest, color=plots.UNCERTAIN, lw=1.2, label="largest promised")
    style = {"color": plots.TRUTH, "ms": 5, "label": "largest found"}
    right.plot(times[::every], wrong, "o", **style)
    right.set(xlabel="time (ps)", ylabel="error of the force on an atom (eV/Å)")
    right.set_ylim(0, 1.4 * max(*largest, *wrong))
    plots.framed_legend(right, place="upper right", columns=2)
    for axes in (left, right):
        axes.grid(alpha=0.25)
    drift = MEV * (energies[-1] - energies[0]) / len(atoms)
    print(f"mean temperature {np.mean(temperatures):.0f} K")
    print(f"change of the total energy: {drift:.3f} meV per atom")


def show_asked(committee: Committee, adversaries: Sequence[Any], target: float) -> None:
    """Label attacks with a target; draw the errors found beside what was asked for."""
    structures = [adversary.geometry for adversary in adversaries]
    truth = transfer.reference().labelled(structures)
    error = committee.predict(structures).forces.mean(0).numpy() - np.concatenate(truth.forces)
    error = error.reshape(len(structures), -1, 3)
    found = np.sqrt((error**2).sum(-1).mean(-1))
    _, axes = plt.subplots(figsize=(6.0, 2.9), layout="constrained")
    numbers = np.arange(len(found)) + 1
    axes.bar(numbers, MEV * found, color=plots.ADVERSARIAL, width=0.6, label="found by GFN2")
    axes.axhline(MEV * target, color="k", ls="--", lw=1.2, label="asked for")
    axes.set(xlabel="structure", ylabel=f"force error ({FORCES})", xticks=numbers)
    axes.set_ylim(0, 1.4 * MEV * max(target, *found))
    axes.grid(axis="y", alpha=0.25)
    plots.framed_legend(axes, place="upper right", columns=2)


# -- the record of the study


def record() -> dict[str, Any] | None:
    """Return the stored study, None if there is none yet."""
    file = RESULTS / f"{study.NAME}-laptop.json"
    return read(file) if file.exists() else None


def show_study() -> None:
    """Draw the barrier's error by generation, and the force errors of each seed's committees."""
    stored = record()
    if stored is None:
        print("Not computed yet: the study.")
        return
    runs = stored["records"]
    _, (left, right) = _row(2, 3.4)
    shown = plots.looks([f"seed {name}" for name in runs])
    for name, run in runs.items():
        look, true = shown[f"seed {name}"], max(run["true"])
        final = np.mean(run["committees"]["final"]["heights"], axis=0).max()
        errors = np.abs(np.array([*run["heights"], final]) - true)
        counts = len(run["start"]["energy"]) + np.cumsum(
            [0, *(len(each["energy"]) for each in run["labels"])]
        )
        left.plot(counts, errors, lw=1.2, ms=5, label=f"seed {name}", **look.style)
        pair = [run["committees"][which]["forces"] for which in ("first", "final")]
        right.plot([0, 1], pair, lw=1.2, ms=5, label=f"seed {name}", **look.style)
    left.axhline(0.3, color="k", ls="--", lw=1.0, label="0.3 kcal/mol")
    left.set(xlabel="labelled structures", ylabel="error of the barrier (kcal/mol)", yscale="log")
    plots.style.plain_logarithm(left.yaxis)
    right.set(xticks=[0, 1], xticklabels=["first", "final"], xlim=(-0.3, 1.3), ylim=(0, None))
    right.set(ylabel=f"force error on the test data ({FORCES})", xlabel="committee")
    for axes in (left, right):
        axes.grid(alpha=0.25)
        plots.framed_legend(axes)


def beside_the_goal() -> Markdown:
    """Return the claims of the study as a table."""
    stored = record()
    if stored is None:
        return Markdown("Not computed yet: the study.")
    rows = []
    for claim in stored["claims"]:
        spread = " to ".join(f"{bound:.3g}" for bound in claim["spread"] or ())
        goal = "" if claim["goal"] is None else f"{claim['goal']:.3g}"
        found = f"{claim['value']:.3g} {claim['unit']}".strip()
        rows.append([claim["name"], found, spread, goal, str(claim["runs"])])
    return Markdown(markdown(["what", "found", "interval", "goal", "runs"], rows))
