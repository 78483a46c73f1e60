"""A run directory as an object: what a loop found, read without the script that ran it.

The recipe is built again from its stored settings, which may name classes of this package alone; a
reference is not needed, because complete generations are only read.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..committee import Committee
from ..dataset import Dataset
from ..events import Report, ignore
from ..files import absolute
from ..geometry import Geometry, Labels
from ..references.reference import Reference
from ..settings import from_settings, table, to_settings
from .generation import Generation
from .lock import RunDirectoryError
from .loop import Loop
from .recipe import Recipe
from .run_directory import COMMITTEE, LABELS, METRICS, START, RunDirectory, read
from .stages import Stages, trained

AnyRecipe = Recipe | Callable[[int], Recipe]


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """The complete generations of a run directory; ``print(run)`` shows them as a table.

    A run that goes on in another process is read as it is now: open it again to see more.

    Attributes:
        directory: of the run.
        settings: everything that changes its results, as JSON.
        start: the data it began with.
        labelled: the new structures of each generation.
        failures: reasons of failed labels, by index, of each generation.
        metrics: of each generation, by name.
        seconds: wall time of each generation's stages; empty where an earlier version ran it.
        given: the recipe and the committee that :meth:`open` got.
    """

    directory: Path
    settings: Mapping[str, Any]
    start: Dataset
    labelled: tuple[Dataset, ...]
    failures: tuple[Mapping[int, str], ...]
    metrics: tuple[Mapping[str, float], ...]
    seconds: tuple[Mapping[str, float], ...]
    given: tuple[AnyRecipe | None, Committee | None]

    @classmethod
    def open(
        cls,
        directory: str | os.PathLike,
        *,
        recipe: AnyRecipe | None = None,
        data: Dataset | None = None,
        committee: Committee | None = None,
    ) -> Run:
        """Read a run directory.

        Args:
            directory: of the run.
            recipe: of the run; needed if it has classes or functions of your own, and for another
                device than the CPU.
            data: it began with; needed if an earlier version ran it.
            committee: it began with; needed if it is of calculators.

        Raises:
            RunDirectoryError: no run, a damaged one, or one of another recipe, data or committee.
        """
        store = RunDirectory(folder := absolute(directory))
        settings, times = store.settings(), store.seconds()
        if data is None and not (folder / START).exists():  # an earlier version ran it
            remedy = "give the data it began with, Run.open(directory, data=...)"
            raise RunDirectoryError(f"{folder} does not hold its first data: {remedy}")
        start = read(folder / START, LABELS, {})[0] if data is None else data
        if committee is None and (folder / COMMITTEE).exists():
            committee = Committee.load(folder / COMMITTEE)
        given = {"recipe": recipe and to_settings(recipe, "recipe"), "dataset": start.digest()}
        given |= {"committee": committee and committee.digest()}
        store.check({key: value for key, value in given.items() if value is not None})
        parts = []
        while store.has(index := len(parts), "metrics", METRICS):
            labels = store.stage(index, "labels", LABELS, lambda: (Dataset(), {}))
            metrics = store.stage(index, "metrics", METRICS, dict)
            parts.append((*labels, metrics, times.get(str(index), {})))
        columns = zip(*parts, strict=True) if parts else [()] * 4
        return cls(folder, settings, start, *columns, given=(recipe, committee))

    @property
    def data(self) -> Dataset:
        """All labelled structures, those that were added to the next generation, too."""
        pairs = enumerate([*self.labelled, Dataset()])
        return sum((self._added(index) + labelled for index, labelled in pairs), self.start)

    def _added(self, index: int) -> Dataset:
        return RunDirectory(self.directory).added(index)

    @property
    def curves(self) -> dict[str, NDArray]:
        """Each metric (G,), and "labels": how many structures each committee was given."""
        counts = [len(self.start), *map(len, self.labelled)][: len(self.metrics)]
        counts = [count + len(self._added(index)) for index, count in enumerate(counts)]
        names = dict.fromkeys(name for metrics in self.metrics for name in metrics)
        columns = {name: np.array([m.get(name, np.nan) for m in self.metrics]) for name in names}
        return {"labels": np.cumsum(counts), **columns}

    @cached_property
    def recipe(self) -> AnyRecipe:
        """The recipe of the run; RunDirectoryError if it has classes or functions of your own."""
        try:
            return self.given[0] or from_settings(self.settings["recipe"], "recipe")
        except (TypeError, ValueError) as error:
            remedy = "give the recipe, Run.open(directory, recipe=...)"
            raise RunDirectoryError(f"{self.directory}: {error}: {remedy}") from error

    def _stages(self, index: int, report: Report = ignore) -> Stages:
        store = RunDirectory(self.directory)
        return Stages(store, index, self.settings["seed"], report, self.given[1])

    @cached_property
    def generations(self) -> tuple[Generation, ...]:
        """Records of all generations, with committees and attacks."""
        if "committee" in self.settings and self.given[1] is None:
            remedy = "give the calculators it began with, Run.open(directory, committee=...)"
            raise RunDirectoryError(f"{self.directory} cannot hold calculators: {remedy}")
        loop = Loop(self.recipe, Reference(_unknown, settings={}), seed=self.settings["seed"])
        records: list[Generation] = []
        for index in range(len(self.metrics)):
            last = records[-1] if records else None
            records.append(loop.read(last.grown if last else self.start, self._stages(index), last))
        return tuple(records)

    def final(self, report: Report = ignore) -> Committee:
        """Return a committee that is trained on all labels, and calibrated as the recipe says.

        The next generation of the run begins with it. It is kept in the directory: a training that
        was stopped goes on, a finished one is read, and the run may go on later.

        Raises:
            RunDirectoryError: a directory in use by another process, or an incomplete generation.
        """
        index, data = len(self.metrics), self.data
        if RunDirectory(self.directory).has_labels(index):
            wrong = f"generation {index + 1} of {self.directory} has labels, but is not complete"
            raise RunDirectoryError(f"{wrong}: run its loop until it is, and open it again")
        while index and not len(self.labelled[index - 1]) and not len(self._added(index)):
            index -= 1  # its committee was trained on the same data
        recipe = self.recipe if isinstance(self.recipe, Recipe) else self.recipe(index)
        last, stages = self.generations[index - 1] if index else None, self._stages(index, report)
        with stages.directory.locked():
            committee, _, _ = trained(recipe, data, stages, last)
        if committee.calibration is None:
            wrong = f"no structure of {self.directory} is for calibration: uncertainties are raw"
            warnings.warn(f"{wrong}; begin with data.split(calibration=...)", stacklevel=2)
        return committee

    def __repr__(self) -> str:
        labels, *curves = self.curves.values()
        names, spent = [*self.curves][1:], [round(sum(times.values())) for times in self.seconds]
        rows = [["generation", "structures", "labelled", "failed", "seconds", *names]]
        for i, seconds in enumerate(spent):
            counts = [i + 1, labels[i], len(self.labelled[i]), len(self.failures[i]), seconds]
            rows.append([*map(str, counts), *(f"{curve[i]:.4g}" for curve in curves)])
        head = f"{len(self.data)} structures after {len(spent)} generations, {sum(spent)} s"
        return f"Run {self.directory}: {head}\n{table(rows)}"


def _unknown(geometry: Geometry) -> Labels:
    raise RunDirectoryError("the reference of this run is not known here: run its loop")
