"""Pictures of what happened: functions that draw records on matplotlib axes.

Every function takes axes first and returns nothing, so pictures compose; none touches pyplot, so they may be drawn in
any thread on an Agg canvas. Colours mean the same everywhere: red is adversarial, blue random; white points are the
original data, gray ones acquired earlier, black ones new (Schwalbe-Koda 2021, Fig. 2a).
"""

from .attacks import attack_losses
from .dynamics import position_density
from .loops import band, data_curves, error_rows, learning_curves, pairs_summary, sampled_energies, verdict_bars
from .style import ADVERSARIAL, ENERGY_COLOURS, RANDOM, SIGMA_COLOURS, TRUTH, strategy_colour, tag
from .training import training_curves
from .uncertainties import sigma_against_error, sigma_histogram
from .wells import attack_paths, committee_surface, energy_surface, sigma_surface, structures, uncertainty_surface

__all__ = [
    "ADVERSARIAL", "ENERGY_COLOURS", "RANDOM", "SIGMA_COLOURS", "TRUTH", "attack_losses", "attack_paths", "band", "committee_surface", "data_curves",
    "energy_surface", "error_rows", "learning_curves", "pairs_summary", "position_density", "sampled_energies", "sigma_against_error", "sigma_histogram",
    "sigma_surface", "strategy_colour", "structures", "tag", "training_curves", "uncertainty_surface", "verdict_bars",
]
