"""Averages over frames of a simulation, with errors, and in the ensemble of another potential.

Frames close in time are alike, so the error of an average over frames is estimated from a few long
blocks: the standard deviation of their averages over the square root of their number. It is right
when a block is much longer than the correlation time of the property; `inefficiency` measures that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units
from numpy.typing import ArrayLike, NDArray

from ..dynamics.run import Frames


@dataclass(frozen=True, eq=False)
class Estimate:
    """An average with its standard error.

    Attributes:
        value: Average over blocks, a number or an array.
        error: Standard error of the average, same shape.
    """

    value: NDArray | float
    error: NDArray | float

    @classmethod
    def of(cls, blocks: ArrayLike) -> Estimate:
        """Return the average of independent values along the first axis.

        Raises:
            ValueError: fewer than two blocks have no error.
        """
        blocks = np.asarray(blocks, float)
        if len(blocks) < 2:
            raise ValueError(f"{len(blocks)} blocks have no standard error: give at least 2")
        return cls(blocks.mean(0), blocks.std(0, ddof=1) / np.sqrt(len(blocks)))

    def __str__(self) -> str:
        if np.ndim(self.value):
            return f"Estimate of {np.shape(self.value)} values"
        return f"{self.value:.4g} +- {self.error:.2g}"


def blocks_of(frames: Frames, count: int = 5, start: float = 0.0) -> list[slice]:
    """Return `count` consecutive slices of equal length of the frames from `start` fs on.

    Frames that do not fill a block are left out at the beginning.

    Raises:
        ValueError: fewer than two frames for each block.
    """
    first = int(np.searchsorted(frames.times, start))
    length = (len(frames) - first) // count if count > 0 else 0
    if count < 2 or length < 2:
        raise ValueError(
            f"{len(frames) - first} frames from {start:g} fs on make {count} blocks of {length}:"
            " at least 2 blocks of 2 frames are needed; simulate longer, or ask for fewer blocks"
        )
    begin = len(frames) - count * length
    return [slice(begin + k * length, begin + (k + 1) * length) for k in range(count)]


def inefficiency(values: ArrayLike) -> float:
    """Return the statistical inefficiency g = 1 + 2 tau of a series, in frames; at least 1.

    The sum of autocorrelations ends at the first that is not positive (Chodera et al., J. Chem.
    Theory Comput. 3, 26 (2007)). T frames hold T / g independent values.

    Args:
        values: (T,) in time.

    Raises:
        ValueError: fewer than three values, or all equal.
    """
    x = np.asarray(values, float)
    x = x - x.mean()
    if len(x) < 3 or not x.any():
        raise ValueError(f"{len(x)} values that vary are needed, at least 3: g is not defined")
    count = len(x)
    spectrum = np.fft.rfft(x, 2 * count)
    c = np.fft.irfft(np.abs(spectrum) ** 2)[:count] / (x @ x)  # weight (1 - t/T) included
    end = int(np.argmax(c <= 0)) or count
    return float(max(1.0, 1 + 2 * c[1:end].sum()))


@dataclass(frozen=True, eq=False)
class Reweighted:
    """Averages of one simulation in the ensemble of another potential.

    Attributes:
        weights: (T,) normalised weights of the frames.
        effective: Number of frames that would give the same error unweighted, 1 / sum w^2 (Kish).
    """

    weights: NDArray
    effective: float

    def mean(self, values: ArrayLike) -> NDArray | float:
        """Return the weighted average of values along the first axis."""
        return np.tensordot(self.weights, np.asarray(values, float), 1)


def reweight(
    energies: ArrayLike, simulated: ArrayLike, temperature: float, *, least: float = 20.0
) -> Reweighted:
    """Return weights exp(-(E - E_simulated) / kT) of frames, for averages under energies E.

    Args:
        energies: (T,) eV, of the potential whose averages are wanted, at the frames.
        simulated: (T,) eV, of the potential that drove the simulation.
        temperature: K.
        least: smallest effective number of frames.

    Raises:
        ValueError: the effective number is below `least`, so a few frames would decide.
    """
    apart = np.asarray(energies, float) - np.asarray(simulated, float)
    logs = -(apart - apart.mean()) / (units.kB * temperature)
    weights = np.exp(logs - logs.max())
    weights = weights / weights.sum()
    effective = float(1 / np.sum(weights**2))
    if not effective >= least:
        raise ValueError(
            f"reweighting leaves {effective:.1f} effective frames of {len(weights)}, expected at"
            f" least {least:g}: the energies differ by {apart.std():.2g} eV (standard deviation)"
            f" where kT is {units.kB * temperature:.2g}; run this potential by itself"
        )
    return Reweighted(weights, effective)
