# %% [markdown]
# # The double well: how a committee finds out what it does not know
#
# **Goal.** After this lesson you can
#
# - train a committee of networks and read its disagreement;
# - attack the committee, and say what the temperature of an attack does;
# - run a loop of active learning, and judge whether it worked.
#
# **Time.** About 60 minutes. The cells need less than two of them; the loops of part 4 run for two
# to four minutes while you read on.
#
# **You need** Python, and you know what a potential energy surface is. You need no experience with
# neural networks.
#
# The method is that of
#
# > D. Schwalbe-Koda, A. R. Tan, R. Gómez-Bombarelli, *Differentiable sampling of molecular
# > geometries with uncertainty-based adversarial attacks*, Nature Communications **12**, 5104
# > (2021).
#
# | the lesson | the record of the study |
# |---|---|
# | 1. What one basin hides | 6. Many pairs of loops |
# | 2. A committee and its disagreement | 7. What each part of the recipe does |
# | 3. One attack, step by step | |
# | 4. The loop, live | |
# | 5. Molecular dynamics before and after | |
#
# Run the cells from top to bottom. The system is one particle in a plane. Energies and lengths have
# the units of Eq. 11 of the paper, which names none.

# %%
from dataclasses import replace
from functools import partial
from tempfile import mkdtemp

import numpy as np

import agal_toolkit as agal
from agal_toolkit.analysis.errors import rmse
from agal_toolkit.analysis.grids import Grid
from agal_toolkit.widgets import CommitteeView, Monitor
from studies.double_well import lesson
from studies.double_well.explorer import AttackExplorer
from studies.double_well.langevin import langevin

preset, seed = lesson.begin()

# %% [markdown]
# The `seed` fixes all random numbers. It is a typical one: `python -m studies.double_well.typical`
# ran five pairs of loops, from the seeds 0 to 4, and this seed has the median result. Part 6 shows
# all five.
#
# ## 1. What one basin hides
#
# The true energy (Eq. 11 of the paper) is
#
# $$E(x, y) = 10x^4 - 10x^2 + 2x + 4y^2 .$$
#
# It has two basins, and a barrier between them. We draw 800 random points in $[-1.5, 1.5]^2$ and
# keep those with $E < -2$. All of them lie in the left basin.

# %%
well = agal.DoubleWell()
first = agal.basin(well, rng=np.random.default_rng([seed, 2021]))
data = agal.Dataset(first, [well(point) for point in first])
print(f"{len(data)} points, energies from {data.energies.min():.2f} to {data.energies.max():.2f}")
lesson.show_data(data)

# %% [markdown]
# The left picture is the true energy with our data. The right picture is a cut along $y = 0$.
# Nothing in the data says that there is a second basin.
#
# ## 2. A committee and its disagreement
#
# We train five networks on the same data. They have the same shape and different random weights.
#
# **What do you expect?** Where will the five agree, and where will they not?

# %%
trainer = agal.TorchTrainer(
    network=partial(agal.MLP, 2, width=preset.width),
    epochs=preset.epochs,
    forces_weight=10.0,
    patience=None,  # the learning rate follows no validation data:
    keep_best=False,
    anneal=True,  # it falls along half a cosine
    large_force=30.0,  # above this force, errors count relative to the force
)
folds = agal.Folds(train=0.6, valid=0.2, shared=True, acquired=4)
weights, valid = folds(data, 5, np.random.default_rng(seed))
epochs = []
members = trainer.fit(data, weights, valid, np.random.default_rng(seed), epochs.append)
committee = agal.Committee(members)

# %%
CommitteeView(committee, dataset=data)

# %% [markdown]
# The five agree where there are data. Elsewhere each invents a surface of its own. The variance of
# their forces measures how much they disagree:
#
# $$\sigma_F^2(X) = \frac{1}{M-1} \sum_m \frac{1}{3n} \sum_{ij}
# \lVert \hat F^{(m)}_{ij} - \bar F_{ij} \rVert^2
# \qquad \text{(Eq. 10)}.$$
#
# **What do you expect?** Is the committee wrong where it is uncertain?

# %%
lesson.show_errors(committee, epochs)

# %% [markdown]
# Each dot of the right picture is a point of the plane. Its uncertainty is known to the committee;
# its error is known to us only, because we know the truth. Above the dashed line the committee is
# more wrong than it says. The uncertainty is not calibrated, but it tells better points from worse
# ones. This is all that an attack needs.
#
# **Exercise 1.** Compute $\sigma_F^2$ at the point (0.8, 0) yourself. The forces of the five
# members have the shape (members, particles, coordinates). The double well has one particle in two
# dimensions, so $3n$ becomes 2.

# %%
forces = committee.predict(agal.points([[0.8, 0.0]])).forces.numpy()
print(forces.shape)

variance = ...  # replace the dots: use forces

lesson.check(
    variance,
    lambda answer: lesson.is_variance(answer, committee, 0.8, 0.0),
    "Divide by M - 1, not by M, and take the mean over both coordinates.",
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# `variance = forces.var(axis=0, ddof=1).mean()`. With `ddof=1` numpy divides by $M - 1$.
#
# </details>
#
# ## 3. One attack, step by step
#
# The committee is most uncertain far away, where energies are absurd and no simulation ever goes.
# An *adversarial attack* looks for geometries that are uncertain **and** likely at a temperature
# $kT$. It moves a geometry by $\delta$ and climbs on
#
# $$\mathcal L_\mathrm{adv}(X, \delta) =
# \underbrace{\frac{1}{Z} e^{-\bar E(X_\delta)/kT}}_{P(X_\delta),\ \text{Eq. 3}}
# \; \sigma_F^2(X_\delta) \qquad \text{(Eq. 4)}.$$
#
# The loss is a formula, so it has a gradient. The attack follows the gradient.
#
# **Click on the map.** You drop a point, and the attack pushes it. Then move $kT$, and watch where
# the point goes.

# %%
attack = agal.Attack(
    agal.BoltzmannVariance(kT=5.0),
    agal.Adam(0.003, preset.attack_steps),
)
explorer = AttackExplorer(committee, data, attack=attack)
explorer

# %% tags=["unattended"]
explorer.drop(-0.65, -0.6)
explorer.wait()

# %% [markdown]
# **Exercise 2.** A point lies 4 above another in energy. How much less likely is it at $kT = 5$?
# Give the ratio $P_\mathrm{high}/P_\mathrm{low}$.

# %%
ratio = ...  # replace the dots

lesson.check(ratio, lesson.is_boltzmann, "Use Eq. 3: only the difference of the energies matters.")

# %% [markdown]
# <details><summary>Answer</summary>
#
# `ratio = np.exp(-4 / 5)`, about 0.45. At $kT = 1$ it is 0.018: a cold attack does not climb the
# barrier, which is about 4 above the left basin.
#
# </details>
#
# **What do you expect?** The next cell attacks the same points at three temperatures. Which attacks
# end at the highest energies?

# %%
seeds = list(data)[::4]
attacks = {}
for kT in (1.0, 5.0, 20.0):
    attack = agal.Attack(agal.BoltzmannVariance(kT=kT), agal.Adam(0.003, preset.attack_steps))
    attacks[f"kT = {kT:g}"] = attack(committee, data, seeds, np.random.default_rng(seed))

lesson.show_attacks(attacks, data)
for name, adversaries in attacks.items():
    energy = lesson.mean_energy_of_ends(adversaries)
    print(f"{name}: the attacks end at a true energy of {energy:.1f} on average")

# %% [markdown]
# A hollow dot is the start of an attack, a full dot is its end. The paper takes $kT = 5$. The loop
# below takes 20, because it is judged on a plane whose energies reach 40.
#
# **Exercise 3.** Without the Boltzmann factor an attack needs a bound, or it runs away. Here
# `Variance` (Eq. 2) is attacked inside a ball of radius 0.5. Double the radius, then remove the
# bound. What happens?

# %%
unweighted = agal.Attack(agal.Variance(), agal.Adam(0.01, 100), bound=agal.Ball(0.5))
adversaries = unweighted(committee, data, seeds, np.random.default_rng(seed))
lesson.show_bounded(adversaries, committee, data)

# %% [markdown]
# <details><summary>Answer</summary>
#
# All attacks run outward. A larger ball lets them end farther out, at higher energies. Without a
# bound only the number of steps ends them: the uncertainty grows, and nothing makes a high energy
# unlikely.
#
# </details>
#
# **Exercise 4.** Change one thing in the attack above and predict the result first.
#
# 1. Give it `gradient=agal.HessianVector()`. This gradient needs two force calls per member and
#    step, and no second derivatives. Do the paths change? Where would you need it?
# 2. Attack only two members: `committee[[0, 1]]`. Are two enough?
#
# <details><summary>Answer</summary>
#
# 1. The paths stay the same within rounding errors. You need this gradient for potentials that give
#    energies and forces but cannot be differentiated twice, for example programs of other groups.
# 2. Two members disagree less reliably: they agree by chance in some places where both are wrong,
#    and attacks avoid these places. The study (part 7) measures what this costs.
#
# </details>
#
# ## 4. The loop, live
#
# One generation of the loop does this:
#
# 1. train a committee on all labelled points;
# 2. attack it from every training point;
# 3. keep attacks that are uncertain enough and not duplicates, at most 20;
# 4. ask the true potential for their energies and forces, and add them to the data.
#
# The *random* loop displaces training points at random and does not attack. It is the same in all
# else. Both loops start from the same data.
#
# **What do you expect?** Which loop finds the second basin first? Which one needs fewer labels?
#
# Press **Start**. Press **Pause**, **Step** or **Stop** whenever you like: finished work is in the
# folder, and **Start** continues there. You can run other cells meanwhile. In the maps the first
# data are white, earlier labels gray, and new ones black. If a reload of the page removes the
# panel, run the cell again.

# %%
recipe = agal.Recipe(
    trainer=trainer,
    sampler=agal.FromDataset(),
    attack=agal.Attack(
        agal.BoltzmannVariance(kT=20.0),
        agal.Adam(0.003, preset.attack_steps),
    ),
    selectors=[agal.VariancePercentile(80), agal.Deduplicate(0.02), agal.AtMost(20)],
    members=5,
    folds=folds,
)
recipes = {
    "adversarial": recipe,
    "random": replace(recipe, sampler=agal.Rattle(1.0), attack=None),
}
test = Grid(points=preset.grid).labelled(well)
folder = mkdtemp(prefix="double-well-")


def run(name, report):
    loop = agal.Loop(recipes[name], agal.Reference(well), test, {"RMSE": rmse}, seed)
    return loop.generations(data, f"{folder}/{name}", report)


panel = Monitor(
    {name: partial(run, name) for name in recipes},
    generations=preset.generations,
)
panel

# %% tags=["unattended"]
panel.finish()

# %% [markdown]
# The next cells show the generations that are finished when you run them. Run them again later, and
# they show more.
#
# First the committee's surface in each generation of the adversarial loop, as in Fig. 2a of the
# paper. In which generation does the second basin appear?

# %%
lesson.show_maps(panel.runs["adversarial"])

# %% [markdown]
# Now the learning curves of both loops. The error is that of the energy on a grid over the whole
# plane.

# %%
lesson.show_curves(panel.runs)

# %% [markdown]
# One pair of loops proves little: part 6 shows how much pairs differ.
#
# **What do you expect?** Every training point was attacked. Why are there fewer new labels?

# %%
lesson.show_verdicts(panel.runs["adversarial"])

# %% [markdown]
# `VariancePercentile` drops attacks that end where the committee is hardly more uncertain than on
# its data. `Deduplicate` keeps one of the attacks that end at the same place. `AtMost` limits the
# rest.
#
# **Exercise 5.** Set `seed = 1` after the first cell and run the notebook again. Which loop wins?
# Then compare with the five pairs in part 6.
#
# **Exercise 6.** Remove `Deduplicate` from the recipe and run two generations. What do you pay for?
#
# <details><summary>Answer</summary>
#
# You pay for up to 20 labels a generation, most of them at the same few places. The
# [results](results/README.md#double-well) count the labels that the filter saves.
#
# </details>
#
# ## 5. Molecular dynamics before and after
#
# A model is worth what a simulation with it is worth. We run Langevin dynamics of independent
# particles. All of them start in the left basin. The temperature is $kT = 1$, a quarter of the
# barrier.
#
# **What do you expect?** Will particles cross on the first committee's surface? Will they stay?

# %%
surfaces = {"true energy": agal.Differentiable(lambda batch: well.energy(batch.positions))}
if finished := panel.runs["adversarial"]:
    surfaces["first committee"] = finished[0].committee.mean
    surfaces["last committee"] = finished[-1].committee.mean

trajectories = {}
for name, surface in surfaces.items():
    trajectories[name] = langevin(
        surface,
        agal.points([[-0.75, 0.0]])[0],
        kT=1.0,
        timestep=0.02,
        steps=preset.dynamics,
        friction=1.0,
        replicas=64,
        every=20,
        rng=np.random.default_rng(seed),
    )

lesson.show_dynamics(trajectories, finished, kT=1.0)

# %% [markdown]
# On a good surface as many particles settle in the right basin as on the true one. A particle that
# only visits the right side does not count: it has to stay there.
#
# **Exercise 7.** *Your own surface.* Write a function that returns `agal.Labels(energy, forces)`
# for a geometry of one particle. Give it to `agal.Reference` and run the loop on it.
#
# <details><summary>A start</summary>
#
# ```python
# def label(geometry):
#     x, y = geometry.positions[0]
#     energy = (x**2 + y**2 - 1) ** 2  # a ring
#     slope = 4 * (x**2 + y**2 - 1)
#     return agal.Labels(energy, np.array([[-slope * x, -slope * y]]))
# ```
#
# </details>
#
# Next: [ammonia](02_ammonia.ipynb) does the same with a molecule and density functional theory.
#
# # The record of the study
#
# ## 6. Many pairs of loops
#
# One pair of loops proves nothing. These are the final errors of five pairs with the lesson's
# recipe. The seed of the lesson is marked. It was chosen for its median ratio.

# %%
lesson.show_luck(seed)

# %% [markdown]
# Fig. 2b of the paper shows medians of more than a hundred pairs. The stored records of `python -m
# studies.double_well` hold twenty pairs of larger networks. First the *printed* recipe of the
# paper, then *ours*:

# %%
printed, ours = lesson.record("printed"), lesson.record("ours")
lesson.show_pairs(printed)
lesson.show_pairs(ours)

# %% [markdown]
# **Exercise 8.** In how many of the twenty pairs does the adversarial loop end with the smaller
# error? `ours["records"]["pairs"]` is a list. Each pair holds a list of generations for each
# strategy: `pair["random"][-1]["metrics"]["rmse"]` is the final error of the random loop.

# %%
wins = ...  # replace the dots

lesson.check(wins, lambda answer: answer == lesson.wins(ours), "Count pairs, not generations.")

# %% [markdown]
# <details><summary>Answer</summary>
#
# ```python
# wins = sum(
#     pair["adversarial"][-1]["metrics"]["rmse"] < pair["random"][-1]["metrics"]["rmse"]
#     for pair in ours["records"]["pairs"]
# )
# ```
#
# </details>
#
# The *printed* recipe works in some pairs and breaks in others. Each dot below is a loop. Some
# attacks follow a committee that is wrong far out. They end where the true energy is hundreds, and
# one such label outweighs all others in a squared error.
#
# *Ours* changes the training of both strategies in the same way. Errors of structures with very
# large forces count relative to the force. The learning rate falls along half a cosine; it does not
# follow validation points, which all lie in the first basin. The attacks have $kT = 20$.

# %%
lesson.show_outliers([printed, ours])

# %% [markdown]
# ## 7. What each part of the recipe does
#
# Each row changes one thing in our recipe. It runs the adversarial loop from the same data and
# seeds. A row on the right of the dashed line has a larger error than our recipe.

# %%
lesson.show_ablations()

# %% [markdown]
# All numbers are in [results/README.md](results/README.md#double-well).
