# %% [markdown]
# # Liquid water from a single structure
#
# **Goal.** After this lesson you can
#
# - start from one structure, and let a committee ask for the labels that it lacks;
# - test a potential by simulations, with every member by itself;
# - compare a liquid with the truth, with error bars, and say what the labels cost.
#
# **Time.** About 45 minutes. The cells need about three of them.
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
# | 1. One structure | 8. Errors against labels |
# | 2. A committee that knows little | 9. What each iteration learned |
# | 3. Attack the box | 10. Which members survive (Fig. 4) |
# | 4. The loop, live | 11. The liquid (Fig. 4) |
# | 5. Simulate every member | 12. What it costs |
# | 6. Sixty labels later | 13. Density functional theory |
# | 7. One run for all members? | 14. All numbers |
#
# Run the cells from top to bottom.

# %%
from functools import partial

import numpy as np

import agal_toolkit as agal
from agal_toolkit.sampling import Conditions, simulate_members
from agal_toolkit.widgets import AttackPlayer, Molecule, Monitor
from studies.water import gallery, lesson

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
# **Exercise 1.** What is the density of the box in g/cm³? A molecule weighs 18.015 atomic mass
# units, and 1 atomic mass unit per Å³ is 1.6605 g/cm³. `water.box.cell` has the cell vectors as
# rows, in Å.

# %%
density = ...  # replace the dots

lesson.check(
    density,
    lambda answer: lesson.is_density(answer, water.box),
    "Divide the mass of 64 molecules by the determinant of the cell.",
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# `density = 1.6605 * 64 * 18.015 / np.linalg.det(water.box.cell)`
#
# </details>
#
# ## 2. A committee that knows little
#
# Eight members have learned from the first labels (`DensityNet`), each from a bootstrap of its own.
# Frames of the truth's own simulations tell how wrong they are: no member has seen a simulation.
#
# **What do you expect?** Is the larger part of the error inside the molecules, or between them?

# %%
first = lesson.committee(1)
lesson.show_errors_of(first, water)

# %%
frame = water.first[0]
lesson.show_uncertainty(first, {"the box": water.box, "a frame of the truth": frame}, 0.25)

# %% [markdown]
# ## 3. Attack the box
#
# An attack sends the box to an error of 0.2 eV/Å: L-BFGS moves atoms and cell until the calibrated
# uncertainty of each atom is near the target. Move the slider, and choose *uncertainty* to colour
# the atoms. The star is the truth's energy of the structure that is kept. The player's $\sigma_F$
# is the members' disagreement on a component of the force, before calibration. A gap in the loss is
# a step with atoms too close.

# %%
attack = agal.Attack(
    agal.TargetError(0.2),
    agal.LBFGS(preset.attack),
    start=0.0,
    cell=True,
    guard=agal.Apart(0.75),
)
adversaries = attack(first, learned, [lesson.folded(water.box)], np.random.default_rng(0))

player = AttackPlayer(first, adversaries, truth=agal.AMOEBA(stress=False), zero=learned.energies[0])
player

# %% tags=["unattended"]
player.settle()

# %% [markdown]
# **What do you expect?** How wrong are the members on this structure?

# %%
lesson.show_found(first, adversaries)

# %% [markdown]
# A target is *missed* if the mean uncertainty is off by more than 3 %, or its atoms deviate by more
# than 15 %. The loop labels such structures all the same: they are where the members are wrong.
#
# ## 4. The loop, live
#
# One turn of the loop trains a committee, calibrates it, sends structures to the target, asks the
# truth, and starts again. Below is the loop of the paper, much smaller: three members, trained
# briefly, and two attacks in each turn. `warm` lets members go on from their last weights.
#
# **What do you expect?** By how much does the error on frames of the truth fall in the second turn?
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
    warm=agal.WarmStart(epochs=preset.lesson_epochs),
)
recipe = agal.Recipe(
    trainer=trainer,
    sampler=agal.FromDataset(2),
    attack=agal.Attack(
        agal.TargetError(0.2),
        agal.LBFGS(10),
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
    test=water.first[::10],
    metrics={"force error (meV/Å)": lesson.force_error},
)
panel = Monitor(loop, start, generations=2)
panel

# %% tags=["unattended"]
panel.finish()

# %% [markdown]
# Two more labels and a second fit lower the error. It stays far above that of the stored committee,
# whose members are larger and learn ten times as long.
#
# ## 5. Simulate every member
#
# A small error is not enough: a potential must survive its own simulations. A committee's mean can
# be stable where a member is not, so each member moves a box of its own. A replica *breaks* if two
# atoms come closer than 0.4 Å, or the density leaves the range from a quarter to twice the start's.
# A member is *stable* if none of its replicas breaks.
#
# **What do you expect?** Do three members that know ten labels survive a fifth of a picosecond at
# 300 K?

# %%
conditions = Conditions(picoseconds=preset.lesson_picoseconds, timestep=0.5, every=5.0)
three = first[[0, 1, 2]]
runs = simulate_members(three, [water.box], conditions, np.random.default_rng(0))
lesson.show_simulations(runs)

# %% [markdown]
# A fifth of a picosecond is short. Part 10 simulates each member for 60 picoseconds. The box is
# colder than 300 K at first, because velocities give part of their energy to bonds. The thermostat
# returns it within about a picosecond.
#
# **Exercise 2.** Three of four replicas of a member survive. Is the member stable? Answer with
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
# ## 6. Sixty labels later
#
# The study ran the loop five times. The same box and the same frame, seen by the last committee:

# %%
last = lesson.committee(5)
lesson.show_errors_of(last, water)
lesson.show_uncertainty(last, {"the box": water.box, "a frame of the truth": frame}, 0.25)

# %% [markdown]
# The frame has become nearly as certain as the box, which all members have learned.
#
# Here are all labels of the loop, each as the first and the last committee see it. Choose
# *iteration* and *label*, and compare *uncertainty* with *error*.
#
# **What do you expect?** Neither committee has learned the labels of iteration 5. By how much does
# the last one err less on them?

# %%
explorer = gallery.explorer(labels, {"10 labels": first, "60 labels": last})
explorer

# %% [markdown]
# It errs about a third as much on average. In some boxes a few atoms are still wrong by several
# eV/Å: attacks press bonds together as far as the guard allows. From iteration 3 on they start from
# simulations and end in denser boxes.
#
# ## 7. One run for all members?
#
# Simulations of every member are expensive. A frame of another potential's run could count with a
# weight $w \propto e^{-(E - E')/kT}$, where $E$ is a member's energy and $E'$ that of the run. The
# number of frames that are left is $(\sum w)^2 / \sum w^2$.
#
# **Exercise 3.** Two of 80 frames have equal weights, the others none. How many frames are left?

# %%
left = ...  # replace the dots

lesson.check(left, lambda answer: answer == 2, "Insert w = 1 twice, and w = 0 for the others.")

# %% [markdown]
# <details><summary>Answer</summary>
#
# `left = 2`: both sums are 2, and $2^2 / 2 = 2$.
#
# </details>
#
# Here are the truth's own frames with the energies of each member. The property is the number of
# oxygens within 3.3 Å of an oxygen.
#
# **What do you expect?** Are the energies of a box of 64 molecules alike enough?

# %%
lesson.show_reweighting(last, water.first + water.second)

# %% [markdown]
# The energy of the whole box enters the weight. Its error is several kT, although it is small for
# each molecule. So few frames decide, and reweighting is refused: every member gets a run of its
# own.
#
# # The record of the study
#
# The pictures below show the stored results of `python -m studies.water --preset laptop`.
# *Attacks* are as printed in the paper: in iterations 1 and 2 five labelled structures are attacked
# with three members, later twenty frames of simulations with all members. *Frames* labels frames of
# such simulations as they are, *uncertain* the most uncertain of ten times as many, *rattled*
# copies of the box as at the start. Members are trained afresh in each iteration. Dashed lines are
# *warm*: members go on from their last weights, with a third of the steps.
#
# ## 8. Errors against labels
#
# Errors are those of the members' mean on frames of the truth's own simulations. The energy of a
# liquid has a constant that forces do not know: the right picture leaves the mean error out. Dotted
# lines are the numbers of labels at which the paper's networks survived their simulations.

# %%
gallery.show_errors()

# %% [markdown]
# Forces improve with every iteration of attacks, and so do differences of energies.
#
# ## 9. What each iteration learned
#
# Left: the share of the squared force error that changes the shapes of molecules. Right: the errors
# of the labelled structures beside the uncertainty that they were chosen for.

# %%
gallery.show_learned()

# %% [markdown]
# In the last iterations no attack reaches the target: the better the members, the farther it is.
# What is found agrees with the uncertainty all the same.
#
# ## 10. Which members survive
#
# A member simulates 10 ps at constant volume and 50 ps at constant pressure. Density and neighbours
# are averages over the members that survive; the shade is 95 % of the truth's own error.

# %%
gallery.show_survival()

# %% [markdown]
# ## 11. The liquid
#
# The members of the last committee that survived, beside the truth in the same box. The band is
# where one more member would lie with a probability of 95 %. Few members make it wide. Ticks mark
# bins where the truth is outside.
#
# **What do you expect?** In which share of the bins is the truth inside, if it is like one more
# member?

# %%
gallery.show_liquid()

# %%
gallery.liquid_table()

# %% [markdown]
# ## 12. What it costs
#
# Minutes of one core in each iteration; the numbers above the bars are new labels.

# %%
gallery.show_ledger()

# %% [markdown]
# The whole loop, with the seconds of the truth. A force call is one box by one member.

# %%
gallery.show_shares()

# %% [markdown]
# Larger boxes, on one thread. The dashed line is linear in the number of atoms.

# %%
gallery.show_costs()

# %%
gallery.costs_table()

# %% [markdown]
# ## 13. Density functional theory
#
# The same committee on 111 public frames of 64 molecules at revPBE0-D3 (C. Schran, K. Brezina,
# O. Marsalek, J. Chem. Phys. 153, 104105 (2020)). Four members learn from 80 % of the frames, the
# rest is for tests. Half of the frames have a near neighbour in time: a *random split* tests frames
# beside their neighbours, the other split keeps neighbours on one side.

# %%
gallery.public_table()

# %% [markdown]
# ## 14. All numbers
#
# With words in [results/README.md](results/README.md).

# %%
gallery.beside_the_paper()
