"""Pictures of what happened: functions that draw records on matplotlib axes.

Every function takes axes first and returns nothing, so pictures compose; none touches pyplot, so they may be drawn in
any thread on an Agg canvas. Colours mean the same everywhere: red is adversarial, blue random, purple an uncertainty;
white points are the original data, gray ones acquired earlier, black ones new (Schwalbe-Koda 2021, Fig. 2a). Pictures of
ammonia are in kcal/mol, and so is what they are given; others have the units of their records.
"""

from .attacks import attack_losses, attack_path
from .barriers import barrier_errors, inversion_paths
from .costs import gradient_costs
from .dynamics import density_bar, frame_density, position_density, stable_bars, stable_by_temperature
from .loops import band, data_curves, error_rows, learning_curves, pairs_summary, sampled_energies, verdict_bars
from .molecules import heat, heat_bar, molecule
from .plane import errors_below, plane_bar, plane_surface
from .reliabilities import arrivals, boxes, delivered, error_densities, errors_against_sigma, promises, ratio_densities
from .samples import energy_against_rmsd, energy_boxes, judged_energies, map_of
from .style import ADVERSARIAL, ENERGY_COLOURS, RANDOM, SIGMA_COLOURS, TRUTH, UNCERTAIN, Look, framed_legend, looks, strategy_colour, tag
from .training import convergence_curves, training_curves
from .uncertainties import sigma_against_error, sigma_histogram
from .wells import attack_paths, committee_surface, energy_surface, sigma_surface, structures, uncertainty_surface

__all__ = [
    "ADVERSARIAL", "ENERGY_COLOURS", "RANDOM", "SIGMA_COLOURS", "TRUTH", "UNCERTAIN", "Look", "arrivals", "attack_losses", "attack_path",
    "attack_paths", "band", "barrier_errors", "boxes", "committee_surface", "convergence_curves", "data_curves", "delivered", "density_bar",
    "energy_against_rmsd", "energy_boxes", "energy_surface", "error_densities", "error_rows", "errors_against_sigma", "errors_below", "frame_density",
    "framed_legend", "gradient_costs", "heat", "heat_bar", "inversion_paths", "judged_energies", "learning_curves", "looks", "map_of", "molecule", "pairs_summary",
    "plane_bar", "plane_surface", "position_density", "promises", "ratio_densities", "sampled_energies", "sigma_against_error", "sigma_histogram",
    "sigma_surface", "stable_bars", "stable_by_temperature", "strategy_colour", "structures", "tag", "training_curves", "uncertainty_surface",
    "verdict_bars",
]
