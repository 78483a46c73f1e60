"""What attacks promised, and what the reference then found.

A generation's committee attacks and never sees what it labels, so its new structures test its
uncertainties: on the structures that attacks chose, which are harder than any others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets
import numpy as np
from ase.data import chemical_symbols
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .. import plots
from ..analysis.reliability import LEVELS, binned, coverage
from ..attack import TargetError
from ..batch import Batch
from ..geometry import Labels
from ..loop.generation import Generation
from ..loop.recipe import Recipe
from ..loop.run import Run
from ..plots.style import framed_legend
from ..uncertainty import Calibration, PowerLaw
from .controls import placeholder
from .generation_views import cached_per_generation
from .panel import Panel, value_of
from .picture import Picture

_SIZE = (10.2, 3.5)  # inches
_ALL, _BINS, _FEW = "all generations", 8, 24


@dataclass(frozen=True)
class Delivered:
    """New structures of a generation, as its committee saw them before they were labelled.

    Attributes:
        predicted: (B,) uncertainty of the force on an atom, mean over atoms, eV/angstrom; that of
            attacked structures comes first.
        attacked: number of attacked structures.
        numbers: (N,) atomic numbers of all atoms.
        sigma: (N, d) uncertainty of components, eV/angstrom.
        errors: (M, N, d) the members' errors of components, or (1, N, d) those of their mean,
            eV/angstrom.
        ends: (B - 1,) where the atoms of a structure end.
        calibrated: whether uncertainties are calibrated.
    """

    predicted: NDArray
    attacked: int
    numbers: NDArray
    sigma: NDArray
    errors: NDArray
    ends: NDArray
    calibrated: bool

    @property
    def found(self) -> NDArray:
        """(B,) error of the force on an atom (Cezar 2025, Eq. 1), mean over atoms, eV/angstrom."""
        return _means(np.sqrt(np.square(self.errors).sum(-1).mean(0)), self.ends)


@cached_per_generation
def delivered(generation: Generation) -> Delivered | None:
    """Return promises and deliveries of a generation; None without new forces of atoms."""
    new = [
        (candidate, candidate.outcome.forces)
        for candidate in generation.chosen
        if isinstance(candidate.outcome, Labels)
        and candidate.outcome.forces is not None
        and candidate.geometry.numbers.any()
    ]
    if not new or len(generation.committee) < 2:
        return None
    new.sort(key=lambda pair: pair[0].adversary is None)
    geometries = [candidate.geometry for candidate, _ in new]
    prediction = generation.committee.predict(geometries)
    laws = generation.committee.force_laws or Calibration(PowerLaw())
    sigma = laws.component_variance(prediction, Batch.of(geometries)).double().sqrt().numpy()
    true = np.concatenate([forces for _, forces in new])
    errors = prediction.forces.double().numpy() - true
    ends = np.cumsum([len(geometry) for geometry in geometries])[:-1]
    return Delivered(
        predicted=_means(np.sqrt(np.square(sigma).sum(-1)), ends),
        attacked=sum(candidate.adversary is not None for candidate, _ in new),
        numbers=np.concatenate([geometry.numbers for geometry in geometries]),
        sigma=sigma,
        errors=errors,
        ends=ends,
        calibrated=generation.committee.force_laws is not None,
    )


def _means(values: NDArray, ends: NDArray) -> NDArray:
    return np.array([part.mean() for part in np.split(values, ends)])


class Promises(Panel):
    """Target, predicted and found error of new structures; errors against uncertainty by element.

    The third picture is the share of errors within the interval of each level, which should be the
    level itself. Samples are the components of forces.

    Args:
        run: a run, or generations of a loop.
        recipe: of the generations, or a function of their index; that of a run is known. It says
            whose errors are calibrated, and what the targets were. Without one, errors are those of
            the members.
    """

    generation = value_of("_choice", "Index of the generation shown; -1 shows all.")

    def __init__(
        self,
        run: Run | Iterable[Generation],
        recipe: Recipe | Callable[[int], Recipe] | None = None,
    ) -> None:
        self._recipe = run.recipe if isinstance(run, Run) else recipe
        self._targets: dict[int, float] = {}
        self._means: set[int] = set()  # generations whose mean's errors are calibrated
        self._generations: list[Generation] = []
        for generation in run.generations if isinstance(run, Run) else run:
            self._take(generation)
        look: dict[str, Any] = {"description": "shown", "layout": {"width": "260px"}}
        self._choice: Any = ipywidgets.Dropdown(options=self._options(), value=-1, **look)
        self._picture = Picture(self._draw_static, _SIZE)
        self._choice.observe(lambda _: self._picture.request(), "value")
        super().__init__([self._choice, self._picture], _SIZE, helpers=[self._picture])

    def add(self, generation: Generation) -> None:
        """Append a generation, for example of a loop that runs."""
        self._take(generation)
        shown = self._choice.value
        self._choice.options = self._options()
        self._choice.value = shown
        self._picture.request()

    def _take(self, generation: Generation) -> None:
        self._generations.append(generation)
        if self._recipe is None:
            return
        recipe, index = self._recipe, generation.index
        recipe = recipe if isinstance(recipe, Recipe) else recipe(index)
        objective = None if recipe.attack is None else recipe.attack.objective
        if isinstance(objective, TargetError) and objective.quantity == "forces":
            if objective.relative:
                objective = objective(generation.committee).target
            self._targets[index] = objective.target
        if recipe.errors_of == "mean":
            self._means.add(index)

    def _options(self) -> list[tuple[str, int]]:
        numbers = [generation.index for generation in self._generations]
        return [(_ALL, -1), *((f"generation {index + 1}", index) for index in numbers)]

    def _static_picture(self) -> bytes:
        return self.settle()._picture.value

    def _shown(self) -> list[tuple[int, Delivered]]:
        chosen = self._choice.value
        turns = [g for g in self._generations if chosen in (-1, g.index)]
        found = [(turn.index, delivered(turn)) for turn in turns]
        return [
            (index, replace(each, errors=each.errors.mean(0, keepdims=True)))
            if index in self._means
            else (index, each)
            for index, each in found
            if each is not None
        ]

    def _draw_static(self, figure: Figure) -> None:
        promises, errors, levels = figure.subplots(1, 3)
        figure.subplots_adjust(left=0.07, right=0.985, top=0.9, bottom=0.17, wspace=0.36)
        parts = self._shown()
        if not parts:
            for axes in (promises, levels):
                axes.axis("off")
            errors.axis("off")
            placeholder(errors, "nothing labelled yet, or no forces of atoms", size=10)
            return
        several = [part for _, part in parts]
        small = max(float(part.found.max()) for part in several) < 2.0
        scale, unit = (1000, "meV/Å") if small else (1, "eV/Å")
        self._draw_promises(promises, parts, scale, unit)
        groups = _by_element(several)
        bins = {
            name: scale * binned(sigma, error, min(_BINS, max(2, len(sigma) // 4)))
            for name, (sigma, error) in groups.items()
        }
        if not groups:
            for axes in (errors, levels):
                axes.axis("off")
            placeholder(errors, f"fewer than {_FEW} components of forces", size=10)
            return
        plots.errors_against_sigma(errors, bins, unit)
        calibrated = all(part.calibrated for part in several)
        errors.set_title("calibrated" if calibrated else "not calibrated", fontsize=10)
        _draw_levels(levels, groups)

    def _draw_promises(
        self, axes: Axes, parts: Sequence[tuple[int, Delivered]], scale: float, unit: str
    ) -> None:
        high = 0.0
        for name, look in plots.looks(["attacked", "others"]).items():
            x, y = [], []
            for _, part in parts:
                cut = slice(part.attacked) if name == "attacked" else slice(part.attacked, None)
                x.append(scale * part.predicted[cut])
                y.append(scale * part.found[cut])
            across, up = np.concatenate(x), np.concatenate(y)
            if len(across):
                high = max(high, across.max(), up.max())
                axes.plot(across, up, **{**look.style, "ls": ""}, ms=5, alpha=0.6, label=name)
        targets = {scale * self._targets[i] for i, _ in parts if i in self._targets}
        for number, target in enumerate(sorted(targets)):
            high, name = max(high, target), "_target" if number else "target"
            axes.axvline(target, color=plots.ADVERSARIAL, ls=":", lw=1.2, label=name)
        axes.plot([0, 1.1 * high], [0, 1.1 * high], "k--", lw=1, label="as promised")
        axes.set(xlim=(0, 1.1 * high), ylim=(0, 1.1 * high), aspect="equal")
        axes.set(xlabel=f"predicted error ({unit})", ylabel=f"error found ({unit})")
        axes.set_title("new structures, mean over atoms", fontsize=10)
        framed_legend(axes, place="lower right")


def _by_element(parts: Sequence[Delivered]) -> dict[str, tuple[NDArray, NDArray]]:
    """Return uncertainties (n,) and errors (M, n) of all components, and of each element's.

    Components on which all members agree are left out, as are elements with few components.
    """
    kinds = sorted({int(z) for part in parts for z in part.numbers})
    members = min(len(part.errors) for part in parts)
    groups = {}
    for name, kind in [("all", None), *((chemical_symbols[z], z) for z in kinds)]:
        sigma, errors = [], []
        for part in parts:
            chosen = np.full(len(part.numbers), True) if kind is None else part.numbers == kind
            sigma.append(part.sigma[chosen].ravel())
            errors.append(part.errors[:members, chosen].reshape(members, -1))
        one, other = np.concatenate(sigma), np.concatenate(errors, axis=1)
        positive = one > 1e-9
        if positive.sum() >= _FEW and (kind is None or len(kinds) > 1):
            groups[name] = one[positive], other[:, positive]
    return groups


def _draw_levels(axes: Axes, groups: dict[str, tuple[NDArray, NDArray]]) -> None:
    axes.plot([0, 100], [0, 100], "k--", lw=1)
    for name, look in plots.looks(groups).items():
        observed = coverage(*groups[name])
        # the levels of one and two standard deviations
        one, two = 100 * np.interp([0.683, 0.954], LEVELS, observed)
        text = f"{name}: {one:.0f} and {two:.0f}"
        axes.plot(100 * LEVELS, 100 * observed, color=look.colour, lw=1.4, label=text)
    axes.set(xlim=(0, 100), ylim=(0, 100), aspect="equal")
    axes.set(xlabel="level of the interval (%)", ylabel="errors inside (%)")
    axes.set_title("errors within 1 and 2 σ (68 and 95 %)", fontsize=10)
    framed_legend(axes, place="upper left")
