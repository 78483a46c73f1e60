"""A structure as balls and sticks on plain, two-dimensional axes.

Balls, half sticks and pieces of a cell's edges are painted from the farthest to the nearest, in one
collection, so a hundred atoms cost no more artists than one. Sticks begin on the surface of their
balls, so a stick that points at the eye is painted over its ball. Far atoms are paler.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

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

Colour = tuple[float, ...]  # red, green, blue and opacity, 0 to 1

HEAT = "YlOrRd"  # colour map of values at atoms
_VIEW = (12.0, 25.0)  # default elevation and azimuth, degrees
_LIGHT = np.array([-0.36, 0.4])  # brightest point of a ball, in radii from its centre
_DISCS = np.linspace(0.94, 0.1, 13)  # radii of the discs that shade a ball, in radii of the ball
_PALE = 0.35  # share of white in the farthest atom
_DEPTH = 4.0  # smallest difference in depth over which atoms become that pale, angstrom
_PIECES = 12  # pieces of a cell's edge, each with its own depth
_DISC = np.asarray(Path.unit_circle().vertices)
_CLEAR: Colour = (0.0, 0.0, 0.0, 0.0)


class _Piece(NamedTuple):
    """A shape to paint; a larger depth is nearer to the eye."""

    depth: float
    path: Path
    face: Colour
    edge: Colour


def molecule(
    axes: Axes,
    geometry: Geometry,
    ghost: Geometry | None = None,
    colours: ArrayLike | None = None,
    labels: Sequence[str] | None = None,
    *,
    outline: bool = True,
    view: tuple[float, float] | NDArray | None = None,
    limit: float | None = None,
    bar: bool = False,
) -> None:
    """Draw a structure and, if given, another one for comparison (Schwalbe-Koda 2021, Fig. 4).

    Bonds across the faces of a cell are drawn as one half at each end; the edges of periodic
    directions are drawn as lines.

    Args:
        axes: axes of equal scales, whose frame and numbers are switched off.
        geometry: n atoms in at most three dimensions; missing coordinates are zero.
        ghost: a structure in the same frame, for example the ground state; it centres the picture.
        colours: n matplotlib colours, for example (n, 3) of :func:`heat`; None takes the elements'.
        labels: (n,) texts at the atoms.
        outline: whether the ghost is drawn as black lines over everything, or translucent.
        view: angles of :func:`direction`, or a rotation (3, 3) that takes x to the right, y upward
            and z to the eye. None looks from the side, and at a model surface from above.
        limit: half the width and height of the picture, angstrom; None fits it to the structure.
        bar: whether a bar of one angstrom is drawn in the lower left corner.

    Raises:
        ValueError: colours or labels of another number of atoms, or more than three dimensions.
    """
    rotation = _rotation(view, geometry)
    painted = None if colours is None else to_rgba_array(colours)[:, :3]
    turned = [scene.turned(rotation) for scene in scenes(geometry, ghost, painted, labels)]
    solid, others = turned[0], turned[1:]
    pale = _paler_with_depth(solid)
    pieces = [*_cell(solid), *_sticks(pale), *_balls(pale)]
    for other in others:
        if outline:
            style = {"colors": "k", "linewidths": 1.5, "capstyle": "round", "zorder": 3}
            axes.add_collection(LineCollection(_outline(other), **style))
        else:
            pieces += map(_translucent, (*_sticks(other), *_balls(other, shaded=False)))
    pieces.sort(key=lambda piece: round(piece.depth, 7))  # rounding must not decide the order
    style = {"linewidths": 0.7, "capstyle": "projecting", "zorder": 2}
    style |= {"facecolors": [p.face for p in pieces], "edgecolors": [p.edge for p in pieces]}
    axes.add_collection(PathCollection([p.path for p in pieces], **style))
    _write_labels(axes, solid)
    extent = np.max([_extent(scene) for scene in turned], axis=0)
    half = np.maximum(1.05 * extent, 1.2) if limit is None else np.full(2, limit)
    axes.set(xlim=(-half[0], half[0]), ylim=(-half[1], half[1]), aspect="equal")
    axes.set_axis_off()
    if bar:
        left, low = -0.97 * half
        grey: dict[str, Any] = {"color": "0.35", "zorder": 4}
        axes.plot([left, left + 1.0], [low, low], lw=1.5, solid_capstyle="butt", **grey)
        place = left + 0.5, low + 0.03 * half[1]
        axes.text(*place, "1 Å", fontsize=7, ha="center", va="bottom", **grey)


def heat(values: ArrayLike, top: float) -> NDArray:
    """Return (n, 3) colours of values (n,) between 0 and `top`."""
    share = np.clip(np.asarray(values, dtype=float) / max(top, 1e-12), 0.0, 1.0)
    return colormaps[HEAT](0.08 + 0.84 * share)[:, :3]


def heat_bar(axes: Sequence[Axes], top: float, label: str) -> None:
    """Draw one bar for the colours of :func:`heat` to the right of several axes of a figure."""
    colours = ScalarMappable(Normalize(0, top), ListedColormap(heat(np.linspace(0, 1, 256), 1.0)))
    size = {"extend": "max", "pad": 0.02, "shrink": 0.8, "aspect": 20}
    axes[0].figure.colorbar(colours, ax=list(axes), label=label, **size)


def _rotation(view: tuple[float, float] | NDArray | None, geometry: Geometry) -> NDArray:
    if view is None:
        return np.eye(3) if geometry.dimension < 3 else direction(*_VIEW)
    return np.asarray(view, dtype=float) if np.shape(view) == (3, 3) else direction(*view)


def _extent(scene: Scene) -> NDArray:
    """Return (2,) the largest distances from the origin in x and y."""
    ends = np.abs(np.concatenate([scene.sticks, scene.edges])[..., :2]).reshape(-1, 2)
    balls = np.abs(scene.centres[:, :2]) + scene.radii[:, None]
    return np.maximum(balls.max(0), ends.max(0, initial=0.0))


def _paler_with_depth(scene: Scene) -> Scene:
    depths = scene.centres[:, 2]
    share = _PALE * (depths.max() - depths) / max(np.ptp(depths), _DEPTH)
    return replace(scene, colours=scene.colours + share[:, None] * (1.0 - scene.colours))


def _translucent(piece: _Piece) -> _Piece:
    face = (*piece.face[:3], GHOST * piece.face[3])
    return piece._replace(face=face, edge=(*piece.edge[:3], 2 * GHOST * piece.edge[3]))


def _write_labels(axes: Axes, scene: Scene) -> None:
    frame = {"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.6}
    for name, centre, radius in zip(scene.names, scene.centres, scene.radii, strict=True):
        if name:
            x, y = centre[:2] + 0.75 * radius
            axes.text(x, y, name, fontsize=8, zorder=5, va="bottom", ha="left", bbox=frame)


def _circle(centre: NDArray, radius: float) -> Path:
    return Path(centre + radius * _DISC, Path.unit_circle().codes)


def _balls(scene: Scene, shaded: bool = True) -> Iterator[_Piece]:
    """Yield a disc for each atom; shading adds smaller, lighter discs towards the upper left."""
    for centre, radius, colour in zip(scene.centres, scene.radii, scene.colours, strict=True):
        place, depth = centre[:2], centre[2]
        face = (*(0.86 * colour if shaded else colour), 1.0)
        yield _Piece(depth, _circle(place, radius), face, (0.2, 0.2, 0.2, 1.0))
        for part in _DISCS if shaded else ():
            white = 0.75 * (1.0 - part) ** 2
            tone = (1.0 - white) * (0.86 + 0.14 * min(1.0, 3.0 * (1.0 - part))) * colour
            disc = _circle(place + radius * (1.0 - part) * _LIGHT, part * radius)
            yield _Piece(depth, disc, (*(tone + white), 1.0), _CLEAR)


def _sticks(scene: Scene) -> Iterator[_Piece]:
    """Yield half bonds, and their sides as lines, so that no line crosses the middle of a bond."""
    two_lines = [Path.MOVETO, Path.LINETO] * 2
    for owner, corners, depth in _half_sticks(scene):
        face = (*(0.94 * scene.colours[owner]), 1.0)
        yield _Piece(depth, Path(corners), face, _CLEAR)
        yield _Piece(depth, Path(corners, two_lines), _CLEAR, (0.3, 0.3, 0.3, 1.0))


def _cell(scene: Scene) -> Iterator[_Piece]:
    """Yield the cell's edges in pieces, so that atoms can be before and behind them."""
    for begin, end in scene.edges:
        places = begin + np.linspace(0.0, 1.0, _PIECES + 1)[:, None] * (end - begin)
        for one, other in itertools.pairwise(places):
            line = Path([one[:2], other[:2]])
            yield _Piece((one[2] + other[2]) / 2, line, _CLEAR, (0.55, 0.55, 0.55, 1.0))


def _outline(scene: Scene) -> list[NDArray]:
    """Return short lines (2, 2) along circles and sticks, without those that balls hide."""
    angles = np.linspace(0.0, 2.0 * np.pi, 73)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    balls = zip(scene.centres, scene.radii, strict=True)
    curves = [(centre[:2] + radius * circle, centre[2]) for centre, radius in balls]
    for _, corners, depth in _half_sticks(scene):
        sides = corners[:2], corners[2:]
        curves += [(np.linspace(begin, end, 13), depth) for begin, end in sides]
    visible = []
    for points, depth in curves:
        lines = np.stack([points[:-1], points[1:]], axis=1)
        nearer = scene.centres[:, 2] > depth
        distances = lines.mean(1)[:, None] - scene.centres[nearer, :2]
        hidden = np.linalg.norm(distances, axis=-1) < scene.radii[nearer]
        visible += list(lines[~hidden.any(1)])
    return visible


def _half_sticks(scene: Scene) -> Iterator[tuple[int, NDArray, float]]:
    """Yield each half bond's atom, corners (4, 2) of its part outside the ball, and its depth."""
    for owner, (begin, end) in zip(scene.owners, scene.sticks, strict=True):
        bond, length = end - begin, np.linalg.norm(end - begin)
        if length <= scene.radii[owner]:  # the middle of the bond is inside the ball
            continue
        begin = begin + 0.97 * scene.radii[owner] / length * bond
        across = STICK * np.array([-bond[1], bond[0]]) / max(np.hypot(bond[0], bond[1]), 1e-9)
        left, right = (begin[:2] + across, end[:2] + across), (end[:2] - across, begin[:2] - across)
        depth = (begin[2] + end[2]) / 2 - 1e-6  # behind its ball if both are equally near
        yield int(owner), np.array([*left, *right]), depth
