"""What a generation of the loop does: its recipe, and recipes that change with the generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..attack.attack import Attack
from ..dataset import Dataset
from ..sampling.samplers import Sampler
from ..selection import Selector
from ..settings import to_code
from ..training.folds import Folds
from ..training.trainer import Trainer
from .for_atoms import fields_for


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a generation; ``print(recipe)`` shows them as Python code.

    Attributes:
        trainer: fits the members.
        sampler: gives the seeds of the attack, or the candidates if there is no attack.
        attack: None takes the sampler's structures as they are, a random baseline.
        selectors: applied in order; the first that drops a candidate is its verdict.
        members: size of the committee.
        folds: how the members share the data.
        calibrate: share of the labelled structures that no member ever sees, drawn once when they
            are labelled: the committee is calibrated on them, and attacks can have a target (Cezar
            2025 puts a tenth aside). Structures that come with the role "calibration" count, too,
            and initial data get it from ``data.reserving``. Copies (0.02 angstrom) share a role.
        reserve: share of the initial structures that get this role if none of them has it.
        errors_of: whose errors calibrate, those of the "members" (Cezar 2025, Eq. 1) or of the
            "mean", which is what a person uses in the end.
        laws_per_element: elements with enough calibration data have a law of forces of their own
            (:meth:`~agal_toolkit.uncertainty.Calibration.fit`).
    """

    trainer: Trainer
    sampler: Sampler
    attack: Attack | None = None
    selectors: Sequence[Selector] = ()
    members: int = 5
    folds: Folds = Folds()
    calibrate: float = 0.0
    reserve: float = 0.0
    errors_of: Literal["members", "mean"] = "members"
    laws_per_element: bool = False

    def __post_init__(self) -> None:
        for name, share in {"calibrate": self.calibrate, "reserve": self.reserve}.items():
            if not 0 <= share < 1:
                wrong = f"{name}={share} is a share of the labelled structures"
                raise ValueError(f"{wrong}: give at least 0, below 1")
        if self.members < 2:
            raise ValueError(f"members={self.members}: a committee needs at least two to disagree")
        if self.errors_of not in ("members", "mean"):
            raise ValueError(f"errors_of is {self.errors_of!r}: expected 'members' or 'mean'")
        object.__setattr__(self, "selectors", tuple(self.selectors))

    @classmethod
    def for_atoms(cls, data: Dataset, *, kT: float | str | None = None, **changes: Any) -> Recipe:
        """Return a recipe for molecules, slabs and crystals, with scales taken from their data.

        A committee of :class:`~agal_toolkit.potentials.DensityNet` is trained on forces, energies
        and, for crystals, stresses. Labelled structures are attacked down the logarithm of Eq. 4
        (Schwalbe-Koda 2021). No two atoms come closer than 0.8 times the shortest distance in the
        data, no predicted force is larger than three times the largest there. The cells of crystals
        whose stress is labelled are strained, too; fixed atoms stay.

        Args:
            data: labelled structures, with forces.
            kT: of the attack's Boltzmann factor, eV, or a text with a unit: "5 kcal/mol", "2500 K".
                None takes 2.5 times the kT that the spread of the data's energies has for each
                degree of freedom: higher energies than in the data become likely, but not any.
            changes: fields of the recipe that are different, for example ``members=8``.

        Raises:
            ValueError: points of a model surface; no forces; without `kT`, no two structures of the
                same atoms; a unit that is not known.
        """
        return replace(cls(**fields_for(data, kT)), **changes)

    def __repr__(self) -> str:
        return to_code(self)


@dataclass(frozen=True)
class Schedule:
    """A recipe for each generation: in `recipes`, that of the largest key not above it, from 0.

    A run goes on in its directory with a schedule whose recipes of the generations that have begun
    are those it had: ``Schedule({0: recipe, 3: replace(recipe, members=8)})``.
    """

    recipes: Mapping[int, Recipe]

    def __post_init__(self) -> None:
        if 0 not in self.recipes:
            wrong = f"this one has {sorted(self.recipes)}"
            raise ValueError(f"a schedule starts at generation 0, {wrong}")

    def __call__(self, generation: int) -> Recipe:
        """Return the recipe of a generation."""
        return self.recipes[max(first for first in self.recipes if first <= generation)]


def recipe_at(recipe: Any, generation: int) -> Any:
    """Return the JSON of the recipe of a generation, from that of a recipe or a Schedule."""
    by_first = recipe.get("recipes") if isinstance(recipe, Mapping) else None
    if not isinstance(by_first, Mapping):
        return recipe
    return by_first[str(max(first for first in map(int, by_first) if first <= generation))]
