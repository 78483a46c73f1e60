"""Pictures of what happened: functions that draw records on matplotlib axes.

Every function takes axes first and returns nothing, so pictures compose; none touches pyplot, so
they may be drawn in any thread on an Agg canvas. Colours mean the same everywhere: red is
adversarial, blue random, purple an uncertainty; white points are the original data, gray ones
acquired earlier, black ones new (Schwalbe-Koda 2021, Fig. 2a). Pictures have the units of their
records.
"""

from .attacks import attack_losses, attack_path
from .calibration import (
    arrivals,
    boxes,
    delivered,
    error_densities,
    errors_against_sigma,
    promises,
    ratio_densities,
)
from .loops import (
    band,
    data_curves,
    error_rows,
    learning_curves,
    pairs_summary,
    sampled_energies,
    verdict_bars,
)
from .molecules import heat, heat_bar, molecule
from .style import (
    ADVERSARIAL,
    ENERGY_COLOURS,
    RANDOM,
    SIGMA_COLOURS,
    TRUTH,
    UNCERTAIN,
    Look,
    framed_legend,
    looks,
    strategy_colour,
    tag,
)
from .training import convergence_curves, training_curves
from .uncertainties import sigma_against_error, sigma_histogram
from .wells import (
    attack_paths,
    committee_surface,
    energy_surface,
    sigma_surface,
    structures,
    uncertainty_surface,
)

__all__ = [
    "ADVERSARIAL",
    "ENERGY_COLOURS",
    "RANDOM",
    "SIGMA_COLOURS",
    "TRUTH",
    "UNCERTAIN",
    "Look",
    "arrivals",
    "attack_losses",
    "attack_path",
    "attack_paths",
    "band",
    "boxes",
    "committee_surface",
    "convergence_curves",
    "data_curves",
    "delivered",
    "energy_surface",
    "error_densities",
    "error_rows",
    "errors_against_sigma",
    "framed_legend",
    "heat",
    "heat_bar",
    "learning_curves",
    "looks",
    "molecule",
    "pairs_summary",
    "promises",
    "ratio_densities",
    "sampled_energies",
    "sigma_against_error",
    "sigma_histogram",
    "sigma_surface",
    "strategy_colour",
    "structures",
    "tag",
    "training_curves",
    "uncertainty_surface",
    "verdict_bars",
]
