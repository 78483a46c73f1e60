"""A framework as sticks and the molecules in its pores as balls, in a picture and in a live view.

Both may be coloured, for example by their uncertainty: the shapes tell framework and guests apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from numpy.typing import ArrayLike, NDArray

from agal_toolkit import plots
from agal_toolkit.geometry import Geometry
from agal_toolkit.plots.scene import STICK, Scene, direction
from agal_toolkit.widgets import Molecule

from .sites import framework_size

_PALE = 0.35  # share of white in the farthest stick
_WIDTH = 2.6  # of a stick, points
_VIEW = (12.0, 25.0)  # elevation and azimuth, degrees


def as_sticks(scene: Scene, count: int) -> Scene:
    """Return a scene whose first `count` atoms are as thin as their bonds."""
    radii = scene.radii.copy()
    radii[:count] = STICK
    return replace(scene, radii=radii)


def draw_pore(
    axes: Axes,
    geometry: Geometry,
    colours: ArrayLike | None = None,
    *,
    view: tuple[float, float] | NDArray = _VIEW,
    limit: float | None = None,
) -> None:
    """Draw a structure on axes; guests are painted over the framework.

    Args:
        axes: of the picture.
        geometry: n atoms, those of waters last; without a framework all are balls.
        colours: (n, 3), for example of :func:`~agal_toolkit.plots.heat`; None takes the elements'.
        view: angles, or a rotation (3, 3), as for :func:`~agal_toolkit.plots.molecule`.
        limit: half the width of the picture, angstrom; None fits it to the structure.
    """
    begin = framework_size(geometry)
    turn = np.asarray(view, float) if np.shape(view) == (3, 3) else direction(*view)
    scene = Scene.of(geometry, colours=colours).turned(turn)
    half = limit if limit is not None else 1.05 * _extent(scene)
    painted = None if colours is None else np.asarray(colours)[begin:]
    if begin < len(geometry):
        guests = replace(
            geometry,
            positions=geometry.positions[begin:],
            numbers=geometry.numbers[begin:],
            movable=None,
            isotopes=None,
        )
        plots.molecule(axes, guests, colours=painted, view=turn, limit=half, bar=True)
    sticks = scene.owners < begin
    ends, owners = scene.sticks[sticks], scene.owners[sticks]
    depth = ends[..., 2].mean(1)
    order = np.argsort(depth)
    share = _PALE * (depth.max() - depth) / max(np.ptp(depth), 1.0) if len(depth) else depth
    tones = scene.colours[owners] + share[:, None] * (1 - scene.colours[owners])
    lines = np.repeat(ends[order][..., :2], 2, axis=0)  # a dark border below each stick
    inks = np.empty((len(lines), 4))
    inks[::2], inks[1::2] = to_rgba("0.35"), np.insert(tones[order], 3, 1.0, axis=1)
    widths = np.tile([_WIDTH + 1.2, _WIDTH], len(order))
    style = {"colors": inks, "linewidths": widths, "capstyle": "round", "zorder": 1.5}
    axes.add_collection(LineCollection(lines, **style))
    if begin == len(geometry):
        edges = LineCollection(scene.edges[..., :2], colors="0.55", linewidths=0.7, zorder=1)
        axes.add_collection(edges)
    axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
    axes.set_axis_off()


def _extent(scene: Scene) -> float:
    """Return the largest distance from the origin in x or y."""
    ends = np.concatenate([scene.sticks, scene.edges]).reshape(-1, 3)
    return float(np.abs(np.concatenate([ends, scene.centres])[:, :2]).max())


class Pore(Molecule):
    """A live view of a framework as sticks and of its guests as balls."""

    def draw(self, axes: Axes) -> None:
        """Draw the structure on matplotlib axes, from the first position of the camera."""
        with self._lock:
            shown, turn, reach = self._shown, self._turn, self._reach
        if shown is None or not framework_size(shown.geometry):
            super().draw(axes)
            return
        draw_pore(axes, shown.geometry, shown.colours, view=turn, limit=reach)

    def _update(self, visible: Sequence[Scene]) -> None:
        if self._shown is not None:
            count = framework_size(self._shown.geometry)
            visible = [as_sticks(scene, count) for scene in visible]
        super()._update(visible)
