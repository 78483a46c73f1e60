"""A structure in three dimensions that the mouse turns; the only file that knows nglview.

A page has sixteen WebGL contexts, so one view shows structure after structure. :class:`Molecule`
sends a whole :class:`~agal_toolkit.plots.scene.Scene` each time, a few kilobytes, and the view
replaces its buffers between two frames of the browser. No message depends on an earlier one: a page
that is reloaded, or shows the view twice, asks for the scene. Without nglview a picture is drawn.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
from ase import Atoms
from IPython.utils.capture import capture_output
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from .. import plots
from ..analysis.rmsd import AlignedRmsd
from ..geometry import Geometry, as_geometry
from ..plots.scene import GHOST, STICK, Scene, bearing, scenes
from .controls import placeholder
from .picture import CARD, DPI, Picture, Size, bundle, draw_or_explain, error_html

_EXTENSION = "nglview-js-widgets"
_EDGE = 0.02  # angstrom, radius of a cell's edge
_MISSING = "To turn this picture, install nglview (pip install nglview) and restart the kernel."

# Runs in nglview's view and makes it show `scene`. Buffers go to the viewer, not to nglview's
# components, which would synchronise each of them between the kernel and all views of a page.
_SHOW = """
const viewer = this.stage.viewer, old = this.agal, buffers = [];
const floats = lists => Object.fromEntries(
    Object.entries(lists).map(([name, values]) => [name, new Float32Array(values)]));
const bordered = {zOffset: 1.5, attachment: 'middle-center', showBorder: true,
    borderColor: 'white', borderWidth: 0.3};
for (const {balls, sticks, names, text, opacity} of scene.parts) {
    const look = opacity < 1 ? {opacity, depthWrite: false, side: 'front'} : {};
    if (balls.radius.length) buffers.push(new NGL.SphereBuffer(floats(balls), look));
    if (sticks.radius.length) buffers.push(new NGL.CylinderBuffer(floats(sticks), look));
    if (text.length) buffers.push(new NGL.TextBuffer({...floats(names), text}, bordered));
}
buffers.forEach(buffer => viewer.add(buffer));
if (old) {
    old.buffers.forEach(buffer => { viewer.remove(buffer); buffer.dispose(); });
} else {
    this.setSize(...scene.size);
    const frame = viewer.container.style;
    frame.borderRadius = '8px';
    frame.overflow = 'hidden';
    this.stage.setParameters({backgroundColor: scene.ground});
    this.stage.setParameters({clipDist: 0.5, fogNear: 60, ambientIntensity: 0.45, tooltip: false});
    // a view on a part of the page that is hidden has no size before it is seen
    new ResizeObserver(() => this.stage.handleResize()).observe(viewer.container);
}
if (!old || old.number !== scene.number) {
    const [width, height] = scene.size.map(parseFloat), narrow = Math.min(1, width / height);
    const half = Math.PI * viewer.perspectiveCamera.fov / 360;
    const d = scene.reach / Math.sin(half) / narrow;
    this.stage.viewerControls.orient(scene.turn.map((entry, k) => k < 15 ? entry * d : entry));
}
this.agal = {buffers, number: scene.number};
viewer.requestRender();
"""


class _Shown(NamedTuple):
    """The arguments of :meth:`Molecule.show`, which are those of :func:`scenes`."""

    geometry: Geometry
    ghost: Geometry | None = None
    colours: NDArray | None = None
    labels: tuple[str, ...] | None = None


class Molecule(ipywidgets.VBox):
    """A view of one structure; a new structure of the same atoms leaves the camera where it is.

    Methods may be called from any thread and return at once. Where nglview is missing, `live` is
    False and a picture is drawn.

    Args:
        structure: shown at once; None waits for :meth:`show`.
        size: width and height in inches, `DPI` pixels each.
    """

    def __init__(
        self, structure: Geometry | Atoms | None = None, *, size: Size = (3.6, 3.2)
    ) -> None:
        self._size, self._lock = size, threading.RLock()
        self._shown: _Shown | None = None
        self._frames: tuple[Geometry, ...] = ()
        self._ghost: Geometry | None = None  # of the frames
        self._turn, self._reach, self._camera_number = np.eye(3), 0.0, 0
        self.live = importlib.util.find_spec("nglview") is not None
        self._view: Any = _nglview(size, self._answer) if self.live else Picture(self._draw, size)
        missing = [] if self.live else [ipywidgets.HTML(error_html(_MISSING))]
        super().__init__([self._view, *missing])
        self.layout.width = f"{round(size[0] * DPI) + 4}px"
        self.layout.flex = "0 0 auto"  # a narrow row must not squeeze it
        if structure is not None:
            self.show(structure)

    @property
    def geometry(self) -> Geometry | None:
        """The structure in view; None before the first."""
        return None if self._shown is None else self._shown.geometry

    def show(
        self,
        geometry: Geometry | Atoms,
        ghost: Geometry | Atoms | None = None,
        colours: ArrayLike | None = None,
        labels: Sequence[str] | None = None,
    ) -> Molecule:
        """Show a structure in place of the previous one.

        Args:
            geometry: n atoms in at most three dimensions; a periodic one is shown with its cell.
            ghost: a translucent structure that stays in the middle: the start of an attack.
            colours: (n, 3) red, green and blue of the atoms, 0 to 1, for example from
                :func:`~agal_toolkit.plots.molecules.heat`; None takes those of the elements.
            labels: (n,) text at the atoms.
        """
        geometry = as_geometry(geometry)
        ghost = None if ghost is None else as_geometry(ghost)
        with self._lock:
            visible = scenes(geometry, ghost, colours, labels)
            self._look(geometry, ghost, max(scene.reach for scene in visible))
            painted = None if colours is None else np.asarray(colours, dtype=float)
            names = None if labels is None else tuple(labels)
            self._shown = _Shown(geometry, ghost, painted, names)
            self._update(visible)
        return self

    def superposed(self, geometry: Geometry) -> Geometry:
        """Return a molecule turned onto the one in view if both have the same atoms in order."""
        shown = self.geometry
        if shown is None or not same_atoms(shown, geometry):
            return geometry
        if geometry.pbc.any() or len(geometry) < 2:
            return geometry
        return AlignedRmsd(permutations=False).superpose(shown, geometry)

    def clear(self) -> Molecule:
        """Show nothing and forget the frames."""
        with self._lock:
            self._shown, self._frames = None, ()
            self._update([])
        return self

    def frames(
        self, geometries: Sequence[Geometry | Atoms], ghost: Geometry | Atoms | None = None
    ) -> Molecule:
        """Take structures of the same atoms for :meth:`seek`, and show the first.

        Their cells may differ. The camera is placed so that all of them are in view.
        """
        structures = tuple(as_geometry(geometry) for geometry in geometries)
        start = None if ghost is None else as_geometry(ghost)
        if not structures or not all(same_atoms(structures[0], other) for other in structures):
            need = "give at least one, all of the same atoms in the same order"
            raise ValueError(f"{len(structures)} structures cannot be frames of one view: {need}")
        with self._lock:
            visible = [scene for geometry in structures for scene in scenes(geometry, start)]
            self._look(structures[0], start, max(scene.reach for scene in visible))
            self._frames, self._ghost = structures, start
            self._shown = _Shown(structures[0], start)  # the camera looks at all of them
            return self.seek(0)

    def seek(
        self,
        frame: int,
        colours: ArrayLike | None = None,
        labels: Sequence[str] | None = None,
    ) -> Molecule:
        """Show a structure of :meth:`frames` with `colours` and `labels` as in :meth:`show`."""
        with self._lock:
            return self.show(self._frames[frame], self._ghost, colours, labels)

    def draw(self, axes: Axes) -> None:
        """Draw the structure on matplotlib axes, from the first position of the camera."""
        with self._lock:
            shown, turn, reach = self._shown, self._turn, self._reach
        if shown is not None:
            plots.molecule(axes, *shown, outline=False, view=turn, limit=reach, bar=True)
            return
        axes.axis("off")
        placeholder(axes, "no structure")

    def _draw(self, figure: Figure) -> None:
        self.draw(figure.add_axes((0.0, 0.0, 1.0, 1.0)))

    def _look(self, geometry: Geometry, ghost: Geometry | None, reach: float) -> None:
        """Turn the camera to new atoms, or step back from atoms that flew apart."""
        if not same_atoms(self.geometry, geometry):
            self._turn = bearing(geometry if ghost is None else ghost)
            self._reach = 1.05 * max(reach, 1.2)
        elif reach > self._reach:
            self._reach = 1.1 * reach
        else:
            return
        self._camera_number += 1

    def _answer(self, _: Any, message: Any, __: Any) -> None:
        """Send the scene to a view that was loaded on a page."""
        if isinstance(message, dict) and message.get("type") == "request_loaded":
            with self._lock:
                if self._shown is not None:
                    self._update(scenes(*self._shown))

    def _update(self, visible: Sequence[Scene]) -> None:
        if not self.live:
            self._view.request()
            return
        parts = [_part(scene, GHOST if k else 1.0) for k, scene in enumerate(visible)]
        camera = {"turn": _camera(self._turn), "reach": self._reach, "number": self._camera_number}
        scene = {"parts": parts, **camera}
        scene |= {"size": _pixels(self._size), "ground": CARD}
        code = f"const scene = {json.dumps(scene)};{_SHOW}"
        call = {"type": "call_method", "target": "Widget", "methodName": "executeCode"}
        # nglview spells it so
        self._view.send({**call, "args": [code], "kwargs": {}, "reconstruc_color_scheme": False})

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        picture = draw_or_explain(self._draw, self._size)[0]
        return bundle(super()._repr_mimebundle_(**options), picture)


def same_atoms(one: Geometry | None, other: Geometry) -> bool:
    """Return whether elements, their order and periodic directions agree; cells may differ."""
    if one is None:
        return False
    return np.array_equal(one.numbers, other.numbers) and np.array_equal(one.pbc, other.pbc)


def _part(scene: Scene, opacity: float) -> dict[str, Any]:
    """Return a scene as the arguments of NGL's buffers; a ghost has no cell and no names."""
    solid = opacity == 1.0
    edges = scene.edges if solid else scene.edges[:0]
    begin, end = np.concatenate([scene.sticks, edges]).swapaxes(0, 1)
    paint = np.concatenate([scene.colours[scene.owners], np.full((len(edges), 3), 0.6)])
    width = np.repeat([STICK, _EDGE], [len(scene.sticks), len(edges)])
    named = [k for k, name in enumerate(scene.names) if name and solid]
    ink, height = np.full((len(named), 3), 0.1), np.full(len(named), 0.5)
    sticks = {"position1": begin, "position2": end, "color": paint, "color2": paint}
    return {
        "balls": _lists(position=scene.centres, color=scene.colours, radius=scene.radii),
        "sticks": _lists(**sticks, radius=width),
        "names": _lists(position=scene.centres[named], color=ink, size=height),
        "text": [scene.names[k] for k in named],
        "opacity": opacity,
    }


def _lists(**arrays: NDArray) -> dict[str, list[float]]:
    return {name: np.round(array, 4).ravel().tolist() for name, array in arrays.items()}


def _camera(turn: NDArray) -> list[float]:
    """Return NGL's (16,) column-major matrix for a rotation (3, 3); its eye is at negative z."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([-1.0, 1.0, -1.0]) @ turn
    return matrix.T.ravel().tolist()


def _nglview(size: Size, answer: Any) -> ipywidgets.DOMWidget:
    """Return an empty view that calls `answer` with messages from its front-ends."""
    version = _installed()
    # nglview 4.0.1 announces front-end 4.0 and installs 3.1.5, so JupyterLab refuses to load it.
    if version is not None and "nglview" not in sys.modules:
        sys.modules["nglview._frontend"] = announced = types.ModuleType("nglview._frontend")
        announced.__dict__["__frontend_version__"] = version
    with capture_output(stdout=False, stderr=False):  # importing nglview displays an empty widget
        import nglview
    names = ("_view_module_version", "_model_module_version")
    traits = {} if version is None else dict.fromkeys(names, version)
    width, height = _pixels(size)
    view = nglview.NGLWidget(_view_width=width, _view_height=height, **traits)
    view.layout.width, view.layout.height = width, height
    view.on_msg(answer)
    return view


def _pixels(size: Size) -> list[str]:
    return [f"{round(inches * DPI)}px" for inches in size]


def _installed() -> str | None:
    """Return the version of nglview's JupyterLab extension; None without one."""
    from jupyter_core.paths import jupyter_path

    for folder in jupyter_path("labextensions", _EXTENSION):
        package = Path(folder, "package.json")
        if package.is_file():
            return json.loads(package.read_text())["version"]
    return None
