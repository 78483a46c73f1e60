"""A growing list of structures: data, candidates of a loop, or geometries.

Rows are only ever added, so that an index stays the name of a structure. Uncertainties and errors
are those of the committee that was given, or else of the committee of the generation that found a
structure, before it learned it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from ..analysis.descriptors import Soap, Umap
from ..committee import Committee
from ..dataset import TRAIN, Dataset
from ..events import ignore
from ..geometry import Geometry, Labels, as_geometry
from ..loop.generation import KEPT, Generation
from ..loop.run import Run
from ..selection import Candidate
from .background import Background
from .candidate_views import seed_of
from .progress import Turn
from .structure_rows import Column, Row, columns_of, rows_of

Describe = Callable[[Sequence[Geometry]], NDArray]
Project = Callable[[NDArray], NDArray]
Source = Dataset | Run | Generation | Turn | Geometry | Atoms | Iterable[Any]


class Structures:
    """Structures with columns; any thread may add to them.

    Args:
        source: a data set, a run, or generations or structures, one or several.
        committee: for uncertainties and errors of all structures; without one, each generation's.

    Raises:
        TypeError: a source of another kind.
    """

    def __init__(self, source: Source = (), committee: Committee | None = None) -> None:
        self.committee = committee
        self._rows: list[Row] = []
        self._columns: dict[str, Column] = {}
        self._more: dict[str, Column] = {}
        self._grown: dict[str, tuple[int, int]] = {}  # run -> last generation, size of grown data
        # run -> first row and digests of the data that are here without it
        self._begun: dict[str, tuple[int, list[str]]] = {}
        self._mapping: tuple[Describe, Project] | None = None
        self._watchers: list[Callable[[], Any]] = []
        self._lock = threading.RLock()
        self.append(source)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]

    def __repr__(self) -> str:
        return f"Structures: {len(self)} with {', '.join(self.columns) or 'no columns'}"

    @property
    def columns(self) -> dict[str, Column]:
        """Name -> column; those of which nothing is known are left out."""
        return self._columns

    def append(self, source: Source, run: str = "") -> Self:
        """Add structures; data and generations that are here already are not added again.

        Args:
            source: as for the class.
            run: name of the loop, where there are several.
        """
        with self._lock:
            self._add(source, run)
            self._refresh()
        return self

    def follow(self, background: Background[Any], failed: Callable[[Any], Any] = ignore) -> Self:
        """Add what a run has found and what it will find; `failed` receives later errors."""
        with self._lock:  # the worker's next record waits until the earlier ones are here
            background.subscribe(self._found, kinds=(Turn, Generation), failed=failed)
            return self.append(background.records)

    def mapped(self, describe: Describe | None = None, project: Project | None = None) -> Self:
        """Add the columns "UMAP 1" and "UMAP 2"; each addition of structures computes them anew.

        Raises:
            ValueError: fewer than five structures, or some that cannot be described together.
        """
        with self._lock:
            self._mapping = describe or Soap(), project or Umap()
            self._refresh()
        return self

    def add(self, name: str, values: ArrayLike, unit: str = "") -> Self:
        """Add a column of (n,) numbers or texts, which structures that come later do not have.

        Raises:
            ValueError: another number of values.
        """
        column = np.asarray(values)
        if column.shape != (len(self),):
            wrong = f"column {name!r} has shape {column.shape}"
            raise ValueError(f"{wrong}: give a value for each of {len(self)} structures")
        kind = float if column.dtype.kind in "fiub" else object
        with self._lock:
            self._more[name] = Column(column.astype(kind), unit)
            self._refresh()
        return self

    def watch(self, call: Callable[[], Any]) -> None:
        """Call `call()` after each change, in the thread that made it."""
        self._watchers.append(call)

    def frames(self, indices: Iterable[int]) -> list[Atoms]:
        """Return structures for ASE, labels in calculators, what else is known in ``info``."""
        frames = []
        for index in indices:
            row = self._rows[index]
            data = row.labels and Dataset([row.geometry], [row.labels], [row.role or TRAIN])
            frames.append(data.to_ase()[0] if data else row.geometry.to_ase())
            facts = {"row": index, "generation": row.generation, "verdict": row.verdict}
            facts |= {"sigma": row.sigma, "error": row.error}
            frames[-1].info |= {k: v for k, v in facts.items() if v == v and v != ""}
        return frames

    def _found(self, record: Turn | Generation) -> None:
        self.append(record)

    # -- adding, under the lock

    def _refresh(self) -> None:
        columns = columns_of(self._rows) if self._rows else {}
        more = {name: column.padded(len(self)) for name, column in self._more.items()}
        self._columns = columns | more
        try:
            if self._mapping is not None:
                describe, project = self._mapping
                places = project(describe([row.geometry for row in self._rows]))
                mapped = {f"UMAP {k + 1}": Column(values) for k, values in enumerate(places.T)}
                self._columns |= mapped
        finally:
            for call in self._watchers:
                call()

    def _add(self, source: Any, run: str) -> None:
        if isinstance(source, Turn):
            self._add(source.generation, source.strategy)
        elif isinstance(source, Generation):
            self._add_generation(source, run)
        elif isinstance(source, Run):
            self._add(source.generations or source.data, run)
        elif isinstance(source, Dataset):
            first = len(self._rows)
            self._add_data(source, self.committee, run)
            if run not in self._grown:  # a loop may begin with them
                self._grown[run] = -1, len(source)
                self._begun[run] = first, [geometry.digest() for geometry in source]
        elif isinstance(source, (Geometry, Atoms)):
            self._add([source], run)
        elif isinstance(source, Sequence) and all(isinstance(x, (Geometry, Atoms)) for x in source):
            geometries = [as_geometry(structure) for structure in source]
            facts = [{"run": run, "generation": _generation(g)} for g in geometries]
            self._rows += rows_of(self.committee, geometries, facts)
        elif isinstance(source, Iterable) and not isinstance(source, str):
            for part in source:
                self._add(part, run)
        else:
            need = "give a Dataset, a Run, generations, or structures (Geometry or ase.Atoms)"
            raise TypeError(f"a {type(source).__name__} has no structures to show: {need}")

    def _add_data(self, data: Dataset, committee: Committee | None, run: str) -> None:
        columns = zip(data, data.labels, data.roles, strict=True)
        facts = [
            {"labels": labels, "role": role, "run": run, "generation": _generation(geometry)}
            for geometry, labels, role in columns
        ]
        self._rows += rows_of(committee, data.geometries, facts)

    def _add_generation(self, generation: Generation, run: str) -> None:
        last, known = self._grown.get(run, (-1, 0))
        if generation.index <= last:  # a loop that begins again reads what is here already
            return
        if last < 0:
            known = self._begun_with(generation.dataset, run)
        committee = self.committee or generation.committee
        self._add_data(generation.dataset[known:], committee, run)
        common = {"run": run, "generation": generation.index + 1}
        facts = [common | _fate(candidate) for candidate in generation.candidates]
        geometries = [candidate.geometry for candidate in generation.candidates]
        self._rows += rows_of(committee, geometries, facts)
        self._grown[run] = generation.index, len(generation.grown)

    def _begun_with(self, data: Dataset, run: str) -> int:
        """Return how many of `data` are here already; their roles may have been drawn since."""
        first, digests = self._begun.get(run) or self._begun.get("", (0, []))
        count = len(digests)
        if [geometry.digest() for geometry in data[:count]] != digests:
            return 0
        for index, role in zip(range(first, first + count), data.roles, strict=False):
            self._rows[index] = replace(self._rows[index], role=role)
        return count


def _generation(geometry: Geometry) -> int:
    return int(geometry.origin.get("generation", 0))


def _fate(candidate: Candidate) -> dict[str, Any]:
    """Return what became of a candidate, as fields of a row."""
    labels = candidate.outcome if isinstance(candidate.outcome, Labels) else None
    verdict = candidate.verdict.partition(" (")[0]
    if verdict == KEPT and candidate.outcome is not None:
        verdict = "failed" if labels is None else "labelled"
    facts = {"verdict": verdict, "labels": labels, "role": candidate.role if labels else ""}
    if candidate.adversary is not None and len(candidate.adversary.path):
        facts["start"] = seed_of(candidate)
    return facts
