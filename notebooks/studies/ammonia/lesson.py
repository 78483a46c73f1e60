"""The pictures and checks of ammonia's lesson, which its notebook calls by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from ase import units
from IPython.display import Markdown
from numpy.typing import NDArray

from agal_toolkit import plots
from agal_toolkit.analysis.descriptors import Soap, Umap
from agal_toolkit.analysis.paths import NudgedElasticBand
from agal_toolkit.analysis.rmsd import AlignedRmsd
from agal_toolkit.attack import Adversary
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.loop.generation import Generation
from agal_toolkit.references import NoMinimum

from .. import lessons
from ..atlas import Atlas
from ..jobs import RESULTS, markdown, read
from . import figures, gallery
from .committees import R_EDGES, TEMPERATURES, Z_EDGES, Barrier
from .inversion import inversion_path
from .plane import Ground, PlaneSurface, ammonia, distortions
from .recipes import KCAL, PRESETS, Preset
from .stability import physical
from .truth import Truth, load_truth
from .view import AmmoniaView

__all__ = ["KCAL", "AmmoniaView", "Barrier", "begin", "check", "physical"]

PANEL = "part 5"  # of the notebook, where the loop runs
DATA = RESULTS / "ammonia"
SEED = 0
STARTS = ("thermal", "cold", "frozen")

check = lessons.check


def begin() -> tuple[Preset, Truth]:
    """Return the sizes of the chosen preset, and what the reference says of ammonia."""
    _, preset = lessons.begin(PRESETS)
    return preset, load_truth(DATA / "reference", sizes=PRESETS["laptop"].truth)


def _row(columns: int, height: float, **options: Any) -> tuple[Any, Any]:
    return plt.subplots(1, columns, figsize=(9.4, height), layout="constrained", **options)


def _profile(known: Truth) -> tuple[NDArray, NDArray]:
    """Return the reference's path: fractions, and energies in kcal/mol."""
    path = known.path
    return path.lengths / path.lengths[-1], (path.energies - path.energies[0]) / KCAL


# -- before the loop


def show_truth(known: Truth) -> None:
    """Draw the reference's inversion path and its (Z, R) surface."""
    _, (left, right) = _row(2, 3.3)
    barrier = known.path.barrier / KCAL
    figures.inversion_paths(left, {"DFT": _profile(known)}, barrier=barrier)
    left.set_title("DFT along the inversion", fontsize=10)
    surface = known.surface
    figures.plane_surface(right, surface.grid.z, surface.grid.r, surface.energy / KCAL)
    right.set_title("DFT on symmetric geometries", fontsize=10)
    figures.plane_bar([right])


def first_data(count: int) -> Dataset:
    """Return the first `count` stored structures, displaced along normal modes, with labels."""
    return Dataset.read(DATA / f"thermal-{SEED}.extxyz")[:count]


def heights(structures: Sequence[Any], known: Truth) -> NDArray:
    """Return (n,) heights Z of nitrogen above the hydrogens' plane; 1 in the ground state."""
    return Ground.of(known.ground).project(list(structures))[:, 0]


def show_data(data: Dataset, known: Truth) -> None:
    """Draw energies and heights of the first data."""
    _, (left, right) = _row(2, 2.6)
    left.hist((data.energies - known.zero) / KCAL, bins=20, color="0.6")
    left.set(xlabel="energy above the ground state (kcal/mol)", ylabel="structures")
    left.set_title("energies of the first data", fontsize=10)
    right.hist(heights(data, known), bins=20, color="0.6")
    right.axvline(0, color="k", ls="--", lw=1, label="barrier")
    right.set(xlabel="height of nitrogen, Z (ground state: 1)", ylabel="structures")
    right.set(xlim=(-1.5, 1.5))
    right.set_title("heights of the first data", fontsize=10)
    plots.framed_legend(right)


def show_committee(committee: Committee, data: Dataset, known: Truth) -> None:
    """Draw a committee's surface and inversion path beside the reference's; print its barrier."""
    grid = known.surface.grid
    _, (left, right) = _row(2, 3.3)
    surface = PlaneSurface.of(committee, grid, known.zero)
    points = grid.ground.project(list(data))
    figures.plane_surface(left, grid.z, grid.r, surface.energy / KCAL, structures=points)
    left.set_title("the committee; its data are white", fontsize=10)
    figures.plane_bar([left])
    _show_paths(right, {"committee": committee}, known)
    barrier = Barrier(known.ground)(committee, known.plane)
    exact = known.path.barrier / KCAL
    if np.isnan(barrier):
        print("The committee's surface has no minimum near the ground state.")
    else:
        print(
            f"barrier: committee {barrier:.2f} kcal/mol, DFT {exact:.2f} kcal/mol; the committee"
            f" is wrong by {abs(barrier - exact):.2f}"
        )


def _show_paths(axes: Any, committees: Mapping[str, Committee], known: Truth) -> None:
    curves = {"DFT": _profile(known)}
    for name, committee in committees.items():
        try:
            band = NudgedElasticBand(images=len(known.path.images))
            path = inversion_path(committee.mean, ground=known.ground, band=band)
        except NoMinimum:
            continue
        energies = (path.energies - path.energies[0]) / KCAL
        curves[name] = path.lengths / path.lengths[-1], energies
    figures.inversion_paths(axes, curves, barrier=known.path.barrier / KCAL)
    axes.set_title("energy along the inversion", fontsize=10)


def most_telling_first(adversaries: Sequence[Adversary], known: Truth) -> list[Adversary]:
    """Return attacks in the order in which a reader should see them, and print the first five.

    Attacks that cross the plane of the hydrogens, Z = 0, come first, then those that end near it.
    """
    ground = Ground.of(known.ground)

    def path(adversary: Adversary) -> NDArray:
        moved = adversary.path[: adversary.kept + 1]
        return ground.project_frames(moved, adversary.geometry.numbers)[:, 0]

    def order(adversary: Adversary) -> tuple[bool, float]:
        z = path(adversary)
        return not z.min() < 0 < z.max(), abs(z[-1])

    result = sorted(adversaries, key=order)
    for number, adversary in enumerate(result[:5]):
        z, moved = path(adversary), adversary.path[adversary.kept] - adversary.path[0]
        across = ", across the plane of the hydrogens" if z.min() < 0 < z.max() else ""
        print(
            f"attack {number}: Z goes from {z[0]:.2f} to {z[-1]:.2f}{across}; an atom moves by"
            f" {np.linalg.norm(moved, axis=1).max():.2f} Å"
        )
    near = sum(abs(path(adversary)[-1]) < 0.1 for adversary in result)
    print(f"{near} of {len(result)} attacks end within 0.1 of the plane Z = 0.")
    return result


def is_thermal_energy(answer: float) -> bool:
    """Return whether an answer is kT at 300 K in kcal/mol."""
    return bool(np.isclose(answer, units.kB * 300 / KCAL, rtol=0.02))


# -- after the loop


def show_rounds(generations: Sequence[Generation], known: Truth) -> None:
    """Draw the inversion path of every committee; print what each round did."""
    if not lessons.started(generations, PANEL):
        return
    exact = known.path.barrier / KCAL
    _, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    committees = {f"committee {turn.index + 1}": turn.committee for turn in generations}
    _show_paths(axes, committees, known)
    errors = []
    for turn in generations:
        errors.append(abs(turn.metrics["barrier"] - exact))
        print(
            f"committee {turn.index + 1}: {len(turn.dataset)} structures; its barrier is wrong by"
            f" {errors[-1]:.2f} kcal/mol, its surface below 40 kcal/mol by"
            f" {turn.metrics['RMSE below 40 kcal/mol']:.1f} kcal/mol"
        )
    if len(errors) > 1:
        better = "smaller" if errors[-1] < errors[0] else "not smaller"
        print(f"The error of the barrier is {better} than before the attacks.")


def show_verdicts(generations: Sequence[Generation]) -> None:
    """Draw what became of the first round's attacks."""
    if not lessons.started(generations, PANEL):
        return
    first = generations[0]
    _, (bars, losses) = _row(2, 2.6)
    plots.verdict_bars(bars, first)
    bars.set_title("round 1: kept, or dropped by which filter", fontsize=10)
    plots.attack_losses(losses, first.adversaries)
    losses.set_title("round 1: what the attacks climb (no unit)", fontsize=10)


# -- the record of the study


def record(start: str, recipe: str = "ours") -> dict[str, Any]:
    """Return the stored result of a start and a recipe."""
    return read(RESULTS / f"ammonia_{recipe}_{start}-laptop.json")


def _first_run() -> dict[str, Any]:
    return record("thermal")["records"]["runs"][0]


class Sampled:
    """The structures of the record's first run by kind, with their descriptors and places."""

    def __init__(self, known: Truth) -> None:
        seed, sizes = _first_run()["seed"], PRESETS["laptop"]
        self.kinds = gallery.structures(DATA, "ours", "thermal", seed, "laptop", sizes)
        self.sets = {kind: data for kind, data in self.kinds.items() if kind != "attacks 3"}
        self.geometries = [geometry for data in self.sets.values() for geometry in data]
        self.groups = [kind for kind, data in self.sets.items() for _ in data]
        self.energies = {
            kind: (data.energies - known.zero) / KCAL for kind, data in self.sets.items()
        }
        self.vectors = Soap()(self.geometries)
        self.looks = plots.looks(list(self.kinds))
        self.known = known

    def atlas(self) -> Atlas:
        """Return the map of all structures; print how far apart their kinds are."""
        away = gallery.nearest(self.vectors, self.groups, "Hessian-displaced")
        apart = min(away["attacks 1"], away["attacks 2"]) / away["random 0.1 Å"]
        print(
            f"The SOAP vectors of attacks are {apart:.1f} times as far from the nearest"
            " first structure as those of random displacements of 0.1 Å."
        )
        return Atlas(
            Umap(seed=0)(self.vectors),
            self.geometries,
            self.groups,
            {"DFT": np.concatenate(list(self.energies.values()))},
            colours={kind: self.looks[kind].colour for kind in self.sets},
            axes=("UMAP 1", "UMAP 2"),
            unit="kcal/mol",
        )

    def show_energies(self) -> None:
        """Draw energies by kind, and against the distance from the ground state."""
        _, (boxes, scatter) = _row(2, 3.6)
        failed = gallery.failures(self.kinds, PRESETS["laptop"])
        figures.energy_boxes(boxes, self.energies, failed=failed, shown=self.looks)
        boxes.set_title("energies of all kinds", fontsize=10)
        deviation, ground = AlignedRmsd(reflections=True), self.known.ground
        far = {
            kind: (np.array([deviation(ground, g) for g in data]), self.energies[kind])
            for kind, data in self.sets.items()
        }
        figures.energy_against_rmsd(scatter, far, logarithmic=True, shown=self.looks)
        scatter.set_title("energy and distance from the ground state", fontsize=10)


def show_stored_paths(known: Truth) -> None:
    """Draw the inversion paths of the record's first run (Schwalbe-Koda 2021, Fig. 3d)."""
    _, axes = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
    curves, members = gallery.path_curves(_first_run(), _profile(known))
    barrier = known.path.barrier / KCAL
    figures.inversion_paths(axes, curves, members=members, barrier=barrier)
    axes.set_title("seed 0, thermal start; thin: members", fontsize=10)


def show_barriers(known: Truth) -> None:
    """Draw the errors of the barrier of all seeds, for each recipe and start."""
    barrier, stored = known.path.barrier / KCAL, {}
    for start in STARTS:
        for recipe in ("printed", "ours"):
            if (RESULTS / f"ammonia_{recipe}_{start}-laptop.json").exists():
                stored[recipe, start] = record(start, recipe)["records"]["runs"]
    _, panels = plt.subplots(
        len(stored), 1, figsize=(7.2, 2.1 * len(stored) + 0.4), layout="constrained"
    )
    for axes, ((recipe, start), runs) in zip(panels, stored.items(), strict=True):
        figures.barrier_errors(axes, gallery.errors_of_barriers(runs, barrier))
        axes.set_title(f"{recipe} recipe, {start} start, {len(runs)} seeds", fontsize=10)


def show_surfaces(known: Truth) -> None:
    """Draw every committee's surface (Schwalbe-Koda 2021, Fig. 3e)."""
    run, grid = _first_run(), known.surface.grid
    surfaces = {"DFT": known.surface.energy / KCAL}
    for key, name in gallery.NAMES.items():
        surfaces[name] = gallery.whole(run["committees"][key]["surface"]["energy"])
    sets = {
        "committee 1": {"structures": "start"},
        "committee 2": {"structures": "start", "attacks": "attacks 1"},
        "committee 3": {"structures": "start", "attacks": "attacks 2"},
        "random": {"structures": "random"},
    }
    figure, panels = plt.subplots(
        2, 3, figsize=(9.4, 5.6), layout="constrained", sharex=True, sharey=True
    )
    for axes, (title, surface) in zip(panels.flat, surfaces.items(), strict=True):
        drawn = {
            key: np.array(run["sets"][name]["plane"]) for key, name in sets.get(title, {}).items()
        }
        figures.plane_surface(axes, grid.z, grid.r, surface, **drawn)
        axes.set_title(title, fontsize=10)
        axes.label_outer()
    figures.plane_bar(list(panels.flat))
    figure.suptitle("seed 0, thermal start; data white, new attacks black", fontsize=10)


def show_errors() -> None:
    """Draw errors of the surface below an energy, and the share of stable simulations (Fig. 3f)."""
    runs = record("thermal")["records"]["runs"]
    _, (left, right) = _row(2, 3.5)
    caps, middle, spread = gallery.errors_below_caps(runs)
    look = plots.looks(list(middle))
    figures.errors_below(left, caps, middle, spread=spread, shown=look)
    left.set_title("errors of the surface", fontsize=10)
    paper = {"committee 3": 0.83, "random": 0.63}
    figures.stable_bars(right, gallery.stable_fractions(runs), paper=paper, shown=look)
    right.set_title("simulations that stay physical", fontsize=10)


def show_geometries(known: Truth) -> None:
    """Draw structures of several (Z, R), and several of one (Schwalbe-Koda 2021, Fig. 4)."""
    ground = known.surface.grid.ground
    _, panels = plt.subplots(2, 5, figsize=(9.4, 3.9), layout="constrained")
    places = [(0.0, 1.0), (0.6, 1.0), (1.0, 1.0), (1.4, 1.0), (1.0, 1.3)]
    for axes, (z, r) in zip(panels[0], places, strict=True):
        plots.molecule(axes, ammonia(z, r, ground), limit=1.6)
        axes.set_title(f"Z = {z:g}, R = {r:g}", fontsize=9)
    distorted = distortions(1.0, 1.0, ground, 5, np.random.default_rng(1))
    for axes, geometry in zip(panels[1], distorted, strict=True):
        plots.molecule(axes, geometry, ghost=ammonia(1.0, 1.0, ground), limit=1.6)
        axes.set_title("Z = 1, R = 1", fontsize=9)


def show_dynamics(known: Truth) -> None:
    """Draw where stable and broken simulations went, with attacks (Schwalbe-Koda 2021, Fig. 5)."""
    run, grid = _first_run(), known.surface.grid
    moved = run["committees"]["third"]["stability"]
    frames = moved["frames"]
    counts_of = {"stable": moved["stable"], "unstable": moved["runs"] - moved["stable"]}
    attacks = np.array(run["sets"]["attacks 3"]["plane"])
    contours = (grid.z, grid.r, known.surface.energy / KCAL)
    kinds = [kind for kind, count in counts_of.items() if count]
    _, panels = _row(len(kinds), 3.5, sharey=True, squeeze=False)
    for axes, kind in zip(panels.flat, kinds, strict=True):
        counts = np.array(frames[kind])
        figures.frame_density(axes, Z_EDGES, R_EDGES, counts, contours=contours, attacks=attacks)
        axes.set_title(f"{counts_of[kind]} {kind} simulations; attacks red", fontsize=10)
    figures.density_bar(list(panels.flat))
    seldom = gallery.seldom_visited(attacks, np.array(frames["stable"]), Z_EDGES, R_EDGES)
    print(f"{seldom:.0%} of the attacks lie where simulations rarely go:")
    print("there, the map has less than a thousandth of the stable frames.")


def show_temperatures() -> None:
    """Draw the share of stable simulations at each temperature, for every start."""
    figure, panels = _row(len(STARTS), 3.1, sharey=True)
    for axes, start in zip(panels, STARTS, strict=True):
        fractions = gallery.stable_fractions_by_temperature(record(start)["records"]["runs"])
        look = plots.looks(list(fractions))
        for name, values in fractions.items():
            shown = look[name]
            style = {"marker": shown.marker, "ms": 4, "color": shown.colour, "label": name}
            axes.plot(TEMPERATURES, values, shown.line, **style)
        axes.set(xlabel="temperature (K)", ylim=(0, 1.03))
        axes.set_title(f"{start} start", fontsize=10)
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("share of stable simulations")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9
    )


def show_judged() -> None:
    """Draw what the reference says of attacks on the third committee, for every start."""
    _, panels = _row(len(STARTS), 3.3, sharex=True, sharey=True)
    for axes, start in zip(panels, STARTS, strict=True):
        runs = record(start)["records"]["runs"]
        keys = ("committee", "reference")
        predicted, exact = np.hstack(
            [np.array([run["judged"][key] for key in keys]) for run in runs]
        )
        figures.judged_energies(axes, exact, predicted)
        axes.set_title(f"attacks, {start} start, {len(runs)} seeds", fontsize=10)
        axes.label_outer()


def show_training_length() -> None:
    """Draw how barrier and error depend on the steps of training, for the thermal start."""
    curves = read(RESULTS / "ammonia_convergence-laptop.json")
    lines: dict[str, list[Any]] = {}
    shown = {"repeat": 0, "start": "thermal", "features": 64, "batch": 10}
    for fit in curves["records"]["fits"]:
        if all(fit[key] == value for key, value in shown.items()):
            lines.setdefault(fit["committee"], []).append(fit)
    look, truth = plots.looks(list(lines)), curves["records"]["truth"]
    _, (left, right) = _row(2, 3.5, sharex=True)
    for axes, label, key, options in (
        (left, "barrier, committee less DFT (kcal/mol)", None, {}),
        (right, "RMSE below 20 kcal/mol (kcal/mol)", "20", {"logarithmic": True}),
    ):
        points = {}
        for name, fits in lines.items():
            values = [
                fit["barrier"] - truth if key is None else fit["rmse below"][key] for fit in fits
            ]
            points[name] = np.array([fit["steps"] for fit in fits]), np.array(values)
        tolerance = 0.05 if key is None else None
        figures.convergence_curves(axes, points, label, tolerance=tolerance, shown=look, **options)
    left.set_title("barrier", fontsize=10)
    right.set_title("surface", fontsize=10)
    right.get_legend().remove()


def beside_the_paper() -> Markdown:
    """Return a short table of claims that have a number in the paper, from two starts."""
    names = {
        "barrier error, first committee": "error of the barrier, first committee",
        "barrier error, third committee": "error of the barrier, third committee",
        "barrier error, random": "error of the barrier, random structures",
        "stable simulations, third committee": "stable simulations, third committee",
        "stable simulations, random": "stable simulations, random structures",
    }
    claims = {
        start: {claim["name"]: claim for claim in record(start)["claims"]}
        for start in ("thermal", "frozen")
    }
    rows = []
    for name, words in names.items():
        found = [claims[start][name] for start in claims]
        values = [f"{claim['value']:.2f} {claim['unit']}".strip() for claim in found]
        rows.append((words, found[0]["paper"] or "", *values))
    return Markdown(markdown(("what", "paper", "thermal start", "frozen start"), rows))
