"""The reference's ammonia, computed once: ground state, Hessian, inversion path, (Z, R) surface.

Everything is kept as files of a folder and always read from them, so that numbers that were just
computed and numbers of earlier runs are the same: ``optimisation.extxyz``, ``path.extxyz``,
``plane.json``, and ``reference.json`` with the Hessian and the settings of it all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.analysis import paths
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.loop.run_directory import RunDirectoryError, differences
from agal_toolkit.references import (
    DFT,
    Cache,
    LabelCalculator,
    Reference,
    conformer,
    optimised,
    processes,
)

from ..jobs import save
from .inversion import inversion_path
from .plane import Ground, PlaneGrid, PlaneSurface


@dataclass(frozen=True, eq=False)
class Truth:
    """Ammonia in the reference.

    Attributes:
        optimisation: labelled structures from the force field's conformer to the ground state.
        hessian: (12, 12) in the ground state, eV/angstrom^2.
        path: nitrogen's inversion (Schwalbe-Koda 2021, Fig. 3d).
        surface: energies on the (Z, R) plane (Fig. 3e) above the ground state.
    """

    optimisation: Dataset
    hessian: NDArray
    path: paths.ReactionPath
    surface: PlaneSurface

    @property
    def ground(self) -> Geometry:
        """The ground state."""
        return self.optimisation[-1]

    @property
    def zero(self) -> float:
        """The ground state's energy, eV."""
        return float(self.optimisation.energies[-1])

    @cached_property
    def plane(self) -> Dataset:
        """The labelled half of the surface as test data; forces are not kept and zero."""
        grid = self.surface.grid
        energies = self.surface.energy[:, grid.heights - 1 :].reshape(-1) + self.zero
        finite = np.isfinite(energies)
        return Dataset(
            [g for g, keep in zip(grid.geometries, finite, strict=True) if keep],
            [Labels(energy=e, forces=np.zeros((4, 3))) for e in energies[finite]],
        )


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How finely the reference is sampled.

    Attributes:
        heights, radii: points of the (Z, R) grid, see :class:`~studies.ammonia.plane.PlaneGrid`.
        images: of the path.
        fmax: of the path, eV/angstrom.
    """

    heights: int = 21
    radii: int = 37
    images: int = 11
    fmax: float = 0.01


def settings(label: DFT, sizes: Sizes) -> dict[str, Any]:
    """Return everything that changes these numbers, as JSON."""
    return {"reference": Reference(label).description, "sizes": asdict(sizes)}


def load_truth(
    folder: str | Path,
    label: DFT = DFT(),
    sizes: Sizes = Sizes(),
    *,
    workers: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> Truth:
    """Return the truth in `folder`; compute and write what is missing first.

    Args:
        folder: of the files.
        label: the reference.
        sizes: of surface and path.
        workers: processes that label the surface.
        say: called when a computation begins.

    Raises:
        RunDirectoryError: the folder was made with other settings.
    """
    folder = Path(folder)
    about = folder / "reference.json"
    wanted = settings(label, sizes)
    if not about.exists():  # the settings are on disk before anything made with them
        save(about, {"settings": wanted, "seconds": {}})
    stored = json.loads(about.read_text())
    lines = differences(stored["settings"], wanted)
    if lines:
        raise RunDirectoryError(
            f"{folder} was made with other settings; give another folder, or the old settings:\n  "
            + "\n  ".join(lines)
        )

    @contextmanager
    def stage(name: str, text: str) -> Iterator[None]:
        """Report the stage, and keep its seconds and entry when it ends."""
        say(f"ammonia: {text}")
        began = time.monotonic()
        yield
        stored["seconds"][name] = round(time.monotonic() - began, 1)
        save(about, stored)

    optimisation, plane = folder / "optimisation.extxyz", folder / "plane.json"
    if not optimisation.exists():
        with stage("optimisation", "optimising the ground state"):
            save(optimisation, _optimisation(label))
    steps = Dataset.read(optimisation)
    ground, zero = steps[-1], float(steps.energies[-1])
    if "hessian" not in stored:
        with stage("hessian", "Hessian"):
            stored["hessian"] = np.round(label.hessian(ground), 8).tolist()
    images = folder / "path.extxyz"
    if not images.exists() or "path" not in stored:
        band = paths.NudgedElasticBand(images=sizes.images, fmax=sizes.fmax)
        with stage("path", f"inversion path of {sizes.images} images"):
            path = inversion_path(LabelCalculator(label), ground=ground, band=band)
            save(images, path.images)
            stored["path"] = {"converged": path.converged, "steps": path.steps}
    if not plane.exists():
        grid = PlaneGrid(Ground.of(ground), heights=sizes.heights, radii=sizes.radii)
        reference = Reference(label, executor=processes(workers))
        with stage("plane", f"{sizes.heights * sizes.radii} labels of the (Z, R) surface"):
            outcomes = reference(grid.geometries, Cache(folder / "labels"))
            PlaneSurface.of_outcomes(outcomes, grid, zero, reference.description).write(plane)
    return Truth(
        steps,
        np.array(stored["hessian"]),
        paths.ReactionPath(Dataset.read(images), **stored["path"]),
        PlaneSurface.read(plane),
    )


def _optimisation(label: DFT) -> Dataset:
    """Return every structure of an optimisation from the force field's conformer."""
    geometries, labels = list[Geometry](), list[Labels]()

    def recorded(geometry: Geometry) -> Labels:
        labels.append(label(geometry))
        origin = {"by": "optimisation", "step": len(geometries)}
        geometries.append(replace(geometry, origin=origin))
        return labels[-1]

    optimised(recorded, conformer("N"))
    return Dataset(geometries, labels)
