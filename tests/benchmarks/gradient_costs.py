"""What the slope of a calibrated attack costs, three ways, from 8 to 512 atoms: force calls,
seconds, and how true it is.

Structures are rattled argon crystals whose cells move with the atoms, and 64 waters. The torch
model is a committee of :class:`~agal_toolkit.potentials.DensityNet`, untrained, as costs do not
depend on weights; the black box is a committee of ASE's Lennard-Jones calculators with parameters
of their own. Errors are relative to the backward pass in float64, and for the black box to central
differences, where these are affordable. Times are those of the fastest of some turns, and of one
turn of FiniteDifference, which takes long enough.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from ase.build import bulk
from ase.calculators.lj import LennardJones

from agal_toolkit.attack import Autograd, FiniteDifference, Gradient, HessianVector, TargetError
from agal_toolkit.batch import Batch, Delta, Prediction
from agal_toolkit.committee import Committee
from agal_toolkit.geometry import Geometry
from agal_toolkit.potentials import Baseline, DensityNet, Stacked
from agal_toolkit.potentials.protocol import Members
from studies.jobs import Claim, write
from studies.water.dynamics import packed

REPEATS = {
    8: (2, 1, 1),
    16: (2, 2, 1),
    32: (2, 2, 2),
    64: (4, 2, 2),
    128: (4, 4, 2),
    256: (4, 4, 4),
    512: (8, 4, 4),
}
EXACT = 64  # atoms up to which the black box is compared with central differences
GRADIENTS: dict[str, Gradient] = {
    "Autograd": Autograd(),
    "HessianVector": HessianVector(),
    "FiniteDifference": FiniteDifference(),
}
TARGET = 0.1


class Counted:
    """Members that count how often each is asked for the forces of a structure.

    Attributes:
        calls: structures for which forces were asked, of each member.
    """

    def __init__(self, members: Members) -> None:
        self._members, self.calls = members, 0
        self.device = members.device

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        self.calls += len(batch)
        return self._members(batch, graph=graph)

    def __len__(self) -> int:
        return len(self._members)


def argon(atoms: int) -> Geometry:
    """A rattled crystal."""
    crystal = bulk("Ar", a=5.3, cubic=True).repeat(REPEATS[atoms])
    crystal.rattle(0.15, seed=atoms)
    return Geometry.from_ase(crystal)


def waters() -> Geometry:
    """64 of them, turned at random and rattled."""
    return packed(64, np.random.default_rng(0))


def densities(elements: Sequence[int], members: int, dtype: torch.dtype) -> Committee:
    """Untrained members, of the same weights in both precisions."""
    net = DensityNet(elements, range(members)).to(dtype).requires_grad_(False)
    return Committee(Stacked(net, Baseline(dict.fromkeys(elements, 0.0))))


def calculators(members: int) -> Committee:
    """Lennard-Jones potentials that differ by some per cent."""
    rng = np.random.default_rng(0)
    return Committee.from_calculators(
        [
            LennardJones(epsilon=0.0104 * (1 + e), sigma=3.4 * (1 + s), rc=5.5, smooth=True)
            for e, s in rng.normal(0, (0.1, 0.02), (members, 2))
        ]
    )


def slope(
    committee: Committee,
    gradient: Gradient,
    geometry: Geometry,
    *,
    turns: int = 1,
    cell: bool = True,
) -> tuple[Delta, int, float]:
    """The slope of the squared distance from a target (Cezar 2025, Eq. 8), uncalibrated; calls of
    each member, and the seconds of the fastest turn.
    """
    loss, batch = TargetError(TARGET, raw=True)(committee, None), Batch.of([geometry])
    delta = Delta(
        torch.zeros_like(batch.positions),
        torch.zeros(1, 3, 3, dtype=torch.float64) if cell else None,
    )
    counted, fastest = Counted(committee.members), np.inf
    for _ in range(turns):
        counted.calls, began = 0, time.perf_counter()
        _, found = gradient(Committee(counted), loss, batch, delta)
        fastest = min(fastest, time.perf_counter() - began)
    return found, counted.calls, fastest


def error(found: Delta, exact: Delta) -> float:
    """The larger of |found - exact| / |exact| of atoms and of the cell."""
    parts = [(found.shift, exact.shift)] + (
        [] if exact.strain is None else [(found.strain, exact.strain)]
    )
    return max(float((a - b).norm() / b.norm()) for a, b in parts)


def rows(
    sizes: Sequence[int], members: Sequence[int], say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Every combination that can be: model, atoms, members, gradient and precision."""
    cases = [("argon", argon(n), m) for n, m in product(sizes, (4,))] + [
        ("64 waters", waters(), m) for m in members
    ]
    for what, geometry, m in cases:
        elements = sorted(set(geometry.numbers.tolist()))
        exact, *_ = slope(densities(elements, m, torch.float64), Autograd(), geometry)
        for dtype in (torch.float64, torch.float32):
            committee = densities(elements, m, dtype)
            slope(committee, Autograd(), geometry)  # first calls allocate
            for name, gradient in GRADIENTS.items():
                found, calls, seconds = slope(
                    committee, gradient, geometry, turns=1 if name == "FiniteDifference" else 5
                )
                row = {
                    "model": "torch",
                    "structure": what,
                    "atoms": len(geometry),
                    "members": m,
                    "gradient": name,
                    "dtype": str(dtype)[6:],
                }
                row |= {
                    "calls": calls,
                    "seconds": round(seconds, 5),
                    "error": float(f"{error(found, exact):.3g}"),
                }
                say(str(row))
                yield row
    for n in sizes:
        committee, geometry = calculators(2), argon(n)
        exact = (
            slope(committee, FiniteDifference(central=True), geometry)[0] if n <= EXACT else None
        )
        for name in ("HessianVector", "FiniteDifference"):
            found, calls, seconds = slope(
                committee, GRADIENTS[name], geometry, turns=1 if name == "FiniteDifference" else 3
            )
            row = {
                "model": "black box",
                "structure": "argon",
                "atoms": n,
                "members": 2,
                "gradient": name,
                "dtype": "float64",
                "calls": calls,
            }
            row |= {
                "seconds": round(seconds, 5),
                "error": None if exact is None else float(f"{error(found, exact):.3g}"),
            }
            say(str(row))
            yield row


def claims(found: Sequence[dict[str, Any]]) -> list[Claim]:
    """What HessianVector saves of the paper's scheme, and what it costs in accuracy."""

    def pick(key: str, **wanted: Any) -> float:
        (row,) = [row for row in found if all(row[k] == v for k, v in wanted.items())]
        return row[key]

    def saved(key: str, **wanted: Any) -> float:
        return round(
            pick(key, gradient="FiniteDifference", **wanted)
            / pick(key, gradient="HessianVector", **wanted),
            1,
        )

    wet = {"structure": "64 waters", "dtype": "float32"}
    members = sorted({row["members"] for row in found if row["structure"] == "64 waters"})
    said = [
        Claim(
            name="force calls of forward differences over HessianVector, 64 waters and cell",
            value=saved("calls", members=members[0], **wet),
            goal=100,
        )
    ]
    for m in members:
        goal = 50 if m <= 4 else None
        said.append(
            Claim(
                name=(
                    f"seconds of forward differences over HessianVector, 64 waters and cell, {m}"
                    " members"
                ),
                value=saved("seconds", members=m, **wet),
                goal=goal,
            )
        )
    for dtype, goal in (("float32", 1e-3), ("float64", 1e-5)):
        worst = max(
            row["error"]
            for row in found
            if row["model"] == "torch"
            and row["structure"] == "64 waters"
            and row["gradient"] == "HessianVector"
            and row["dtype"] == dtype
        )
        said.append(
            Claim(
                name=f"relative error of HessianVector, 64 waters and cell, {dtype}",
                value=worst,
                goal=goal,
                at_least=False,
            )
        )
    largest = max(row["atoms"] for row in found if row["model"] == "black box")
    said.append(
        Claim(
            name=(
                f"seconds of forward differences over HessianVector, black box, {largest} argon"
                " atoms and cell"
            ),
            value=saved("seconds", model="black box", atoms=largest),
            goal=50,
        )
    )
    return said


def _members(text: str) -> int:
    """Members that can disagree."""
    if (count := int(text)) < 2:
        raise ValueError(text)
    return count


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", choices=REPEATS, default=list(REPEATS))
    parser.add_argument(
        "--members",
        type=_members,
        nargs="+",
        default=[2, 4, 12],
        help="of the committees for water",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", default="notebooks/results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    began = time.monotonic()
    arguments.sizes, arguments.members = (
        sorted(set(arguments.sizes)),
        sorted(set(arguments.members)),
    )
    found = list(rows(arguments.sizes, arguments.members, lambda text: print(text, flush=True)))
    path = write(
        arguments.results,
        "gradient_costs",
        "cpu",
        seed=0,
        device="cpu",
        seconds={"all": round(time.monotonic() - began, 1)},
        settings={
            "threads": arguments.threads,
            "sizes": arguments.sizes,
            "members": arguments.members,
        },
        records={"rows": found},
        claims=claims(found),
    )
    print(path)


if __name__ == "__main__":
    main()
