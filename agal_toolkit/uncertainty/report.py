"""Errors of a committee on labelled structures, and whether a calibration kept its promises."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from ..batch import Batch, Prediction
from ..dataset import Dataset
from ..settings import table
from .calibration import QUANTITIES, Calibration, Samples, Whose, labelled_stresses, samples
from .power_law import FLOOR, PowerLaw


class Error(NamedTuple):
    """Mean absolute and root mean square error of so many `values`, in a `unit`."""

    mae: float
    rmse: float
    values: int
    unit: str


class Errors(dict[str, Error]):
    """Errors of a committee's mean by quantity; ``print(errors)`` shows them as a table.

    The quantities are "energy", "energy per atom", components of "forces" and of "forces on H" and
    the other elements, and of "stress"; those that are not labelled are missing.
    """

    @classmethod
    def of(cls, prediction: Prediction, data: Dataset) -> Errors:
        """Compare a prediction (M, ...) of the structures of `data` with their labels."""
        mean, batch = prediction.mean(), Batch.of(list(data))
        errors = cls()

        def add(name: str, predicted: Tensor, true: NDArray, unit: str) -> None:
            error = (predicted.numpy() - true)[np.isfinite(true)]
            if error.size:
                sizes = float(np.abs(error).mean()), float(np.sqrt((error**2).mean()))
                errors[name] = Error(*sizes, error.size, unit)

        counts = batch.counts.numpy()
        add("energy", mean.energy, data.energies, "eV")
        add("energy per atom", mean.energy / batch.counts, data.energies / counts, "eV")
        forces, numbers = np.concatenate(data.forces), batch.numbers.numpy()
        add("forces", mean.forces, forces, "eV/Å")
        for z in np.unique(numbers[numbers > 0]):
            on = numbers == z
            add(f"forces on {chemical_symbols[z]}", mean.forces[on], forces[on], "eV/Å")
        if stress := labelled_stresses(data):
            add("stress", mean.stress[[*stress]], np.array([*stress.values()]), "eV/Å³")
        return errors

    def __repr__(self) -> str:
        rows = [("error", "MAE", "RMSE", "unit", "values")]
        for name, (mae, rmse, values, unit) in self.items():
            rows.append((name, f"{1e3 * mae:.4g}", f"{1e3 * rmse:.4g}", f"m{unit}", str(values)))
        return table(rows)


class Kept(NamedTuple):
    """Errors of some samples beside what their law promised.

    `spread` is the root mean square of r = e / sigma_cal (Cezar 2025, Eq. 3), 1 if errors are as
    large as promised; `within_1` and `within_2` are the shares of errors below one and two
    sigma_cal, 0.683 and 0.954 if errors are normal.
    """

    spread: float
    within_1: float
    within_2: float
    values: int
    structures: int
    law: str


class Coverage(dict[str, Kept]):
    """How often errors stay within calibrated uncertainties; ``print(coverage)`` shows a table.

    The quantities are components of "forces", of "forces on H" and the other elements, "energy" and
    "virial"; those without a law or a label are missing. The `notes` are those of the calibration.
    """

    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, laws: Calibration, prediction: Prediction, data: Dataset, whose: Whose) -> Coverage:
        """Compare errors, of the members or of the mean, on labelled `data` with the `laws`."""
        coverage = cls()
        coverage.notes = laws.notes

        def add(name: str, points: Samples, law: PowerLaw | str) -> None:
            if size := points.sigma.size:
                sigma = laws.sigma(points, name.partition(" ")[0])
                ratio = np.abs(points.errors) / np.maximum(sigma, FLOOR)
                one, two = (float((ratio < limit).mean()) for limit in (1, 2))
                spread = float(np.mean(ratio**2)) ** 0.5
                if isinstance(law, PowerLaw):
                    law = f"{law.scale:.3g} sigma^{law.exponent:.3g}"
                coverage[name] = Kept(spread, one, two, size, points.structures, law)

        for quantity in QUANTITIES:
            law = getattr(laws, quantity)
            if law is None or (quantity == "virial" and not labelled_stresses(data)):
                continue
            points = samples(prediction, data, quantity, whose)
            own = quantity == "forces" and ", ".join(laws.elements)
            add(quantity, points, law if not own else f"own of {own}")
            for z in np.unique(points.numbers[points.numbers > 0]):
                symbol = chemical_symbols[z]
                chosen = points[points.numbers == z]
                add(f"forces on {symbol}", chosen, laws.elements.get(symbol, law))
        return coverage

    def __repr__(self) -> str:
        rows = [("errors of", "spread", "in 1 sigma", "in 2 sigma", "values", "structures", "law")]
        rows.append(("(if normal)", "1", "68.3 %", "95.4 %", "", "", ""))
        for name, (spread, one, two, values, structures, law) in self.items():
            shares = f"{100 * one:.1f} %", f"{100 * two:.1f} %"
            rows.append((name, f"{spread:.3g}", *shares, str(values), str(structures), law))
        return "\n".join([table(rows), *self.notes])
