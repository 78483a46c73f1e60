"""A structure in three dimensions, to be turned with the mouse; alone knows nglview.

One view is used again and again, because a page has sixteen WebGL contexts: :class:`Molecule` sends
the whole :class:`~agal_toolkit.plots.scene.Scene` each time, a few kilobytes, and the view replaces
its buffers by it between two frames of the browser. Nothing depends on what was sent before, so a
page that was reloaded, or that shows the view twice, asks for the scene and has it. Without nglview
the same calls draw a picture.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
from IPython.utils.capture import capture_output
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from .. import plots
from ..geometry import Geometry
from ..plots.scene import GHOST, STICK, Scene, bearing, scenes
from .picture import DPI, Picture, bundle, draw_or_explain, error_html

_EXTENSION = "nglview-js-widgets"
_EDGE = 0.02  # angstrom, radius of a cell's edge
_MISSING = (
    "nglview is not installed, so this is a still picture: pip install nglview, and restart the"
    " kernel, to turn it with the mouse"
)

# Runs in nglview's view: `scene` becomes what it shows. Buffers go to the viewer itself, past
# nglview's components, whose bookkeeping would run between the views of a page and the kernel for
# each of them.
_SHOW = """
const viewer = this.stage.viewer, old = this.agal;
const floats = values => new Float32Array(values);
const made = [];
for (const part of scene.parts) {
    const see = part.opacity < 1 ? {opacity: part.opacity, depthWrite: false, side: 'front'} : {};
    if (part.radius.length)
        made.push(new NGL.SphereBuffer({position: floats(part.position), color: floats(part.color), radius: floats(part.radius)}, see));
    if (part.width.length)
        made.push(new NGL.CylinderBuffer({position1: floats(part.begin), position2: floats(part.end), color: floats(part.paint), color2: floats(part.paint),
            radius: floats(part.width)}, see));
    if (part.text.length)
        made.push(new NGL.TextBuffer({position: floats(part.place), size: floats(part.size), color: floats(part.ink), text: part.text},
            {zOffset: 1.5, attachment: 'middle-center', showBorder: true, borderColor: 'white', borderWidth: 0.3}));
}
made.forEach(buffer => viewer.add(buffer));
if (!old) {
    this.setSize(scene.size[0], scene.size[1]);
    this.stage.setParameters({clipDist: 0.5, fogNear: 60, ambientIntensity: 0.45, tooltip: false});
}
if (old) old.buffers.forEach(buffer => { viewer.remove(buffer); buffer.dispose(); });
if (!old || old.aim !== scene.aim) {
    const narrow = Math.min(1, viewer.width / viewer.height), half = Math.PI * viewer.perspectiveCamera.fov / 360;
    const d = scene.reach / Math.sin(half) / narrow;
    this.stage.viewerControls.orient(scene.turn.map((entry, k) => k < 15 ? entry * d : entry));
}
this.agal = {buffers: made, aim: scene.aim};
viewer.requestRender();
"""


class Molecule(ipywidgets.VBox):
    """One view of one structure after the other; the camera stays where a person turned it while
    the atoms are the same.

    Its methods may be called from any thread and return at once.

    Args:
        size: inches, width and height, a hundred pixels each.

    Attributes:
        live: nglview shows it; otherwise a picture does.
        geometry: what it shows, None before the first.
    """

    def __init__(self, size: tuple[float, float] = (3.6, 3.2)) -> None:
        self.geometry: Geometry | None = None
        self._size, self._lock = size, threading.RLock()
        self._ghost: Geometry | None = None
        self._colours: NDArray | None = None
        self._labels: tuple[str, ...] | None = None
        self._frames: tuple[Geometry, ...] = ()
        self._turn, self._reach, self._aim = np.eye(3), 0.0, 0
        self.live = importlib.util.find_spec("nglview") is not None
        self._view = _view(size, self._answer) if self.live else Picture(self._draw, size)
        super().__init__(
            [self._view] if self.live else [self._view, ipywidgets.HTML(error_html(_MISSING))]
        )
        self.layout.width = f"{round(size[0] * DPI) + 4}px"

    def show(
        self,
        geometry: Geometry,
        ghost: Geometry | None = None,
        colours: ArrayLike | None = None,
        labels: Sequence[str] | None = None,
    ) -> Molecule:
        """Shows a structure in place of the one before.

        Args:
            geometry: of at most three dimensions; with its cell where it is periodic.
            ghost: another one, translucent, which stays in the middle of the view: where an attack
                started.
            colours: (n, 3) red, green and blue of the atoms, 0 to 1; None takes those of the
                elements, :func:`~agal_toolkit.plots.molecules.heat` makes some of uncertainties.
            labels: (n,) what is written at the atoms.

        Raises:
            ValueError: colours or labels of another number of atoms, or more than three dimensions.
        """
        with self._lock:
            seen = scenes(geometry, ghost, colours, labels)
            self._look(geometry, ghost, max(scene.reach for scene in seen))
            self.geometry, self._ghost, self._labels = (
                geometry,
                ghost,
                None if labels is None else tuple(labels),
            )
            self._colours = None if colours is None else np.asarray(colours, dtype=float)
            if self.live:
                self._send(seen)
            else:
                self._view.request()
        return self

    def clear(self) -> Molecule:
        """Shows nothing."""
        with self._lock:
            self.geometry = self._ghost = self._colours = self._labels = None
            self._frames = ()
            if self.live:
                self._send([])
            else:
                self._view.request()
        return self

    def frames(self, geometries: Sequence[Geometry], ghost: Geometry | None = None) -> Molecule:
        """Takes structures of the same atoms, whose cells may differ, of which :meth:`seek` shows
        one, and shows the first; the camera sees them all from where it is.

        Raises:
            ValueError: no structures, or some of other atoms than the first.
        """
        if not len(geometries) or not all(
            _alike(geometries[0], geometry) for geometry in geometries
        ):
            raise ValueError(
                f"{len(geometries)} structures cannot be the frames of one view: give at least one,"
                " all of the same atoms in the same order"
            )
        with self._lock:
            self._frames, self._ghost = tuple(geometries), ghost
            self._look(
                geometries[0],
                ghost,
                max(scene.reach for geometry in geometries for scene in scenes(geometry, ghost)),
            )
            self.geometry = geometries[0]
            return self.seek(0)

    def seek(self, frame: int, colours: ArrayLike | None = None) -> Molecule:
        """Shows a structure of :meth:`frames`.

        Raises:
            IndexError: there are not so many.
        """
        with self._lock:
            return self.show(self._frames[frame], self._ghost, colours)

    def draw(self, axes: Any) -> None:
        """What it shows, from where it first looked, on matplotlib axes."""
        with self._lock:
            geometry, ghost, colours, labels, turn, reach = (
                self.geometry,
                self._ghost,
                self._colours,
                self._labels,
                self._turn,
                self._reach,
            )
        if geometry is None:
            axes.axis("off")
            axes.text(
                0.5,
                0.5,
                "no structure",
                transform=axes.transAxes,
                ha="center",
                va="center",
                color="0.55",
                fontsize=9,
            )
            return
        plots.molecule(
            axes, geometry, ghost, colours, labels, outline=False, view=turn, limit=reach, bar=True
        )

    def _draw(self, figure: Figure) -> None:
        self.draw(figure.add_axes((0.0, 0.0, 1.0, 1.0)))

    def _look(self, geometry: Geometry, ghost: Geometry | None, reach: float) -> None:
        """Turns the camera to new atoms, and steps back from old ones that have flown apart."""
        if not _alike(self.geometry, geometry):
            self._turn, self._reach, self._aim = (
                bearing(geometry if ghost is None else ghost),
                1.05 * max(reach, 1.2),
                self._aim + 1,
            )
        elif reach > self._reach:
            self._reach, self._aim = 1.1 * reach, self._aim + 1

    def _answer(self, _: Any, message: Any, __: Any) -> None:
        """A view on a page is ready: it gets what there is to see."""
        if isinstance(message, dict) and message.get("type") == "request_loaded":
            with self._lock:
                if self.geometry is not None:
                    self._send(scenes(self.geometry, self._ghost, self._colours, self._labels))

    def _send(self, seen: Sequence[Scene]) -> None:
        told = {
            "parts": [_part(scene, GHOST if k else 1.0) for k, scene in enumerate(seen)],
            "turn": _camera(self._turn),
            "reach": self._reach,
            "aim": self._aim,
            "size": _pixels(self._size),
        }
        code = f"const scene = {json.dumps(told)};{_SHOW}"
        self._view.send(
            {
                "type": "call_method",
                "target": "Widget",
                "methodName": "executeCode",
                "args": [code],
                "kwargs": {},
                "reconstruc_color_scheme": False,
            }
        )

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return bundle(
            super()._repr_mimebundle_(**options), draw_or_explain(self._draw, self._size)[0]
        )


def _alike(one: Geometry | None, other: Geometry) -> bool:
    """Whether two structures consist of the same atoms in the same order, periodic along the same
    cell vectors; the vectors themselves may differ.
    """
    return (
        one is not None
        and np.array_equal(one.numbers, other.numbers)
        and np.array_equal(one.pbc, other.pbc)
    )


def _part(scene: Scene, opacity: float) -> dict[str, Any]:
    """A scene as the flat lists that NGL's buffers are made of; of a ghost, neither cell nor names."""
    solid = opacity == 1.0
    edges = scene.edges if solid else scene.edges[:0]
    begin, end = (np.concatenate([scene.sticks[:, k], edges[:, k]]) for k in (0, 1))
    paint = np.concatenate([scene.colours[scene.owners], np.full((len(edges), 3), 0.6)])
    named = [k for k, name in enumerate(scene.names) if name and solid]
    values = {
        "position": scene.centres,
        "color": scene.colours,
        "radius": scene.radii,
        "begin": begin,
        "end": end,
        "paint": paint,
        "width": np.repeat([STICK, _EDGE], [len(scene.sticks), len(edges)]),
        "place": scene.centres[named],
        "size": np.full(len(named), 0.5),
        "ink": np.full((len(named), 3), 0.1),
    }
    return {
        **{name: np.round(array, 4).ravel().tolist() for name, array in values.items()},
        "text": [scene.names[k] for k in named],
        "opacity": opacity,
    }


def _camera(turn: NDArray) -> list[float]:
    """(16,) the matrix, column by column, with which NGL looks at a scene as the picture does: its
    eye is at negative z.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([-1.0, 1.0, -1.0]) @ turn
    return matrix.T.ravel().tolist()


def _view(size: tuple[float, float], answer: Any) -> ipywidgets.DOMWidget:
    """An empty view that calls `answer` with what its front-ends say."""
    version = _installed()
    # nglview 4.0.1 announces the front-end 4.0 and installs 3.1.5, which JupyterLab then refuses to
    # load.
    if version is not None and "nglview" not in sys.modules:
        announced = types.ModuleType("nglview._frontend")
        announced.__frontend_version__ = version
        sys.modules["nglview._frontend"] = announced
    with capture_output(
        stdout=False, stderr=False
    ):  # importing nglview displays an empty widget in the cell that does it
        import nglview
    wide, high = _pixels(size)
    traits = (
        {}
        if version is None
        else {"_view_module_version": version, "_model_module_version": version}
    )
    view = nglview.NGLWidget(_view_width=wide, _view_height=high, **traits)
    view.layout.width, view.layout.height = wide, high
    view.on_msg(answer)
    return view


def _pixels(size: tuple[float, float]) -> list[str]:
    """Width and height on the page of so many inches."""
    return [f"{round(inches * DPI)}px" for inches in size]


def _installed() -> str | None:
    """The version of nglview's extension of JupyterLab; None where there is none."""
    from jupyter_core.paths import jupyter_path

    for folder in jupyter_path("labextensions", _EXTENSION):
        package = Path(folder, "package.json")
        if package.is_file():
            return json.loads(package.read_text())["version"]
    return None
