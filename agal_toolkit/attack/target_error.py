"""Calibrated adversarial geometry optimisation: structures of a chosen error (Cezar 2025, Sec. II).

The loss is smallest where the calibrated uncertainty equals the target, so an attack stops at
structures of the wanted error and pulls back those that start beyond it. The loss is smooth in the
members' predictions, so every gradient can be used, and :class:`~agal_toolkit.attack.LBFGS`
converges in tens of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from ..batch import Batch, Prediction
from ..committee import Committee
from ..dataset import Dataset
from ..uncertainty.calibration import Calibration
from ..uncertainty.power_law import FLOOR, PowerLaw

Quantity = Literal["forces", "energy", "virial"]
Property = Callable[[Prediction, Batch], Tensor]
COMPONENTS = {"forces": 3, "energy": 1, "virial": 9}  # in a norm


@dataclass(frozen=True)
class Bias:
    """A bias term of the loss, strength (y - value)^2 (Cezar 2025, Eq. 7).

    Attributes:
        strength: l_bias, in units of the target squared over units of y squared.
        of: "forces", which sums the squared norms of the mean forces over the atoms (Cezar 2025,
            Eq. 8; eV/angstrom); "pressure", eV/angstrom^3 (``ase.units.GPa``); "energy", eV per
            atom; or a function (B,) of the mean prediction and the batch.
        value: y_bias, the value toward which the property y is pulled.
    """

    strength: float
    of: Literal["forces", "pressure", "energy"] | Property
    value: float = 0.0

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise ValueError(f"strength is {self.strength}: a bias is not negative")
        if not callable(self.of) and self.of not in ("forces", "pressure", "energy"):
            expected = "expected 'forces', 'pressure', 'energy' or a function"
            raise ValueError(f"of={self.of!r}: {expected} of the mean prediction and the batch")
        if self.of == "forces" and self.value:
            raise ValueError(f"value is {self.value}: a bias on forces pulls toward zero, use 0.0")

    def __call__(self, mean: Prediction, batch: Batch) -> Tensor:
        """Return the term (B,) of the loss."""
        if self.of == "forces":
            return self.strength * batch.sum(mean.forces.double().square().sum(-1))
        if self.of == "pressure":
            if not bool(batch.pbc.all()):
                wanted = "needs structures that are periodic in all directions"
                raise ValueError(f"a bias on pressure {wanted}: leave out molecules and slabs")
            y = -mean.stress.double().diagonal(dim1=-2, dim2=-1).mean(-1)
        elif self.of == "energy":
            y = mean.energy.double() / batch.counts
        else:
            y = self.of(mean, batch)
        return self.strength * (y - self.value).square()


@dataclass(frozen=True)
class TargetError:
    """Squared distance of calibrated uncertainties from a target (Cezar 2025, Eqs. 6 and 8).

    For forces an atom's uncertainty is the norm of its calibrated components (Eq. 9), and the loss
    sums over atoms. Energies and virials (Frobenius norm over components) have one value for each
    structure.

    Attributes:
        target: delta; eV/angstrom, for the norm over an atom's three components (a target per
            component is sqrt(3) smaller); eV per atom for energy and virial. With `relative`, a
            multiple of an error, and without a unit.
        quantity: "forces", "energy" or "virial".
        bias: bias terms added to the loss.
        raw: use the standard deviation of the members without calibration.
        tolerance: largest relative difference between the mean uncertainty and the target for the
            target to count as reached.
        deviation: largest relative RMS deviation of the atoms' uncertainties from the target for
            the target to count as reached.
        relative: whether the target follows the root mean square error on the structures that
            calibrated the committee (of the norm over three components); it shrinks while a loop
            learns.
    """

    target: float
    quantity: Quantity = "forces"
    bias: Sequence[Bias] = ()
    raw: bool = False
    tolerance: float = 0.03
    deviation: float = 0.15
    relative: bool = False

    def __post_init__(self) -> None:
        if not self.target > 0:
            raise ValueError(f"the target is {self.target}: an error to aim at is positive")
        if self.quantity not in ("forces", "energy", "virial"):
            expected = "expected 'forces', 'energy' or 'virial'"
            raise ValueError(f"quantity is {self.quantity!r}, {expected}")
        if not self.tolerance > 0 or not self.deviation > 0:
            given = f"tolerance={self.tolerance} and deviation={self.deviation}"
            raise ValueError(f"{given} must be positive")
        object.__setattr__(self, "bias", tuple(self.bias))

    def __call__(self, committee: Committee, dataset: Dataset | None = None) -> TargetLoss:
        """Return the loss for this committee's calibration; no data are needed.

        Raises:
            ValueError: a committee that is not calibrated, or not for this quantity; a relative
                target where the calibration does not know its error.
        """
        identity = PowerLaw()
        raw = Calibration(identity, identity, identity)
        calibration = raw if self.raw else committee.calibration
        if calibration is None:
            raise ValueError(
                "TargetError needs a calibrated committee: call committee.calibrated(data) first,"
                " or use TargetError(..., raw=True) for uncalibrated standard deviations"
            )
        law = calibration.law(self.quantity)
        if not self.relative:
            return TargetLoss(self, calibration)
        if not law.error > 0:
            wrong = f"TargetError({self.target:g}, relative=True) follows the error in calibration"
            raise ValueError(f"{wrong}, which is not known: call committee.calibrated(data) anew")
        target = self.target * law.error * math.sqrt(COMPONENTS[self.quantity])
        return TargetLoss(replace(self, target=target, relative=False), calibration)


@dataclass(frozen=True)
class TargetLoss:
    """:class:`TargetError` bound to a calibration.

    Attributes:
        target: the objective.
        calibration: of the committee.
    """

    target: TargetError
    calibration: Calibration

    def sigma(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Return calibrated uncertainties: (N,) of forces, or (B,) of energies or virials."""
        if self.target.quantity == "forces":
            return (self.calibration.atomic_variance(prediction, batch) + FLOOR**2).sqrt()
        if self.target.quantity == "energy":
            return self.calibration.energy_sigma(prediction, batch)
        virial = self.calibration.virial_sigma(prediction, batch)
        return (virial.square().sum((-2, -1)) + FLOOR**2).sqrt()

    def __call__(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Return (B,) the sum over atoms of (sigma - target)^2, and the bias terms."""
        missed = (self.sigma(prediction, batch).double() - self.target.target).square()
        loss = batch.sum(missed) if self.target.quantity == "forces" else missed
        if self.target.bias:
            mean = prediction.mean()
            for term in self.target.bias:
                loss = loss + term(mean, batch)
        return loss

    def mean_and_deviation(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return mean sigma and RMS deviation of sigma from the target, over atoms, (B,) each.

        Both are relative to the target.
        """
        sigma = self.sigma(prediction, batch).double() / self.target.target
        if self.target.quantity != "forces":
            return sigma, (sigma - 1).abs()
        return batch.mean(sigma), batch.mean((sigma - 1).square()).sqrt()

    def reached(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Return (B,) True where the target is reached within the tolerances."""
        mean, deviation = self.mean_and_deviation(prediction, batch)
        return ((mean - 1).abs() <= self.target.tolerance) & (deviation <= self.target.deviation)

    def described(self, prediction: Prediction, batch: Batch) -> list[str]:
        """Return, for each geometry, sigma beside the target; its spread if the mean is met."""
        target, texts = self.target.target, []
        digits = max(1, 1 - math.floor(math.log10(target)))
        columns = zip(*self.mean_and_deviation(prediction, batch), strict=True)
        for mean, spread in ((float(a) * target, float(b) * target) for a, b in columns):
            text = f"{mean:.{digits}f} of {target:.{digits}f}"
            met = abs(mean - target) <= self.target.tolerance * target
            texts.append(f"{text}, spread {spread:.{digits}f}" if met else text)
        return texts

    @property
    def warning(self) -> str | None:
        """Warning that the calibration has rarely seen such uncertainties, or None."""
        components = COMPONENTS[self.target.quantity]
        return self.calibration.outside(self.target.target, self.target.quantity, components)
