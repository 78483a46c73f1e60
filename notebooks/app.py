# %% [markdown]
# # The double well as an app
#
# A particle moves in a landscape with two valleys. Five networks have learned its energy from the
# white points, which all lie in the left valley. Of the right one they know nothing.
#
# **Attack.** Click on the map to drop a point. The attack pushes it to where the five networks
# disagree and the energy is still low. A higher $kT$ allows higher energies.

# %%
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import torch
from numpy.random import default_rng

import agal_toolkit as agal
from agal_toolkit.analysis.errors import rmse
from agal_toolkit.analysis.grids import Grid
from agal_toolkit.widgets import Monitor
from studies.double_well.explorer import AttackExplorer

torch.set_num_threads(1)  # small networks train faster so
well = agal.DoubleWell()
start = agal.basin(well, rng=default_rng(7))
data = agal.Dataset(start, [well(geometry) for geometry in start])
adversarial = agal.Recipe(
    trainer=agal.TorchTrainer(
        network=partial(agal.MLP, 2, width=64),
        epochs=600,
        forces_weight=10,
        patience=None,
        keep_best=False,
        anneal=True,
        large_force=30,
    ),
    sampler=agal.FromDataset(),
    attack=agal.Attack(agal.BoltzmannVariance(kT=20), agal.Adam(0.003, 600)),
    selectors=[agal.UncertaintyPercentile(80), agal.Deduplicate(0.02), agal.AtMost(20)],
)
weights, valid = adversarial.folds(data, adversarial.members, default_rng(0))
committee = agal.Committee(adversarial.trainer.fit(data, weights, valid, default_rng(0)))
explorer = AttackExplorer(committee, data, truth=well)
explorer

# %% [markdown]
# **Learn.** Press **Start**. Each generation trains five networks, attacks them from all known
# points, and labels where the attacks end with the true energy. The *random* loop moves the points
# at random instead. Which one finds the right valley first?

# %%
recipes = {
    "adversarial": adversarial,
    "random": replace(adversarial, sampler=agal.Rattle(1.0), attack=None),
}
folder = Path(mkdtemp(prefix="double-well-"))
test = Grid(points=50).labelled(well)


def generations(name, report):
    """Return the generations of one loop; after Stop, Start goes on from its folder."""
    loop = agal.Loop(recipes[name], agal.Reference(well), test, {"rmse": rmse})
    return loop.generations(data, folder / name, report)


monitor = Monitor({name: partial(generations, name) for name in recipes}, generations=6)
monitor
