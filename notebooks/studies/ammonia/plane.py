"""The plane of ammonia's two collective variables: the height of nitrogen, the radius of hydrogens.

Z is the distance of nitrogen from the plane of the hydrogens, R the radius of the circle through
them (Schwalbe-Koda 2021, Figs. 3e and 4), both divided by their ground-state values. The sign of Z
is the side of nitrogen from which the hydrogens, in the order of the list, run anticlockwise:
turning the molecule keeps it, inversion and exchanging two hydrogens flip it. Dividing by the
signed ground-state value makes Z = 1 in the ground state, whatever the order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agal_toolkit.batch import Batch
from agal_toolkit.committee import Committee
from agal_toolkit.files import atomic_write
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.uncertainty.variance import force_variance


def frame_coordinates(positions: ArrayLike, numbers: ArrayLike) -> NDArray:
    """Return signed Z and R of frames, (..., 2) angstrom; (NaN, infinity) for hydrogens on a line.

    Args:
        positions: (..., 4, 3), angstrom.
        numbers: (4,) atomic numbers of one nitrogen and three hydrogens, in any order.

    Raises:
        ValueError: another molecule.
    """
    positions, numbers = np.asarray(positions, dtype=float), np.asarray(numbers)
    if positions.shape[-2:] != (4, 3) or sorted(numbers.tolist()) != [1, 1, 1, 7]:
        raise ValueError(
            f"atomic numbers {numbers.tolist()} with positions {positions.shape} are no ammonia:"
            " expected one 7 and three 1, and (..., 4, 3)"
        )
    nitrogen = positions[..., np.flatnonzero(numbers == 7)[0], :]
    hydrogens = positions[..., np.flatnonzero(numbers == 1), :]
    first = hydrogens[..., 1, :] - hydrogens[..., 0, :]
    second = hydrogens[..., 2, :] - hydrogens[..., 0, :]
    normal = np.cross(first, second)
    twice_area = np.linalg.norm(normal, axis=-1)
    # the radius of the circle through a triangle is the product of its sides over four areas
    one, two, three = (np.linalg.norm(side, axis=-1) for side in (first, second, first - second))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = ((nitrogen - hydrogens.mean(-2)) * normal).sum(-1) / twice_area
        return np.stack([z, one * two * three / (2 * twice_area)], axis=-1)


def coordinates(geometry: Geometry) -> tuple[float, float]:
    """Return signed Z and R of one structure, angstrom, as :func:`frame_coordinates`."""
    z, r = frame_coordinates(geometry.positions, geometry.numbers)
    return float(z), float(r)


@dataclass(frozen=True)
class Ground:
    """The coordinates of the ground state, by which others are divided.

    Attributes:
        z: signed by the order of the hydrogens, angstrom.
        r: angstrom.

    Raises:
        ValueError: a planar ground state, or hydrogens on a line.
    """

    z: float
    r: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.z, self.r]).all() and abs(self.z) > 1e-3 and self.r > 1e-3):
            raise ValueError(
                f"Z = {self.z} and R = {self.r} angstrom are no ground state to divide by: give"
                " pyramidal ammonia"
            )

    @classmethod
    def of(cls, geometry: Geometry) -> Ground:
        """Return the coordinates of a structure; others must have the same order of hydrogens."""
        return cls(*coordinates(geometry))

    def project(self, geometries: Sequence[Geometry]) -> NDArray:
        """Return (n, 2) normalised Z and R of structures, symmetric or not."""
        values = np.array([coordinates(geometry) for geometry in geometries]).reshape(-1, 2)
        return values / [self.z, self.r]

    def project_frames(self, positions: ArrayLike, numbers: ArrayLike) -> NDArray:
        """Return (..., 2) normalised Z and R of frames (..., 4, 3) with atomic numbers (4,)."""
        return frame_coordinates(positions, numbers) / [self.z, self.r]


def ammonia(
    z: float,
    r: float,
    ground: Ground,
    *,
    shift: tuple[float, float] = (0.0, 0.0),
    turns: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Geometry:
    """Return ammonia at normalised (z, r) (Schwalbe-Koda 2021, A.2.2).

    The hydrogens lie in the plane of x and y, on a circle around the origin. Without `shift` and
    `turns` the structure is symmetric; with them it has the same z and r (Fig. 4b).

    Args:
        z: height of nitrogen, 1 in the ground state.
        r: radius of the circle, 1 in the ground state.
        ground: coordinates of the ground state.
        shift: of nitrogen parallel to the plane, angstrom.
        turns: of each hydrogen along the circle, radians; their order around it must stay.

    Raises:
        ValueError: a radius that is not positive, or turns that bring hydrogens past each other.
    """
    angles = np.array([0.0, 2.0, 4.0]) * np.pi / 3 + turns
    if not r > 0 or not np.all(np.diff([*angles, angles[0] + 2 * np.pi]) > 0):
        raise ValueError(
            f"r = {r} and turns {tuple(turns)}: the radius must be positive, and the hydrogens must"
            " not pass each other"
        )
    radius = r * ground.r
    hydrogens = np.column_stack([radius * np.cos(angles), radius * np.sin(angles), np.zeros(3)])
    return Geometry(
        positions=[[*shift, z * ground.z], *hydrogens],
        numbers=[7, 1, 1, 1],
        origin={"by": "plane", "z": float(z), "r": float(r)},
    )


def distortions(
    z: float,
    r: float,
    ground: Ground,
    count: int,
    rng: np.random.Generator,
    *,
    shift: float = 0.3,
    turn: float = 0.4,
) -> list[Geometry]:
    """Return `count` random distortions that share (z, r) (Schwalbe-Koda 2021, Fig. 4b).

    Nitrogen moves within a square of half width `shift` (angstrom) parallel to the plane, each
    hydrogen by up to `turn` (radians, below pi / 3) along the circle.
    """
    result = []
    for _ in range(count):
        shifts, turns = rng.uniform(-shift, shift, 2), rng.uniform(-turn, turn, 3)
        result.append(ammonia(z, r, ground, shift=tuple(shifts), turns=tuple(turns)))
    return result


def inverted(geometry: Geometry) -> Geometry:
    """Return ammonia's mirror image in the plane through its centroid parallel to its hydrogens.

    Atoms keep their order, and nitrogen is on the other side. Half-way between a symmetric
    structure and this image lies a planar one. Turning the molecule over instead, which exchanges
    two hydrogens, would lead to another end.
    """
    z, _ = coordinates(geometry)
    if not np.isfinite(z):
        raise ValueError(
            f"the hydrogens of {geometry!r} lie on a line: they have no plane to mirror it in"
        )
    one, two, three = geometry.positions[geometry.numbers == 1]
    normal = np.cross(two - one, three - one)
    normal /= np.linalg.norm(normal)
    from_centroid = geometry.positions - geometry.positions.mean(0)
    return geometry.moved(geometry.positions - 2 * np.outer(from_centroid @ normal, normal))


@dataclass(frozen=True)
class PlaneGrid:
    """Symmetric geometries on a grid of normalised (Z, R).

    The paper does not print its limits. In GFN2-xTB ours hold every R below 100 kcal/mol and every
    Z below 30; the ground state is a point of the grid. Mirror images have equal energies, so only
    Z >= 0 is evaluated and the other half is filled from it.

    Attributes:
        ground: coordinates of the ground state.
        highest: the grid spans [-highest, highest] in Z.
        narrowest, widest: limits of R.
        heights: number of Z >= 0.
        radii: number of R.
    """

    ground: Ground
    highest: float = 2.0
    narrowest: float = 0.6
    widest: float = 1.5
    heights: int = 21
    radii: int = 37

    def __post_init__(self) -> None:
        limits = 0 < self.narrowest < self.widest and self.highest > 0
        if not (limits and self.heights > 1 and self.radii > 1):
            raise ValueError(
                f"{self} is no grid: limits must be positive and ascend, with at least two points"
                " along each axis"
            )

    @property
    def half(self) -> NDArray:
        """(heights,) the Z that are evaluated, from 0 upward."""
        return np.linspace(0.0, self.highest, self.heights)

    @property
    def z(self) -> NDArray:
        """(2 heights - 1,) all Z, ascending."""
        return np.concatenate([-self.half[:0:-1], self.half])

    @property
    def r(self) -> NDArray:
        """(radii,) all R, ascending."""
        return np.linspace(self.narrowest, self.widest, self.radii)

    @property
    def geometries(self) -> list[Geometry]:
        """The heights x radii structures to evaluate; Z >= 0 runs fastest."""
        return [ammonia(z, r, self.ground) for r in self.r for z in self.half]

    def fill(self, values: ArrayLike) -> NDArray:
        """Return values of :attr:`geometries` on the whole plane, (radii, 2 heights - 1)."""
        rows = np.asarray(values, dtype=float).reshape(self.radii, self.heights)
        return np.concatenate([rows[:, :0:-1], rows], axis=1)


@dataclass(frozen=True, eq=False)
class PlaneSurface:
    """Energies on the plane: a panel of Schwalbe-Koda 2021, Fig. 3e.

    Attributes:
        grid: of the plane.
        energy: (radii, 2 heights - 1) eV above `zero`; NaN where there is no label.
        zero: energy of the ground state in the reference, eV, for committees too.
        settings: of the reference, as JSON; empty for a committee.
        sigma: (radii, 2 heights - 1) root of the force variance (Schwalbe-Koda 2021, Eq. 10),
            eV/angstrom; None for a reference and for a single member.
    """

    grid: PlaneGrid
    energy: NDArray
    zero: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    sigma: NDArray | None = None

    @classmethod
    def of(cls, committee: Committee, grid: PlaneGrid, zero: float) -> PlaneSurface:
        """Return mean energy and uncertainty of a committee; mirror images must be equal to it."""
        geometries = grid.geometries
        prediction, sigma = committee.predict(geometries), None
        if len(committee) > 1:
            sigma = grid.fill(force_variance(prediction, Batch.of(geometries)).sqrt().numpy())
        energy = grid.fill(prediction.energy.mean(0).numpy() - zero)
        return cls(grid, energy, zero, sigma=sigma)

    @classmethod
    def of_outcomes(
        cls,
        outcomes: Iterable[tuple[int, object]],
        grid: PlaneGrid,
        zero: float,
        settings: Mapping[str, Any],
    ) -> PlaneSurface:
        """Return the surface of a reference.

        Args:
            outcomes: (index, labels or failure) for ``grid.geometries`` in any order, as
                ``reference(grid.geometries, cache)`` yields them.
            grid: of the plane.
            zero: eV.
            settings: of the reference, as JSON.
        """
        values = np.full(grid.heights * grid.radii, np.nan)
        for index, labels in outcomes:
            if isinstance(labels, Labels):
                values[index] = labels.energy - zero
        return cls(grid, grid.fill(values), zero, dict(settings))

    def rmse_below(self, other: PlaneSurface, cap: float) -> float:
        """Return the RMS difference of `other` where this surface, the reference's, is below `cap`.

        In eV (Schwalbe-Koda 2021, Fig. 3f). Points without a label do not count; NaN if no energy
        is below the cap.

        Raises:
            ValueError: another grid, or another zero.
        """
        if self.grid != other.grid or self.zero != other.zero:
            raise ValueError(
                f"surfaces on {self.grid} with zero {self.zero} and on {other.grid} with zero"
                f" {other.zero} cannot be compared: evaluate both on one grid"
            )
        low = self.energy <= cap
        if not low.any():
            return float("nan")
        return float(np.sqrt(np.square(other.energy - self.energy)[low].mean()))

    def write(self, path: str | Path) -> None:
        """Write a JSON file with grid, energies, zero and settings, replaced as a whole."""
        content = {
            "quantity": "energy above zero on the (Z, R) plane of ammonia, a row for each R",
            "unit": "eV",
            "grid": asdict(self.grid),
            "zero": self.zero,
            "settings": dict(self.settings),
            "z": self.grid.z.tolist(),
            "r": self.grid.r.tolist(),
            "energy": _rows(self.energy),
            "sigma": None if self.sigma is None else _rows(self.sigma),
        }
        with atomic_write(path) as part:
            part.write_text(json.dumps(content, allow_nan=False))

    @classmethod
    def read(cls, path: str | Path) -> PlaneSurface:
        """Return the surface in a file that :meth:`write` wrote."""
        content = json.loads(Path(path).read_text())
        grid = PlaneGrid(**{**content["grid"], "ground": Ground(**content["grid"]["ground"])})
        energy = np.array(content["energy"], dtype=float)
        sigma = None if content["sigma"] is None else np.array(content["sigma"], dtype=float)
        return cls(grid, energy, content["zero"], content["settings"], sigma)


def _rows(values: NDArray) -> list[list[float | None]]:
    """Return nested lists, None for NaN: JSON has no NaN."""
    return [[float(value) if np.isfinite(value) else None for value in row] for row in values]
