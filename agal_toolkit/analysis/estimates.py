"""Averages over frames of a simulation, with errors, for other potentials and for committees.

Frames close in time are alike, so the error of an average over frames is estimated from a few long
blocks: the standard deviation of their averages over the square root of their number. It is right
when a block is much longer than the correlation time of the property; `inefficiency` measures that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import units
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

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

    def estimate(self, values: ArrayLike, blocks: int = 5) -> Estimate:
        """Return the weighted average of (T, ...) values, its error by leaving out blocks in turn.

        The jackknife needs blocks of frames, 2 to T, that are longer than a correlation time.
        """
        if not 2 <= blocks <= len(self.weights):
            raise ValueError(f"blocks={blocks}: expected 2 to {len(self.weights)}, the frames")
        x, w, frames = np.asarray(values, float), self.weights, np.arange(len(self.weights))
        rests = [np.setdiff1d(frames, part) for part in np.array_split(frames, blocks)]
        without = np.array([np.tensordot(w[rest], x[rest], 1) / w[rest].sum() for rest in rests])
        return Estimate(self.mean(x), without.std(0) * np.sqrt(blocks - 1))


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


LEVEL = 0.95  # probability of a band


@dataclass(frozen=True, eq=False)
class Band:
    """A property by every member of a committee, and the band where one more member would find it.

    The 95 % band is a prediction interval, mean +- t sqrt(V): the truth lies in it if it is like
    one more member. With the variance S^2 of members (ddof = 1), the mean square s^2 of their
    statistical errors and the truth's error e,

        V = max(S^2, s^2) (1 + 1/M) + max(e^2 - s^2, 0)   if each member has a run of its own,
        V = S^2 (1 + 1/M) + s^2 + e^2                     if all share one run.

    Errors of own runs differ, so S^2 contains s^2, and only the part of e^2 beyond s^2 is added;
    the error of a shared run moves all members alike. Student's t has M - 1 degrees of freedom,
    times (V / (S^2 (1 + 1/M)))^2, as only S^2 is known from M values (Satterthwaite 1946). Members
    without a value (unstable, or too far from the shared run) differ most from the others: without
    them the band is too narrow.

    Attributes:
        values: (M, ...) property of each member, a number or a curve.
        errors: (M, ...) standard errors of a run, from blocks.
        left_out: index of a member without a value -> reason.
        shared: whether all values come from frames of one run.
    """

    values: NDArray
    errors: NDArray
    left_out: Mapping[int, str]
    shared: bool = False

    @classmethod
    def of(cls, members: Sequence[Estimate | str], *, shared: bool = False) -> Band:
        """Return the band of members, at least two estimates, or reasons why a member has none."""
        kept = [member for member in members if isinstance(member, Estimate)]
        left_out = {k: member for k, member in enumerate(members) if isinstance(member, str)}
        if len(kept) < 2:
            reasons = "; ".join(f"member {k}: {reason}" for k, reason in [*left_out.items()][:2])
            wrong = f"{len(kept)} of {len(members)} members have a value, expected at least 2"
            raise ValueError(f"{wrong} ({reasons})")
        shapes = {np.shape(member.value) for member in kept}
        if len(shapes) > 1:
            raise ValueError(f"values of members have shapes {shapes}: give all the same bins")
        stacked = np.array([[member.value, member.error] for member in kept])
        if not np.isfinite(stacked).all():
            raise ValueError("a value or error is not finite: give the reason in its place")
        return cls(stacked[:, 0], stacked[:, 1], left_out, shared)

    @classmethod
    def measured(
        cls, runs: Sequence[Sequence[Frames]], measure: Callable[[Frames], Estimate]
    ) -> Band:
        """Return the band of own runs; a member with a broken replica is left out.

        Args:
            runs: replicas of each member (:func:`~agal_toolkit.sampling.simulate_members`); its
                property is the average over them.
            measure: returns the property of a replica, with the same bins for all.
        """
        members: list[Estimate | str] = []
        for replicas in runs:
            broken = [frames for frames in replicas if frames.reason is not None]
            if broken:
                members.append(f"unstable: {broken[0]!r}")
                continue
            parts = np.array([[part.value, part.error] for part in map(measure, replicas)])
            error = np.linalg.norm(parts[:, 1], axis=0) / len(parts)
            members.append(Estimate(parts[:, 0].mean(0), error))
        return cls.of(members)

    @classmethod
    def reweighted(
        cls,
        values: ArrayLike,
        energies: ArrayLike,
        simulated: ArrayLike,
        temperature: float,
        *,
        blocks: int = 5,
        least: float = 20.0,
    ) -> Band:
        """Return the band of one run reweighted to each member.

        Args:
            values: (T, ...) of the frames: densities, or g(r) with each frame a block.
            energies: (M, T) eV, of each member at the frames.
            simulated, temperature: (T,) eV and K, of the run.
            blocks: number of blocks for the errors.
            least: effective number of frames below which a member is left out (:func:`reweight`).

        Raises:
            ValueError: shapes that do not match, or fewer than two members with enough frames.
        """
        counts = np.shape(energies)[1:], np.shape(simulated), np.shape(values)[:1]
        if len(set(counts)) > 1:
            raise ValueError(f"energies, simulated, values have frames {counts}, expected equal")
        members: list[Estimate | str] = []
        for own in np.asarray(energies, float):
            try:
                weights = reweight(own, simulated, temperature, least=least)
            except ValueError as refused:
                members.append(str(refused))
            else:
                members.append(weights.estimate(values, blocks))
        return cls.of(members, shared=True)

    @property
    def mean(self) -> NDArray:
        """Average over members."""
        return self.values.mean(0)

    @property
    def spread(self) -> NDArray:
        """Standard deviation S over members."""
        return self.values.std(0, ddof=1)

    @property
    def noise(self) -> NDArray:
        """Root mean square s of statistical errors; S near s means that own runs are too short."""
        return np.sqrt(np.mean(self.errors**2, 0))

    def margin(self, error: ArrayLike = 0.0) -> NDArray:
        """Return half the width of the band, for a truth with a standard error."""
        count, S2, s2, e2 = len(self.values), self.spread**2, self.noise**2, np.square(error)
        of_members = S2 * (1 + 1 / count)
        own = np.maximum(of_members, s2 * (1 + 1 / count)) + np.maximum(e2 - s2, 0)
        variance = of_members + s2 + e2 if self.shared else own
        # at least 1, also where both are 0
        ratio = np.maximum(variance / np.maximum(of_members, 1e-3 * variance + 1e-300), 1)
        return stdtrit((count - 1) * ratio**2, (1 + LEVEL) / 2) * np.sqrt(variance)

    def inside(self, truth: Estimate) -> NDArray:
        """Return whether the truth lies in the band, for each bin of the same shape."""
        if np.shape(truth.value) != np.shape(self.mean):
            shapes = f"{np.shape(truth.value)}, members {np.shape(self.mean)}"
            raise ValueError(f"the truth has shape {shapes}: give both the same bins")
        return np.abs(truth.value - self.mean) <= self.margin(truth.error)

    def covered(self, truth: Estimate) -> float:
        """Return the share of bins in which the truth lies in the band.

        Bins in which all agree without any error do not count, as where g(r) is 0.
        """
        inside = self.inside(truth)
        counted = ~inside | (self.margin(truth.error) > 0)
        return float(inside[counted].mean()) if counted.any() else 1.0

    def __str__(self) -> str:
        left = f", {len(self.left_out)} left out" if self.left_out else ""
        name = f"{100 * LEVEL:g} % band of {len(self.values)} members{left}"
        return name if np.ndim(self.mean) else f"{self.mean:.4g} +- {self.margin():.2g}, {name}"
