"""Small pictures of a run: learning curves of its loops, and the training or attack at work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from .. import plots
from ..analysis.errors import sigma_and_error
from ..loop.generation import Generation
from ..plots.style import plain_logarithm, plain_numbers
from .controls import placeholder
from .energies import force_unit
from .generation_views import GenerationView, cached_per_generation
from .progress import ProgressTracker

_COUNTED, _SAMPLED = "labelled structures", "sampled energies"


@cached_per_generation
def new_error(generation: Generation) -> float:
    """Return the committee's RMS force error on what it then learned, eV/angstrom; or NaN."""
    if not len(generation.labelled):
        return float("nan")
    error = sigma_and_error(generation.committee, generation.labelled)[1]
    return float(np.sqrt(np.mean(np.square(error))))


def draw_curves(
    figure: Figure,
    runs: Mapping[str, Sequence[Generation]],
    *,
    metric: str | None,
    planned: int | None,
    view: Callable[[Generation], GenerationView],
) -> None:
    """Draw error, number of labels and sampled energies of loops against the generation.

    Args:
        figure: to draw on.
        runs: name of a loop -> its finished generations.
        metric: of the errors; None takes the first, or, without any, :func:`new_error`.
        planned: number of generations, for the axes; None if unknown.
        view: gives zero and unit of energies.
    """
    errors, counts, energies = panels = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.1, right=0.985, top=0.8, bottom=0.21, wspace=0.42)
    runs = {name: generations for name, generations in runs.items() if generations}
    if not runs:
        for axes, title in zip(panels, ("error", _COUNTED, _SAMPLED), strict=True):
            announce(axes, title, "after the first\ngeneration")
        return
    firsts = [generations[0] for generations in runs.values()]
    names = [name for generation in firsts for name in generation.metrics]
    metric = metric or next(iter(names), None)
    unit = force_unit(firsts[0].dataset)
    measure = metric or "force error, new" + (f" ({unit})" if unit else "")
    plots.learning_curves(errors, runs, metric or new_error, "")
    low, high = errors.get_ylim()
    if high > 5 * low:
        plain_logarithm(errors.yaxis)
    else:
        errors.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
        errors.yaxis.set_major_formatter("{x:g}")
    errors.tick_params(which="minor", labelsize=8)
    plots.data_curves(counts, runs)
    shown = view(firsts[0])
    name = shown.unit_name
    plots.sampled_energies(energies, runs, zero=shown.zero, unit=shown.unit, name=name)
    sampled = f"new energies ({name})" if name else _SAMPLED
    last = max(planned or 0, *(len(generations) for generations in runs.values()))
    for axes, title in zip(panels, (measure, _COUNTED, sampled), strict=True):
        axes.set_title(title, fontsize=9)
        axes.set_ylabel("")
        axes.set_xlim(0.6, max(last, 2) + 0.4)
        axes.tick_params(labelsize=8)
        if axes.get_legend() is not None:
            axes.get_legend().remove()
    if len(runs) > 1:  # above the data, once for all
        style = {"frameon": False, "fontsize": 8.5, "columnspacing": 1.4, "borderaxespad": 0.2}
        figure.legend(*counts.get_legend_handles_labels(), loc="upper center", ncols=6, **style)


def draw_live(figure: Figure, tracker: ProgressTracker) -> None:
    """Draw the losses of the attack or of the training at work."""
    axes = figure.subplots()
    figure.subplots_adjust(left=0.26, right=0.95, top=0.88, bottom=0.21)
    epochs, steps = tracker.epochs[:], tracker.steps[:]
    if steps:
        numbers, losses = zip(*((step.step, -step.losses) for step in steps), strict=True)
        axes.plot(numbers, losses, color=plots.ADVERSARIAL, lw=0.7, alpha=0.5)
        axes.set(xlabel="attack step", xlim=(0, max(1, steps[-1].steps)))
        axes.set_title(r"attack: $\mathcal{L}_\mathrm{adv}$", fontsize=9)
        plain_numbers(axes.yaxis)
    elif epochs:
        plots.training_curves(axes, epochs[:: max(1, len(epochs) // 100)])
        axes.set(ylabel="", xlim=(0, epochs[-1].epochs))
        axes.legend(frameon=False, fontsize=7, loc="upper right")
        axes.set_title("training loss", fontsize=9)
    else:
        announce(axes, "training, attack", "while they run")
        return
    axes.grid(alpha=0.25)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(which="both", labelsize=7.5)


def announce(axes: Axes, title: str, text: str) -> None:
    """Say on empty axes when they will be drawn."""
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    placeholder(axes, text)
    for spine in axes.spines.values():
        spine.set_color("0.85")
