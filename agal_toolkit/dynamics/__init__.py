"""Molecular dynamics: many replicas as one batch, each watched and stopped by itself."""

from .checkpoint import Checkpoint
from .run import Frames, npt, nve, nvt
from .stops import EXPLODED, NOT_FINITE, Closer, DensityOutside, EnergyBelow, Farther, Stop, Watch

__all__ = [
    "EXPLODED",
    "NOT_FINITE",
    "Checkpoint",
    "Closer",
    "DensityOutside",
    "EnergyBelow",
    "Farther",
    "Frames",
    "Stop",
    "Watch",
    "npt",
    "nve",
    "nvt",
]
