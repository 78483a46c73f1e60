"""What one turn of the loop asked, got and learned: frozen records that plots and widgets read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..attack.attack import Adversary
from ..committee import Committee
from ..dataset import Dataset
from ..geometry import Geometry
from ..selection import Candidate

KEPT = "kept"


@dataclass(frozen=True, eq=False, kw_only=True)
class Proposal:
    """A generation up to the question: what to label.

    Attributes:
        index: its number, from 0; people read it from 1, as in the papers.
        dataset: what the committee learned from.
        committee: trained on it.
        adversaries: of the attack; empty without one.
        candidates: everything that might be labelled.
        verdicts: for each candidate "kept", or why not.
        seconds: of each stage that was run; stages that were read are missing.
    """

    index: int
    dataset: Dataset
    committee: Committee
    adversaries: tuple[Adversary, ...]
    candidates: tuple[Candidate, ...]
    verdicts: tuple[str, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def geometries(self) -> list[Geometry]:
        """The structures to label, in the order of the candidates."""
        return [
            candidate.geometry
            for candidate, verdict in zip(self.candidates, self.verdicts, strict=True)
            if verdict == KEPT
        ]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Generation(Proposal):
    """A complete turn of the loop.

    Attributes:
        labelled: the structures of this generation that got labels.
        failures: index among :attr:`geometries` -> why it got none.
        metrics: of the committee on the test data, by name.
    """

    labelled: Dataset
    failures: Mapping[int, str]
    metrics: Mapping[str, float]

    @property
    def grown(self) -> Dataset:
        """The data of the next generation."""
        return self.dataset + self.labelled

    def __repr__(self) -> str:
        lines = [
            (
                f"Generation {self.index + 1}: {len(self.dataset)} structures,"
                f" {len(self.candidates)} candidates, {len(self.labelled)} labelled,"
                f" {len(self.failures)} failed"
            ),
            "  verdicts  "
            + ", ".join(f"{count} {verdict}" for verdict, count in Counter(self.verdicts).items()),
            "  metrics   "
            + (", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items()) or "none"),
        ]
        return "\n".join(lines)
