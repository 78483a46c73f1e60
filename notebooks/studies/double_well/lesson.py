"""The pictures and checks of the double well's lesson, which its notebook calls by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from agal_toolkit import plots
from agal_toolkit.analysis.errors import sigma_and_error
from agal_toolkit.analysis.grids import Grid, Surface
from agal_toolkit.attack import Adversary
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Epoch
from agal_toolkit.geometry import points
from agal_toolkit.loop.generation import Generation
from agal_toolkit.plots.style import plain_logarithm
from agal_toolkit.references import DoubleWell
from agal_toolkit.uncertainty.variance import force_variance

from .. import lessons
from ..jobs import RESULTS, interval, read
from . import ablations, figures
from .langevin import Trajectory
from .recipes import PRESETS, STRATEGIES, Preset
from .study import final
from .typical import TYPICAL, ratios

PANEL = "part 4"  # of the notebook, where the loops run
WELL = DoubleWell()
Runs = Mapping[str, Sequence[Generation]]

check = lessons.check


def begin() -> tuple[Preset, int]:
    """Return the sizes of the chosen preset and the typical seed."""
    _, preset = lessons.begin(PRESETS)
    return preset, TYPICAL


def _row(columns: int, height: float) -> tuple[Any, Any]:
    return plt.subplots(1, columns, figsize=(9.4, height), layout="constrained")


def _true_energy(grid: Grid) -> NDArray:
    return WELL.energy(grid.positions).reshape(grid.points, grid.points)


def _cut(count: int = 400) -> tuple[NDArray, NDArray]:
    """Return x (count,) and the points (count, 2) of the line y = 0."""
    x = np.linspace(-1.5, 1.5, count)
    return x, np.column_stack([x, 0 * x])


# -- before the loop


def show_data(data: Dataset) -> None:
    """Draw the true energy with the data, and a cut along y = 0."""
    _, (left, right) = _row(2, 3.6)
    plots.energy_surface(left, (grid := Grid(points=80)), _true_energy(grid))
    plots.structures(left, data)
    left.set_title("true energy, and the first data (white)", fontsize=10)
    x, line = _cut()
    right.plot(x, WELL.energy(line), color=plots.TRUTH)
    right.axhspan(-5, -2, xmax=0.5, color="0.9")
    right.text(-1.4, -4.7, "the data are here", fontsize=9)
    right.set(xlabel="x", ylabel="energy at y = 0", xlim=(-1.5, 1.5), ylim=(-5, 6))
    right.set_title("true energy along y = 0", fontsize=10)
    right.grid(alpha=0.25)


def show_errors(committee: Committee, epochs: Sequence[Epoch]) -> None:
    """Draw the training, and the committee's error against its uncertainty; print how it ranks."""
    sigma, error = sigma_and_error(committee, Grid(points=40).labelled(WELL))
    _, (left, right) = _row(2, 3.3)
    plots.training_curves(left, epochs)
    left.set_title("training of the five members", fontsize=10)
    plots.sigma_against_error(right, sigma, error)
    right.set_title("a grid over the whole plane", fontsize=10)
    rank = float(spearmanr(sigma, error).statistic)
    words = "ranks the errors well" if rank > 0.6 else "ranks the errors, but not well"
    print(f"Rank correlation of uncertainty and error: {rank:.2f}. The uncertainty {words}.")
    median = float(np.median(error / sigma))
    print(f"The median error is {median:.1f} times the uncertainty.")


def show_attacks(attacks: Mapping[str, Sequence[Adversary]], data: Dataset) -> None:
    """Draw the paths of several attacks, each over the true energy, by their names."""
    grid = Grid(points=80)
    _, row = _row(len(attacks), 3.4)
    for axes, (title, adversaries) in zip(row, attacks.items(), strict=True):
        plots.energy_surface(axes, grid, _true_energy(grid), bar=axes is row[-1])
        plots.structures(axes, data)
        plots.attack_paths(axes, adversaries)
        axes.set_title(f"attacks on the true energy, {title}", fontsize=9)
        axes.label_outer()


def mean_energy_of_ends(adversaries: Sequence[Adversary]) -> float:
    """Return the mean true energy where attacks end."""
    return float(np.mean([WELL(adversary.geometry).energy for adversary in adversaries]))


def show_bounded(adversaries: Sequence[Adversary], committee: Committee, data: Dataset) -> None:
    """Draw attacks over the committee's uncertainty."""
    _, axes = plt.subplots(figsize=(4.8, 3.6), layout="constrained")
    plots.sigma_surface(axes, Surface.of(committee, Grid(points=60)))
    plots.structures(axes, data)
    plots.attack_paths(axes, adversaries, colour="#76d7c4")
    axes.set_title("attacks on the uncertainty alone, bounded", fontsize=10)


def is_boltzmann(answer: float) -> bool:
    """Return whether an answer is the Boltzmann factor of an energy of 4 at kT = 5."""
    return bool(np.isclose(answer, np.exp(-4 / 5), rtol=0.01))


def is_variance(answer: ArrayLike, committee: Committee, x: float, y: float) -> bool:
    """Return whether an answer is Eq. 10 at a point."""
    geometries = points([[x, y]])
    exact = force_variance(committee.predict(geometries), committee.batch(geometries))
    return bool(np.allclose(np.asarray(answer, dtype=float), exact.numpy()[0], rtol=1e-3))


# -- after the loop


def show_maps(generations: Sequence[Generation]) -> None:
    """Draw the committee's surface in each generation (Schwalbe-Koda 2021, Fig. 2a)."""
    if not lessons.started(generations, PANEL):
        return
    columns = 3
    rows = -(-len(generations) // columns)
    figure, panels = plt.subplots(
        rows, columns, squeeze=False, figsize=(9.4, 2.95 * rows), layout="constrained"
    )
    for axes in panels.flat[len(generations) :]:
        axes.axis("off")
    for axes, generation in zip(panels.flat, generations, strict=False):
        surface = Surface.of(generation.committee, Grid(points=60))
        plots.committee_surface(axes, generation, surface, bar=False)
    figure.suptitle(
        "mean energy of the committee; data: first (white), earlier (gray), new (black)",
        fontsize=10,
    )


def show_curves(runs: Runs) -> None:
    """Draw the learning curves of a pair of loops, and print who ends with the smaller error."""
    if not lessons.started(min(runs.values(), key=len), PANEL):
        return
    _, (error_axes, data_axes, energy_axes) = _row(3, 3.0)
    metric = next(iter(runs["random"][0].metrics))
    plots.learning_curves(error_axes, runs, metric, "RMSE of the energy")
    error_axes.set_title("error on the grid", fontsize=10)
    plots.data_curves(data_axes, runs)
    data_axes.set_title("labels", fontsize=10)
    plots.sampled_energies(energy_axes, runs)
    energy_axes.set_title("true energy of new labels", fontsize=10)
    energy_axes.set_ylabel("energy")
    last = {name: generations[-1] for name, generations in runs.items()}
    for name, generation in last.items():
        print(
            f"{name}: RMSE {generation.metrics[metric]:.2f} with {len(generation.dataset)} labels"
            f" in generation {generation.index + 1}"
        )
    ratio = last["random"].metrics[metric] / last["adversarial"].metrics[metric]
    better, factor = ("adversarial", ratio) if ratio > 1 else ("random", 1 / ratio)
    print(f"The {better} loop has the smaller error, by a factor of {factor:.1f}.")


def show_verdicts(generations: Sequence[Generation]) -> None:
    """Draw what the selectors did in the first generation, and how the loss of its attacks rose."""
    if not lessons.started(generations, PANEL):
        return
    first = generations[0]
    _, (bars, losses) = _row(2, 2.7)
    plots.verdict_bars(bars, first)
    bars.set_title("generation 1: kept, or dropped by which filter", fontsize=10)
    plots.attack_losses(losses, first.adversaries)
    losses.set_title("generation 1: what the attacks climb", fontsize=10)
    kept = first.verdicts.count("kept")
    print(f"{len(first.candidates)} attacks, {kept} of them kept and labelled")


def settled(trajectory: Trajectory, frames: int = 5) -> float:
    """Return the share of replicas that stay beyond x = 0.4 for `frames` frames in a row."""
    right = trajectory.positions[:, :, 0, 0] > 0.4
    windows = np.lib.stride_tricks.sliding_window_view(right, frames, axis=0)
    return float(windows.all(-1).any(0).mean())


def show_dynamics(
    trajectories: Mapping[str, Trajectory], generations: Sequence[Generation], kT: float
) -> None:
    """Draw where the particles were, and the first and last committee along y = 0."""
    for name, trajectory in trajectories.items():
        print(f"{name}: {settled(trajectory):.0%} of the particles settled in the right basin")
    lessons.started(generations, PANEL)
    x, line = _cut()
    density = np.exp(-WELL.energy(line) / kT)
    density /= density.sum() * (x[1] - x[0])
    _, (where, cut) = _row(2, 3.4)
    figures.position_density(where, trajectories, (x, density))
    where.set_title(f"where the particles were, kT = {kT:g}", fontsize=10)
    chosen = (("first committee", plots.RANDOM, 0), ("last committee", plots.ADVERSARIAL, -1))
    for label, colour, index in chosen if generations else ():
        energies = generations[index].committee.predict(points(line)).energy.numpy()
        cut.plot(x, energies.mean(0), color=colour, label=label)
        cut.fill_between(x, energies.min(0), energies.max(0), color=colour, alpha=0.2, lw=0)
    cut.plot(x, WELL.energy(line), "--", color=plots.TRUTH, lw=1, label="true energy")
    cut.set(xlabel="x", ylabel="energy at y = 0", ylim=(-5, 8))
    cut.set_title("energy along y = 0 (band: all members)", fontsize=10)
    plots.framed_legend(cut)


# -- the record of the study


def show_luck(seed: int) -> None:
    """Draw the ratio of the final errors of five pairs of loops, the lesson's seed marked."""
    found = ratios()
    _, axes = plt.subplots(figsize=(7.2, 2.4), layout="constrained")
    order = sorted(found, key=found.__getitem__)
    colours = [plots.ADVERSARIAL if each == seed else "0.7" for each in order]
    axes.bar(range(len(order)), [found[each] - 1 for each in order], bottom=1, color=colours)
    axes.axhline(1, color="k", lw=0.8)
    axes.set(xticks=range(len(order)), xticklabels=order, xlabel="seed", yscale="log")
    axes.set_ylabel("error of random\nover adversarial")
    axes.set_title("final errors of pairs of loops; above 1 the attacks win", fontsize=10)
    plain_logarithm(axes.yaxis)
    wins = sum(ratio > 1 for ratio in found.values())
    print(f"The adversarial loop has the smaller error in {wins} of {len(found)} pairs.")


def record(variant: str) -> dict[str, Any]:
    """Return the stored result of a variant of the study."""
    return read(RESULTS / f"double_well_{variant}-laptop.json")


def show_pairs(result: Mapping[str, Any]) -> None:
    """Draw medians and quartiles of many pairs of loops (Schwalbe-Koda 2021, Fig. 2b)."""
    figure, panels = _row(3, 3.0)
    figures.pairs_summary(*panels, result["records"]["pairs"], STRATEGIES)
    for axes, title in zip(panels, ("error", "labels", "energy of new labels"), strict=True):
        axes.set_title(title, fontsize=10)
    pairs = result["settings"]["pairs"]
    figure.suptitle(
        f"{result['settings']['about']}, {pairs} pairs: median, and half of all pairs (band)",
        fontsize=10,
    )


def show_outliers(results: Sequence[Mapping[str, Any]]) -> None:
    """Draw each loop's final error against the highest energy that it labelled."""
    _, row = plt.subplots(
        1, len(results), figsize=(9.4, 3.0), layout="constrained", sharex=True, sharey=True
    )
    for axes, result in zip(row, results, strict=True):
        pairs = result["records"]["pairs"]
        for strategy in STRATEGIES:
            loops = [pair[strategy] for pair in pairs]
            highest = [max(e for r in loop for e in r["energies"]) for loop in loops]
            look = {"ms": 5, "alpha": 0.7, "color": plots.strategy_colour(strategy)}
            axes.loglog(highest, final(pairs, strategy), "o", label=strategy, **look)
        axes.set(xlabel="highest energy that was labelled", ylabel="final RMSE of the energy")
        axes.set_title(result["settings"]["about"], fontsize=10)
        axes.grid(alpha=0.25)
        axes.label_outer()
    row[0].legend(frameon=False, fontsize=8)


def wins(result: Mapping[str, Any]) -> int:
    """Return the number of pairs in which the adversarial loop ends with the smaller error."""
    pairs = result["records"]["pairs"]
    return int(np.sum(final(pairs, "adversarial") < final(pairs, "random")))


def show_ablations() -> None:
    """Draw the final errors of our recipe and of each of its changes."""
    compared = ablations.rows(RESULTS)
    _, axes = plt.subplots(figsize=(7.6, 0.32 * len(compared) + 1.0), layout="constrained")
    errors = [row.errors for row in compared]
    intervals = [interval(values, statistic=np.median) for values in errors]
    label = "final RMSE of the energy"
    figures.error_rows(axes, [row.about for row in compared], errors, intervals, label)
    axes.set_title("each row changes one part of our recipe; bars: 95 % intervals", fontsize=10)
