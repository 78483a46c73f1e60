"""What the reference says of ammonia, computed once: ground state, Hessian, inversion path and (Z,
R) surface.

Everything is kept as files of a folder and always read from them, so that what is computed and what
was computed before
are the same numbers: ``optimisation.extxyz``, ``path.extxyz``, ``plane.json`` and
``reference.json`` with the Hessian and the settings of it all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.analysis.paths import NudgedElasticBand, ReactionPath
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

from ..results import keep
from .inversion import inversion_path
from .plane import Ground, PlaneGrid, PlaneSurface


@dataclass(frozen=True, eq=False)
class Truth:
    """Ammonia in the reference.

    Attributes:
        optimisation: labelled structures on the way from the force field's conformer to the ground
            state, the last of them.
        hessian: (12, 12) there, eV/angstrom^2.
        path: nitrogen's inversion (Schwalbe-Koda 2021, Fig. 3d).
        surface: on the (Z, R) plane (Fig. 3e), its zero the ground state's energy.
    """

    optimisation: Dataset
    hessian: NDArray
    path: ReactionPath
    surface: PlaneSurface

    @property
    def ground(self) -> Geometry:
        """The minimum."""
        return self.optimisation[-1]

    @property
    def zero(self) -> float:
        """Its energy, eV."""
        return float(self.optimisation.energies[-1])

    @cached_property
    def plane(self) -> Dataset:
        """The labelled half of the surface as test data, without structures that have no label;
        forces are not kept and zero.
        """
        grid = self.surface.grid
        values = self.surface.energy[:, grid.heights - 1 :].reshape(-1) + self.zero
        known = np.isfinite(values)
        return Dataset(
            [g for g, k in zip(grid.geometries, known, strict=True) if k],
            [Labels(energy=e, forces=np.zeros((4, 3))) for e in values[known]],
        )


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How closely the reference is looked at.

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
    """Everything that changes these numbers, as JSON."""
    return {"reference": Reference(label).description, "sizes": asdict(sizes)}


def truth(
    folder: str | Path,
    label: DFT = DFT(),
    sizes: Sizes = Sizes(),
    *,
    workers: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> Truth:
    """What `folder` holds; what it lacks is computed and written there first.

    Args:
        folder: of the files.
        label: the reference.
        sizes: of surface and path.
        workers: processes that label the surface.
        say: hears what begins.

    Raises:
        RunDirectoryError: the folder was made with other settings.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = folder / "reference.json"
    stored = (
        json.loads(about.read_text())
        if about.exists()
        else {"settings": settings(label, sizes), "seconds": {}}
    )
    if not about.exists():
        keep(about, stored)  # before any file that they are the settings of
    found = differences(stored["settings"], settings(label, sizes))
    if found:
        raise RunDirectoryError(
            f"{folder} was made with other settings; give another folder, or the old settings:\n  "
            + "\n  ".join(found)
        )

    def stage(name: str, began: float, **values: Any) -> None:
        stored.update(values)
        stored["seconds"][name] = round(time.monotonic() - began, 1)
        keep(about, stored)

    optimisation, path, plane = (
        folder / "optimisation.extxyz",
        folder / "path.extxyz",
        folder / "plane.json",
    )
    if not optimisation.exists():
        say("ammonia: optimising the ground state")
        began = time.monotonic()
        seen: list[tuple[Geometry, Labels]] = []

        def heard(geometry: Geometry) -> Labels:
            seen.append((geometry, label(geometry)))
            return seen[-1][1]

        optimised(heard, conformer("N"))
        keep(
            optimisation,
            Dataset(
                [
                    replace(g, origin={"by": "optimisation", "step": k})
                    for k, (g, _) in enumerate(seen)
                ],
                [l for _, l in seen],
            ),
        )
        stage("optimisation", began)
    way = Dataset.read(optimisation)
    ground, zero = way[-1], float(way.energies[-1])
    if "hessian" not in stored:
        say("ammonia: Hessian")
        began = time.monotonic()
        stage("hessian", began, hessian=np.round(label.hessian(ground), 8).tolist())
    if not path.exists() or "path" not in stored:
        say(f"ammonia: inversion path of {sizes.images} images")
        began = time.monotonic()
        band = inversion_path(
            LabelCalculator(label),
            ground=ground,
            band=NudgedElasticBand(images=sizes.images, fmax=sizes.fmax),
        )
        keep(path, band.images)
        stage("path", began, path={"converged": band.converged, "steps": band.steps})
    if not plane.exists():
        grid = PlaneGrid(Ground.of(ground), heights=sizes.heights, radii=sizes.radii)
        say(f"ammonia: {sizes.heights * sizes.radii} labels of the (Z, R) surface")
        began, reference = time.monotonic(), Reference(label, executor=processes(workers))
        PlaneSurface.of_answers(
            reference(grid.geometries, Cache(folder / "labels")), grid, zero, reference.description
        ).write(plane)
        stage("plane", began)
    return Truth(
        way,
        np.array(stored["hessian"]),
        ReactionPath(Dataset.read(path), **stored["path"]),
        PlaneSurface.read(plane),
    )
