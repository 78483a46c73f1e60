"""A panel's pictures of a loop on malonaldehyde: its labels, and the energy along the transfer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from agal_toolkit import plots
from agal_toolkit.analysis.paths import ReactionPath
from agal_toolkit.dataset import Dataset
from agal_toolkit.loop.generation import Generation
from agal_toolkit.widgets.generation_views import cached_per_generation

from .transfer import KCAL, Coordinate, heights

HIGHEST = 30.0  # kcal/mol, of pictures
COORDINATE = "O–H far minus O–H near (Å)"


class TransferView:
    """Labels on the coordinate of the transfer, and each committee's mean along GFN2's band.

    Args:
        path: GFN2's band.
    """

    titles: tuple[str, str] = ("labels", "GFN2's band")
    unit, unit_name = KCAL, "kcal/mol"

    def __init__(self, path: ReactionPath) -> None:
        self.path, self.zero = path, float(path.energies[0])
        self.coordinate = Coordinate.of(path.images[0])
        self.heights = cached_per_generation(lambda turn: heights(turn.committee, path))

    def prepare(self, generations: Sequence[Generation]) -> None:
        """Evaluate the committees on the band."""
        for generation in generations:
            self.heights(generation)

    def draw(self, left: Axes, right: Axes, generations: Sequence[Generation], paths: bool) -> None:
        """Draw all labels, the last ones black, and the committees beside GFN2; no paths."""
        last = generations[-1]
        known = last.dataset
        marks = [
            ("start", known[known.generations == 0], plots.style.ORIGINAL),
            ("earlier", known[known.generations > 0], plots.style.EARLIER),
            ("new", last.labelled, plots.style.NEW),
        ]
        for name, data, colour in marks:
            style = {"mfc": colour, "mec": "0.2", "mew": 0.6, "ms": 5, "ls": "", "marker": "o"}
            left.plot(*self.places(data), label=name, **style)
        truth = [self.coordinate(image) for image in self.path.images]
        left.plot(truth, self.true, "-", color=plots.TRUTH, lw=1.5, label="GFN2's band")
        left.set(xlabel=COORDINATE, ylabel="energy (kcal/mol)", ylim=(-1, HIGHEST))
        plots.framed_legend(left, place="upper center", columns=2)
        means = {f"committee {t.index + 1}": self.heights(t).mean(0) for t in generations}
        draw_band(right, truth, self.true, means)
        for axes in (left, right):
            axes.grid(alpha=0.25)

    @property
    def true(self) -> NDArray:
        """(images,) kcal/mol above the first."""
        return (self.path.energies - self.zero) / KCAL

    def places(self, data: Dataset) -> tuple[list[float], NDArray]:
        """Return coordinates (angstrom) and energies (kcal/mol) of structures."""
        return [self.coordinate(geometry) for geometry in data], (data.energies - self.zero) / KCAL


def draw_band(
    axes: Axes,
    places: Sequence[float],
    true: NDArray,
    curves: dict[str, NDArray],
    members: dict[str, NDArray] | None = None,
) -> None:
    """Draw energies (images,), kcal/mol, along GFN2's band: GFN2 black, committees in colours.

    A shade holds all `members` (M, images) of a committee.
    """
    shown = plots.looks(["truth", *curves])
    for name, energies in ({} if members is None else members).items():
        low, high = energies.min(axis=0), energies.max(axis=0)
        axes.fill_between(places, low, high, color=shown[name].colour, alpha=0.2, lw=0)
    for name, energies in curves.items():
        axes.plot(places, energies, ms=4, lw=1.4, label=name, **shown[name].style)
    axes.plot(places, true, "o-", color=plots.TRUTH, mfc="white", ms=4.5, lw=1.8, label="GFN2")
    highest = max(np.max(true), *(np.max(c) for c in (curves | (members or {})).values()))
    # the legend is above the curves
    axes.set(xlabel=COORDINATE, ylabel="energy (kcal/mol)", ylim=(-0.6, min(1.6 * highest, 45.0)))
    axes.grid(alpha=0.25)
    plots.framed_legend(axes, place="upper center", columns=2)
