"""Molecular dynamics: many replicas as one batch, each watched and stopped by itself; ensembles of a model surface."""

from .ensemble import Trajectory, langevin
from .replicas import Frames, npt, nve, nvt
from .stops import EXPLODED, NOT_FINITE, Closer, EnergyBelow, Farther, Stop, Watch

__all__ = ["EXPLODED", "NOT_FINITE", "Closer", "EnergyBelow", "Farther", "Frames", "Stop", "Trajectory", "Watch", "langevin", "npt", "nve", "nvt"]
