"""One structure with what is known of it, and the columns of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..batch import Batch
from ..committee import Committee
from ..geometry import Geometry, Labels
from ..plots.scene import formula
from .energies import force_unit, formula_key, is_surface, lowest_energies

SIGMA = ("sigma", "raw sigma")  # names of a column: calibrated, or not


class Column(NamedTuple):
    """A value for each structure: (n,) floats, NaN where not known, in a unit, or (n,) texts."""

    values: NDArray
    unit: str = ""

    def padded(self, count: int) -> Column:
        """Return the column with "not known" for rows that were added later."""
        missing = np.full(count - len(self.values), np.nan if self.is_number else "", object)
        return Column(np.append(self.values, missing.astype(self.values.dtype)), self.unit)

    @property
    def is_number(self) -> bool:
        """Whether the values are numbers."""
        return self.values.dtype != object

    def text(self, row: int) -> str:
        """Return a value as text, "" if it is not known."""
        value = self.values[row]
        return value if not self.is_number else "" if np.isnan(value) else f"{value:.4g}"

    @property
    def is_known(self) -> bool:
        """Whether any value is known."""
        return bool(np.isfinite(self.values).any() if self.is_number else (self.values != "").any())


@dataclass(frozen=True, eq=False)
class Row:
    """A structure and what is known of it.

    Attributes:
        geometry: the structure.
        labels, role: of the reference, and "train" or "calibration"; None and "" without labels.
        verdict: of a candidate: the selector that dropped it, or "labelled" or "failed".
        generation, run: that found it, 0 for the initial data, and the name of its loop.
        start: of the attack that found it; None without one.
        committee, energy: who predicts, and the mean energy, eV; None and NaN without one.
        sigma, error: root mean squares of the (calibrated) uncertainties and of the errors of the
            mean over the force components, eV/angstrom; NaN where not known.
    """

    geometry: Geometry
    labels: Labels | None = None
    role: str = ""
    verdict: str = ""
    generation: int = 0
    run: str = ""
    start: Geometry | None = None
    committee: Committee | None = None
    energy: float = np.nan
    sigma: float = np.nan
    error: float = np.nan

    @property
    def atomic_sigma(self) -> NDArray | None:
        """(n,) uncertainty of the force on each atom, eV/angstrom (Cezar 2025, Eq. 9), or None."""
        if self.committee is None or len(self.committee) < 2:
            return None
        prediction, batch = self.committee.predict(self.geometry), Batch.of([self.geometry])
        variance = self.committee.component_variance(prediction, batch)
        return variance.sum(-1).sqrt().numpy()


def rows_of(
    committee: Committee | None, geometries: Sequence[Geometry], facts: Sequence[Mapping[str, Any]]
) -> list[Row]:
    """Return structures with their facts, which are fields of :class:`Row`, and predictions."""
    if committee is None or not geometries:
        return [Row(geometry, **known) for geometry, known in zip(geometries, facts, strict=True)]
    prediction, rows = committee.predict(geometries), []
    means, forces = prediction.energy.mean(0).numpy(), prediction.forces.mean(0).numpy()
    variance = forces * np.nan
    if len(committee) > 1:
        variance = committee.component_variance(prediction, Batch.of(geometries)).numpy()
    ends = np.cumsum([len(geometry) for geometry in geometries])
    parts = zip(means, *(np.split(x, ends[:-1]) for x in (variance, forces)), strict=True)
    for geometry, known, (energy, spread, force) in zip(geometries, facts, parts, strict=True):
        true = (labels := known.get("labels")) and labels.forces
        error = np.nan if true is None else float(np.mean((force - true) ** 2)) ** 0.5
        values = {"energy": float(energy), "sigma": float(spread.mean()) ** 0.5, "error": error}
        rows.append(Row(geometry, committee=committee, **known, **values))
    return rows


def columns_of(rows: Sequence[Row]) -> dict[str, Column]:
    """Return name -> column; those of which nothing is known are left out.

    Energies are above the lowest label of their formula, or above the lowest prediction where no
    structure of a formula is labelled; those of a model surface are its own.
    """
    geometries = [row.geometry for row in rows]
    surface = is_surface(geometries)
    unit, force = ("", "") if surface else ("eV", force_unit(geometries))
    raw = any(row.committee is not None and row.committee.force_laws is None for row in rows)
    labels = np.array([np.nan if row.labels is None else row.labels.energy for row in rows])
    energies, sigma, error, generations = (
        np.array([getattr(row, name) for row in rows], dtype=float)
        for name in ("energy", "sigma", "error", "generation")
    )
    zeros = np.zeros(len(rows)) if surface else _lowest(geometries, labels)
    zeros = np.where(np.isfinite(zeros), zeros, _lowest(geometries, energies))
    columns = {"row": Column(np.arange(len(rows), dtype=float))}
    if surface:
        x, y = np.concatenate([geometry.positions for geometry in geometries]).T
        columns |= {"x": Column(x), "y": Column(y)}
    above = {"energy": labels - zeros, "predicted energy": energies - zeros}
    columns |= {name: Column(values, unit) for name, values in above.items()}
    columns |= {SIGMA[raw]: Column(sigma, force), "error": Column(error, force)}
    columns["generation"] = Column(generations)
    kinds = {geometry.numbers.tobytes(): geometry for geometry in geometries}
    formulas = {key: formula(geometry) for key, geometry in kinds.items()}  # slow for each
    texts = {name: [getattr(row, name) for row in rows] for name in ("verdict", "role", "run")}
    texts["found by"] = [str(geometry.origin.get("by", "")) for geometry in geometries]
    texts["formula"] = [formulas[geometry.numbers.tobytes()] for geometry in geometries]
    columns |= {name: Column(np.array(text, dtype=object)) for name, text in texts.items()}
    return {name: column for name, column in columns.items() if column.is_known}


def _lowest(geometries: Sequence[Geometry], energies: NDArray) -> NDArray:
    """Return (n,) the lowest finite energy of the same formula, NaN without any."""
    finite = np.flatnonzero(np.isfinite(energies)).tolist()
    lowest = lowest_energies([geometries[k] for k in finite], energies[finite])
    return np.array([lowest.get(formula_key(geometry), np.nan) for geometry in geometries])
