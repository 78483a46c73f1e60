"""What a notebook shows for an object that is the last line of a cell: a picture beside its
``repr``.

Every picture is a function that maps an object to a PNG and needs no IPython; :func:`register`
hands them to the one that runs, where there is one. The objects themselves know nothing of it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from .. import plots
from ..analysis.errors import sigma_and_error
from ..analysis.grids import Grid, Surface
from ..attack import Attack
from ..committee import Committee
from ..dataset import Dataset
from ..loop.generation import Generation
from ..loop.loop import Loop
from ..plots.style import round_ticks
from ..potentials import MLP, Stacked
from ..settings import to_settings
from ..uncertainty.variance import force_variance
from .picture import png

Box = tuple[str, Sequence[str]]

_POINTS = 60  # of a surface, along each side
_COLUMN = 24  # characters in a line of a box
_CHARACTER = 0.0673  # inches, of the boxes' type


def in_plane(committee: Committee) -> bool:
    """Whether the members are networks of one particle in the plane."""
    members = committee.members
    return (
        isinstance(members, Stacked)
        and isinstance(members.module, MLP)
        and members.module.dimension == 2
    )


def flat(dataset: Dataset) -> bool:
    """Whether all structures are one particle in the plane."""
    return len(dataset) > 0 and all(geometry.positions.shape == (1, 2) for geometry in dataset)


def committee_png(committee: Committee) -> bytes:
    """Mean energy and uncertainty on the plane; elsewhere the committee's settings."""
    if in_plane(committee) and len(committee) > 1:
        return png(lambda figure: _surfaces(figure, committee), (8.0, 3.4))
    return _diagram(
        [(f"committee of {len(committee)}", textwrap.wrap(repr(committee.members), 60))], column=62
    )


def dataset_png(dataset: Dataset) -> bytes:
    """Points of a plane and a histogram of the energies; elsewhere the histogram alone."""

    def draw(figure: Figure) -> None:
        if not flat(dataset):
            axes = figure.subplots()
            figure.subplots_adjust(left=0.13, right=0.97, top=0.9, bottom=0.19)
        else:
            plane, axes = figure.subplots(1, 2)
            figure.subplots_adjust(left=0.09, right=0.98, top=0.9, bottom=0.16, wspace=0.3)
            plots.structures(plane, dataset)
            reach = 1.1 * max(np.abs(geometry.positions).max() for geometry in dataset)
            plane.set(
                xlim=(-reach, reach), ylim=(-reach, reach), xlabel="x", ylabel="y", aspect="equal"
            )
            plane.set_title(f"{len(dataset)} structures", fontsize=10)
            plane.grid(alpha=0.25)
            round_ticks(plane)
            if (dataset.generations > 0).any():
                plane.legend(fontsize=7, loc="upper right")
        energy_histogram(axes, {"energy": dataset})

    return png(draw, (7.2, 3.3) if flat(dataset) else (4.4, 2.9))


def generation_png(generation: Generation) -> bytes:
    """Surface and uncertainty with the points, the verdicts, and whether the uncertainty told the
    error of what was labelled.
    """

    def draw(figure: Figure) -> None:
        (first, second), (verdicts, check) = figure.subplots(2, 2)
        figure.subplots_adjust(
            left=0.08, right=0.92, top=0.95, bottom=0.09, wspace=0.4, hspace=0.32
        )
        if in_plane(generation.committee):
            surface = Surface.of(generation.committee, Grid(points=_POINTS))
            plots.committee_surface(first, generation, surface)
            plots.uncertainty_surface(second, generation, surface)
            _titled(first, second, "mean energy")
        else:
            energy_histogram(first, {"known": generation.dataset, "new": generation.labelled})
            sigma = _sigma(
                generation.committee, [candidate.geometry for candidate in generation.candidates]
            )
            plots.sigma_histogram(second, sigma, unit=_force_unit(generation))
            second.set_title("candidates", fontsize=10)
        plots.verdict_bars(verdicts, generation)
        verdicts.set_title("verdicts", fontsize=10)
        place = verdicts.get_position()
        verdicts.set_position(
            (place.x0 + 0.1, place.y0, place.width - 0.1, place.height)
        )  # the names of selectors are long
        verdicts.tick_params(axis="y", labelsize=8)
        if len(generation.labelled):
            _check(check, generation)
        else:
            energy_histogram(check, {"known": generation.dataset})

    return png(draw, (8.0, 6.6))


def attack_png(attack: Attack) -> bytes:
    """What it makes small, how, and within which limits."""
    limits = _lines(
        {
            "start": attack.start,
            "bound": attack.bound,
            "guard": attack.guard,
            "members": attack.members,
        }
    )
    parts = {
        "objective": attack.objective,
        "gradient": attack.gradient,
        "minimizer": attack.minimizer,
    }
    return _diagram(
        [*((name, _lines_of(part)) for name, part in parts.items()), ("limits", limits)]
    )


def loop_png(loop: Loop) -> bytes:
    """The stages of a generation and their settings; of generation 0 where they change."""
    recipe = loop.recipe_of(0)
    attack = (
        ["none"]
        if recipe.attack is None
        else [
            *_lines_of(recipe.attack.objective),
            *_lines_of(recipe.attack.minimizer),
            *_lines_of(recipe.attack.gradient),
        ]
    )
    selectors = [line for selector in recipe.selectors for line in _lines_of(selector)] or [
        "none: all are labelled"
    ]
    tested = (
        [f"{name} on {len(loop.test)} structures" for name in loop.metrics]
        if loop.test is not None
        else []
    )
    return _diagram(
        [
            (f"train {recipe.members} members", _lines_of(recipe.trainer)),
            ("sample", _lines_of(recipe.sampler)),
            ("attack", attack),
            ("select", selectors),
            ("label, test", [*_lines_of(loop.reference.label), *tested, f"seed {loop.seed}"]),
        ]
    )


PICTURES: Mapping[type, Callable[[Any], bytes]] = {
    Committee: committee_png,
    Dataset: dataset_png,
    Generation: generation_png,
    Attack: attack_png,
    Loop: loop_png,
}


def register() -> None:
    """Hands the pictures to the IPython that runs; does nothing in a plain interpreter."""
    shell = get_ipython()
    if shell is None:
        return
    formatter = shell.display_formatter.formatters["image/png"]
    for kind, draw in PICTURES.items():
        formatter.for_type(kind, draw)


# -- parts


def energy_histogram(axes: Axes, datasets: Mapping[str, Dataset]) -> None:
    """Distribution of the labelled energies of data sets, by name; of atoms, whose totals are
    large, above the lowest.
    """
    filled = {name: dataset.energies for name, dataset in datasets.items() if len(dataset)}
    atoms = any(not flat(dataset) for dataset in datasets.values() if len(dataset))
    if filled:
        lowest = min(energies.min() for energies in filled.values()) if atoms else 0.0
        filled = {name: energies - lowest for name, energies in filled.items()}
        every = np.concatenate(list(filled.values()))
        edges = np.linspace(every.min(), max(every.max(), every.min() + 1e-6), 25)
        for (name, energies), colour in zip(filled.items(), ("0.6", "k"), strict=False):
            axes.hist(energies, bins=edges, color=colour, alpha=0.8, label=name)
    if len(filled) > 1:
        axes.legend(frameon=False, fontsize=8)
    axes.set(xlabel="energy above the lowest (eV)" if atoms else "energy", ylabel="structures")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_title("energies", fontsize=10)


def _surfaces(figure: Figure, committee: Committee) -> None:
    energy, sigma = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.08, right=0.92, top=0.9, bottom=0.15, wspace=0.34)
    surface = Surface.of(committee, Grid(points=_POINTS))
    plots.energy_surface(energy, surface.grid, surface.energy)
    plots.sigma_surface(sigma, surface)
    _titled(energy, sigma, f"mean energy of {len(committee)} members")


def _titled(energy: Axes, sigma: Axes, title: str) -> None:
    energy.set_title(title, fontsize=10)
    sigma.set_title("uncertainty", fontsize=10)
    sigma.set_ylabel("")  # the colour bar's label is where it would be


def _sigma(committee: Committee, geometries: Sequence[Any]) -> np.ndarray:
    """(n,) root of the force variance."""
    return force_variance(committee.predict(geometries), committee.batch(geometries)).sqrt().numpy()


def _force_unit(generation: Generation) -> str:
    """Of structures of atoms; points on a model surface have none."""
    return "eV/Å" if all((geometry.numbers > 0).all() for geometry in generation.dataset) else ""


def _check(axes: Axes, generation: Generation) -> None:
    """Uncertainty against true force error of the new structures, which the committee had not seen."""
    sigma, error = sigma_and_error(generation.committee, generation.labelled)
    plots.sigma_against_error(axes, sigma, error, unit=_force_unit(generation))
    for line in axes.lines[:1]:
        line.set(markersize=6, alpha=0.7)  # few points, unlike a grid's
    axes.set_title("the new structures", fontsize=10)


def _diagram(boxes: Sequence[Box], column: int = _COLUMN) -> bytes:
    """A row of titled boxes joined by arrows, as large as their text."""
    boxes = [
        (
            title,
            [
                part
                for line in lines
                for part in textwrap.wrap(line, column, subsequent_indent="  ")
            ],
        )
        for title, lines in boxes
    ]
    wide, gap, line = column * _CHARACTER + 0.2, 0.22, 0.148
    high = 0.48 + line * max(len(lines) for _, lines in boxes)
    size = (len(boxes) * (wide + gap) - gap + 0.12, high + 0.12)

    def draw(figure: Figure) -> None:
        axes = figure.add_axes(
            (0.0, 0.0, 1.0, 1.0), xlim=(0, size[0]), ylim=(0, size[1])
        )  # in inches
        axes.axis("off")
        for number, (title, lines) in enumerate(boxes):
            left, top = 0.06 + number * (wide + gap), 0.06 + high
            rounded = "round,pad=0,rounding_size=0.08"
            axes.add_patch(
                FancyBboxPatch(
                    (left, 0.06), wide, high, boxstyle=rounded, fc="#fdf6ec", ec="#b9770e"
                )
            )
            axes.text(
                left + 0.1, top - 0.1, title, va="top", fontsize=9.5, weight="bold", color="#784212"
            )
            axes.text(
                left + 0.1,
                top - 0.36,
                "\n".join(lines),
                va="top",
                fontsize=8,
                family="monospace",
                linespacing=1.3,
                color="#222222",
            )
            if number:
                ends = (left - gap - 0.02, top - high / 2), (left + 0.03, top - high / 2)
                axes.add_patch(
                    FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=12, color="#784212")
                )

    return png(draw, size)


def _lines_of(value: Any) -> list[str]:
    """A callable's name, and its parameters indented below."""
    try:
        about = to_settings(value)
    except (TypeError, ValueError):
        return [repr(value)]
    if isinstance(about, str):
        return [about.rpartition(".")[2]]
    return [
        about["name"].rpartition(".")[2],
        *(
            f" {line}"
            for line in _lines({key: item for key, item in about.items() if key != "name"})
        ),
    ]


def _lines(settings: Mapping[str, Any]) -> list[str]:
    """A line for each setting; switches that are off are left out."""
    return [
        f"{key} {_short(value)}"
        for key, value in settings.items()
        if value is not False and value not in (None, [], {})
    ]


def _short(value: Any) -> str:
    """A setting in a few characters."""
    if isinstance(value, str):
        return value.rpartition(".")[2]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        inside = {
            key: item for key, item in value.items() if key != "name" and item not in (None, [], {})
        }
        args = ", ".join(
            [_short(item) for item in inside.pop("args", [])]
            + [f"{key}={_short(item)}" for key, item in inside.pop("keywords", {}).items()]
        )
        rest = ", ".join(f"{key}={_short(item)}" for key, item in inside.items())
        return f"{_short(value.get('name', ''))}({', '.join(filter(None, (args, rest)))})"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_short, value))
    if callable(value):
        about = _lines_of(value)
        return about[0] + (
            "" if len(about) == 1 else f"({', '.join(line.strip() for line in about[1:])})"
        )
    return str(value)
