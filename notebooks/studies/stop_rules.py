"""When a loop should have ended: rules on double wells against hindsight.

``python -m studies.stop_rules --seeds 4`` runs loops of the README's recipe (smaller networks and
shorter fits) for twelve generations and lets each rule of ``until`` look at them. A rule is good if
the error where it ends the loop is near the least of all generations, for few labels. The error is
that of the mean's forces on a grid where the true energy is below 5, which no rule but the last
sees.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from agal_toolkit import (
    MLP,
    Adam,
    AtMost,
    Attack,
    BoltzmannVariance,
    Dataset,
    Deduplicate,
    DoubleWell,
    FromDataset,
    Loop,
    Plateau,
    Recipe,
    Reference,
    TorchTrainer,
    VariancePercentile,
    basin,
    points,
    until,
)
from agal_toolkit.loop import Generation

RULES: Mapping[str, Mapping[str, Any]] = {
    "errors on new labels below 40 %": {"known": 0.4},
    "errors on new labels below 30 %": {"known": 0.3},
    "errors on new labels below 20 %": {"known": 0.2},
    "plateau of the error on the grid": {"plateau": Plateau("forces (eV/Å)")},
}


def generations(seed: int, count: int, epochs: int = 300) -> list[Generation]:
    """Return the generations of one loop."""
    well, rng = DoubleWell(), np.random.default_rng(seed)
    start = basin(well, rng=rng)
    data = Dataset(start, [well(geometry) for geometry in start]).reserving(8, rng)
    axis = np.linspace(-1.5, 1.5, 41)
    grid = points(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2))
    test = Dataset(grid, [well(geometry) for geometry in grid])
    trainer: Any = TorchTrainer(
        network=partial(MLP, 2, width=64),
        epochs=epochs,
        forces_weight=10,
        patience=None,
        keep_best=False,
        anneal=True,
        large_force=30,
        must_learn=False,
    )
    recipe = Recipe(
        trainer=trainer,
        sampler=FromDataset(),
        attack=Attack(BoltzmannVariance(kT=20), Adam(0.01, 200)),
        selectors=[VariancePercentile(80), Deduplicate(0.02), AtMost(10)],
        calibrate=0.1,
    )
    loop = Loop(recipe, Reference(well), test=test[test.energies < 5], seed=seed)
    return list(islice(loop.generations(data), count))


def table(loops: Sequence[Sequence[Generation]]) -> str:
    """Return where each rule ends the loops, as text."""
    lines = [f"{'rule':<34} {'generation':<18} {'labels':<22} error relative to the least"]
    for name, rule in RULES.items():
        ends = [len(list(until(made, count=len(made), **rule))) - 1 for made in loops]
        pairs = list(zip(loops, ends, strict=True))
        errors = [[generation.metrics["forces (eV/Å)"] for generation in made] for made in loops]
        ratios = [mine[end] / min(mine) for mine, end in zip(errors, ends, strict=True)]
        columns = (
            ", ".join(str(end + 1) for end in ends),
            ", ".join(str(len(made[end].dataset)) for made, end in pairs),
            ", ".join(f"{ratio:.2f}" for ratio in ratios),
        )
        lines.append(f"{name:<34} {columns[0]:<18} {columns[1]:<22} {columns[2]}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--generations", type=int, default=12)
    given = parser.parse_args()
    print(table([generations(seed, given.generations) for seed in range(1, given.seeds + 1)]))
