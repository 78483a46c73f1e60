"""What predicts: protocols, stacked and separate members, networks, and bridges to ASE."""

from .ase import CalculatorPotential, PotentialCalculator
from .density import DensityNet
from .mlp import MLP
from .protocol import Baseline, Differentiable, Members, NoGraph, Potential, derive
from .schnet import SchNet
from .members import Separate, Stacked

__all__ = [
    "MLP", "Baseline", "CalculatorPotential", "DensityNet", "Differentiable", "Members", "NoGraph", "Potential", "PotentialCalculator", "SchNet",
    "Separate", "Stacked", "derive",
]
