# %% [markdown]
# # Ammonia: a potential that learns to invert
#
# Nitrogen passes through the plane of its three hydrogens. A potential trained on small vibrations
# of the pyramid has never seen that plane; this notebook lets it find out what it does not know,
# asks density functional theory, and learns, as in
#
# > D. Schwalbe-Koda, A. R. Tan, R. Gómez-Bombarelli, *Differentiable sampling of molecular
# > geometries with uncertainty-based adversarial attacks*, Nature Communications **12**, 5104
# > (2021), Sec. 3.2, Figs. 3 to 5.
#
# 1. The molecule in the reference
# 2. Where we start
# 3. How long to train
# 4. The loop, live, with real density functional theory
# 5. An attack, played
# 6. What was sampled (Figs. 3a to 3c)
# 7. The barrier (Fig. 3d)
# 8. The surface (Figs. 3e, 3f and 4)
# 9. Dynamics (Figs. 3f and 5)
# 10. Beside the paper, panel by panel
#
# Run the cells from top to bottom. Energies are in kcal/mol above the ground state, lengths in
# angstrom.

# %%
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display

import agal_toolkit as agal
from agal_toolkit import plots
from agal_toolkit.analysis.descriptors import Soap, Umap
from agal_toolkit.analysis.rmsd import AlignedRmsd
from agal_toolkit.references import Cache
from agal_toolkit.widgets import Atlas, AttackPlayer, Molecule, Monitor
from studies.ammonia import figures, gallery, study
from studies.ammonia.committees import R_EDGES, TEMPERATURES, Z_EDGES
from studies.ammonia.labels import labelled
from studies.ammonia.plane import ammonia, distortions
from studies.ammonia.recipes import KCAL, PRESETS, initial
from studies.ammonia.truth import load_truth
from studies.ammonia.view import AmmoniaView
from studies.jobs import RESULTS, chosen_preset, read

torch.set_num_threads(1)
name = chosen_preset(PRESETS)
preset, recipe, start, seed = PRESETS[name], "ours", "thermal", 0
results = RESULTS
print(f"preset {name}: {preset}")

# %% [markdown]
# ## 1. The molecule in the reference
#
# The reference is BP86-D3(BJ)/def2-SVP, computed by PySCF and s-dftd3 on this machine, about a
# second per geometry. RDKit's MMFF94 gives a first structure, which is then optimised with the
# reference itself. All that follows rests on four computations that were made once and are kept
# with their settings: that optimisation, the Hessian, the inversion path by a nudged elastic band,
# and the energy on a plane of symmetric geometries.

# %%
known = load_truth(results / "ammonia" / "reference", sizes=PRESETS["laptop"].truth)
reference = agal.Reference(agal.DFT())
barrier = known.path.barrier / KCAL
print(
    f"ground state {known.zero:.4f} eV after {len(known.optimisation) - 1} steps; barrier"
    f" {barrier:.3f} kcal/mol on {len(known.path.images)} images"
)
Molecule().show(known.ground)

# %%
other = agal.DFT(functional="b88,p86")
top = int(np.argmax(known.path.energies))
pz81 = (other(known.path.images[top]).energy - other(known.path.images[0]).energy) / KCAL
along = (
    known.path.lengths / known.path.lengths[-1],
    (known.path.energies - known.path.energies[0]) / KCAL,
)

figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.2), layout="constrained")
figures.inversion_paths(left, {"DFT": along}, barrier=barrier)
figures.plane_surface(
    right, known.surface.grid.z, known.surface.grid.r, known.surface.energy / KCAL
)
figures.plane_bar([right])
print(
    f"libxc's own P86, on another local functional, has a barrier of {pz81:.2f} at the same"
    " geometries"
)

# %% [markdown]
# $R$ is the radius of the circle through the hydrogens, $Z$ the height of nitrogen above their
# plane, both divided by their ground-state values. The barrier is a saddle at $Z = 0$.
#
# ## 2. Where we start
#
# The first data are displacements along the normal modes, with a temperature between 250 and 750 K
# drawn for each: on average every mode holds $kT/2$ of potential energy. A *harder* start has 25 to
# 75 K and the frames of the optimisation.

# %%
folder = Path(mkdtemp(prefix="ammonia-"))
place = results / "ammonia" if name == "laptop" else folder
first = labelled(
    place / f"{start}-{seed}.extxyz",
    initial(start, preset, known, seed),
    reference,
    Cache(folder / "labels"),
)
modes = agal.NormalModes(known.ground, known.hessian)
print("wavenumbers / cm⁻¹:", ", ".join(f"{value:.0f}" for value in modes.wavenumbers))

figure, axes = plt.subplots(figsize=(6.4, 2.2), layout="constrained")
cold = agal.Dataset.read(results / "ammonia" / f"cold-{seed}.extxyz")
figures.energy_boxes(
    axes,
    {
        kind: (data.energies - known.zero) / KCAL
        for kind, data in (("thermal start", first), ("cold start", cold))
    },
)
first

# %% [markdown]
# ## 3. How long to train
#
# Before strategies are compared, training must not be what limits them. Each point of these curves
# is a committee trained from scratch on one thermal start, its learning rate annealed over so many
# steps of Adam; bands are 0.05 kcal/mol about the end of our recipe's. Members share batches: 30
# structures, as printed, of which a member learns from those of its own training set, are three
# steps an epoch; the printed 500 epochs are then 1500 steps. Ours are 4800 for the first committee
# and some 7500 for the third. Where the data say little of the plane, the barrier still drifts by
# more than the bands when steps are doubled, and committees that differ in nothing but folds and
# first weights differ as much: differences below about 0.2 kcal/mol say nothing.

# %%
curves = read(results / "ammonia_convergence-laptop.json")
lines = {}
for fit in (
    each for each in curves["records"]["fits"] if each["repeat"] == 0 and each["start"] == "thermal"
):
    about = f"{fit['committee']}, width {fit['features']}, batch {fit['batch']}"
    lines.setdefault(about, []).append(fit)
ours = [about for about in lines if f"width {PRESETS['laptop'].features}, batch 10" in about]
look = plots.looks(list(lines))


def drawn(axes, names, label, value, **options):
    points = {
        key: (
            np.array([fit["steps"] for fit in lines[key]]),
            np.array([value(fit) for fit in lines[key]]),
        )
        for key in names
    }
    figures.convergence_curves(axes, points, label, shown=look, **options)


figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.6), layout="constrained", sharex=True)
off, wrong = (
    (lambda fit: fit["barrier"] - curves["records"]["truth"]),
    (lambda fit: fit["rmse below"]["20"]),
)
drawn(
    left,
    [key for key in lines if key not in ours],
    "barrier, committee less DFT (kcal/mol)",
    off,
    tolerance=None,
)
drawn(left, ours, "barrier, committee less DFT (kcal/mol)", off)
drawn(right, lines, "RMSE below 20 kcal/mol (kcal/mol)", wrong, tolerance=None, logarithmic=True)
right.get_legend().remove()
for claim in curves["claims"]:
    print(
        f"{claim['name']}: {claim['value']:.3f} kcal/mol"
        + (f", median of {claim['runs']}" if claim["goal"] and claim["runs"] > 1 else "")
    )

# %% [markdown]
# ## 4. The loop, live
#
# One round is: train five SchNets (here three convolutions, 64 wide; four and 256 in the paper);
# attack; keep what is distinct and not broken; ask density functional theory; add the answers.
# Attacks start from hot normal modes and from the ends of short simulations with the committee, and
# go down the logarithm of the paper's loss, which has a slope everywhere:
#
# $$-\ln P(X_\delta) - \ln \sigma_F^2(X_\delta), \qquad P \propto e^{-\bar E/kT}
# \qquad \text{(Eqs. 3 and 4)} .$$
#
# $kT$ is 5 kcal/mol in the first round, which goes wide, and 3 in the second, which goes to the
# barrier (the paper: 20). Press **Start**. Left the committee's surface with the known structures
# (white, gray) and the new ones (black), right the inversion path of every committee so far beside
# the reference's.

# %%
loop = study.loop(recipe, preset, known, seed, reference)
panel = Monitor(
    {
        "adversarial": lambda report: agal.until(
            loop.generations(first, folder / "loop", report), count=2
        )
    },
    generations=2,
    view=AmmoniaView(known),
    metric="RMSE below 40 kcal/mol",
)

# %%
shown = display(panel, display_id=True)

# %%
panel.finish()
shown.update(panel)

# %%
rounds = panel.runs["adversarial"]
third = loop.ask(first, folder / "loop")
for turn in (*rounds, third):
    print(
        f"committee {turn.index + 1}: {len(turn.dataset)} structures, {len(turn.adversaries)}"
        f" attacks, {len(turn.geometries)} distinct and sound",
        end="",
    )
    print(
        f", {len(turn.labelled)} labelled, barrier {turn.metrics['barrier']:.2f}"
        if isinstance(turn, agal.Generation)
        else ", not labelled"
    )

# %% [markdown]
# ## 5. An attack, played
#
# Choose an attack and move the slider: the molecule distorts from its start (the ghost), and the
# curves say what the committee thinks of it. The reference's answer is shown where the attack
# ended.

# %%
AttackPlayer.of(rounds[0], zero=known.zero, unit="kcal/mol")

# %%
figure, (bars, losses) = plt.subplots(1, 2, figsize=(9.4, 2.6), layout="constrained")
plots.verdict_bars(bars, rounds[0])
plots.attack_losses(losses, rounds[0].adversaries)
rounds[-1]

# %% [markdown]
# ## 6. What was sampled
#
# From here on the pictures show the committed records of
# `python -m studies.ammonia --preset laptop`: the run of seed 0 from the thermal start in full, and
# where it says so all seeds of other starts and of the paper's own recipe. Structures are compared
# by SOAP vectors, and UMAP lays them out in the plane (Fig. 3a). Click on a point to see its
# structure.

# %%
laptop = PRESETS["laptop"]
record = read(results / f"ammonia_{recipe}_{start}-laptop.json")
run = record["records"]["runs"][0]
kinds = gallery.structures(results / "ammonia", recipe, start, run["seed"], "laptop", laptop)
sampled = {kind: data for kind, data in kinds.items() if kind != "attacks 3"}
everything = [geometry for data in sampled.values() for geometry in data]
groups = [kind for kind, data in sampled.items() for _ in data]
vectors = Soap()(everything)
points = Umap(seed=0)(vectors)
energies = np.concatenate([(data.energies - known.zero) / KCAL for data in sampled.values()])
said = {
    f"committee {turn.index + 1}": (
        (turn.committee.predict(everything).energy.mean(0).numpy() - known.zero) / KCAL
    )
    for turn in (*rounds, third)
}
look = plots.looks(list(kinds))
Atlas(
    points,
    everything,
    groups,
    {"DFT": energies, **said},
    colours={kind: look[kind].colour for kind in sampled},
)

# %%
deviation = AlignedRmsd(reflections=True)
split = np.cumsum([len(data) for data in sampled.values()])[:-1]
figure, (boxes, scatter) = plt.subplots(1, 2, figsize=(9.4, 3.6), layout="constrained")
figures.energy_boxes(
    boxes,
    dict(zip(sampled, np.split(energies, split), strict=True)),
    failed=gallery.failures(kinds, laptop),
    shown=look,
)
far = {
    kind: (
        np.array([deviation(known.ground, g) for g in data]),
        (data.energies - known.zero) / KCAL,
    )
    for kind, data in sampled.items()
}
figures.energy_against_rmsd(scatter, far, logarithmic=True, shown=look)

# %% [markdown]
# ## 7. The barrier
#
# The nudged elastic band on each committee of this run (thin: its members), and the error of the
# barrier over all seeds. *Random* is a committee of 138 random geometries (0.3 Å), *start + random*
# one of the start and as many random geometries as attacks were labelled; both are trained as the
# committees beside them. The large marker is the median of the errors with their sign; tables give
# medians of their sizes. *Printed* has the paper's recipe, but networks of our size.

# %%
figure, axes = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
path_curves, members = gallery.path_curves(run, along)
figures.inversion_paths(axes, path_curves, members=members, barrier=barrier)

# %%
files = {
    (which, begin): results / f"ammonia_{which}_{begin}-laptop.json"
    for begin in ("thermal", "cold", "frozen")
    for which in ("printed", "ours")
}
stored = {key: read(file)["records"]["runs"] for key, file in files.items() if file.exists()}
figure, panels = plt.subplots(
    len(stored), 1, figsize=(7.2, 2.1 * len(stored) + 0.4), layout="constrained", squeeze=False
)
for axes, ((which, begin), runs) in zip(panels.flat, stored.items(), strict=True):
    figures.barrier_errors(axes, gallery.errors_of_barriers(runs, barrier))
    axes.set_title(f"{which}, {begin} start; seeds: {len(runs)}", fontsize=10)

# %% [markdown]
# ## 8. The surface
#
# What each committee of this run says of the plane, with the structures it has learned from (white)
# and what was added by attacks (black); then the errors of all five seeds below an energy, and how
# many simulations stay physical.

# %%
names = list(gallery.NAMES)
figure, panels = plt.subplots(
    2, 3, figsize=(9.4, 5.4), layout="constrained", sharex=True, sharey=True
)
grid = known.surface.grid
surfaces = {
    "DFT": known.surface.energy / KCAL,
    **{
        gallery.NAMES[key]: gallery.whole(run["committees"][key]["surface"]["energy"])
        for key in names
    },
}
on_the_plane = {
    "committee 1": ("start", None),
    "committee 2": ("start", "attacks 1"),
    "committee 3": ("start", "attacks 2"),
    "random": ("random", None),
}
for axes, (title, surface) in zip(panels.flat, surfaces.items(), strict=True):
    white, black = on_the_plane.get(title, (None, None))
    sets = {"structures": white, "attacks": black}
    figures.plane_surface(
        axes,
        grid.z,
        grid.r,
        surface,
        **{key: np.array(run["sets"][value]["plane"]) for key, value in sets.items() if value},
    )
    axes.set_title(title, fontsize=10)
figures.plane_bar(list(panels.flat))

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.4), layout="constrained")
caps, middle, spread = gallery.errors_below_caps(record["records"]["runs"])
look = plots.looks(list(middle))
figures.errors_below(left, caps, middle, spread=spread, shown=look)
figures.stable_bars(
    right,
    gallery.stable_fractions(record["records"]["runs"]),
    paper={"committee 3": 0.83, "random": 0.63},
    shown=look,
)

# %% [markdown]
# The surface shows symmetric geometries only. Structures that share $(Z, R)$ can be quite different
# (Fig. 4):

# %%
figure, panels = plt.subplots(2, 5, figsize=(9.4, 3.8), layout="constrained")
places = [(0.0, 1.0), (0.6, 1.0), (1.0, 1.0), (1.4, 1.0), (1.0, 1.3)]
for axes, (z, r) in zip(panels[0], places, strict=True):
    plots.molecule(axes, ammonia(z, r, grid.ground), limit=1.6)
    axes.set_title(f"Z = {z:g}, R = {r:g}", fontsize=9)
for axes, geometry in zip(
    panels[1], distortions(1.0, 1.0, grid.ground, 5, np.random.default_rng(1)), strict=True
):
    plots.molecule(axes, geometry, ghost=ammonia(1.0, 1.0, grid.ground), limit=1.6)
_ = panels[1, 0].set_title("all at Z = 1, R = 1", fontsize=9)

# %% [markdown]
# ## 9. Dynamics
#
# Simulations on the third committee's mean from the ground state, at six temperatures. Where they
# went while they were stable, and where those went that broke; red points are attacks on that
# committee.

# %%
moved = run["committees"]["third"]["stability"]
frames, counts_of = (
    moved["frames"],
    {"stable": moved["stable"], "unstable": moved["runs"] - moved["stable"]},
)
figure, panels = plt.subplots(1, 2, figsize=(9.4, 3.4), layout="constrained", sharey=True)
for axes, (kind, counts) in zip(panels, frames.items(), strict=True):
    figures.frame_density(
        axes,
        Z_EDGES,
        R_EDGES,
        np.array(counts),
        contours=(grid.z, grid.r, known.surface.energy / KCAL),
        attacks=np.array(run["sets"]["attacks 3"]["plane"]),
    )
    axes.set_title(f"{counts_of[kind]} {kind} simulations", fontsize=10)
figures.density_bar(list(panels))

# %% [markdown]
# A simulation counts as broken, too, where the predicted energy lies more than 0.1 kcal/mol below
# the reference's ground state. A committee whose minimum is that much too low fails at once and at
# all temperatures: so it is with one of the five of random geometries.

# %%
begins = [begin for begin in ("thermal", "cold", "frozen") if ("ours", begin) in stored]
figure, panels = plt.subplots(
    1, len(begins), figsize=(9.4, 2.9), layout="constrained", sharey=True, squeeze=False
)
for axes, begin in zip(panels.flat, begins, strict=True):
    for label, fractions in gallery.stable_fractions_by_temperature(stored["ours", begin]).items():
        axes.plot(
            TEMPERATURES,
            fractions,
            look[label].line,
            marker=look[label].marker,
            ms=4,
            label=label,
            color=look[label].colour,
        )
    axes.set(xlabel="temperature (K)", ylim=(0, 1.03))
    axes.set_title(f"{begin} start", fontsize=10)
    axes.grid(alpha=0.25)
panels[0, 0].set_ylabel("stable simulations")
_ = panels[0, -1].legend(fontsize=9)

# %% [markdown]
# Nobody learns from attacks on the third committee. The reference has judged them: where
# simulations find nothing wrong, attacks still find holes.

# %%
figure, panels = plt.subplots(
    1,
    len(begins),
    figsize=(9.4, 3.1),
    layout="constrained",
    sharex=True,
    sharey=True,
    squeeze=False,
)
for axes, begin in zip(panels.flat, begins, strict=True):
    said, true = np.hstack(
        [
            np.array([each["judged"][key] for key in ("committee", "reference")])
            for each in stored["ours", begin]
        ]
    )
    figures.judged_energies(axes, true, said)
    axes.set_title(f"{begin} start, {len(stored['ours', begin])} seeds", fontsize=10)
    axes.label_outer()

# %% [markdown]
# ## 10. Beside the paper, panel by panel

# %%
claims = {
    begin: {claim["name"]: claim for claim in read(files["ours", begin])["claims"]}
    for begin in begins
}
claimed = claims[start]
runs = record["records"]["runs"]


def value(name, form="{:.2f}"):
    return form.format(claimed[name]["value"])


def verdict(name):
    return "the same" if claimed[name]["met"] else "**different**"


bounded, distorted = (
    "highest energy, second attacks' over random's",
    "largest RMSD, second attacks' over the start's",
)
below_40, below_5 = (
    "RMSE below 40 kcal/mol, the best other committee's over the third's",
    "RMSE below 5 kcal/mol, random's over the third's",
)
below_40_equal = "RMSE below 40 kcal/mol, start + random's over the third's"
steady = {
    which: claimed[f"stable simulations, {which}"]["value"]
    for which in ("third committee", "random", "start + random")
}
steadier = steady["third committee"] >= 0.83 and steady["random"] < steady["third committee"]
away = gallery.nearest(vectors, groups, "Hessian-displaced")
apart = min(away["attacks 1"], away["attacks 2"]) / away["random 0.1 Å"]
grown = [
    np.median([each["committees"][key]["surface"]["rmse below"]["40"] for each in runs])
    for key in ("first", "second", "third")
]
seldom = gallery.seldom_visited(
    np.array(run["sets"]["attacks 3"]["plane"]), np.array(frames["stable"]), Z_EDGES, R_EDGES
)


def same(met):
    return "the same" if met else "**different**"


def off(which, begin=start):
    return claims[begin][f"barrier error, {which}"]["value"]


def from_all(judge, *which):
    """A verdict from each start, with what it rests on."""
    return "; ".join(
        f"{begin} start {same(judge(begin))}: "
        + ", ".join(f"{off(each, begin):.2f}" for each in which)
        for begin in begins
    )


rows = [
    (
        "3a",
        "attacks lie apart from the displaced start, small random distortions on it",
        (
            f"{same(apart > 2)}: the SOAP vectors of attacks are {apart:.1f} times as far from the"
            " nearest displaced one"
        ),
        "",
    ),
    (
        "3b",
        "energies of attacks are bounded, those of random distortions are not",
        f"{verdict(bounded)}: {value(bounded)} of random's highest",
        "filtered attacks are counted apart",
    ),
    (
        "3c",
        "attacks are more distorted than the start at bounded energies",
        f"{verdict(distorted)}: {value(distorted)} times the start's largest RMSD",
        "",
    ),
    (
        "3d",
        "barrier of the first committee about 1 kcal/mol off",
        from_all(lambda begin: 0.5 < off("first committee", begin) < 2, "first committee"),
        "trained longer a committee knows it from less",
    ),
    (
        "3d",
        "second and third below 0.25",
        from_all(
            lambda begin: (
                max(off("second committee", begin), off("third committee", begin)) <= 0.25
            ),
            "second committee",
            "third committee",
        ),
        "",
    ),
    (
        "3d",
        "random much worse (here: random, start + random)",
        from_all(
            lambda begin: off("random", begin) > 2 * off("third committee", begin),
            "random",
            "start + random",
        ),
        "138 random geometries, trained longer, know the plane, too",
    ),
    (
        "3e",
        "the surface grows outward from committee to committee",
        (
            f"{same(grown[0] > grown[1] > grown[2])}: wrong by {grown[0]:.1f}, {grown[1]:.1f} and"
            f" {grown[2]:.1f} kcal/mol below 40"
        ),
        "symmetric geometries, the same functional",
    ),
    (
        "3f",
        "below 5 kcal/mol attacks are much better than random",
        f"{verdict(below_5)}: random's error is {value(below_5)} times the third's",
        "",
    ),
    (
        "3f",
        "the third committee is best below 40 kcal/mol",
        (
            f"{verdict(below_40)}: the best other has {value(below_40)} times its error, start +"
            f" random {value(below_40_equal)}"
        ),
        "random geometries reach energies that our attacks, at kT = 3 and 5 kcal/mol, leave out",
    ),
    (
        "3f, inset",
        "83 % of simulations stable on the third committee, 63 % on random",
        (
            f"{same(steadier)}:"
            f" {steady['third committee']:.0%} and {steady['random']:.0%}; start + random"
            f" {steady['start + random']:.0%}"
        ),
        (
            "random's are those of one committee of five, whose minimum lies too low; ten"
            " trajectories at each temperature for a hundred"
        ),
    ),
    ("4", "structures of several (Z, R), and several of one", "shown", ""),
    (
        "5",
        "attacks lie where simulations rarely go",
        (
            f"{same(seldom > 0.5)}: {seldom:.0%} of the attacks lie where less than a thousandth of"
            " the stable frames do"
        ),
        "our attacks on this committee start from simulations, so they lie at their edge",
    ),
    ("all", "networks of four convolutions, 256 wide", "three, 64 wide", "a laptop"),
]
print(f"{recipe}, {start} start, medians of {len(runs)} seeds")
Markdown(
    "\n".join(
        [
            "| Fig. | the paper | here | why |",
            "|---|---|---|---|",
            *(
                "| " + " | ".join((*row[:3], row[3] if recipe == "ours" else "")) + " |"
                for row in rows
            ),
        ]
    )
)
