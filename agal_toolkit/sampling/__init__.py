"""Where attacks start, and what is proposed where there is no attack."""

from .molecular_dynamics import MolecularDynamics
from .normal_modes import NormalModes
from .samplers import Copies, FromDataset, Mixture, Rattle, Sampler

__all__ = [
    "Copies",
    "FromDataset",
    "Mixture",
    "MolecularDynamics",
    "NormalModes",
    "Rattle",
    "Sampler",
]
