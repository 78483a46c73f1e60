"""A structure drawn with matplotlib: what a reader without a kernel sees of a 3D view.

Everything is painted from back to front in one collection, so a hundred atoms cost no more artists than one; what is
far away is paler. Like every function of :mod:`agal_toolkit.plots` it draws on the axes it is given, in any thread.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.path import Path
from numpy.typing import ArrayLike, NDArray

from ..geometry import Geometry
from .scene import Scene, bearing, middle

HEAT = "YlOrRd"             # of values at atoms, as their uncertainty
GHOST = 0.22                # opacity of where an attack started
_STICK = 0.1                # angstrom, radius of a bond
_PALE = 0.35                # share of white in the farthest atom


def heat(values: ArrayLike, top: float) -> NDArray:
    """(n, 3) colours of values (n,) between 0 and `top`."""
    return colormaps[HEAT](0.08 + 0.84 * np.clip(np.asarray(values, dtype=float) / max(top, 1e-12), 0.0, 1.0))[:, :3]


def draw_molecule(
    axes: Axes, geometry: Geometry, ghost: Geometry | None = None, colours: ArrayLike | None = None, labels: Sequence[str] | None = None,
    *, turn: NDArray | None = None, reach: float | None = None,
) -> None:
    """Balls and sticks with a bar of one angstrom.

    Args:
        axes: get equal scales and lose their frame.
        geometry: the structure.
        ghost: another one that is drawn pale, and stays in the middle: where an attack started.
        colours: (n, 3) red, green and blue of the atoms, 0 to 1; None takes those of the elements, :func:`heat` makes some of values.
        labels: (n,) what is written at the atoms.
        turn: (3, 3) rotation, as :func:`~agal_toolkit.widgets.scene.bearing`'s, which chooses one where it is None.
        reach: half of the height of what is seen, angstrom; None shows all.
    """
    still = geometry if ghost is None else ghost
    origin = middle(still)
    turn = bearing(still) if turn is None else turn
    scenes = [Scene.of(geometry, colours=colours, labels=labels, origin=origin)]
    if ghost is not None:
        scenes.insert(0, Scene.of(ghost, origin=origin))
    for scene in scenes:
        opacity = GHOST if len(scenes) > 1 and scene is scenes[0] else 1.0
        if len(scene.edges) and scene is scenes[-1]:
            axes.add_collection(LineCollection((scene.edges @ turn.T)[..., :2], colors="0.6", linewidths=0.8, zorder=1))
        axes.add_collection(_painted(scene, turn, opacity))
    shown = scenes[-1]
    for name, centre, radius in zip(shown.names, shown.centres @ turn.T, shown.radii, strict=True):
        if name:
            axes.text(centre[0] + 0.75 * radius, centre[1] + 0.75 * radius, name, fontsize=8, zorder=5, va="bottom", ha="left")
    reach = max(1.05 * max(scene.reach for scene in scenes), 1.2) if reach is None else reach
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.axis("off")
    left, low = -0.97 * reach, -0.97 * reach
    axes.plot([left, left + 1.0], [low, low], "-", color="0.35", lw=1.5, solid_capstyle="butt", zorder=4)
    axes.text(left + 0.5, low + 0.03 * reach, "1 Å", fontsize=7, color="0.35", ha="center", va="bottom", zorder=4)


def _painted(scene: Scene, turn: NDArray, opacity: float) -> PathCollection:
    """Balls and half bonds from back to front."""
    centres, sticks = scene.centres @ turn.T, scene.sticks @ turn.T
    low, high = centres[:, 2].min(), centres[:, 2].max()
    far = (high - centres[:, 2]) / max(high - low, 1e-9)
    colours = np.pad(scene.colours + (1.0 - scene.colours) * _PALE * far[:, None], ((0, 0), (0, 1)), constant_values=1.0)
    disc = Path.unit_circle()
    depths, paths, faces, edges = [], [], [], []

    def paint(depth: float, path: Path, face: ArrayLike, edge: ArrayLike) -> None:
        depths.append(depth)
        paths.append(path)
        faces.append(face)
        edges.append(edge)

    for owner, (begin, end) in zip(scene.owners, sticks, strict=True):
        way = end - begin
        length = np.linalg.norm(way)
        if length <= scene.radii[owner]:
            continue                                    # the middle of the bond is inside the ball
        begin = begin + way * (0.97 * scene.radii[owner] / length)
        across = np.array([-way[1], way[0]]) / max(np.hypot(way[0], way[1]), 1e-9) * _STICK
        corners = [begin[:2] + across, end[:2] + across, end[:2] - across, begin[:2] - across, begin[:2] + across]
        paint((begin[2] + end[2]) / 2, Path(corners), colours[owner], (0.3, 0.3, 0.3, 1.0))
    for centre, radius, colour in zip(centres, scene.radii, colours, strict=True):
        paint(centre[2], Path(centre[:2] + radius * disc.vertices, disc.codes), colour, (0.2, 0.2, 0.2, 1.0))
        gleam = centre[:2] + radius * np.array([-0.33, 0.36])
        paint(centre[2] + 1e-6, Path(gleam + 0.24 * radius * disc.vertices, disc.codes), (1.0, 1.0, 1.0, 0.55), (0.0, 0.0, 0.0, 0.0))
    order = np.argsort(depths, kind="stable")
    shades = np.array([faces, edges])[:, order] * [1.0, 1.0, 1.0, opacity]
    return PathCollection([paths[k] for k in order], facecolors=shades[0], edgecolors=shades[1], linewidths=0.7, zorder=2 + opacity)
