"""Times of SchNetPack, member by member, for comparison with our stacked SchNet: run by another
interpreter, imports nothing of ours.

SchNetPack 2.1.1 asks for packages that a timing does not need, so it gets an environment of its
own::

    python -m venv SPK
    SPK/bin/pip install --no-deps schnetpack==2.1.1
    SPK/bin/pip install torch ase scipy h5py pyyaml hydra-core pytorch-lightning torchmetrics
    hydra-colorlog rich fasteners dirsync matscipy tqdm progressbar2 torch-ema printf
    'step\nforces\n' | SPK/bin/python agal_toolkit/studies/schnetpack_step.py --threads 2

It reads ``step`` or ``forces`` from its input, does that once, and answers with the seconds that it
took; before it listens it does both once. Its interatomic pairs are made beforehand and cost it
nothing. Sizes, structures and loss are those of :mod:`.schnet_benchmarks`: all pairs of each
molecule, for training torch's Adam and a reverse pass through the forces.
"""

from __future__ import annotations

import argparse
import sys
import time
import typing
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ase.build import molecule


def members(count: int, width: int, interactions: int) -> list[torch.nn.Module]:
    """Networks of SchNetPack: energy and forces, 32 trainable Gaussians, cutoff 5 angstrom."""
    import torch.utils.data.dataloader as loader

    loader.T_co = typing.TypeVar(
        "T_co", covariant=True
    )  # SchNetPack 2.1.1 imports a name that torch has since dropped
    import schnetpack

    def build(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        basis = schnetpack.nn.GaussianRBF(32, 5.0, trainable=True)
        return schnetpack.model.NeuralNetworkPotential(
            schnetpack.representation.SchNet(
                width, interactions, basis, schnetpack.nn.CosineCutoff(5.0)
            ),
            input_modules=[schnetpack.atomistic.PairwiseDistances()],
            output_modules=[
                schnetpack.atomistic.Atomwise(width, output_key="energy"),
                schnetpack.atomistic.Forces(),
            ],
        )

    return [build(seed) for seed in range(count)]


def inputs(count: int) -> dict[str, torch.Tensor]:
    """What SchNetPack sees of `count` ammonia molecules, each pair in both directions."""
    ammonia, rng = molecule("NH3"), np.random.default_rng(0)
    positions = np.concatenate(
        [ammonia.positions + rng.normal(0, 0.1, (4, 3)) for _ in range(count)]
    )
    i, j = np.nonzero(~np.eye(4, dtype=bool))
    starts = 4 * np.arange(count)[:, None]
    return {
        "_positions": torch.tensor(positions, dtype=torch.float32),
        "_atomic_numbers": torch.tensor(np.tile(ammonia.numbers, count)),
        "_n_atoms": torch.full((count,), 4),
        "_idx_m": torch.arange(count).repeat_interleave(4),
        "_idx_i": torch.tensor((starts + i).ravel()),
        "_idx_j": torch.tensor((starts + j).ravel()),
        "_offsets": torch.zeros(12 * count, 3),
        "_cell": torch.zeros(count, 3, 3),
        "_pbc": torch.zeros(3 * count, dtype=torch.bool),
    }


def training(networks: list[torch.nn.Module], molecules: int) -> Callable[[], Any]:
    """One training step of every member."""
    given = inputs(molecules)
    energy, forces = torch.zeros(molecules), torch.zeros(4 * molecules, 3)
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-4) for network in networks]

    def step() -> None:
        for network, optimizer in zip(networks, optimizers, strict=True):
            said = network.train()(dict(given))
            loss = (said["energy"] - energy).square().mean() + (
                said["forces"] - forces
            ).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step


def prediction(networks: list[torch.nn.Module], molecules: int) -> Callable[[], Any]:
    """Forces of every member."""
    given = inputs(molecules)
    return lambda: [network.eval()(dict(given))["forces"].detach() for network in networks]


def main() -> None:
    """The command line, and the other end of the pipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--interactions", type=int, default=4)
    parser.add_argument("--training", type=int, default=30, help="molecules in a training step")
    parser.add_argument(
        "--prediction", type=int, default=100, help="molecules whose forces are predicted"
    )
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    networks = members(arguments.members, arguments.width, arguments.interactions)
    calls = {
        "step": training(networks, arguments.training),
        "forces": prediction(networks, arguments.prediction),
    }
    for call in calls.values():
        call()
    for line in sys.stdin:
        began = time.perf_counter()
        calls[line.strip()]()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
