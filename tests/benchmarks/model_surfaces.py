"""How much stacking saves: ``python -m benchmarks.model_surfaces`` prints and stores ratios of
times.

Both ways run in one process, in turn, so that a machine whose speed drifts drifts for both; a ratio
is the median over the turns. "One by one" is the same code on one member after the other; for
training there is also the loop that most people write, dense layers of ``torch.nn``, forces by a
reverse pass that is differentiated again, and ``torch.optim.Adam``. SchNets of the paper's size are
timed as :mod:`benchmarks.schnet` describes, against SchNetPack where ``--schnetpack`` names an
interpreter that has it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from benchmarks import schnet
from torch import nn

from agal_toolkit.attack import Adam, Attack, BoltzmannVariance
from agal_toolkit.batch import Batch
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import points
from agal_toolkit.potentials import MLP, Separate, Stacked
from agal_toolkit.references import DoubleWell
from agal_toolkit.training.trainer import TorchTrainer
from studies.jobs import Claim, write

MEMBERS, STRUCTURES = 5, 105


@dataclass(frozen=True)
class Case:
    """Two ways to do the same.

    Attributes:
        name: what is done, and what it is compared with.
        slow: one by one.
        fast: stacked.
        turns: how often both are timed.
        goal: the ratio to reach, None without one.
        ratio: what is over what.
    """

    name: str
    slow: Callable[[], object]
    fast: Callable[[], object]
    turns: int = 5
    goal: float | None = None
    ratio: str = "one by one over stacked"


@dataclass(frozen=True)
class Timing:
    """Times of a case.

    Attributes:
        name: of the case.
        slow: median seconds one by one.
        fast: median seconds stacked.
        ratio: median of their ratios, turn by turn.
        low: smallest ratio.
        high: largest ratio.
    """

    name: str
    slow: float
    fast: float
    ratio: float
    low: float
    high: float


def compare(case: Case, device: str = "cpu") -> Timing:
    """Times both ways in turn, after one turn that is not counted."""

    def seconds(call: Callable[[], object]) -> float:
        began = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    pairs = np.array([(seconds(case.slow), seconds(case.fast)) for _ in range(case.turns + 1)])[1:]
    ratios = pairs[:, 0] / pairs[:, 1]
    return Timing(
        case.name,
        *np.median(pairs, axis=0).round(4).tolist(),
        *(round(float(f(ratios)), 2) for f in (np.median, np.min, np.max)),
    )


def data(count: int, seed: int = 0) -> Dataset:
    """Labelled points of the double well."""
    well, rng = DoubleWell(), np.random.default_rng(seed)
    geometries = points(rng.uniform(-1.2, 1.2, (count, 2)))
    return Dataset(geometries, [well(geometry) for geometry in geometries])


def plain_fit(known: Dataset, width: int, epochs: int, seed: int, device: str = "cpu") -> nn.Module:
    """One member trained as most people write it: the same layers, loss, batches and optimizer,
    nothing of ours.
    """
    torch.manual_seed(seed)
    layers = [
        nn.Linear(2, width),
        nn.Softplus(),
        nn.Linear(width, width),
        nn.Softplus(),
        nn.Linear(width, width),
        nn.Softplus(),
        nn.Linear(width, 1),
    ]
    network = nn.Sequential(*layers).to(device)
    positions = torch.tensor(
        np.concatenate([g.positions for g in known]), dtype=torch.float32, device=device
    )
    energies = torch.tensor(known.energies, dtype=torch.float32, device=device)
    forces = torch.tensor(np.concatenate(known.forces), dtype=torch.float32, device=device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(known), device=device).split(35):
            x = positions[batch].requires_grad_()
            energy = network(x).squeeze(-1)
            (slope,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
            loss = (energy - energies[batch]).square().mean() + 10.0 * (
                slope + forces[batch]
            ).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network


def cases(width: int, device: str = "cpu") -> list[Case]:
    """Training, prediction and attack of five members at one width."""
    known, everything, nothing = (
        data(STRUCTURES),
        np.ones((MEMBERS, STRUCTURES)),
        np.zeros((MEMBERS, STRUCTURES), dtype=bool),
    )
    trainer = _trainer(width, device)

    def fit(members: int) -> Stacked:
        return trainer.fit(known, everything[:members], nothing[:members], np.random.default_rng(0))

    @cache  # listing the cases trains nothing
    def committees() -> tuple[Committee, Committee]:
        members = fit(MEMBERS)
        return Committee(_one_by_one(members)), Committee(members)

    batch, seeds = Batch.of(data(1000, 1).geometries, device), data(50, 2).geometries
    attack = Attack(BoltzmannVariance(kT=5.0), Adam(0.003, 20 if width <= 256 else 4))
    return [
        Case(
            f"training {MEMBERS} members",
            lambda: [fit(1) for _ in range(MEMBERS)],
            lambda: fit(MEMBERS),
            goal=3.0 if width == 128 else None,
        ),
        Case(
            f"training {MEMBERS} members",
            lambda: fit(MEMBERS),
            products(width, trainer),
            ratio="stacked over its matrix products alone",
        ),
        Case(
            f"training {MEMBERS} members, against plain torch",
            lambda: [plain_fit(known, width, trainer.epochs, m, device) for m in range(MEMBERS)],
            lambda: fit(MEMBERS),
        ),
        Case(
            f"forces of {MEMBERS} members for 1000 points",
            lambda: committees()[0](batch),
            lambda: committees()[1](batch),
        ),
        Case(
            f"attacking {MEMBERS} members from 50 seeds",
            lambda: attack(committees()[0], known, seeds, np.random.default_rng(0)),
            lambda: attack(committees()[1], known, seeds, np.random.default_rng(0)),
        ),
    ]


def products(width: int, trainer: TorchTrainer) -> Callable[[], None]:
    """The matrix products of that training and nothing else: six for each weight matrix of each
    step, as in :mod:`~agal_toolkit.potentials.mlp`.
    """
    sizes = [(2, width), (width, width), (width, width), (width, 1)]
    operands = [
        tuple(
            torch.randn(MEMBERS, *shape, device=trainer.device)
            for shape in ((trainer.batch_size, k), (k, n), (trainer.batch_size, n))
        )
        for k, n in sizes
    ]

    def multiply() -> None:
        for _ in range(trainer.epochs * -(-STRUCTURES // trainer.batch_size)):
            for x, weight, y in operands:
                for _ in range(2):
                    torch.bmm(x, weight)
                    torch.bmm(y, weight.mT)
                    torch.bmm(x.mT, y)

    return multiply


def _trainer(width: int, device: str) -> TorchTrainer:
    epochs = 40 if width <= 256 else 3
    return TorchTrainer(
        network=partial(MLP, 2, width=width),
        epochs=epochs,
        forces_weight=10.0,
        patience=None,
        keep_best=False,
        device=device,
    )


def _one_by_one(members: Stacked) -> Separate:
    """The same members, each a potential of its own."""
    return Separate([Committee(members[m]).mean for m in range(len(members))], members.device)


def schnet_cases(
    width: int, interactions: int, other: Callable[[str], float] | None = None
) -> list[Case]:
    """Five SchNets: a training step on 30 ammonia molecules, and forces of 100; `other` does the
    same in SchNetPack.
    """
    step, forces = (
        schnet.training(schnet.MEMBERS, width, interactions),
        schnet.prediction(schnet.MEMBERS, width, interactions),
    )
    alone = [
        schnet.one_by_one(lambda m, build=build: build(m, width, interactions), schnet.MEMBERS)
        for build in (schnet.training, schnet.prediction)
    ]
    floors = [
        schnet.products(schnet.MEMBERS, width, interactions, n, learning)
        for n, learning in ((schnet.TRAINING, True), (schnet.PREDICTION, False))
    ]
    names = [
        f"SchNet, a step of {schnet.MEMBERS} members on {schnet.TRAINING} NH3",
        f"SchNet, forces of {schnet.MEMBERS} members for {schnet.PREDICTION} NH3",
    ]
    found = []
    for name, fast, slow, floor, word, goal in zip(
        names, (step, forces), alone, floors, ("step", "forces"), (1.5, 2.2), strict=True
    ):
        found += [
            Case(name, slow, fast, turns=7),
            Case(name, fast, floor, turns=7, ratio="stacked over its matrix products alone"),
        ]
        if other is not None:
            found.append(
                Case(
                    name,
                    partial(other, word),
                    fast,
                    turns=7,
                    goal=goal,
                    ratio="SchNetPack, member by member, over stacked",
                )
            )
    return found


class Sheet:
    """Timings of one kind, printed as they come and stored together.

    Args:
        device: where they are taken.
    """

    def __init__(self, device: str) -> None:
        self.device, self.began = device, time.monotonic()
        self.records: list[dict[str, Any]] = []
        self.claims: list[Claim] = []

    def measure(self, case: Case, width: int, threads: int) -> None:
        """Times a case."""
        timing = compare(case, self.device)
        self.records.append(
            {"width": width, "threads": threads, "what": case.ratio, **timing.__dict__}
        )
        print(f"{threads} threads, width {width}, {case.ratio}: {timing}", flush=True)
        self.claims.append(
            Claim(
                name=(
                    f"{timing.name}, width {width}, {threads} thread{'s' * (threads > 1)}:"
                    f" {case.ratio}"
                ),
                value=timing.ratio,
                goal=case.goal,
                spread=(timing.low, timing.high),
                runs=case.turns,
            )
        )

    def store(self, folder: str, name: str, **settings: Any) -> None:
        """Writes what was measured, if anything."""
        if self.records:
            print(
                write(
                    folder,
                    name,
                    self.device,
                    seed=0,
                    device=self.device,
                    seconds={"all": round(time.monotonic() - self.began, 1)},
                    settings={**settings, "precision": "float32"},
                    records={"timings": self.records},
                    claims=self.claims,
                )
            )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--widths",
        type=int,
        nargs="*",
        default=[128, 1024],
        help="of the networks of model surfaces",
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--schnet",
        type=int,
        nargs="*",
        default=[256],
        help="widths of SchNets of four interactions; on the CPU",
    )
    parser.add_argument(
        "--schnetpack",
        metavar="PYTHON",
        help="an interpreter that has SchNetPack, see schnetpack_step.py",
    )
    parser.add_argument("--results", default="notebooks/results")
    arguments = parser.parse_args()
    sheet = Sheet(arguments.device)
    for threads in arguments.threads if arguments.widths else []:
        torch.set_num_threads(threads)
        for width in arguments.widths:
            for case in cases(width, arguments.device):
                sheet.measure(case, width, threads)
    sheet.store(
        arguments.results,
        "benchmarks",
        members=MEMBERS,
        structures=STRUCTURES,
        widths=arguments.widths,
        threads=arguments.threads,
    )
    sheet = Sheet(arguments.device)
    for threads in arguments.threads if arguments.device == "cpu" else []:
        torch.set_num_threads(threads)
        for width in arguments.schnet:
            other = (
                schnet.SchNetPack(arguments.schnetpack, threads, width, 4)
                if arguments.schnetpack
                else None
            )
            for case in schnet_cases(width, 4, other):
                sheet.measure(case, width, threads)
            if other is not None:
                other.close()
    sheet.store(
        arguments.results,
        "benchmarks_schnet",
        members=schnet.MEMBERS,
        widths=arguments.schnet,
        threads=arguments.threads,
    )


if __name__ == "__main__":
    main()
