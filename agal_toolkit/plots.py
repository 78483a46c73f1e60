"""Pictures of what happened: functions that draw records on matplotlib axes.

Every function takes axes first and returns nothing, so pictures compose; none touches pyplot, so they may be drawn in
any thread on an Agg canvas. Colours mean the same everywhere: red is adversarial, blue random; white points are the
original data, gray ones acquired earlier, black ones new (Schwalbe-Koda 2021, Fig. 2a).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter
from numpy.typing import NDArray

from .analysis.surfaces import Grid, Surface
from .attack.attack import Adversary
from .dataset import Dataset
from .dynamics import Trajectory
from .events import Epoch
from .generation import KEPT, Generation

ADVERSARIAL, RANDOM, TRUTH = "#c0392b", "#2471a3", "0.15"
ENERGY_COLOURS, SIGMA_COLOURS = "viridis", "magma"


def strategy_colour(name: str) -> str:
    """Red for adversarial, blue for random, green for anything else."""
    return {"adversarial": ADVERSARIAL, "random": RANDOM}.get(name, "#1e8449")


def _plane(axes: Axes, grid: Grid) -> None:
    axes.set(xlim=(-grid.limit, grid.limit), ylim=(-grid.limit, grid.limit), xlabel="x", ylabel="y", aspect="equal")
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def energy_surface(axes: Axes, grid: Grid, energy: NDArray, *, top: float = 8.0, bottom: float = -5.0, bar: bool = True) -> None:
    """Filled contours of an energy (points, points) with equal levels everywhere; values beyond them take the end colours."""
    levels = np.linspace(bottom, top, 27)
    filled = axes.contourf(grid.axis, grid.axis, energy, levels=levels, cmap=ENERGY_COLOURS, extend="both")
    axes.contour(grid.axis, grid.axis, energy, levels=levels[::2], colors="k", linewidths=0.4, alpha=0.35)
    _plane(axes, grid)
    if bar:
        axes.figure.colorbar(filled, ax=axes, label="energy", fraction=0.046, pad=0.03, ticks=MaxNLocator(8, integer=True))


def sigma_surface(axes: Axes, surface: Surface, *, bar: bool = True) -> None:
    """Root of the force variance on a logarithmic scale (Schwalbe-Koda 2021, Eq. 10)."""
    values = np.log10(np.maximum(surface.sigma, 1e-3))
    filled = axes.contourf(surface.grid.axis, surface.grid.axis, values, levels=np.linspace(-2, 2, 25), cmap=SIGMA_COLOURS, extend="both")
    _plane(axes, surface.grid)
    if bar:
        axes.figure.colorbar(filled, ax=axes, label=r"$\log_{10}\,\sigma_F$", fraction=0.046, pad=0.03, ticks=range(-2, 3))


def structures(axes: Axes, dataset: Dataset, new: Dataset | None = None) -> None:
    """Labelled points on a plane: original white, acquired gray, `new` black."""
    positions = np.array([geometry.positions[0] for geometry in dataset]).reshape(-1, 2)
    later = dataset.generations > 0
    style = {"s": 14, "linewidths": 0.6, "zorder": 3}
    axes.scatter(*positions[~later].T, c="white", edgecolors="k", label="original", **style)
    axes.scatter(*positions[later].T, c="0.6", edgecolors="k", label="earlier", **style)
    if new is not None and len(new):
        axes.scatter(*np.array([geometry.positions[0] for geometry in new]).T, c="k", edgecolors="white", s=20, linewidths=0.5, zorder=4, label="new")


def tag(axes: Axes, text: str) -> None:
    """A label in the top left corner, readable on any colour."""
    axes.text(0.03, 0.97, text, transform=axes.transAxes, va="top", ha="left", fontsize=9, bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.85})


def committee_surface(axes: Axes, generation: Generation, surface: Surface, *, bar: bool = True) -> None:
    """The mean energy of a generation's committee with its data and what it asked for: a panel of Schwalbe-Koda 2021, Fig. 2a."""
    energy_surface(axes, surface.grid, surface.energy, bar=bar)
    structures(axes, generation.dataset, generation.labelled)
    tag(axes, f"generation {generation.index + 1}")


def uncertainty_surface(axes: Axes, generation: Generation, surface: Surface, *, bar: bool = True) -> None:
    """The uncertainty of a generation's committee with the same points."""
    sigma_surface(axes, surface, bar=bar)
    structures(axes, generation.dataset, generation.labelled)
    tag(axes, f"generation {generation.index + 1}")


def learning_curves(axes: Axes, runs: Mapping[str, Sequence[Generation]], metric: str = "rmse", label: str = "RMSE on the grid") -> None:
    """A metric against the generation, one line for each strategy (Schwalbe-Koda 2021, Fig. 2b)."""
    for name, generations in runs.items():
        values = [g.metrics[metric] for g in generations]
        axes.plot([g.index + 1 for g in generations], values, "o-", ms=4, color=strategy_colour(name), label=name)
    if any(runs.values()):
        axes.set_yscale("log")
        _plain_logarithm(axes)
    _by_generation(axes, label)


def data_curves(axes: Axes, runs: Mapping[str, Sequence[Generation]]) -> None:
    """The number of labelled structures against the generation."""
    for name, generations in runs.items():
        axes.plot([g.index + 1 for g in generations], [len(g.dataset) for g in generations], "s-", ms=4, color=strategy_colour(name), label=name)
    _by_generation(axes, "labelled structures")


def sampled_energies(axes: Axes, runs: Mapping[str, Sequence[Generation]]) -> None:
    """True energies of what each generation asked for: points, and a line through the medians."""
    for offset, (name, generations) in zip(np.linspace(-0.12, 0.12, max(len(runs), 1)), runs.items(), strict=False):
        asked = [g for g in generations if len(g.labelled)]
        for g in asked:
            axes.plot(np.full(len(g.labelled), g.index + 1 + offset), g.labelled.energies, ".", ms=3, alpha=0.4, color=strategy_colour(name))
        axes.plot([g.index + 1 + offset for g in asked], [np.median(g.labelled.energies) for g in asked], "_-", ms=10, color=strategy_colour(name), label=name)
    axes.set_yscale("symlog", linthresh=10)
    _by_generation(axes, "energy of sampled points")


def band(axes: Axes, values: Mapping[str, NDArray | Sequence[NDArray]], label: str, *, scale: str = "log") -> None:
    """Median and interquartile band by generation, one for each strategy (Schwalbe-Koda 2021, Fig. 2b).

    Args:
        values: strategy -> for each generation the numbers (n,) of all runs; generations without numbers are left out.
        label: of the vertical axis.
        scale: of the vertical axis; "symlog" is linear below 10.
    """
    for name, generations in values.items():
        known = [k for k, numbers in enumerate(generations) if len(numbers)]
        low, middle, high = np.array([np.percentile(generations[k], [25, 50, 75]) for k in known]).T
        at, colour = np.array(known) + 1, strategy_colour(name)
        axes.plot(at, middle, "o-", ms=4, color=colour, label=name)
        axes.fill_between(at, low, high, color=colour, alpha=0.18, lw=0)
    axes.set_yscale(scale, **({"linthresh": 10} if scale == "symlog" else {}))
    if scale == "log":
        _plain_logarithm(axes)
    _by_generation(axes, label)


def pairs_summary(error_axes: Axes, data_axes: Axes, energy_axes: Axes, pairs: Sequence[Mapping[str, Any]], strategies: Sequence[str]) -> None:
    """The three panels of Schwalbe-Koda 2021, Fig. 2b, from the records of a study's pairs."""
    def numbers(read: Callable[[Mapping[str, Any]], Any]) -> dict[str, list[NDArray]]:
        return {s: [np.hstack([read(r) for r in generation]) for generation in zip(*(pair[s] for pair in pairs), strict=True)] for s in strategies}

    band(error_axes, numbers(lambda r: r["metrics"]["rmse"]), "RMSE on the grid")
    band(data_axes, numbers(lambda r: r["structures"]), "training points", scale="linear")
    band(energy_axes, numbers(lambda r: r["energies"]), "energy of sampled points", scale="symlog")


def error_rows(axes: Axes, names: Sequence[str], errors: Sequence[NDArray], intervals: Sequence[tuple[float, float]], label: str) -> None:
    """A row for each name: every run as a dot, the median with its interval, and a line at the first row's median."""
    for row, (runs, (low, high)) in enumerate(zip(errors, intervals, strict=True)):
        axes.plot(runs, np.full(len(runs), row), ".", ms=4, color="0.7", zorder=1)
        axes.plot([low, high], [row, row], "-", lw=2, color=ADVERSARIAL, zorder=2)
        axes.plot(np.median(runs), row, "o", ms=5, color=ADVERSARIAL, mec="white", zorder=3)
    axes.axvline(np.median(errors[0]), color="0.5", lw=0.8, ls="--", zorder=0)
    axes.set(xscale="log", xlabel=label, yticks=range(len(names)), ylim=(len(names) - 0.5, -0.5))
    axes.set_yticklabels(names)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", alpha=0.25)


def _plain_logarithm(axes: Axes) -> None:
    """Numbers, not powers, on a logarithmic vertical axis."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _by_generation(axes: Axes, label: str) -> None:
    axes.set(xlabel="generation", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def attack_paths(axes: Axes, adversaries: Sequence[Adversary], colour: str = ADVERSARIAL) -> None:
    """Where the particle of each attack went: a hollow start, a line, a dot at the kept iterate."""
    for adversary in adversaries:
        path = adversary.path[: adversary.kept + 1, 0]
        axes.plot(*path.T, "-", color=colour, lw=1.0, alpha=0.8, zorder=5)
        axes.plot(*path[0], "o", ms=4, mfc="white", mec=colour, zorder=6)
        axes.plot(*path[-1], "o", ms=5, color=colour, mec="white", mew=0.6, zorder=7)


def attack_losses(axes: Axes, adversaries: Sequence[Adversary]) -> None:
    """The adversarial loss of each attack along its steps; larger is better here, as the papers print it."""
    for adversary in adversaries:
        axes.plot(-adversary.losses, lw=1.0, color=ADVERSARIAL, alpha=0.6)
        axes.plot(adversary.kept, -adversary.losses[adversary.kept], "o", ms=4, color=ADVERSARIAL, mec="white", mew=0.5)
    axes.set(xlabel="attack step", ylabel=r"$\mathcal{L}_\mathrm{adv}$")
    axes.grid(alpha=0.25)


def verdict_bars(axes: Axes, generation: Generation) -> None:
    """How many candidates were kept, and what dropped the others."""
    names = sorted(set(generation.verdicts), key=lambda name: (name != KEPT, name))
    counts = [generation.verdicts.count(name) for name in names]
    axes.barh(names, counts, color=[ADVERSARIAL if name == KEPT else "0.75" for name in names])
    axes.invert_yaxis()
    axes.set(xlabel="candidates", xlim=(0, max(counts, default=1) * 1.15))
    for row, count in enumerate(counts):
        axes.text(count, row, f" {count}", va="center", fontsize=8)


def sigma_histogram(axes: Axes, sigma: NDArray, threshold: float | None = None) -> None:
    """Distribution of uncertainties (n,) on a logarithmic axis; `threshold` is marked."""
    positive = sigma[sigma > 0]
    if len(positive):
        edges = np.geomspace(positive.min(), positive.max() * 1.0001, 30)
        axes.hist(positive, bins=edges, color="#7d3c98", alpha=0.8)
        axes.set_xscale("log")
    if threshold is not None:
        axes.axvline(threshold, color="k", ls="--", lw=1)
    axes.set(xlabel=r"$\sigma_F$", ylabel="structures")


def sigma_against_error(axes: Axes, sigma: NDArray, error: NDArray) -> None:
    """Uncertainty against true error of the same structures, with y = x; points above the line are overconfident."""
    low, high = 1e-4, 1e3
    kept = (sigma > low) & (error > low)
    if kept.any():
        low = 10 ** np.floor(np.log10(min(sigma[kept].min(), error[kept].min())))
        high = 10 ** np.ceil(np.log10(max(sigma[kept].max(), error[kept].max())))
    axes.loglog(sigma[kept], error[kept], ".", ms=2.5, alpha=0.25, color="#7d3c98", rasterized=True)
    axes.plot([low, high], [low, high], "k--", lw=1, label="y = x")
    axes.set(xlim=(low, high), ylim=(low, high), xlabel=r"uncertainty $\sigma_F$", ylabel="force error of the mean")
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def training_curves(axes: Axes, epochs: Sequence[Epoch]) -> None:
    """Training and validation loss of every member against the epoch."""
    steps, train, valid = np.array([e.epoch for e in epochs]), np.array([e.train for e in epochs]), np.array([e.valid for e in epochs])
    checked = np.isfinite(valid).any(axis=1)                                   # not every epoch is
    axes.plot(steps, train, lw=0.9, color="0.35")
    axes.plot(steps[checked], valid[checked], lw=0.9, color="#d68910")
    axes.plot([], [], color="0.35", label="training")
    axes.plot([], [], color="#d68910", label="validation")
    axes.set(xlabel="epoch", ylabel="loss of each member", yscale="log")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)


def position_density(axes: Axes, trajectories: Mapping[str, Trajectory], exact: tuple[NDArray, NDArray] | None = None, limit: float = 1.5) -> None:
    """Density of the first coordinate over all frames and replicas; `exact` is (x, density), the Boltzmann distribution."""
    edges = np.linspace(-limit, limit, 61)
    for number, (name, trajectory) in enumerate(trajectories.items()):
        density, _ = np.histogram(trajectory.positions[..., 0, 0].ravel(), bins=edges, density=True)
        axes.stairs(density, edges, lw=1.4, color=[RANDOM, ADVERSARIAL, "#1e8449", "#7d3c98"][number % 4], label=name)
    if exact is not None:
        axes.plot(*exact, color=TRUTH, lw=1, ls="--", label="Boltzmann, true energy")
    axes.set(xlabel="x", ylabel="density of frames", xlim=(-limit, limit))
    axes.legend(frameon=False, fontsize=8)
