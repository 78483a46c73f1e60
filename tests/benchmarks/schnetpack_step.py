r"""SchNetPack, member by member: run by another interpreter, imports nothing of ours.

SchNetPack 2.1.1 asks for packages that a timing does not need, so it gets its own environment::

    python -m venv SPK
    SPK/bin/pip install --no-deps schnetpack==2.1.1
    SPK/bin/pip install torch ase scipy h5py pyyaml hydra-core pytorch-lightning torchmetrics \
        hydra-colorlog rich fasteners dirsync matscipy tqdm progressbar2 torch-ema
    printf 'step\nforces\n' | SPK/bin/python tests/benchmarks/schnetpack_step.py --threads 2

It does ``step`` or ``forces``, as it reads them from its input, and answers with the seconds taken;
it does both once before it reads. Sizes and structures are those of test_schnet.py; the pairs of
molecules cost nothing.
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
    """Networks of energy and forces: 32 trainable Gaussians, cutoff 5 angstrom."""
    import torch.utils.data.dataloader as loader

    # SchNetPack 2.1.1 imports a name that torch has since dropped
    loader.T_co = typing.TypeVar("T_co", covariant=True)
    import schnetpack as spk

    def build(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        basis, cutoff = spk.nn.GaussianRBF(32, 5.0, trainable=True), spk.nn.CosineCutoff(5.0)
        energy = spk.atomistic.Atomwise(width, output_key="energy")
        return spk.model.NeuralNetworkPotential(
            spk.representation.SchNet(width, interactions, basis, cutoff),
            input_modules=[spk.atomistic.PairwiseDistances()],
            output_modules=[energy, spk.atomistic.Forces()],
        )

    return [build(seed) for seed in range(count)]


def inputs(count: int) -> dict[str, torch.Tensor]:
    """`count` ammonia molecules as SchNetPack takes them, each pair in both directions."""
    ammonia, rng = molecule("NH3"), np.random.default_rng(0)
    positions = [ammonia.positions + rng.normal(0, 0.1, (4, 3)) for _ in range(count)]
    i, j = np.nonzero(~np.eye(4, dtype=bool))
    starts = 4 * np.arange(count)[:, None]
    return {
        "_positions": torch.tensor(np.concatenate(positions), dtype=torch.float32),
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
    """One training step of every member: torch's Adam, a reverse pass through the forces."""
    batch = inputs(molecules)
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-4) for network in networks]

    def step() -> None:
        for network, optimizer in zip(networks, optimizers, strict=True):
            result = network.train()(dict(batch))
            loss = result["energy"].square().mean() + result["forces"].square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step


def main() -> None:
    """The command line, and the other end of the pipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    defaults = {"members": 5, "width": 256, "interactions": 4, "threads": 2}
    for name, value in {**defaults, "training": 30, "prediction": 100}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    networks = members(arguments.members, arguments.width, arguments.interactions)
    batch = inputs(arguments.prediction)
    calls = {
        "step": training(networks, arguments.training),
        "forces": lambda: [net.eval()(dict(batch))["forces"].detach() for net in networks],
    }
    for call in calls.values():
        call()
    for line in sys.stdin:
        began = time.perf_counter()
        calls[line.strip()]()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
