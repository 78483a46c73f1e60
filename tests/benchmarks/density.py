"""What one density for all members saves on a liquid: ``python -m benchmarks.density``.

A training step on one box of 64 waters, and the forces of such a box, by twelve members:
:class:`~agal_toolkit.potentials.DensityNet` as the study of calibrated attacks takes it, the same
members one by one, each with the density computed anew, and as many stacked SchNets of width 32,
which see as far.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from benchmarks.model_surfaces import Case, Sheet
from benchmarks.schnet import learning, one_by_one
from torch import Tensor, nn

from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.potentials import DensityNet, SchNet, Stacked
from studies.water.dynamics import packed

MEMBERS, WATERS = 12, 64


def density(members: int) -> nn.Module:
    """As the study of calibrated attacks takes it."""
    return DensityNet((1, 8), range(members))


def schnet(members: int) -> nn.Module:
    """Narrow enough for a committee on a liquid."""
    return SchNet((1, 8), range(members), features=32, filters=32, interactions=3)


def water(count: int = WATERS) -> Batch:
    """One box."""
    return Batch.of([packed(count, np.random.default_rng(0))])


def training(
    build: Callable[[int], nn.Module], members: int, count: int = WATERS
) -> Callable[[], Tensor]:
    """One step on energies and forces; the call gives the members' losses."""
    return learning(build(members), members, water(count))


def forces(
    build: Callable[[int], nn.Module], members: int, count: int = WATERS
) -> Callable[[], Prediction]:
    """Forces of all members."""
    potential, batch = Stacked(build(members).requires_grad_(False)), water(count)
    return lambda: potential(batch)


def cases(members: int = MEMBERS, count: int = WATERS) -> Iterator[Case]:
    """Both tasks, against members one by one and against SchNet."""
    for task, what in ((training, "a step"), (forces, "forces")):
        name = f"{what} of {members} members on {count} waters"
        fast = task(density, members, count)
        yield Case(
            name,
            one_by_one(partial(task, density, count=count), members),
            fast,
            ratio="each member's own density over one for all",
        )
        yield Case(
            name,
            task(schnet, members, count),
            fast,
            ratio="stacked SchNets of width 32 over one density",
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--results", default="notebooks/results")
    arguments = parser.parse_args()
    sheet = Sheet("cpu")
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for case in cases():
            sheet.measure(case, 64, threads)
    sheet.store(arguments.results, "benchmarks_density", members=MEMBERS, threads=arguments.threads)


if __name__ == "__main__":
    main()
