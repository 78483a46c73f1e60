"""The pictures and checks of the lesson on a chosen error, which its notebook calls by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown
from numpy.random import Generator

from agal_toolkit import plots
from agal_toolkit.analysis.reliability import reliability
from agal_toolkit.attack import TargetError
from agal_toolkit.committee import Committee
from agal_toolkit.geometry import Geometry
from agal_toolkit.uncertainty.calibration import samples
from agal_toolkit.uncertainty.power_law import PowerLaw

from .. import lessons
from ..jobs import RESULTS, markdown, read
from ..water.truth import Water, folded
from . import figures, gallery
from . import recipes as study
from .claims import column
from .costs_figure import gradient_costs
from .localisation import participation
from .records import predict
from .trials import NORMS, Scene, rattle

__all__ = ["COMMITTEE", "begin", "check", "folded"]

MEV = 1000.0  # in an eV
WATER = RESULTS / "water"
COMMITTEE = WATER / "committee-laptop"  # the stored members
SIZES = study.PRESETS["laptop"]  # of the stored results
FORCES = "meV/Å"

check = lessons.check


def begin() -> tuple[study.Preset, Water]:
    """Return the sizes of the chosen preset, and the truth's data."""
    _, preset = lessons.begin(study.PRESETS)
    return preset, study.truth(WATER, SIZES)


def _row(columns: int, height: float, **options: Any) -> tuple[Any, Any]:
    return plt.subplots(1, columns, figsize=(9.8, height), layout="constrained", **options)


# -- the lesson


def heldout_error(committee: Committee, water: Water) -> float:
    """Return the members' error on simulated structures that they have not seen, eV/angstrom."""
    return Scene.of(committee, water, SIZES.steps).heldout


def show_law(committee: Committee, calibrated: Committee, water: Water) -> None:
    """Draw error against uncertainty on test structures, before and after calibration."""
    tested = water.first[::4]
    values = samples(predict(committee, list(tested)), tested)
    law = calibrated.calibration.law("forces")
    bins = {
        name: MEV * reliability(values, each, bins=10).bins
        for name, each in (("disagreement", PowerLaw()), ("calibrated", law))
    }
    _, (left, right) = _row(2, 3.8)
    plots.errors_against_sigma(left, bins, FORCES)
    left.set_title(f"{len(tested)} test structures, in ten bins", fontsize=10)
    sigma = np.geomspace(values.sigma.min(), values.sigma.max(), 100)
    right.plot(MEV * sigma, MEV * law.at(sigma), color=plots.UNCERTAIN, label="power law")
    right.plot(MEV * sigma, MEV * sigma, "k--", lw=1, label="y = x")
    right.axvspan(MEV * law.low, MEV * law.high, color="0.92", label="middle 95 % of the fit")
    right.set(xscale="log", yscale="log", xlabel=f"disagreement of the members ({FORCES})")
    right.set_ylabel(f"calibrated uncertainty ({FORCES})")
    right.set_title(f"a = {law.scale:.2f}, b = {law.exponent:.2f}", fontsize=10)
    plots.framed_legend(right)
    for name, points in bins.items():
        ratio = float(np.sqrt(np.mean(points[:, 1] ** 2) / np.mean(points[:, 0] ** 2)))
        print(f"{name}: errors are {ratio:.2f} times the uncertainty")


def is_calibrated(answer: float, calibrated: Committee, sigma: float) -> bool:
    """Return whether an answer is the calibrated uncertainty of a disagreement, eV/angstrom."""
    return bool(
        np.isclose(answer, calibrated.calibration.law("forces").at(np.array(sigma)), rtol=0.01)
    )


def show_places(calibrated: Committee, structures: Mapping[str, Geometry], heldout: float) -> None:
    """Draw structures with each atom's uncertainty, and print how many atoms share it."""
    _, panels = _row(len(structures), 3.7)
    for axes, (title, geometry) in zip(panels, structures.items(), strict=True):
        prediction = predict(calibrated, [geometry])
        sigma = calibrated.calibration.atomic_variance(prediction).sqrt().numpy()
        plots.molecule(axes, folded(geometry), colours=plots.heat(sigma, 3 * heldout))
        axes.set_title(f"{title}, mean {MEV * sigma.mean():.0f} {FORCES}", fontsize=10)
        print(f"{title}: participation ratio {participation(sigma):.2f}")
    plots.heat_bar(panels, 3 * MEV * heldout, f"uncertainty of the force ({FORCES})")


def rattled(aim: TargetError, calibrated: Committee, start: Geometry, rng: Generator) -> Geometry:
    """Return a random displacement of all atoms that has the target's uncertainty."""
    return rattle(aim, calibrated, start, rng)[0]


# -- the record of the study


@cache
def record() -> dict[str, Any]:
    """Return the stored result."""
    return read(RESULTS / "calibrated_attacks-laptop.json")


def _trials() -> dict[str, Any]:
    return record()["records"]["trials"]


def _about(name: str) -> str:
    return study.trials(SIZES)[name].about.replace("/A", "/Å")


def show_reliability() -> None:
    """Draw how errors compare with uncertainties (Cezar 2025, Figs. 2a and 2b)."""
    about = record()["records"]["committee"]
    _, (left, right) = _row(2, 4.0)
    forms = {"uncalibrated": "identity", "calibrated": "power"}
    counts = {name: about["ratios"][f"simulated, forces, {form}"] for name, form in forms.items()}
    figures.ratio_densities(left, counts)
    left.set_title("forces: error over uncertainty", fontsize=10)
    bins = {
        name: MEV * np.array(about["reliability"][f"{tested}, forces, {form}"]["bins"])
        for name, tested, form in (
            ("uncalibrated", "simulated", "identity"),
            ("calibrated", "simulated", "power"),
            ("calibrated, rattled", "rattled", "power"),
        )
    }
    plots.errors_against_sigma(right, bins, FORCES)
    right.set_title("forces: error in bins of the uncertainty", fontsize=10)


def reliability_table() -> Markdown:
    """Return statistics of errors over uncertainties: without a law, and with two of them."""
    stored = record()["records"]["committee"]["reliability"]
    names = {
        "uncalibrated": "simulated, forces, identity",
        "one law": "simulated, forces, power",
        "one law, oxygen": "simulated, O, power",
        "one law, hydrogen": "simulated, H, power",
    }
    keys = ("spread", "within_1", "within_2", "slope")
    head = ("", "standard deviation", "within 1 uncertainty", "within 2", "slope")
    rows = [
        (label, *(f"{stored[key][statistic][0]:.2f}" for statistic in keys))
        for label, key in names.items()
    ]
    ideal = ("a perfect law", "1.00", "0.68", "0.95", "1.00")
    return Markdown(markdown(head, [*rows, ideal]))


def show_delivery(committee: Committee, water: Water, heldout: float) -> None:
    """Draw errors of attacked structures against targets (Cezar 2025, Figs. 2c and 3a)."""
    trials = _trials()
    multiples = [f"x{multiple}" for multiple in study.MULTIPLES]
    absolute = [f"{MEV * target:g} meV" for target in study.ABSOLUTE]
    _, (left, middle, right) = plt.subplots(1, 3, figsize=(11.4, 3.9), layout="constrained")
    exact = np.concatenate(water.first.forces)
    errors = predict(committee, list(water.first)).forces.numpy() - exact
    densities = {
        "simulated": np.histogram(np.linalg.norm(errors, axis=-1), NORMS)[0],
        "attack": trials["x1.4"]["norms"],
        "attack, uncalibrated": trials["raw"]["norms"],
    }
    target = MEV * trials["x1.4"]["target"]
    figures.error_densities(left, densities, MEV * NORMS, FORCES)
    left.axvline(target, color="k", ls=":", lw=1.2)
    left.set_title(f"one target: {target:.0f} {FORCES} (dotted)", fontsize=10)
    several = {
        f"{MEV * trials[key]['target']:.0f} {FORCES}": trials[key]["norms"]
        for key in gallery.available(trials, absolute)
    }
    figures.error_densities(middle, several, MEV * NORMS, FORCES)
    middle.set_title("attacks with several targets", fontsize=10)
    attacked = gallery.available(trials, [*multiples, *absolute])
    groups = {
        "attack, error": gallery.series(trials, attacked),
        "attack, uncertainty": gallery.series(trials, attacked, "sigma"),
    }
    figures.delivered(right, groups, "mean over atoms", FORCES)
    right.axvline(MEV * heldout, color="0.5", ls=":", lw=1.2)
    right.set_title("error and uncertainty (dotted: held-out)", fontsize=10)


def trial_table(names: Sequence[str]) -> Markdown:
    """Return target, uncertainty and error of trials, and how many structures got there."""
    trials = _trials()
    head = ("trial", f"target ({FORCES})", f"uncertainty ({FORCES})", f"error ({FORCES})")
    rows = []
    for name in names:
        trial = trials[name]
        labelled = [value is not None for value in trial["structures"]["found"]]
        sigma = np.array(trial["structures"]["sigma"], dtype=object)[labelled].astype(float)
        errors = column(trial, "found")
        numbers = (trial["target"], sigma.mean(), errors.mean())
        reached = f"{np.mean(trial['structures']['reached']):.0%}"
        ratio = f"{errors.mean() / trial['target']:.2f}"
        rows.append((_about(name), *(f"{MEV * each:.0f}" for each in numbers), ratio, reached))
    return Markdown(markdown((*head, "error / target", "reached"), rows))


def share_reached(name: str) -> float:
    """Return the share of a trial's attacks that reached their target."""
    return float(np.mean(_trials()[name]["structures"]["reached"]))


def show_arrivals() -> None:
    """Draw where attacks begin and end, for a target that is reached and one that is not."""
    trials = _trials()
    _, panels = _row(2, 3.3, sharey=True)
    for axes, key in zip(panels, ("x1.0", "50 meV"), strict=True):
        ends = (MEV * gallery.column(trials[key], name) for name in ("start", "sigma"))
        target = MEV * trials[key]["target"]
        figures.arrivals(axes, *ends, target, f"uncertainty ({FORCES})")
        axes.set_title(
            f"target {target:.0f} {FORCES}: {share_reached(key):.0%} reached", fontsize=10
        )


def show_second_round() -> None:
    """Draw errors against targets of the first round and of the second."""
    trials = _trials()
    names = [f"x{multiple}" for multiple in study.MULTIPLES]
    first = [name for name in names if f"second {name}" in trials]
    groups = {
        "first round": gallery.series(trials, first),
        "second round": gallery.series(trials, [f"second {name}" for name in first]),
    }
    _, axes = plt.subplots(figsize=(6.0, 3.9), layout="constrained")
    figures.delivered(axes, groups, "mean error", FORCES)
    axes.set_title("errors of attacked structures", fontsize=10)


def show_sizes() -> None:
    """Draw errors over targets where few members are attacked (Cezar 2025, Figs. 3b and 3c)."""
    trials, everyone = _trials(), SIZES.members
    _, panels = _row(2, 4.2, sharex=True)
    titles = {"of all": "the law of the whole committee", "alone": "a law of their own"}
    for axes, (how, title) in zip(panels, titles.items(), strict=True):
        boxes = {}
        for size in SIZES.subsets:
            trial = {"": f"{size} {how}"}
            attacked = gallery.ratios_by_label(trials, trial, "found attacked")[""]
            boxes[f"attacked {size}"] = attacked
            rest = gallery.ratios_by_label(trials, trial, "found rest")[""]
            boxes[f"the other {everyone - size}"] = rest
        boxes[f"attacked {everyone}"] = gallery.ratios_by_label(trials, {"": "x1.4"})[""]
        shown = {
            label: plots.Look(plots.ADVERSARIAL if label.startswith("attacked") else "0.6")
            for label in boxes
        }
        figures.boxes(axes, boxes, "error over target", ideal=1.0, shown=shown)
        axes.set_title(f"members with {title}", fontsize=10)


def bias_table() -> Markdown:
    """Return what biases did to forces and pressures (Cezar 2025, Eq. 7)."""
    trials = _trials()
    head = ("trial", "reached", "error / target", "largest force (eV/Å)", "pressure (GPa)")
    rows = []
    for name in ("x1.4", "forces 0.001", "forces 0.01", "cell", "pressure -0.3", "pressure 0.3"):
        trial = trials[name]
        pressure = ""
        if "pressure" in trial["structures"]:
            pressure = f"{column(trial, 'pressure').mean():.2f}"
        ratio = column(trial, "found").mean() / trial["target"]
        force = f"{column(trial, 'largest force').mean():.2f}"
        rows.append((_about(name), f"{share_reached(name):.0%}", f"{ratio:.2f}", force, pressure))
    return Markdown(markdown(head, rows))


def show_ways() -> None:
    """Draw where the uncertainty sits after attacks, rattles and heating."""
    names = {"attack": "x1.4", "random rattle": "rattle", "heated": "heat"}
    quantities = gallery.by_way(_trials(), names)
    figure, panels = plt.subplots(
        len(quantities), 1, figsize=(7.4, 1.45 * len(quantities) + 0.3), layout="constrained"
    )
    for axes, (label, groups) in zip(panels, quantities.items(), strict=True):
        kept = {key: values for key, values in groups.items() if len(values)}
        figures.boxes(axes, kept, label)
    figure.suptitle("the same mean uncertainty, reached in three ways", fontsize=10)


def show_costs() -> None:
    """Draw what a gradient costs, for a torch model and for a calculator."""
    costs = read(RESULTS / "gradient_costs-cpu.json")["records"]["rows"]
    shown = plots.looks(["Autograd", "HessianVector", "FiniteDifference"])
    figure, panels = plt.subplots(
        2, 3, figsize=(9.8, 6.4), layout="constrained", sharex=True, squeeze=False
    )
    models = (("torch", "float32", "torch model"), ("black box", "float64", "calculator"))
    kinds = {"calls": "force calls of each member", "seconds": "seconds", "error": "relative error"}
    for row, (model, dtype, title) in zip(panels, models, strict=True):
        wanted = {"structure": "argon", "model": model, "dtype": dtype}
        chosen = [each for each in costs if all(each[k] == v for k, v in wanted.items())]
        for axes, (key, label) in zip(row, kinds.items(), strict=True):
            gradient_costs(axes, chosen, key, label, shown=shown, named=False)
            axes.set_title(title, fontsize=10)
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=3, fontsize=9)


def beside_the_paper() -> Markdown:
    """Return a short table of claims that have a number in the paper."""
    rows = []
    for claim in record()["claims"]:
        if claim["paper"]:
            low_high = [f"{bound:.3g}" for bound in claim["spread"] or ()]
            value = f"{claim['value']:.3g} {claim['unit']}".strip()
            name = claim["name"].replace("meV/A", FORCES)
            rows.append((name, claim["paper"], value, " to ".join(low_high)))
    return Markdown(markdown(("what", "paper", "found", "95 % interval"), rows))
