"""The plane of ammonia's two collective variables: how high nitrogen stands, how wide the hydrogens
are apart.

Z is the distance of nitrogen from the plane of the hydrogens, R the radius of the circle through
them (Schwalbe-Koda 2021, Figs. 3e and 4), both divided by their ground-state values. The sign of Z
is the side of nitrogen from which the hydrogens,
in the order of the list, run anticlockwise: turning the molecule keeps it, inversion and exchanging
two hydrogens flip it. Dividing by the signed ground-state value makes Z = 1 there, whatever the
order.
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
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.uncertainty.variance import force_variance


def frame_coordinates(positions: ArrayLike, numbers: ArrayLike) -> NDArray:
    """Signed Z and R of frames, (..., 2) angstrom; hydrogens on a line have (NaN, infinity).

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
    nitrogen, hydrogens = (
        positions[..., np.flatnonzero(numbers == 7)[0], :],
        positions[..., np.flatnonzero(numbers == 1), :],
    )
    first, second = (
        hydrogens[..., 1, :] - hydrogens[..., 0, :],
        hydrogens[..., 2, :] - hydrogens[..., 0, :],
    )
    normal = np.cross(first, second)
    twice_area = np.linalg.norm(normal, axis=-1)
    sides = (
        np.linalg.norm(first, axis=-1)
        * np.linalg.norm(second, axis=-1)
        * np.linalg.norm(first - second, axis=-1)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        z = ((nitrogen - hydrogens.mean(-2)) * normal).sum(-1) / twice_area
        return np.stack([z, sides / (2 * twice_area)], axis=-1)


def coordinates(geometry: Geometry) -> tuple[float, float]:
    """Signed Z and R of one structure, angstrom, as :func:`frame_coordinates`."""
    z, r = frame_coordinates(geometry.positions, geometry.numbers)
    return float(z), float(r)


@dataclass(frozen=True)
class Ground:
    """What the coordinates are divided by.

    Attributes:
        z: of the ground state, signed by the order of its hydrogens, angstrom.
        r: of the ground state, angstrom.

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
        """Of a ground-state structure; those compared with it must list their hydrogens in the same
        order.
        """
        return cls(*coordinates(geometry))

    def project(self, geometries: Sequence[Geometry]) -> NDArray:
        """(n, 2): normalised Z and R of structures, whatever else distorts them."""
        return np.array([coordinates(geometry) for geometry in geometries]).reshape(-1, 2) / [
            self.z,
            self.r,
        ]

    def project_frames(self, positions: ArrayLike, numbers: ArrayLike) -> NDArray:
        """(..., 2): normalised Z and R of frames (..., 4, 3) of a molecule with `numbers` (4,)."""
        return frame_coordinates(positions, numbers) / [self.z, self.r]


def ammonia(
    z: float,
    r: float,
    ground: Ground,
    *,
    shift: tuple[float, float] = (0.0, 0.0),
    turns: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Geometry:
    """Ammonia at normalised (z, r); without `shift` and `turns` the symmetric geometry of
    Schwalbe-Koda 2021, A.2.2.

    The hydrogens lie in the plane of x and y, on a circle around the origin. What `shift` and
    `turns` distort keeps z and r (Schwalbe-Koda 2021, Fig. 4b).

    Args:
        z: height of nitrogen, 1 in the ground state.
        r: radius of the circle, 1 in the ground state.
        ground: what they are multiples of.
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
    """`count` random distortions that share (z, r) (Schwalbe-Koda 2021, Fig. 4b).

    Nitrogen moves within a square of half width `shift` (angstrom) parallel to the plane, each
    hydrogen by up to `turn` (radians, below pi / 3) along the circle.
    """
    return [
        ammonia(
            z,
            r,
            ground,
            shift=tuple(rng.uniform(-shift, shift, 2)),
            turns=tuple(rng.uniform(-turn, turn, 3)),
        )
        for _ in range(count)
    ]


def inverted(geometry: Geometry) -> Geometry:
    """The mirror image of ammonia in the plane through its centroid and parallel to its hydrogens,
    atoms in the same order.

    Nitrogen is on the other side. Half-way between a symmetric structure and this image lies a
    planar one. Turning the molecule over instead, which exchanges two hydrogens, would lead to
    another end.
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
        ground: what the axes are multiples of.
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
        if not (
            0 < self.narrowest < self.widest
            and self.highest > 0
            and self.heights > 1
            and self.radii > 1
        ):
            raise ValueError(
                f"{self} is no grid: limits must be positive and ascend, with two points at least"
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
        """heights x radii structures, Z >= 0 running fastest: those to evaluate."""
        return [ammonia(z, r, self.ground) for r in self.r for z in self.half]

    def fill(self, values: ArrayLike) -> NDArray:
        """Values of :attr:`geometries` on the whole plane: (radii, 2 heights - 1), a row for each
        R, as contour plots take it.
        """
        rows = np.asarray(values, dtype=float).reshape(self.radii, self.heights)
        return np.concatenate([rows[:, :0:-1], rows], axis=1)


@dataclass(frozen=True, eq=False)
class PlaneSurface:
    """Energies on the plane: a panel of Schwalbe-Koda 2021, Fig. 3e.

    Attributes:
        grid: where.
        energy: (radii, 2 heights - 1) eV above `zero`; NaN where there is no label.
        zero: the energy that counts as zero, eV: that of the ground state in the reference, for
            committees too.
        settings: of the reference, as JSON; nothing for a committee.
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
        """Mean energy and uncertainty of a committee; it must not tell mirror images apart."""
        geometries = grid.geometries
        said = committee.predict(geometries)
        sigma = (
            grid.fill(force_variance(said, Batch.of(geometries)).sqrt().numpy())
            if len(committee) > 1
            else None
        )
        return cls(grid, grid.fill(said.energy.mean(0).numpy() - zero), zero, sigma=sigma)

    @classmethod
    def of_answers(
        cls,
        answers: Iterable[tuple[int, object]],
        grid: PlaneGrid,
        zero: float,
        settings: Mapping[str, Any],
    ) -> PlaneSurface:
        """The surface of a reference.

        Args:
            answers: (index, labels or failure) for ``grid.geometries`` in any order:
                ``reference(grid.geometries, cache)``.
            grid: where.
            zero: eV.
            settings: what identifies the labels, ``reference.description``.
        """
        values = np.full(grid.heights * grid.radii, np.nan)
        for index, answer in answers:
            if isinstance(answer, Labels):
                values[index] = answer.energy - zero
        return cls(grid, grid.fill(values), zero, dict(settings))

    def rmse_below(self, other: PlaneSurface, cap: float) -> float:
        """Root mean square difference of `other` where *this* energy, the reference's, is at most
        `cap`; eV (Schwalbe-Koda 2021, Fig. 3f).

        Points without a label count nowhere; where no energy is below the cap, NaN.

        Raises:
            ValueError: another grid, or another zero.
        """
        if self.grid != other.grid or self.zero != other.zero:
            raise ValueError(
                f"surfaces on {self.grid} with zero {self.zero} and on {other.grid} with zero"
                f" {other.zero} cannot be compared: evaluate both on one grid"
            )
        low = self.energy <= cap
        return (
            float(np.sqrt(np.square(other.energy - self.energy)[low].mean()))
            if low.any()
            else float("nan")
        )

    def write(self, path: str | Path) -> None:
        """A JSON file with grid, energies, zero and settings, replaced as a whole."""
        path = Path(path)
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
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(content, allow_nan=False))
        part.replace(path)

    @classmethod
    def read(cls, path: str | Path) -> PlaneSurface:
        """What :meth:`write` wrote."""
        content = json.loads(Path(path).read_text())
        grid = PlaneGrid(**{**content["grid"], "ground": Ground(**content["grid"]["ground"])})
        sigma = None if content["sigma"] is None else np.array(content["sigma"], dtype=float)
        return cls(
            grid,
            np.array(content["energy"], dtype=float),
            content["zero"],
            content["settings"],
            sigma,
        )


def _rows(values: NDArray) -> list[list[float | None]]:
    """Nested lists, None where there is no number: JSON has no NaN."""
    return [[float(value) if np.isfinite(value) else None for value in row] for row in values]
