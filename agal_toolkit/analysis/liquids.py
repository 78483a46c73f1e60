"""Properties of simulated liquids: density, radial distribution, self-diffusion.

Each has an error from blocks of the simulation (:mod:`.estimates`). Distances are those of nearest
images; positions are never wrapped, as diffusion needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units
from numpy.typing import NDArray

from ..dynamics.run import Frames
from ..dynamics.stops import GRAMS_PER_CM3
from .estimates import Estimate, blocks_of

CM2_PER_S = 1e-16 / 1e-15  # one square angstrom per femtosecond


def densities(frames: Frames) -> NDArray:
    """Return (T,) mass densities, g/cm^3.

    Raises:
        ValueError: the structure has no volume.
    """
    volumes = np.abs(np.linalg.det(frames.cells))
    if frames.start.dimension != 3 or not (volumes > 0).all():
        raise ValueError(f"{frames.start!r} has no volume: a density needs three cell vectors")
    return frames.start.masses.sum() / volumes * GRAMS_PER_CM3


def density(frames: Frames, *, start: float = 0.0, blocks: int = 5) -> Estimate:
    """Return the mass density, g/cm^3.

    Args:
        frames: of a simulation at constant pressure.
        start: fs at its beginning that are left out.
        blocks: number of blocks for the error.
    """
    values = densities(frames)
    return Estimate.of([values[block].mean() for block in blocks_of(frames, blocks, start)])


@dataclass(frozen=True, eq=False)
class RadialDistribution:
    """The radial distribution function of a pair of elements.

    Attributes:
        r: (K,) angstrom, centres of the bins.
        blocks: (N, K) g(r) of each block, 1 for an ideal gas.
        counts: (N, K) number of neighbours up to the end of each bin.
    """

    r: NDArray
    blocks: NDArray
    counts: NDArray

    @property
    def g(self) -> Estimate:
        """(K,) g(r)."""
        return Estimate.of(self.blocks)

    def coordination(self, cutoff: float) -> Estimate:
        """Return the mean number of neighbours within `cutoff` angstrom."""
        ends = self.r + (self.r[1] - self.r[0]) / 2
        if not 0 < cutoff <= ends[-1]:
            raise ValueError(f"cutoff {cutoff:g} is outside 0 to {ends[-1]:g} angstrom")
        return Estimate.of([np.interp(cutoff, ends, counts) for counts in self.counts])

    def first_peak(self, within: tuple[float, float] = (0.0, np.inf)) -> tuple[Estimate, Estimate]:
        """Return place (angstrom) and height of the highest peak, by a parabola through its top.

        Args:
            within: angstrom between which it lies.
        """
        tops = [_parabola(self.r, g, within) for g in self.blocks]
        return Estimate.of([r for r, _ in tops]), Estimate.of([g for _, g in tops])


def _parabola(r: NDArray, g: NDArray, within: tuple[float, float]) -> tuple[float, float]:
    """Return place and height of the maximum, by a least-squares parabola over five bins."""
    inside = np.flatnonzero((r >= within[0]) & (r <= within[1]))
    if not len(inside):
        raise ValueError(f"no bins between {within[0]:g} and {within[1]:g} angstrom")
    top = inside[np.argmax(g[inside])]
    near = slice(max(0, top - 2), top + 3)
    a, b, c = np.polyfit(r[near] - r[top], g[near], 2)
    shift = -b / (2 * a) if a < 0 else 0.0
    if abs(shift) > 2 * (r[1] - r[0]):  # the top is at the edge of the range
        shift = 0.0
    return float(r[top] + shift), float(c + b * shift + a * shift**2)


def radial_distribution(
    frames: Frames,
    pair: tuple[int, int],
    *,
    r_max: float | None = None,
    width: float = 0.05,
    start: float = 0.0,
    blocks: int | None = 5,
) -> RadialDistribution:
    """Return g(r) = V / (N_a N_b) <n(r)> / (4 pi r^2 dr) of two elements.

    For two atoms of one element N_b is N_a - 1, so g of an ideal gas is 1 at every size.

    Args:
        frames: of a periodic simulation.
        pair: atomic numbers of the centre and of its neighbours.
        r_max: largest distance, angstrom; half the smallest height of all cells by default.
        width: of a bin, angstrom.
        start: fs at the beginning that are left out.
        blocks: number of blocks for the error; None makes each frame a block, to be reweighted.

    Raises:
        ValueError: elements that are not there, or `r_max` beyond half a cell.
    """
    numbers = frames.start.numbers
    first, second = (np.flatnonzero(numbers == number) for number in pair)
    same = pair[0] == pair[1]
    if not len(first) or len(second) - same < 1:
        raise ValueError(f"{frames.start!r} has no pairs of the elements {pair}")
    if frames.start.dimension != 3 or not frames.start.pbc.all():
        raise ValueError(f"{frames.start!r} is not periodic in three directions: it has no g(r)")
    slices = blocks_of(frames, 2 if blocks is None else blocks, start)
    if blocks is None:
        slices = [slice(t, t + 1) for t in np.flatnonzero(frames.times >= start).tolist()]
    inverse = np.linalg.inv(frames.cells)
    # nearest images are those of rounded coordinates up to half the distance of opposite faces
    half = 0.5 / np.linalg.norm(inverse[slices[0].start :], axis=1).max()
    end = half if r_max is None else r_max
    if not 0 < width < end <= half * (1 + 1e-12):
        raise ValueError(
            f"r_max {end:g} and width {width:g} angstrom: expected 0 < width < r_max, and r_max"
            f" at most half the smallest height of the cell, {half:g}; simulate a larger box"
        )
    edges = np.arange(0, end + 1e-9, width)
    shells = np.diff(4 / 3 * np.pi * edges**3)
    g, neighbours = [], []
    for block in slices:
        ideal, counts = np.zeros(len(shells)), np.zeros(len(shells))
        for frame in range(block.start, block.stop):
            x = frames.positions[frame] @ inverse[frame]
            apart = x[second] - x[first][:, None]
            apart = (apart - np.round(apart)) @ frames.cells[frame]
            distances = np.sqrt(np.einsum("abi,abi->ab", apart, apart))
            if same:
                np.fill_diagonal(distances, np.inf)
            counts += np.histogram(distances, edges)[0]
            volume = abs(np.linalg.det(frames.cells[frame]))
            ideal += len(first) * (len(second) - same) * shells / volume
        g.append(counts / ideal)
        neighbours.append(np.cumsum(counts) / len(first) / (block.stop - block.start))
    return RadialDistribution((edges[1:] + edges[:-1]) / 2, np.array(g), np.array(neighbours))


@dataclass(frozen=True, eq=False)
class Diffusion:
    """Self-diffusion by Einstein's relation, <|x(t) - x(0)|^2> = 6 D t.

    Attributes:
        coefficient: In the periodic box, cm^2/s.
        corrected: Of an infinite box (Yeh and Hummer, J. Phys. Chem. B 108, 15873 (2004), Eq. 12),
            cm^2/s; None without a viscosity.
        times: (K,) fs.
        displacements: (K,) mean square displacements, angstrom^2.
        window: fs between which the line was fitted.
    """

    coefficient: Estimate
    corrected: Estimate | None
    times: NDArray
    displacements: NDArray
    window: tuple[float, float]


def diffusion(
    frames: Frames,
    element: int,
    *,
    window: tuple[float, float],
    viscosity: float | None = None,
    start: float = 0.0,
    blocks: int = 5,
) -> Diffusion:
    """Return the self-diffusion of the atoms of one element, relative to the centre of mass.

    Every frame is a time origin. Each block gives a coefficient of its own, hence the error.

    Args:
        frames: equally spaced, with positions that were never wrapped.
        element: atomic number, 8 for water.
        window: fs between which mean square displacements are fitted by a line; its start should
            lie after ballistic motion (about 1 ps for water).
        viscosity: mPa s, for the finite-size correction 2.837297 kT / (6 pi eta L) of a cubic box.
        start: fs at the beginning that are left out.
        blocks: number of blocks for the error.

    Raises:
        ValueError: no such atoms, frames not equally spaced, a window that does not fit a block.
    """
    chosen = np.flatnonzero(frames.start.numbers == element)
    steps = np.diff(frames.times)
    if not len(chosen):
        raise ValueError(f"{frames.start!r} has no atoms of element {element}")
    if not len(steps) or np.ptp(steps) > 1e-6 * steps[0]:
        raise ValueError(f"{frames!r} is not equally spaced in time: keep every k-th step")
    slices = blocks_of(frames, blocks, start)
    length, step = slices[0].stop - slices[0].start, steps[0]
    lags = np.arange(int(np.ceil(window[0] / step - 1e-9)), int(window[1] / step + 1e-9) + 1)
    if len(lags) < 2 or not lags[0] > 0 or not lags[-1] < length:
        raise ValueError(
            f"window {window[0]:g} to {window[1]:g} fs needs at least two frames, {step:g} fs"
            f" apart, above 0 and below a block of {length * step:g} fs: change it, or simulate"
            " longer"
        )
    masses = frames.start.masses
    centre = np.einsum("a,tai->ti", masses / masses.sum(), frames.positions)
    x = frames.positions[:, chosen] - centre[:, None]
    curves = np.array([_displacements(x[block], lags[-1]) for block in slices])
    slopes = [np.polyfit(lags * step, curve[lags], 1)[0] / 6 * CM2_PER_S for curve in curves]
    coefficient, corrected = Estimate.of(slopes), None
    if viscosity is not None:
        edge = np.mean(np.abs(np.linalg.det(frames.cells[slices[0].start :]))) ** (1 / 3)
        joule = frames.temperature * units.kB / units.J
        shift = 2.837297 * joule / (6 * np.pi * viscosity * 1e-3 * edge * 1e-10) * 1e4
        corrected = Estimate(coefficient.value + shift, coefficient.error)
    times = np.arange(lags[-1] + 1) * step
    return Diffusion(coefficient, corrected, times, curves.mean(0), (window[0], window[1]))


def _displacements(x: NDArray, longest: int) -> NDArray:
    """Return (longest + 1,) mean square displacements of (T, n, 3) positions over all origins."""
    return np.array(
        [np.mean(np.sum((x[lag:] - x[: len(x) - lag]) ** 2, -1)) for lag in range(longest + 1)]
    )
