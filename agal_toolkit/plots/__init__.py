"""Pictures of records: functions that draw on matplotlib axes.

Every function takes axes first and returns nothing, so pictures can be combined. None uses pyplot,
so any thread may draw on an Agg canvas. Colours mean the same everywhere (see
:mod:`~agal_toolkit.plots.style`), and values keep the units of their records.
"""

from .loops import (
    attack_losses,
    data_curves,
    learning_curves,
    sampled_energies,
    training_curves,
    verdict_bars,
)
from .molecules import heat, heat_bar, molecule
from .style import (
    ADVERSARIAL,
    RANDOM,
    TRUTH,
    UNCERTAIN,
    Look,
    framed_legend,
    looks,
    strategy_colour,
)
from .uncertainties import errors_against_sigma, sigma_against_error
from .wells import (
    attack_paths,
    committee_surface,
    energy_surface,
    sigma_surface,
    structures,
    uncertainty_surface,
)

# fmt: off
__all__ = [
    "ADVERSARIAL", "RANDOM", "TRUTH", "UNCERTAIN", "Look", "attack_losses", "attack_paths",
    "committee_surface", "data_curves", "energy_surface", "errors_against_sigma", "framed_legend",
    "heat", "heat_bar", "learning_curves", "looks", "molecule", "sampled_energies",
    "sigma_against_error", "sigma_surface", "strategy_colour", "structures", "training_curves",
    "uncertainty_surface", "verdict_bars",
]
# fmt: on
