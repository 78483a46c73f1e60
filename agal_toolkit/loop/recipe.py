"""What a generation of the loop does: its recipe, and recipes that change with the generation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from ..attack.attack import Attack
from ..sampling.samplers import Sampler
from ..selection import Selector
from ..training.folds import Folds
from ..training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a generation.

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
    """

    trainer: Trainer
    sampler: Sampler
    attack: Attack | None = None
    selectors: Sequence[Selector] = ()
    members: int = 5
    folds: Folds = Folds()
    calibrate: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.calibrate < 1:
            wrong = f"calibrate={self.calibrate} is a share of the labelled structures"
            raise ValueError(f"{wrong}: give at least 0, below 1")
        if self.members < 2:
            raise ValueError(f"members={self.members}: a committee needs at least two to disagree")
        object.__setattr__(self, "selectors", tuple(self.selectors))

    def __repr__(self) -> str:
        address = re.compile(r"<(?:class|function) '?(?:[\w.]*\.)?(\w+)'?(?: at 0x\w+)?>")
        values = {f.name: address.sub(r"\1", repr(getattr(self, f.name))) for f in fields(self)}
        return "\n".join(["Recipe", *(f"  {name:<9} {value}" for name, value in values.items())])


@dataclass(frozen=True)
class Schedule:
    """A recipe for each generation: in `recipes`, that of the largest key not above it, from 0."""

    recipes: Mapping[int, Recipe]

    def __post_init__(self) -> None:
        if 0 not in self.recipes:
            wrong = f"this one has {sorted(self.recipes)}"
            raise ValueError(f"a schedule starts at generation 0, {wrong}")

    def __call__(self, generation: int) -> Recipe:
        """Return the recipe of a generation."""
        return self.recipes[max(first for first in self.recipes if first <= generation)]
