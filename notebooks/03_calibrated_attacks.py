# %% [markdown]
# # Structures of a chosen error
#
# How wrong should the next structure be? A committee of potentials disagrees, its disagreement is
# calibrated to real errors, and structures are optimised until the calibrated uncertainty is the
# error that was asked for, as in
#
# > H. M. Cezar, T. Bodenstein, H. A. Sveinsson, M. Ledum, S. Reine, S. L. Bore, *Learning atomic
# > forces from uncertainty-calibrated adversarial attacks*, npj Computational Materials (2025),
# > Secs. II A to II E, Figs. 2 and 3.
#
# 1. Liquid water, and who knows it
# 2. The committee
# 3. From disagreement to error (Figs. 2a and 2b)
# 4. Choose an error, live
# 5. Promise and delivery (Figs. 2c and 3a)
# 6. A second round
# 7. How many members (Figs. 3b and 3c)
# 8. Wishes beside the target, and cells that move
# 9. Where the uncertainty sits
# 10. What a gradient costs
# 11. Beside the paper
#
# Run the cells from top to bottom; part 4 is live, the rest shows what a study stored.
# Uncertainties and errors of forces are norms over the three components of an atom's force (Eq. 9),
# averaged over the atoms of a structure: "uncertainty" is the calibrated one of the members, and
# "found" the root mean square error of the members once the truth has been asked. Values in
# parentheses are 95 % bootstrap intervals over structures, taken as independent, of one committee.
# Sentences about findings are about the laptop's preset.

# %%
import shutil
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown

import agal_toolkit as agal
from agal_toolkit import plots
from agal_toolkit.widgets import Molecule, TargetPanel
from studies.calibrated import figures, gallery, study
from studies.calibrated.costs_figure import gradient_costs
from studies.calibrated.recipes import ABSOLUTE, MULTIPLES, PRESETS
from studies.calibrated.recipes import trials as known_trials
from studies.calibrated.records import predict
from studies.calibrated.trials import NORMS, rattle
from studies.jobs import RESULTS, Runner, chosen_preset, read
from studies.water.truth import folded

torch.set_num_threads(1)
name = chosen_preset(PRESETS)
preset, results = PRESETS[name], RESULTS
place = results
if name == "smoke":  # a small committee, and a few structures of each kind
    place = Path(mkdtemp(prefix="calibrated-"))
    shutil.copytree(
        results / "water", place / "water", ignore=shutil.ignore_patterns("committee-*")
    )
    few = (
        "x1.4",
        "x2.0",
        "second x2.0",
        "raw",
        "rattle",
        "2 of all",
        "2 alone",
        "forces 0.01",
        "cell",
    )
    study.study(Runner(name, place / "runs", place), only=few)
print(f"preset {name}: {preset}")

# %% [markdown]
# ## 1. Liquid water, and who knows it
#
# The truth is AMOEBA, a polarisable many-body model, in a periodic box of 64 molecules. Its own
# simulations at 300 K are what the committee learns from, together with rattled copies of their
# frames; two further simulations are for tests, and no frame of them is a few femtoseconds away
# from what was learned.

# %%
record = read(place / f"calibrated_attacks-{name}.json")
scene = study.scene(place / "water", name)
data, held = scene.data, scene.heldout
print(scene.data.learned)
Molecule().show(folded(data.box))

# %% [markdown]
# ## 2. The committee
#
# Members share one atomic density and differ in everything that they make of it (`DensityNet`).
# Each learned from its own bootstrap of the training structures.

# %%
about = record["records"]["committee"]
print(scene.committee)
print(f"trained for {record['seconds']['training']:.0f} s")
print(f"held-out error: {1000 * held:.0f} meV/Å, norm over three components, average over atoms")
for kind, error in about["heldout"].items():
    print(
        f"  test, {kind}: {1000 * error['rms']:.0f} meV/Å; a single component"
        f" {1000 * error['component']:.0f} meV/Å (rms)"
    )
print(
    f"energies {1000 * about['component error']['energy']:.2f} meV and virials"
    f" {1000 * about['component error']['virial']:.1f} meV per atom"
)

# %% [markdown]
# ## 3. From disagreement to error
#
# $\sigma_\mathrm{cal} = a\,\hat\sigma^{\,b}$ with the most likely $a$ and $b$ (Eqs. 3 to 5), fitted
# on structures that no member has seen. Here it is judged on structures that served neither: frames
# of two other simulations, and rattled copies of them. Where the law holds, $r = $ error /
# uncertainty, of every member and component, is normally distributed (above: densities), and the
# rms error in bins of equally many samples is the uncertainty (below; the log-log slope is that of
# these points).

# %%
ratios, kinds = about["ratios"], ("forces", "energy", "virial")
figure, panels = plt.subplots(2, 3, figsize=(9.8, 6.6), layout="constrained")
for above, below, quantity in zip(*panels, kinds, strict=True):
    counts = {
        label: ratios[f"simulated, {quantity}, {form}"]
        for label, form in (("uncalibrated", "identity"), ("calibrated", "power"))
    }
    figures.ratio_densities(above, counts)
    above.set_title(quantity, fontsize=10)
    unit = "meV/Å" if quantity == "forces" else "meV per atom"
    bins = {
        label: 1000 * np.array(about["reliability"][f"{tested}, {quantity}, {form}"]["bins"])
        for label, tested, form in (
            ("uncalibrated", "simulated", "identity"),
            ("calibrated", "simulated", "power"),
            ("calibrated, rattled", "rattled", "power"),
        )
    }
    plots.errors_against_sigma(below, bins, unit, named=False)
_ = figure.legend(
    *below.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9
)

# %%
laws = about["laws"]
print(
    "forces:",
    agal.PowerLaw(**laws["power"]["forces"]),
    "and",
    agal.PowerLaw(**laws["linear"]["forces"]),
)
Markdown(
    gallery.reliability_rows(
        about["reliability"],
        {
            "simulated, uncalibrated": "simulated, forces, identity",
            "simulated, power law": "simulated, forces, power",
            "simulated, linear law": "simulated, forces, linear",
            "of these O": "simulated, O, power",
            "of these H": "simulated, H, power",
            "O, a law of its own": "simulated, O, its own",
            "H, a law of its own": "simulated, H, its own",
            "O, its own of simulations alone": "simulated, O, its own, simulations",
            "H, its own of simulations alone": "simulated, H, its own, simulations",
            "rattled, power law": "rattled, forces, power",
            "rattled, calibrated on simulations alone": "rattled, forces, simulations",
            "energies per atom": "simulated, energy, power",
            "virials per atom": "simulated, virial, power",
        },
    )
)

# %% [markdown]
# NLL is the mean negative log-likelihood of the errors, and the miscalibration area that between
# the observed and the promised share of errors in all central intervals. Calibration makes the
# errors of forces as wide as promised, with tails beyond four uncertainties that are heavier than
# normal. One law for all atoms is a compromise: oxygen errs more than it says and hydrogen less. A
# law for each element mends the width, and one of simulations alone the slope, too: rattled
# structures, which attacks need (part 5), ask for a larger exponent. Of energies there is one value
# a structure, and their slope stays open.

# %% [markdown]
# ## 4. Choose an error, live
#
# Move the slider, press **Attack**: L-BFGS minimises $\sum_i (\sigma_i - \delta)^2$ (Eq. 8), atoms
# take the colour of their uncertainty, and when the attack has arrived the truth is asked. Right:
# each promise, and what was found. A target that lies outside of what the calibration has seen is
# warned of in red.

# %%
calibrated = scene.committee.calibrated(scene.aside)
attack = agal.Attack(
    agal.TargetError(1.5 * held), agal.LBFGS(preset.steps), start=0.0, guard=agal.Apart(0.75)
)
panel = TargetPanel(
    calibrated, [folded(seed) for seed in data.second], agal.AMOEBA(stress=False), attack, held
)
for multiple in (1.2, 1.6, 2.0):
    panel.target = multiple * held
    panel.start().settle()
panel

# %% [markdown]
# ## 5. Promise and delivery
#
# Each target was attacked from forty structures of a simulation (at the laptop's preset). From here
# on the pictures show the records of `python -m studies.calibrated`. Left: errors of all members on
# all atoms, of simulated structures and of those that attacks at one target found, with and without
# calibration (Fig. 2c; dotted: the target). Middle: attacks with several targets (Fig. 3a). Right:
# averages with their intervals.

# %%
trials = record["records"]["trials"]
abouts = {key: trial.about for key, trial in known_trials(preset).items()}
multiples, absolute = [f"x{m}" for m in MULTIPLES], [f"{1000 * t:g} meV" for t in ABSOLUTE]
attacked = gallery.available(trials, [*multiples, *absolute])
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.4, 3.9), layout="constrained")
errors = predict(scene.committee, list(data.first)).forces.numpy() - np.concatenate(
    data.first.forces
)
densities = {
    "simulated": np.histogram(np.linalg.norm(errors, axis=-1), NORMS)[0],
    "attack": trials["x1.4"]["norms"],
    "attack, uncalibrated": trials["raw"]["norms"],
}
figures.error_densities(left, densities, NORMS)
left.axvline(trials["x1.4"]["target"], color="k", ls=":", lw=1.2)
shown = gallery.available(trials, absolute) or attacked
figures.error_densities(
    middle,
    {
        f"attack, {1000 * trials[key]['target']:.0f} meV/Å": trials[key]["norms"]
        for key in sorted(shown, key=lambda key: trials[key]["target"])
    },
    NORMS,
)
groups = {
    "attack, found": gallery.series(trials, attacked),
    "uncertainty": gallery.series(trials, attacked, "sigma"),
}
figures.delivered(right, groups, "average over atoms", "meV/Å")
right.axvline(1000 * held, color="0.5", ls=":", lw=1.2)
_ = right.text(1000 * held, right.get_ylim()[1] * 0.03, " held-out error", fontsize=8, color="0.4")

# %%
Markdown(gallery.trial_rows(trials, attacked, abouts))

# %% [markdown]
# An attack has *reached* its target where the average uncertainty is within 3 % of it, and that of
# the atoms deviates by less than 15 % (rms). Up to 1.6 held-out errors all attacks get there, and
# what they promise is found. At twice the error nearly all do. Three times is further than almost
# all of what the law was fitted on: few attacks reach it, and errors exceed the promise. Of 400
# meV/Å nothing is kept: bonds are torn, uncertainties stay below the target and errors rise above
# it. Below the held-out error attacks stop: structures that are less uncertain than simulations are
# not to be found.
#
# Errors of the structures that attacks found, component by component:

# %%
Markdown(gallery.adversary_rows(trials, attacked, abouts))

# %% [markdown]
# Structures that begin above a target are pulled back to it (left; all simulated structures are
# more uncertain than the held-out error's multiple 1.0 asks for), but not to any target (right):

# %%
figure, panels = plt.subplots(1, 2, figsize=(9.8, 3.2), layout="constrained", sharey=True)
examples = gallery.available(trials, ["x1.0", "50 meV"]) or ["x1.4", "x2.0"]
for axes, key in zip(panels, examples, strict=False):
    figures.arrivals(
        axes,
        *(1000 * gallery.column(trials[key], column) for column in ("start", "sigma")),
        1000 * trials[key]["target"],
        "uncertainty (meV/Å)",
    )
    axes.set_title(
        f"{abouts[key]}: {np.mean(trials[key]['structures']['reached']):.0%} reached", fontsize=10
    )

# %% [markdown]
# The same target with the members' disagreement as it is (Fig. 2c), with the linear law, calibrated
# on simulated structures alone, and with a guard that keeps O-H bonds between 0.85 and 1.15 Å:

# %%
others = gallery.available(
    trials, ["x1.4", "raw", "x2.0", "linear x2.0", "simulations x2.0", "guarded x2.0"]
)
Markdown(gallery.trial_rows(trials, others, abouts))

# %% [markdown]
# Uncalibrated, half of the attacks arrive, at errors well above what was asked for. The linear law
# takes structures for more wrong than they are, calibration on simulations alone for less. With
# bonds guarded no attack gets to twice the error in thirty steps.

# %% [markdown]
# ## 6. A second round
#
# The first round's structures are labelled now. Calibrated once more with those of the same target
# beside the ones put aside, the same target is attacked from structures that the first round has
# not touched; no network is trained again.

# %%
figure, axes = plt.subplots(figsize=(6.0, 3.9), layout="constrained")
groups = {
    "attack, first round": [key for key in multiples if f"second {key}" in trials],
    "attack, second round": [f"second {key}" for key in multiples if f"second {key}" in trials],
}
figures.delivered(
    axes,
    {label: gallery.series(trials, keys) for label, keys in groups.items()},
    "error found",
    "meV/Å",
)
both = [key for keys in groups.values() for key in keys]
Markdown(gallery.trial_rows(trials, both, abouts))

# %%
Markdown(gallery.adversary_rows(trials, both, abouts))

# %% [markdown]
# The second round's errors are distributed as promised (standard deviation of r and slope near
# one), even at three times the held-out error, and are found some per cent below the target.

# %% [markdown]
# ## 7. How many members
#
# Attacks on a few members are cheap. Their uncertainties may be read with the law of the whole
# committee (Fig. 3b), or with one that they fitted by themselves (Fig. 3c). The target is 1.4 times
# the held-out error. Boxes: errors of structures, of the attacked members and of the others
# (median, quartiles, and the whole range).

# %%
figure, panels = plt.subplots(1, 2, figsize=(9.8, 3.9), layout="constrained", sharex=True)
for axes, how, title in zip(
    panels,
    ("of all", "alone"),
    ("calibrated by the whole committee", "calibrated by themselves"),
    strict=True,
):
    sizes = [size for size in preset.subsets if f"{size} {how}" in trials]
    boxes = {}
    for size in sizes:
        boxes[f"attacked {size}"] = gallery.ratios_by_label(
            trials, {"": f"{size} {how}"}, "found attacked"
        )[""]
        boxes[f"the other {preset.members - size}"] = gallery.ratios_by_label(
            trials, {"": f"{size} {how}"}, "found rest"
        )[""]
    if "x1.4" in trials:
        boxes[f"attacked {preset.members}"] = gallery.ratios_by_label(trials, {"": "x1.4"})[""]
    shown = {
        label: plots.Look(plots.ADVERSARIAL if label.startswith("attacked") else "0.6")
        for label in boxes
    }
    figures.boxes(axes, boxes, "error found over target", ideal=1.0, shown=shown)
    axes.set_title(title, fontsize=10)

# %%
Markdown(gallery.size_rows(trials, preset.subsets, preset.members))

# %% [markdown]
# Read with the whole committee's law, attacks on two to four members are found at the target, for
# the members that were not attacked as well: attacks transfer. Two members that calibrate by
# themselves disagree by chance, so their law is nearly flat and their structures scatter. From
# three on, averages are right; the paper needs about ten.

# %% [markdown]
# ## 8. Wishes beside the target, and cells that move
#
# A bias asks for small forces, or for a pressure (Eq. 7); pressures need a cell that may change.
# Strengths are in units of the target squared over the property squared.

# %%
wishes = gallery.available(
    trials,
    [
        "x1.4",
        "forces 0.0001",
        "forces 0.001",
        "forces 0.01",
        "cell",
        "pressure -0.3",
        "pressure 0.3",
    ],
)
Markdown(gallery.bias_rows(trials, wishes, abouts))

# %% [markdown]
# A free cell is compressed by an attack, and a bias keeps it at the pressure that was asked for, in
# truth as well, at the price of few attacks that miss the target. Small forces and large errors are
# opposed: a weak bias halves the largest force and keeps the target, a strong one wins over it.

# %% [markdown]
# ## 9. Where the uncertainty sits
#
# The same average uncertainty, 1.4 held-out errors, reached by attacks, by random displacements of
# all atoms, and by simulations with the committee from velocities of 1000 K, up to the first frame
# that is as uncertain. How many atoms share it (the participation ratio
# $(\sum_i \sigma_i^2)^2 / (n \sum_i \sigma_i^4)$ is one where all do), whether it is about the
# shapes of molecules (the share of the disagreement on forces that bends and stretches them) or
# about how they lie to each other (the rest), and what the structures are like.

# %%
quantities = gallery.by_way(trials, {"attack": "x1.4", "random rattle": "rattle", "heated": "heat"})
figure, panels = plt.subplots(
    len(quantities), 1, figsize=(7.4, 1.45 * len(quantities)), layout="constrained"
)
for axes, (label, groups) in zip(panels, quantities.items(), strict=True):
    figures.boxes(axes, {key: values for key, values in groups.items() if len(values)}, label)

# %%
Markdown(gallery.trial_rows(trials, ["x1.4", "rattle", "heat"], abouts))

# %% [markdown]
# An attack spreads the uncertainty over all atoms; a rattle or a hot simulation leaves much of it
# on few. In each of them three quarters or more of the disagreement are about the shapes of
# molecules. In three dimensions, each atom's uncertainty:

# %%
rng = np.random.default_rng(0)
aim, start = agal.TargetError(1.4 * held), data.second[0]
sent = agal.Attack(aim, agal.LBFGS(preset.steps), start=0.0)
structures = {
    "simulated": start,
    "attack": sent(calibrated, scene.aside, [start], rng)[0].geometry,
    "random rattle": rattle(aim, calibrated, start, rng)[0],
}
figure, panels = plt.subplots(1, 3, figsize=(9.8, 3.6), layout="constrained")
for axes, (title, geometry) in zip(panels, structures.items(), strict=True):
    sigma = calibrated.calibration.atomic_variance(predict(calibrated, [geometry])).sqrt().numpy()
    plots.molecule(axes, folded(geometry), colours=plots.heat(sigma, 3 * held))
    axes.set_title(f"{title}, {1000 * sigma.mean():.0f} meV/Å", fontsize=10)
plots.heat_bar(panels, 3000 * held, "uncertainty (meV/Å)")

# %% [markdown]
# ## 10. What a gradient costs
#
# The slope of the target's loss, with the cell: a backward pass through the forces (`Autograd`);
# three force calls for each member, one where the structure is and two displaced ones
# (`HessianVector`, for any potential); or one for each coordinate (`FiniteDifference`, the scheme
# of Cezar 2025). Argon crystals of 8 to 512 atoms, one thread. Above: four members of a torch model
# in single precision. Below: two Lennard-Jones calculators. Errors are relative, to the backward
# pass in double precision and to central differences.

# %%
costs = read(results / "gradient_costs-cpu.json")
shown = plots.looks(["Autograd", "HessianVector", "FiniteDifference"])
figure, panels = plt.subplots(2, 3, figsize=(9.8, 6.4), layout="constrained", sharex=True)
for row, (model, dtype) in zip(
    panels, (("torch", "float32"), ("black box", "float64")), strict=True
):
    chosen = [
        each
        for each in costs["records"]["rows"]
        if each["structure"] == "argon" and each["model"] == model and each["dtype"] == dtype
    ]
    for axes, key, label in zip(
        row,
        ("calls", "seconds", "error"),
        ("force calls of each member", "seconds", "relative error"),
        strict=True,
    ):
        gradient_costs(axes, chosen, key, f"{label}, {model}", shown=shown, named=False)
_ = figure.legend(
    *panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=9
)

# %%
wet = [row for row in costs["records"]["rows"] if row["structure"] == "64 waters"]
lines = [
    "| 64 waters and cell | members | precision | calls | seconds | relative error |",
    "|---|---|---|---|---|---|",
]
lines += [
    f"| {row['gradient']} | {row['members']} | {row['dtype']} | {row['calls']} |"
    f" {row['seconds']:.3g} | {row['error']:.1e} |"
    for row in wet
]
Markdown("\n".join(lines))

# %% [markdown]
# ## 11. Beside the paper

# %%
lines = ["| | paper | goal | here | interval | n | met |", "|---|---|---|---|---|---|---|"]
for claim in record["claims"]:
    low_high = (
        "" if claim["spread"] is None else f"{claim['spread'][0]:.3g} to {claim['spread'][1]:.3g}"
    )
    goal = (
        ""
        if claim["goal"] is None
        else f"{'at least' if claim['at_least'] else 'at most'} {claim['goal']:g}"
    )
    met = {True: "yes", False: "**no**", None: ""}[claim["met"]]
    lines.append(
        f"| {claim['name']} | {claim['paper'] or ''} | {goal} | {claim['value']:.3g}"
        f" {claim['unit']} | {low_high} | {claim['runs']} | {met} |"
    )
Markdown("\n".join(lines))
