"""Calibrated adversarial geometry optimisation: structures of a chosen error (Cezar 2025, Sec. II).

The loss is smallest where the calibrated uncertainty is the target, so an attack stops at
structures as wrong as asked for, and pulls back those that start beyond. It is smooth in the
members' predictions, so every gradient takes it, and a minimizer that remembers curvature
(:class:`~agal_toolkit.attack.LBFGS`) gets there in tens of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..batch import Batch, Prediction
from ..committee import Committee
from ..dataset import Dataset
from ..uncertainty.calibration import Calibration
from ..uncertainty.power_law import FLOOR, PowerLaw

Quantity = Literal["forces", "energy", "virial"]
Property = Callable[[Prediction, Batch], Tensor]


@dataclass(frozen=True)
class Bias:
    """A wish beside the target: strength (y - value)^2, y a property of the mean prediction (Cezar
    2025, Eq. 7).

    Attributes:
        strength: l_bias, in units of the target squared over those of y squared.
        of: "forces", for which the squared norms of all atoms' mean forces are added (Cezar 2025,
            Eq. 8; eV/angstrom); "pressure", eV/angstrom^3 (``ase.units.GPa``); "energy", eV per
            atom; or a function of the mean prediction and the batch, (B,).
        value: y_bias.
    """

    strength: float
    of: Literal["forces", "pressure", "energy"] | Property
    value: float = 0.0

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise ValueError(f"the strength of a bias is {self.strength}: a wish is not negative")
        if not callable(self.of) and self.of not in ("forces", "pressure", "energy"):
            raise ValueError(
                f"of={self.of!r}: expected 'forces', 'pressure', 'energy' or a function of the mean"
                " prediction and the batch"
            )
        if self.of == "forces" and self.value:
            raise ValueError(
                "a bias on forces pulls toward zero: their directions have no common value"
            )

    def __call__(self, mean: Prediction, batch: Batch) -> Tensor:
        """(B,) what it adds to the loss."""
        if self.of == "forces":
            return self.strength * batch.sum(mean.forces.double().square().sum(-1))
        if self.of == "pressure":
            y = -mean.stress.double().diagonal(dim1=-2, dim2=-1).mean(-1)
        elif self.of == "energy":
            y = mean.energy.double() / batch.counts
        else:
            y = self.of(mean, batch)
        return self.strength * (y - self.value).square()


@dataclass(frozen=True)
class TargetError:
    """Uncertain by so much: the squared distance of calibrated uncertainties from a target (Cezar
    2025, Eqs. 6 and 8).

    For forces each atom's uncertainty is the root of the sum of its calibrated components squared
    (Eq. 9), and the loss adds the squares of all atoms; energies and virials (Frobenius norm over
    components) have one value for each structure.

    Attributes:
        target: delta; eV/angstrom, for the norm over an atom's three components (a target per
            component is sqrt(3) smaller); eV per atom for energy and virial.
        quantity: "forces", "energy" or "virial".
        bias: wishes beside it.
        raw: take the members' standard deviation as it is, uncalibrated.
        tolerance: a structure has reached the target where the average of sigma over its atoms is
            as near, relative to the target,
        deviation: and the root mean square deviation of its atoms from the target is no larger.
    """

    target: float
    quantity: Quantity = "forces"
    bias: Sequence[Bias] = ()
    raw: bool = False
    tolerance: float = 0.03
    deviation: float = 0.15

    def __post_init__(self) -> None:
        if not self.target > 0:
            raise ValueError(f"the target is {self.target}: an error to aim at is positive")
        if self.quantity not in ("forces", "energy", "virial"):
            raise ValueError(
                f"quantity is {self.quantity!r}, expected 'forces', 'energy' or 'virial'"
            )
        if not self.tolerance > 0 or not self.deviation > 0:
            raise ValueError(
                f"tolerance={self.tolerance} and deviation={self.deviation} must be positive"
            )
        object.__setattr__(self, "bias", tuple(self.bias))

    def __call__(self, committee: Committee, dataset: Dataset) -> TargetLoss:
        """The loss for this committee's calibration.

        Raises:
            ValueError: a committee that is not calibrated, or not for this quantity.
        """
        plain = PowerLaw()
        calibration = Calibration(plain, plain, plain) if self.raw else committee.calibration
        if calibration is None:
            raise ValueError(
                "the committee is not calibrated, so nobody knows how wrong a structure is: attack"
                " committee.calibrated(data), or TargetError(raw=True)"
            )
        calibration.law(self.quantity)
        return TargetLoss(self, calibration)


@dataclass(frozen=True)
class TargetLoss:
    """:class:`TargetError` bound to a calibration.

    Attributes:
        aim: what is wanted.
        calibration: of the committee.
    """

    aim: TargetError
    calibration: Calibration

    def sigma(self, prediction: Prediction, batch: Batch) -> Tensor:
        """(N,) calibrated uncertainty of each atom's force, or (B,) of each structure's energy or
        virial.
        """
        if self.aim.quantity == "forces":
            return (self.calibration.atomic_variance(prediction) + FLOOR**2).sqrt()
        if self.aim.quantity == "energy":
            return self.calibration.energy_sigma(prediction, batch)
        return (
            self.calibration.virial_sigma(prediction, batch).square().sum((-2, -1)) + FLOOR**2
        ).sqrt()

    def __call__(self, prediction: Prediction, batch: Batch) -> Tensor:
        """(B,) the sum over atoms of (sigma - target)^2, and the biases."""
        missed = (self.sigma(prediction, batch).double() - self.aim.target).square()
        loss = batch.sum(missed) if self.aim.quantity == "forces" else missed
        if self.aim.bias:
            mean = prediction.mean()
            for wish in self.aim.bias:
                loss = loss + wish(mean, batch)
        return loss

    def found(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B,) average of sigma over atoms and root mean square deviation of it from the target,
        both relative to the target.
        """
        sigma = self.sigma(prediction, batch).double() / self.aim.target
        if self.aim.quantity != "forces":
            return sigma, (sigma - 1).abs()
        return batch.mean(sigma), batch.mean((sigma - 1).square()).sqrt()

    def reached(self, prediction: Prediction, batch: Batch) -> Tensor:
        """(B,) whether each structure is as uncertain as wanted, within the tolerances."""
        average, deviation = self.found(prediction, batch)
        return ((average - 1).abs() <= self.aim.tolerance) & (deviation <= self.aim.deviation)

    @property
    def warning(self) -> str | None:
        """Why the target may not mean what it says; None where the calibration has seen such
        uncertainties often.
        """
        return self.calibration.outside(
            self.aim.target,
            self.aim.quantity,
            {"forces": 3, "energy": 1, "virial": 9}[self.aim.quantity],
        )
