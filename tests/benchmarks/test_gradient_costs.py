"""The gradient of a calibrated attack by three schemes: seconds and errors.

Structures are rattled argon crystals of 8 to 512 atoms, whose cells move with the atoms, and 64
waters. The torch model is an untrained committee of DensityNets, as costs do not depend on weights;
the black box is a committee of ASE's Lennard-Jones calculators. Errors are relative to the backward
pass in float64, or for the black box to central differences, up to :data:`EXACT` atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.lj import LennardJones

from agal_toolkit.attack import Autograd, FiniteDifference, Gradient, HessianVector, TargetError
from agal_toolkit.batch import Batch, Delta
from agal_toolkit.committee import Committee
from agal_toolkit.geometry import Geometry
from agal_toolkit.potentials import DensityNet, Stacked
from studies.water.dynamics import packed

REPEATS = {
    **{8: (2, 1, 1), 16: (2, 2, 1), 32: (2, 2, 2), 64: (4, 2, 2)},
    **{128: (4, 4, 2), 256: (4, 4, 4), 512: (8, 4, 4)},
}
EXACT, WATER = 64, 192  # atoms; no argon crystal has 192
DOUBLE, SINGLE = torch.float64, torch.float32

pytestmark = pytest.mark.timeout(3600)


def name(gradient: Gradient) -> str:
    return type(gradient).__name__


def structure(atoms: int) -> tuple[Geometry, tuple[int, ...]]:
    """Return a rattled argon crystal, or 64 waters, and the elements."""
    if atoms == WATER:
        return packed(64, np.random.default_rng(0)), (1, 8)
    crystal = bulk("Ar", a=5.3, cubic=True).repeat(REPEATS[atoms])
    crystal.rattle(0.15, seed=atoms)
    return Geometry.from_ase(crystal), (18,)


def densities(elements: Sequence[int], members: int, dtype: torch.dtype) -> Committee:
    """Untrained members, with the same weights in both precisions."""
    return Committee(Stacked(DensityNet(elements, range(members)).to(dtype).requires_grad_(False)))


def gradient_of(committee: Committee, gradient: Gradient, geometry: Geometry) -> Delta:
    """Return the gradient of the distance to a target (Cezar 2025, Eq. 8)."""
    loss, batch = TargetError(0.1, raw=True)(committee), Batch.of([geometry])
    delta = Delta(torch.zeros_like(batch.positions), torch.zeros(1, 3, 3, dtype=DOUBLE))
    return gradient(committee, loss, batch, delta)[1]


def error(result: Delta, exact: Delta) -> float:
    """Return the larger relative error of atoms and cell."""
    pairs = (result.shift, exact.shift), (result.strain, exact.strain)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


@cache
def exact_gradient(atoms: int, members: int) -> Delta:
    """By the backward pass in float64."""
    geometry, elements = structure(atoms)
    return gradient_of(densities(elements, members, DOUBLE), Autograd(), geometry)


def measure(benchmark, committee: Committee, gradient: Gradient, geometry: Geometry) -> Delta:
    """Time the gradient; FiniteDifference takes long enough for one round."""
    rounds = 1 if isinstance(gradient, FiniteDifference) else 5
    arguments = (committee, gradient, geometry)
    return benchmark.pedantic(gradient_of, arguments, rounds=rounds, warmup_rounds=rounds // 5)


@pytest.mark.parametrize("gradient", [Autograd(), HessianVector(), FiniteDifference()], ids=name)
@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE], ids=str)
@pytest.mark.parametrize(
    ("atoms", "members"), [*((n, 4) for n in REPEATS), (WATER, 2), (WATER, 4), (WATER, 12)]
)
def test_torch_model(benchmark, atoms, members, dtype, gradient):
    geometry, elements = structure(atoms)
    result = measure(benchmark, densities(elements, members, dtype), gradient, geometry)
    relative = error(result, exact_gradient(atoms, members))
    benchmark.extra_info["relative error"] = float(f"{relative:.3g}")
    if isinstance(gradient, HessianVector):
        assert relative < (1e-3 if dtype is SINGLE else 1e-5)


@pytest.mark.parametrize("gradient", [HessianVector(), FiniteDifference()], ids=name)
@pytest.mark.parametrize("atoms", REPEATS)
def test_black_box(benchmark, atoms, gradient):
    parameters = [{"epsilon": 0.0105, "sigma": 3.39}, {"epsilon": 0.0111, "sigma": 3.41}]
    calculators = [LennardJones(rc=5.5, smooth=True, **kinds) for kinds in parameters]
    committee, geometry = Committee.from_calculators(calculators), structure(atoms)[0]
    result = measure(benchmark, committee, gradient, geometry)
    if atoms <= EXACT:
        exact = gradient_of(committee, FiniteDifference(central=True), geometry)
        benchmark.extra_info["relative error"] = float(f"{error(result, exact):.3g}")
