# %% [markdown]
# # Liquid water from a single structure
#
# **Goal.** After this lesson you can
#
# - start from one structure, and let a committee ask for the labels that it lacks;
# - test a potential by simulations, with every member by itself;
# - compare a liquid with the truth, with error bars, and say what the labels cost.
#
# **Time.** About 45 minutes. The cells need about two of them.
#
# **You need** the [lesson on a chosen error](03_calibrated_attacks.ipynb): calibration, target.
#
# The method is that of
#
# > H. M. Cezar, T. Bodenstein, H. A. Sveinsson, M. Ledum, S. Reine, S. L. Bore, *Learning atomic
# > forces from uncertainty-calibrated adversarial attacks*, npj Computational Materials (2025),
# > Secs. II F and IV E 2, Fig. 4.
#
# | the lesson | the record of the study |
# |---|---|
# | 1. One structure | 6. Errors against labels |
# | 2. A committee that knows little | 7. What each iteration learned |
# | 3. Ask for labels, live | 8. Which members survive (Fig. 4) |
# | 4. Simulate every member | 9. The liquid (Fig. 4) |
# | 5. Sixty labels later | 10. What it costs |
# | | 11. All numbers |
#
# Run the cells from top to bottom.

# %%
from functools import partial

import numpy as np

import agal_toolkit as agal
from agal_toolkit.sampling import Conditions, simulate_members
from agal_toolkit.widgets import Molecule, Monitor
from studies.water import lesson

preset, water = lesson.begin()

# %% [markdown]
# ## 1. One structure
#
# The truth is AMOEBA, a polarisable many-body model. We own a single box of 64 water molecules, and
# nine copies of it: atoms displaced by 0.05 Å, cells strained by 2 %, at random. All ten are
# labelled. Two of them calibrate: no network learns from them.

# %%
labels = lesson.labels()
start = labels[labels.generations == 0]
learned, aside = start.of_role("train"), start.of_role("calibration")
print(f"{len(learned)} structures to learn from, {len(aside)} for calibration")
Molecule().show(lesson.folded(water.box))

# %% [markdown]
# ## 2. A committee that knows little
#
# Eight members have learned from these labels (`DensityNet`). Frames of the truth's own
# simulations tell how wrong they are: no member has seen a simulation.
#
# **What do you expect?** Is a larger part of the error inside the molecules, or between them?

# %%
first = lesson.committee(1)
errors = lesson.force_errors(first, water)
print(f"force error of the mean: {1000 * errors['forces']:.0f} meV/Å per component")
print(f"inside molecules: {errors['inside']:.0%} of the squared error")

# %%
frame = water.first[0]
lesson.show_uncertainty(first, {"the box": water.box, "a frame of the truth": frame}, 0.4)

# %% [markdown]
# ## 3. Ask for labels, live
#
# One turn of the loop trains a committee, calibrates it, sends structures to an error of
# 0.2 eV/Å, asks the truth, and starts again. Below is the loop of the paper, much smaller: a few
# members, trained briefly, and two attacks in each turn.
#
# Press **Start**, and watch.

# %%
trainer = agal.TorchTrainer(
    network=partial(agal.DensityNet, (1, 8), channels=8, hidden=32),
    epochs=preset.lesson_epochs,
    learning_rate=1e-2,
    batch_size=1,
    energy_weight=5 / 192**2,  # a weight of 5 for the energy per atom
    stress_weight=100.0,
    patience=None,
    keep_best=False,
    anneal=True,
    warm=agal.WarmStart(epochs=preset.lesson_epochs // 3, learning_rate=5e-3),
)
recipe = agal.Recipe(
    trainer=trainer,
    sampler=agal.FromDataset(2),
    attack=agal.Attack(
        agal.TargetError(0.2),
        agal.LBFGS(5),
        start=0.0,
        cell=True,
        guard=agal.Apart(0.75),
        accept=("target missed",),
    ),
    selectors=[agal.MinDistance(0.75), agal.MaxForce(40.0)],
    members=3,
    folds=agal.Folds(train=1.0, valid=0.0, bootstrap=True),
)
loop = agal.Loop(
    recipe,
    agal.Reference(agal.AMOEBA()),
    test=water.first[::20],
    metrics={"force error (eV/Å)": lesson.force_error},
)
monitor = Monitor(loop, start, generations=2)
monitor

# %% tags=["unattended"]
monitor.start().settle()
monitor

# %% [markdown]
# `warm` lets members go on from their last weights, so only the first training is long.
#
# ## 4. Simulate every member
#
# A small error is not enough: a potential must survive its own simulations. A committee's mean can
# be stable where a member is not, so each member moves a box of its own. A member is *stable* if no
# two atoms come closer than 0.4 Å, and the density stays between a quarter and twice the start's.
#
# **What do you expect?** Does the committee of ten labels survive a fifth of a picosecond at 300 K?

# %%
conditions = Conditions(picoseconds=preset.lesson_picoseconds, timestep=0.5, every=5.0)
three = first[[0, 1, 2]]
runs = simulate_members(three, [water.box], conditions, np.random.default_rng(0))
lesson.show_simulations(runs)

# %% [markdown]
# **Exercise 1.** Three of four replicas of a member survive. Is the member stable? Answer with
# `True` or `False`.

# %%
answer = ...  # replace the dots

lesson.check(answer, lambda answer: answer is False, "Read the definition above the simulation.")

# %% [markdown]
# <details><summary>Answer</summary>
#
# `answer = False`: a member is stable only if all its replicas are.
#
# </details>
#
# ## 5. Sixty labels later
#
# The loop has run five times. The same box and the same frame, seen by the last committee:

# %%
last = lesson.committee(5)
errors = lesson.force_errors(last, water)
print(f"force error of the mean: {1000 * errors['forces']:.0f} meV/Å per component")
lesson.show_uncertainty(last, {"the box": water.box, "a frame of the truth": frame}, 0.4)

# %% [markdown]
# # The record of the study
#
# The pictures below show the stored results of `python -m studies.water --preset laptop`.
# *Attacks* are as printed in the paper: in iterations 1 and 2 five labelled structures are attacked
# with three members, later twenty frames of simulations with all members. *Frames* labels frames of
# such simulations as they are, *uncertain* the most uncertain of ten times as many, *rattled*
# copies of the box as at the start.
#
# ## 6. Errors against labels
#
# Errors are those of the members' mean on frames of the truth's own simulations. The energy of a
# liquid has a constant that forces do not know: the right picture leaves the mean error out.

# %%
lesson.show_errors()

# %% [markdown]
# ## 7. What each iteration learned
#
# Left: the share of the squared force error that changes the shapes of molecules. Right: the errors
# of the labelled structures beside the uncertainty that they were chosen for.

# %%
lesson.show_learned()

# %% [markdown]
# ## 8. Which members survive
#
# Every member simulates 10 ps at constant volume and 50 ps at constant pressure. Dotted lines are
# the numbers of labels that the paper's networks needed.

# %%
lesson.show_survival()

# %% [markdown]
# ## 9. The liquid
#
# The members of the last committee that survived, beside the truth in the same box. The band is
# where one more member would lie with a probability of 95 %.

# %%
lesson.show_liquid()

# %%
lesson.liquid_table()

# %% [markdown]
# ## 10. What it costs
#
# Minutes of one core in each iteration; the numbers above the bars are new labels.

# %%
lesson.show_ledger()

# %% [markdown]
# ## 11. All numbers

# %%
lesson.beside_the_paper()
