"""A structure as balls and sticks on plain axes: no third dimension but the order in which things
are painted.

Balls, halves of sticks and pieces of a cell's edges are sorted by their distance from the eye and
painted from behind, in one collection, so a hundred atoms cost no more artists than one. Sticks
begin on the surface of their balls, so one that points at the eye is seen in front of its ball;
what is far away is paler.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import ListedColormap, Normalize, to_rgba_array
from matplotlib.path import Path
from numpy.typing import ArrayLike, NDArray

from ..geometry import Geometry
from .scene import GHOST, STICK, Scene, direction, scenes

HEAT = "YlOrRd"  # of values at atoms, as their uncertainty
_VIEW = (12.0, 25.0)  # degrees above the plane of x and y, and around z
_LIGHT = np.array([-0.36, 0.4])  # where it falls on a ball, in radii from its middle
_DISCS = np.linspace(0.94, 0.1, 13)  # of a shaded ball, in radii
_PALE, _DEPTH = (
    0.35,
    4.0,
)  # share of white in what is farthest; angstrom of depth that make so much of it, at least
_PIECES = 12  # of a cell's edge, each with a depth of its own
_DISC = Path.unit_circle()


class _Piece(NamedTuple):
    """Something to paint: how near to the eye it is, its outline, and red, green, blue and opacity
    of its face and its edge.
    """

    depth: float
    path: Path
    face: tuple[float, ...]
    edge: tuple[float, ...]


def molecule(
    axes: Axes,
    geometry: Geometry,
    ghost: Geometry | None = None,
    colours: ArrayLike | Sequence[object] | None = None,
    labels: Sequence[str] | None = None,
    *,
    outline: bool = True,
    view: tuple[float, float] | NDArray | None = None,
    limit: float | None = None,
    bar: bool = False,
) -> None:
    """One structure, and where it started, outlined in black over it (Schwalbe-Koda 2021, Fig. 4)
    or translucent.

    Bonds are drawn across the faces of a cell, half of them at each end; the edges of periodic
    directions are drawn too.

    Args:
        axes: its frame and numbers are switched off; one angstrom is as long in all directions.
        geometry: n atoms in up to three dimensions; missing coordinates are zero.
        ghost: a structure in the same frame, the ground state for example; its middle is the
            picture's.
        colours: of the atoms: n matplotlib colours, or red, green and blue (n, 3), 0 to 1, as
            :func:`heat` makes of values; None takes those of the elements.
        labels: (n,) what is written at the atoms.
        outline: the ghost is black lines over everything; otherwise it is translucent.
        view: from where it is seen: degrees above the plane of x and y, and around z, with z
            upward; or a rotation (3, 3) that takes x to the right, y upward and z to the eye. None
            looks from the side, and at a model surface from above.
        limit: half the width and height of the picture, angstrom; equal limits make pictures
            comparable. None fits it.
        bar: one angstrom in the lower left corner.

    Raises:
        ValueError: colours or labels of another number of atoms, or more than three dimensions.
    """
    turn = _turn(view, geometry)
    solid, *others = (
        scene.turned(turn)
        for scene in scenes(
            geometry, ghost, None if colours is None else to_rgba_array(colours)[:, :3], labels
        )
    )
    pieces = [*_cell(solid), *_sticks(_faded(solid)), *_balls(_faded(solid))]
    for other in others:
        if outline:
            axes.add_collection(
                LineCollection(
                    _outline(other), colors="k", linewidths=1.5, capstyle="round", zorder=3
                )
            )
        else:
            pieces += [
                p._replace(face=_thin(p.face, GHOST), edge=_thin(p.edge, 2 * GHOST))
                for p in (*_sticks(other), *_balls(other, shaded=False))
            ]
    pieces.sort(
        key=lambda piece: round(piece.depth, 7)
    )  # equal depths keep their order, whatever the rounding
    colour = {"facecolors": [p.face for p in pieces], "edgecolors": [p.edge for p in pieces]}
    axes.add_collection(
        PathCollection(
            [p.path for p in pieces], **colour, linewidths=0.7, capstyle="projecting", zorder=2
        )
    )
    for name, centre, radius in zip(solid.names, solid.centres, solid.radii, strict=True):
        if name:
            at = centre[:2] + 0.75 * radius
            axes.text(
                *at,
                name,
                fontsize=8,
                zorder=5,
                va="bottom",
                ha="left",
                bbox={"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.6},
            )
    half = (
        np.maximum(1.05 * np.max([_extent(scene) for scene in (solid, *others)], axis=0), 1.2)
        if limit is None
        else np.full(2, limit)
    )
    axes.set(xlim=(-half[0], half[0]), ylim=(-half[1], half[1]), aspect="equal")
    axes.set_axis_off()
    if bar:
        left, low = -0.97 * half
        axes.plot(
            [left, left + 1.0],
            [low, low],
            "-",
            color="0.35",
            lw=1.5,
            solid_capstyle="butt",
            zorder=4,
        )
        axes.text(
            left + 0.5,
            low + 0.03 * half[1],
            "1 Å",
            fontsize=7,
            color="0.35",
            ha="center",
            va="bottom",
            zorder=4,
        )


def heat(values: ArrayLike, top: float) -> NDArray:
    """(n, 3) colours of values (n,) between 0 and `top`."""
    return colormaps[HEAT](
        0.08 + 0.84 * np.clip(np.asarray(values, dtype=float) / max(top, 1e-12), 0.0, 1.0)
    )[:, :3]


def heat_bar(axes: Sequence[Axes], top: float, label: str) -> None:
    """One bar of the colours that :func:`heat` gives, to the right of several axes of one figure."""
    colours = ListedColormap(heat(np.linspace(0, 1, 256), 1.0))
    axes[0].figure.colorbar(
        ScalarMappable(Normalize(0, top), colours),
        ax=list(axes),
        extend="max",
        pad=0.02,
        shrink=0.8,
        aspect=20,
        label=label,
    )


def _turn(view: tuple[float, float] | NDArray | None, geometry: Geometry) -> NDArray:
    if view is None:
        return np.eye(3) if geometry.dimension < 3 else direction(*_VIEW)
    return np.asarray(view, dtype=float) if np.shape(view) == (3, 3) else direction(*view)


def _extent(scene: Scene) -> NDArray:
    """(2,) half the width and the height that it needs around the origin."""
    ends = np.abs(np.concatenate([scene.sticks, scene.edges])[..., :2]).reshape(-1, 2)
    return np.maximum(
        (np.abs(scene.centres[:, :2]) + scene.radii[:, None]).max(0), ends.max(0, initial=0.0)
    )


def _faded(scene: Scene) -> Scene:
    """Paler the farther an atom is behind the nearest one."""
    depths = scene.centres[:, 2]
    share = _PALE * (depths.max() - depths) / max(np.ptp(depths), _DEPTH)
    return replace(scene, colours=scene.colours + share[:, None] * (1.0 - scene.colours))


def _thin(colour: tuple[float, ...], opacity: float) -> tuple[float, ...]:
    return (*colour[:3], opacity * colour[3])


def _circle(centre: NDArray, radius: float) -> Path:
    return Path(centre + radius * _DISC.vertices, _DISC.codes)


def _balls(scene: Scene, shaded: bool = True) -> Iterator[_Piece]:
    """Discs with an edge; where they are shaded, smaller and lighter ones on them towards the light
    at the upper left.
    """
    for (*place, depth), radius, colour in zip(
        scene.centres, scene.radii, scene.colours, strict=True
    ):
        yield _Piece(
            depth,
            _circle(np.array(place), radius),
            (*(0.86 * colour if shaded else colour), 1.0),
            (0.2, 0.2, 0.2, 1.0),
        )
        for part in _DISCS if shaded else ():
            lit = 0.75 * (1.0 - part) ** 2
            face = (1.0 - lit) * (0.86 + 0.14 * min(1.0, 3.0 * (1.0 - part))) * colour + lit
            yield _Piece(
                depth,
                _circle(place + radius * (1.0 - part) * _LIGHT, part * radius),
                (*face, 1.0),
                (0.0, 0.0, 0.0, 0.0),
            )


def _sticks(scene: Scene) -> Iterator[_Piece]:
    """Half bonds, and their sides as lines: where two halves meet, nothing is between them."""
    for owner, corners, depth in _halves(scene):
        # In front of its ball or behind it, never at its depth: a stick in the plane of the picture
        # goes behind.
        yield _Piece(
            depth - 1e-6, Path(corners), (*(0.94 * scene.colours[owner]), 1.0), (0.0, 0.0, 0.0, 0.0)
        )
        yield _Piece(
            depth - 1e-6,
            Path(corners, [Path.MOVETO, Path.LINETO] * 2),
            (0.0, 0.0, 0.0, 0.0),
            (0.3, 0.3, 0.3, 1.0),
        )


def _cell(scene: Scene) -> Iterator[_Piece]:
    """Its edges in pieces, so that atoms are before and behind them."""
    for begin, end in scene.edges:
        places = begin + np.linspace(0.0, 1.0, _PIECES + 1)[:, None] * (end - begin)
        for one, other in itertools.pairwise(places):
            yield _Piece(
                (one[2] + other[2]) / 2,
                Path([one[:2], other[:2]]),
                (0.0, 0.0, 0.0, 0.0),
                (0.55, 0.55, 0.55, 1.0),
            )


def _outline(scene: Scene) -> list[NDArray]:
    """Circles and the sides of sticks in short straight lines (2, 2), without those that nearer
    balls hide.
    """
    turns = np.linspace(0.0, 2.0 * np.pi, 73)
    curves = [
        (centre[:2] + radius * np.column_stack([np.cos(turns), np.sin(turns)]), centre[2])
        for centre, radius in zip(scene.centres, scene.radii, strict=True)
    ]
    for _, corners, depth in _halves(scene):
        curves += [
            (np.linspace(begin, end, 13), depth - 1e-6) for begin, end in (corners[:2], corners[2:])
        ]
    seen = []
    for points, depth in curves:
        lines = np.stack([points[:-1], points[1:]], axis=1)
        nearer = scene.centres[:, 2] > depth
        hidden = (
            np.linalg.norm(lines.mean(1)[:, None] - scene.centres[nearer, :2], axis=-1)
            < scene.radii[nearer]
        )
        seen += list(lines[~hidden.any(1)])
    return seen


def _halves(scene: Scene) -> Iterator[tuple[int, NDArray, float]]:
    """Of each half bond its atom, the corners (4, 2) of what is outside of the ball, and its depth."""
    for owner, (begin, end) in zip(scene.owners, scene.sticks, strict=True):
        way, length = end - begin, np.linalg.norm(end - begin)
        if length > scene.radii[owner]:  # else the middle of the bond is inside the ball
            begin = begin + 0.97 * scene.radii[owner] / length * way
            across = STICK * np.array([-way[1], way[0]]) / max(np.hypot(way[0], way[1]), 1e-9)
            yield (
                int(owner),
                np.array(
                    [begin[:2] + across, end[:2] + across, end[:2] - across, begin[:2] - across]
                ),
                (begin[2] + end[2]) / 2,
            )
