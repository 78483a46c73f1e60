"""Figures of ammonia: functions that draw records on matplotlib axes; energies are in kcal/mol."""

from .barriers import barrier_errors, inversion_paths
from .convergence import convergence_curves
from .density import density_bar, frame_density, stable_bars, stable_by_temperature
from .plane import errors_below, plane_bar, plane_surface
from .samples import energy_against_rmsd, energy_boxes, judged_energies, map_of

__all__ = [
    "barrier_errors",
    "convergence_curves",
    "density_bar",
    "energy_against_rmsd",
    "energy_boxes",
    "errors_below",
    "frame_density",
    "inversion_paths",
    "judged_energies",
    "map_of",
    "plane_bar",
    "plane_surface",
    "stable_bars",
    "stable_by_temperature",
]
