"""Fitting all members of a committee at once, and how they share the data."""

from .folds import Folds
from .trainer import TorchTrainer, Trainer, TrainingFailed

__all__ = ["Folds", "TorchTrainer", "Trainer", "TrainingFailed"]
