# %% [markdown]
# # Structures of a chosen error
#
# How wrong should the next structure be? A committee of potentials disagrees, its disagreement is calibrated to real errors, and
# structures are optimised until the calibrated uncertainty is the error that was asked for, as in
#
# > H. M. Cezar, T. Bodenstein, H. A. Sveinsson, M. Ledum, S. Reine, S. L. Bore, *Learning atomic forces from
# > uncertainty-calibrated adversarial attacks*, npj Computational Materials (2025), Secs. II A to II E, Figs. 2 and 3.
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
# Run the cells from top to bottom. Errors of forces are norms over three components; "found" is the average over a structure's
# atoms of the root mean square error of the members.

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
from agal_toolkit.studies import calibrated_attacks as study
from agal_toolkit.studies import calibrated_gallery as gallery
from agal_toolkit.studies.calibrated_recipes import ABSOLUTE, MULTIPLES, PRESETS, trials as known_trials
from agal_toolkit.studies.calibrated_trials import NORMS, predicted
from agal_toolkit.studies.results import chosen_preset, read
from agal_toolkit.studies.water_truth import folded
from agal_toolkit.widgets import Molecule, TargetPanel

torch.set_num_threads(1)
name = chosen_preset(PRESETS)
preset, results = PRESETS[name], Path("results")  # beside this notebook
place = results
if name == "fast":  # a small committee, and a few structures of each kind
    place = Path(mkdtemp(prefix="calibrated-"))
    shutil.copytree(results / "water", place / "water", ignore=shutil.ignore_patterns("committee-*"))
    few = ("x1.4", "x2.0", "second x2.0", "raw", "rattle", "2 of all", "2 alone", "forces 0.01", "cell")
    study.study(name, only=few, out=place / "runs", results=place)
print(f"preset {name}: {preset}")

# %% [markdown]
# ## 1. Liquid water, and who knows it
#
# The truth is AMOEBA, a polarisable many-body model, in a periodic box of 64 molecules. Its own simulations at 300 K are what
# the committee learns from, together with rattled copies of their frames; two further simulations are for tests, and no frame of them
# is a few femtoseconds away from what was learned.

# %%
record = read(place / f"calibrated_attacks-{name}.json")
scene = study.scene((place / "runs" / name).absolute(), (place / "water").absolute(), name)
data, held = scene.data, scene.heldout
print(scene.data.learned)
Molecule().show(folded(data.box))

# %% [markdown]
# ## 2. The committee
#
# Members share one atomic density and differ in everything that they make of it (`DensityNet`). Each learned from its own bootstrap of
# the training structures.

# %%
about = record["records"]["committee"]
print(scene.committee)
print(f"trained for {record['seconds']['training']:.0f} s")
print(f"held-out error: {1000 * held:.0f} meV/Å, norm over three components, average over atoms")
for kind, error in about["heldout"].items():
    print(f"  test, {kind}: {1000 * error['rms']:.0f} meV/Å, {1000 * error['component']:.0f} a component")
print(f"energies {1000 * about['component error']['energy']:.2f} meV and virials {1000 * about['component error']['virial']:.1f} meV per atom")

# %% [markdown]
# ## 3. From disagreement to error
#
# $\sigma_\mathrm{cal} = a\,\hat\sigma^{\,b}$ with the most likely $a$ and $b$ (Eqs. 3 to 5), fitted on structures that no member has seen.
# Here it is judged on others still. Where it holds, errors over uncertainties are normally distributed.

# %%
ratios, kinds = about["ratios"], ("forces", "energy", "virial")
figure, panels = plt.subplots(2, 3, figsize=(9.8, 6.2), layout="constrained")
for above, below, quantity in zip(*panels, kinds, strict=True):
    counts = {label: ratios[f"simulated, {quantity}, {form}"] for label, form in (("uncalibrated", "identity"), ("calibrated", "power"))}
    plots.ratio_densities(above, counts)
    above.set_title(quantity, fontsize=10)
    unit = "meV/Å" if quantity == "forces" else "meV per atom"
    bins = {label: 1000 * np.array(about["reliability"][f"{tested}, {quantity}, {form}"]["bins"]) for label, tested, form in (("uncalibrated", "simulated", "identity"), ("calibrated", "simulated", "power"), ("calibrated, rattled", "rattled", "power"))}
    plots.errors_against_sigma(below, bins, unit)

# %%
laws = about["laws"]
print("forces:", agal.Law(**laws["power"]["forces"]), "and", agal.Law(**laws["linear"]["forces"]))
Markdown(gallery.reliability_rows(about["reliability"], {
    "simulated, uncalibrated": "simulated, forces, identity", "simulated, power law": "simulated, forces, power", "simulated, linear law": "simulated, forces, linear",
    "of these O": "simulated, O, power", "of these H": "simulated, H, power", "O, a law of its own": "simulated, O, its own", "H, a law of its own": "simulated, H, its own",
    "rattled, power law": "rattled, forces, power",
    "rattled, calibrated on simulations alone": "rattled, forces, simulations", "energies per atom": "simulated, energy, power", "virials per atom": "simulated, virial, power",
}))

# %% [markdown]
# ## 4. Choose an error, live
#
# Move the slider, press **Attack**: L-BFGS minimises $\sum_i (\sigma_i - \delta)^2$ (Eq. 8), atoms take the colour of their uncertainty,
# and when the attack has arrived the truth is asked. Right: each promise, and what was found.

# %%
calibrated = scene.committee.calibrated(scene.aside)
attack = agal.Attack(agal.TargetError(1.5 * held), agal.LBFGS(preset.steps), start=0.0, guard=agal.Apart(0.75))
panel = TargetPanel(calibrated, [folded(seed) for seed in data.second], agal.AMOEBA(stress=False), attack, held)
for multiple in (1.2, 1.6, 2.0):
    panel.target = multiple * held
    panel.start().settle()
panel

# %% [markdown]
# ## 5. Promise and delivery
#
# Each target was attacked from forty structures of a simulation (at the laptop's preset). From here on the pictures show the records of
# `python -m agal_toolkit.studies.calibrated_attacks`.

# %%
trials = record["records"]["trials"]
abouts = {key: trial.about for key, trial in known_trials(preset).items()}
multiples, absolute = [f"x{m}" for m in MULTIPLES], [f"{1000 * t:g} meV" for t in ABSOLUTE]
attacked = gallery.there(trials, [*multiples, *absolute])
figure, (left, right) = plt.subplots(1, 2, figsize=(9.8, 3.9), layout="constrained")
shown = gallery.there(trials, absolute) or attacked
plots.error_densities(left, {f"attack, {1000 * trials[key]['target']:.0f} meV/Å": trials[key]["norms"] for key in sorted(shown, key=lambda key: trials[key]["target"])}, NORMS)
groups = {"attack, found": gallery.series(trials, attacked), "uncertainty": gallery.series(trials, attacked, "sigma")}
plots.delivered(right, groups, "average over atoms", "meV/Å")
right.axvline(1000 * held, color="0.5", ls=":", lw=1.2)
_ = right.text(1000 * held, right.get_ylim()[1] * 0.03, " as structures are", fontsize=8, color="0.4")

# %%
Markdown(gallery.trial_rows(trials, attacked, abouts))

# %%
back = next(iter(gallery.there(trials, ["50 meV", "x1.0", "x1.4"])))
start, end = (gallery.column(trials[back], key) / trials[back]["target"] for key in ("start", "sigma"))
pulled = [f"{before:.2f} to {after:.2f}" for before, after in zip(start, end, strict=True) if before > 1]
print(f"{abouts[back]}: {len(pulled)} of {len(start)} structures begin above the target and are pulled back; the first, in targets: {', '.join(pulled[:5])}")

# %% [markdown]
# The same target with the members' disagreement as it is (Fig. 2c), with the linear law, calibrated on simulated structures alone, and
# with a guard that keeps O-H bonds between 0.85 and 1.15 Å:

# %%
others = gallery.there(trials, ["x1.4", "raw", "x2.0", "linear x2.0", "simulations x2.0", "guarded x2.0"])
Markdown(gallery.trial_rows(trials, others, abouts))

# %% [markdown]
# ## 6. A second round
#
# The first round's structures are labelled now. Calibrated once more with those of the same target beside the ones put aside, the
# same target is attacked from structures that the first round has not touched; no network is trained again.

# %%
figure, axes = plt.subplots(figsize=(6.0, 3.9), layout="constrained")
groups = {"attack, first round": [key for key in multiples if f"second {key}" in trials], "attack, second round": [f"second {key}" for key in multiples if f"second {key}" in trials]}
plots.delivered(axes, {label: gallery.series(trials, keys) for label, keys in groups.items()}, "error found", "meV/Å")
Markdown(gallery.trial_rows(trials, [key for keys in groups.values() for key in keys], abouts))

# %% [markdown]
# ## 7. How many members
#
# Attacks on a few members are cheap. Their uncertainties may be read with the law of the whole committee (Fig. 3b), or with one that they
# fitted by themselves (Fig. 3c). Errors are those of the attacked members and of the others.

# %%
figure, panels = plt.subplots(1, 2, figsize=(9.8, 3.6), layout="constrained", sharex=True)
for axes, how, title in zip(panels, ("of all", "alone"), ("calibrated by the whole committee", "calibrated by themselves"), strict=True):
    sizes = [size for size in preset.subsets if f"{size} {how}" in trials]
    boxes = {}
    for size in sizes:
        boxes[f"attacked {size}"] = gallery.over_target(trials, {"": f"{size} {how}"}, "found attacked")[""]
        boxes[f"the other {preset.members - size}"] = gallery.over_target(trials, {"": f"{size} {how}"}, "found rest")[""]
    if "x1.4" in trials:
        boxes[f"attacked {preset.members}"] = gallery.over_target(trials, {"": "x1.4"})[""]
    shown = {label: plots.Look(plots.ADVERSARIAL if label.startswith("attacked") else "0.6") for label in boxes}
    plots.boxes(axes, boxes, "error found over target", ideal=1.0, shown=shown)
    axes.set_title(title, fontsize=10)

# %% [markdown]
# ## 8. Wishes beside the target, and cells that move
#
# A bias asks for small forces, or for a pressure (Eq. 7); pressures need a cell that may change.

# %%
wishes = gallery.there(trials, ["x1.4", "forces 0.0001", "forces 0.001", "forces 0.01", "cell", "pressure -0.3", "pressure 0.3"])
Markdown(gallery.trial_rows(trials, wishes, abouts))

# %% [markdown]
# ## 9. Where the uncertainty sits
#
# The same average uncertainty, reached by attacks, by random displacements of all atoms, and by heating a simulation: how many atoms share
# it, whether it is about the shapes of molecules or about how they lie to each other, and what the structures are like.

# %%
quantities = gallery.ways(trials, {"attack": "x1.4", "random rattle": "rattle", "heated": "heat"})
figure, panels = plt.subplots(len(quantities), 1, figsize=(7.4, 1.45 * len(quantities)), layout="constrained")
for axes, (label, groups) in zip(panels, quantities.items(), strict=True):
    plots.boxes(axes, {key: values for key, values in groups.items() if len(values)}, label)

# %%
colours = [plots.molecules.heat(calibrated.calibration.atomic_variance(predicted(calibrated, [g])).sqrt().numpy(), 3 * held) for g in (data.first[0], data.shaken[0])]
figure, panels = plt.subplots(1, 3, figsize=(9.8, 3.5), layout="constrained")
arrived = panel.deliveries[-1].geometry
paints = [*colours, plots.molecules.heat(calibrated.calibration.atomic_variance(predicted(calibrated, [arrived])).sqrt().numpy(), 3 * held)]
for axes, geometry, paint, title in zip(panels, (data.first[0], data.shaken[0], arrived), paints, ("simulated", "rattled", "attacked, 2 held-out errors"), strict=True):
    plots.molecule(axes, folded(geometry), colours=paint)
    axes.set_title(title, fontsize=10)

# %% [markdown]
# ## 10. What a gradient costs
#
# The slope of the target's loss, with the cell: a backward pass through the forces (`Autograd`), two force calls for each member
# (`HessianVector`, for any potential), or one for each coordinate (`FiniteDifference`, the scheme of Cezar 2025). Times are those of one
# thread.

# %%
costs = read(results / "gradient_costs-cpu.json")
figure, panels = plt.subplots(1, 3, figsize=(9.8, 3.5), layout="constrained")
for axes, (model, dtype, key, label) in zip(panels, (("torch", "float32", "calls", "force calls of each member"), ("torch", "float32", "seconds", "seconds, torch model"), ("black box", "float64", "seconds", "seconds, black box")), strict=True):
    plots.gradient_costs(axes, [row for row in costs["records"]["rows"] if row["structure"] == "argon" and row["model"] == model and row["dtype"] == dtype], key, label)

# %%
wet = [row for row in costs["records"]["rows"] if row["structure"] == "64 waters"]
lines = ["| 64 waters and cell | members | precision | calls | seconds | relative error |", "|---|---|---|---|---|---|"]
lines += [f"| {row['gradient']} | {row['members']} | {row['dtype']} | {row['calls']} | {row['seconds']:.3g} | {row['error']:.1e} |" for row in wet]
Markdown("\n".join(lines))

# %% [markdown]
# ## 11. Beside the paper

# %%
lines = ["| | paper | goal | here | interval | n | met |", "|---|---|---|---|---|---|---|"]
for claim in record["claims"]:
    low_high = "" if claim["spread"] is None else f"{claim['spread'][0]:.3g} to {claim['spread'][1]:.3g}"
    goal = "" if claim["goal"] is None else f"{'at least' if claim['at_least'] else 'at most'} {claim['goal']:g}"
    met = {True: "yes", False: "**no**", None: ""}[claim["met"]]
    lines.append(f"| {claim['name']} | {claim['paper'] or ''} | {goal} | {claim['value']:.3g} {claim['unit']} | {low_high} | {claim['runs']} | {met} |")
Markdown("\n".join(lines))
