"""Where attacks start, and what is proposed where there is no attack."""

from .member_dynamics import Conditions, MemberDynamics, simulate_members, stable
from .molecular_dynamics import MolecularDynamics
from .normal_modes import NormalModes
from .samplers import Copies, FromDataset, Mixture, NoSeeds, PerSystem, Rattle, Sampler
from .thermal import model_hessian, start

__all__ = [
    "Conditions",
    "Copies",
    "FromDataset",
    "MemberDynamics",
    "Mixture",
    "MolecularDynamics",
    "NoSeeds",
    "NormalModes",
    "PerSystem",
    "Rattle",
    "Sampler",
    "model_hessian",
    "simulate_members",
    "stable",
    "start",
]
