"""Objectives, gradients and minimizers, composed into an attack."""

from .attack import Adversary, Attack, Ball
from .gradients import Autograd, FiniteDifference, Gradient, HessianVector, NotConservative
from .minimizers import Adam, GradientDescent, Minimizer
from .objectives import BoltzmannVariance, EnergyVariance, Loss, Objective, Variance

__all__ = [
    "Adam", "Adversary", "Attack", "Autograd", "Ball", "BoltzmannVariance", "EnergyVariance", "FiniteDifference", "Gradient", "GradientDescent",
    "HessianVector", "Loss", "Minimizer", "NotConservative", "Objective", "Variance",
]
