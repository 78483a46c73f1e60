"""Potentials: protocols, stacked and separate members, networks, and bridges to ASE."""

from .ase import CalculatorPotential, Guard, GuardedCalculator, LimitPassed, PotentialCalculator
from .density import DensityNet
from .members import Separate, Stacked
from .mlp import MLP
from .protocol import (
    Baseline,
    Differentiable,
    Ensemble,
    Members,
    NoGraph,
    Potential,
    Recorded,
    derive,
)
from .schnet import SchNet

# fmt: off
__all__ = [
    "MLP", "Baseline", "CalculatorPotential", "DensityNet", "Differentiable", "Ensemble", "Guard",
    "GuardedCalculator", "LimitPassed", "Members", "NoGraph", "Potential", "PotentialCalculator",
    "Recorded", "SchNet", "Separate", "Stacked", "derive",
]
# fmt: on
