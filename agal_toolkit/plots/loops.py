"""How loops went, and the fits and attacks of a generation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..attack.attack import Adversary
from ..events import Epoch
from ..loop.generation import KEPT, Generation
from ..selection import kind_of
from .style import ADVERSARIAL, framed_legend, plain_logarithm, strategy_colour

_REASONS = {  # verdict -> words for it
    "UncertaintyPercentile": "too certain",
    "Deduplicate": "duplicate",
    "MaxForce": "force too large",
    "MinDistance": "atoms too near",
    "AtMost": "beyond the number",
}
_TRAINING, _VALIDATION = "0.35", "#d68910"


def learning_curves(
    axes: Axes,
    runs: Mapping[str, Sequence[Generation]],
    metric: str | Callable[[Generation], float] = "rmse",
    label: str = "RMSE on the grid",
) -> None:
    """Draw a metric against the generation for each strategy (Schwalbe-Koda 2021, Fig. 2b).

    `metric` is a name or a function of a generation. Any positive value makes the axis logarithmic.
    """
    number = metric if callable(metric) else lambda generation: generation.metrics[metric]
    positive = False
    for name, generations in runs.items():
        x, values = [g.index + 1 for g in generations], [number(g) for g in generations]
        axes.plot(x, values, "o-", ms=4, color=strategy_colour(name), label=name)
        positive = positive or any(value > 0 for value in values)
    if positive:
        axes.set_yscale("log")
        plain_logarithm(axes.yaxis)
    generation_axes(axes, label)


def data_curves(axes: Axes, runs: Mapping[str, Sequence[Generation]]) -> None:
    """Draw the number of labelled structures against the generation."""
    for name, generations in runs.items():
        x, sizes = [g.index + 1 for g in generations], [len(g.dataset) for g in generations]
        axes.plot(x, sizes, "s-", ms=4, color=strategy_colour(name), label=name)
    generation_axes(axes, "labelled structures")


def sampled_energies(
    axes: Axes,
    runs: Mapping[str, Sequence[Generation]],
    *,
    zero: float = 0.0,
    unit: float = 1.0,
    name: str = "",
) -> None:
    """Draw the true energies of each generation's new labels, and a line through their medians.

    The axis is logarithmic if an energy exceeds a hundred units.

    Args:
        runs: strategy -> generations.
        zero: energy that counts as zero, eV.
        unit: unit of the axis, eV.
        name: name of the unit.
    """
    highest = 0.0
    offsets = np.linspace(-0.12, 0.12, max(len(runs), 1))
    for offset, (strategy, generations) in zip(offsets, runs.items(), strict=False):
        labelled = [g for g in generations if len(g.labelled)]
        x = [g.index + 1 + offset for g in labelled]
        energies = [(g.labelled.energies - zero) / unit for g in labelled]
        colour = strategy_colour(strategy)
        for place, values in zip(x, energies, strict=True):
            highest = max(highest, *values)
            axes.plot(np.full(len(values), place), values, ".", ms=3, alpha=0.4, color=colour)
        axes.plot(x, [np.median(v) for v in energies], "_-", ms=10, color=colour, label=strategy)
    if highest > 100:
        axes.set_yscale("symlog", linthresh=10)
    generation_axes(axes, "energy of sampled points" + (f" ({name})" if name else ""))


def verdict_bars(axes: Axes, generation: Generation) -> None:
    """Draw how many candidates were kept, dropped by each selector, and rejected."""
    verdicts = list(map(kind_of, generation.verdicts))
    names = sorted(set(verdicts), key=lambda name: (name != KEPT, name))
    counts = [verdicts.count(name) for name in names]
    colours = [ADVERSARIAL if name == KEPT else "0.75" for name in names]
    axes.barh([in_words(name) for name in names], counts, color=colours)
    axes.invert_yaxis()
    axes.set(xlabel="candidates", xlim=(0, max(counts, default=1) * 1.15))
    for row, count in enumerate(counts):
        axes.text(count, row, f" {count}", va="center", fontsize=8)


def in_words(verdict: str) -> str:
    """Return a verdict for people: "kept", or what the candidate was dropped for."""
    return _REASONS.get(verdict, re.sub(r"(?<=[a-z])(?=[A-Z])", " ", verdict).lower())


def generation_axes(axes: Axes, label: str) -> None:
    """Label the axes of a quantity against the generation."""
    axes.set(xlabel="generation", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    framed_legend(axes)


def attack_losses(axes: Axes, adversaries: Sequence[Adversary]) -> None:
    """Draw the adversarial loss of each attack along its steps, maximised as in the papers."""
    for adversary in adversaries:
        gain, step = -adversary.losses, adversary.kept
        axes.plot(gain, lw=1.0, color=ADVERSARIAL, alpha=0.6)
        axes.plot(step, gain[step], "o", ms=4, mec="white", mew=0.5, color=ADVERSARIAL)
    axes.set(xlabel="attack step", ylabel=r"$\mathcal{L}_\mathrm{adv}$")
    axes.grid(alpha=0.25)


def training_curves(axes: Axes, epochs: Sequence[Epoch]) -> None:
    """Draw training and validation loss of every member against the epoch."""
    steps = np.array([record.epoch for record in epochs])
    train = np.array([record.train for record in epochs])
    valid = np.array([record.valid for record in epochs])
    checked = np.isfinite(valid).any(axis=1)  # validation may skip epochs
    axes.plot(steps, train, lw=0.9, color=_TRAINING)
    axes.plot(steps[checked], valid[checked], lw=0.9, color=_VALIDATION)
    axes.plot([], [], color=_TRAINING, label="training")
    axes.plot([], [], color=_VALIDATION, label="validation")
    axes.set(xlabel="epoch", ylabel="loss of each member", yscale="log")
    late = np.concatenate([losses[len(losses) // 2 :] for losses in (train, valid)])
    _make_room_for_a_legend(axes, np.concatenate([train, valid[checked]]), late)
    axes.grid(alpha=0.25)
    framed_legend(axes, place="upper right")


def _make_room_for_a_legend(axes: Axes, values: NDArray, right: NDArray) -> None:
    """Raise a logarithmic axis until `right`, the values on the right, leave its top third free."""
    drawn, late = (some[np.isfinite(some) & (some > 0)] for some in (values, right))
    if len(late):
        axes.set_ylim(top=max(axes.get_ylim()[1], late.max() * (late.max() / drawn.min()) ** 0.55))
