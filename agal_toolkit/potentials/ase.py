"""Bridges to ASE: any calculator as a potential, any potential as a calculator."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import (
    BaseCalculator,
    Calculator,
    PropertyNotImplementedError,
    all_changes,
)
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from ..batch import Batch, Prediction
from ..geometry import OURS, Geometry, state_of
from .protocol import Members, NoGraph, Potential, device_of

_LOCKS: WeakKeyDictionary[BaseCalculator, Any] = WeakKeyDictionary()
_NOISE: WeakKeyDictionary[Calculator, tuple[float, float]] = WeakKeyDictionary()


@dataclass(frozen=True)
class CalculatorPotential:
    """A potential from an ASE calculator; geometries are evaluated one after the other, on the CPU.

    The atoms carry charge and spin where :meth:`Geometry.to_ase` puts them. A calculator with
    parameters for charge and spin (ORCA, Psi4) uses only these. Energies are the free energies
    whose slopes the forces are, where a calculator tells them apart.

    Attributes:
        calculator: any ASE calculator with energy and forces; its stress, if it has one, is used
            for periodic geometries.
    """

    calculator: Calculator

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        if graph:
            raise NoGraph(f"the calculator {type(self.calculator).__name__}")
        d, device = batch.dimension, batch.positions.device
        energies, forces, stresses = [], [], []
        numbers, cells, pbc = batch.split(batch.numbers), batch.cell.detach().cpu(), batch.pbc.cpu()
        for i, positions in enumerate(batch.split(batch.positions)):
            charge, multiplicity = int(batch.charge[i]), int(batch.multiplicity[i])
            geometry = Geometry(
                positions=positions,
                numbers=numbers[i],
                cell=cells[i].numpy(),
                pbc=pbc[i].numpy(),
                charge=charge,
                multiplicity=multiplicity,
            )
            energy, slopes, stress = evaluated(self.calculator, geometry)
            energies.append(energy)
            forces.append(slopes)
            stresses.append(np.full((d, d), np.nan) if stress is None else stress)
        return Prediction(
            torch.tensor(energies, dtype=torch.float64, device=device),
            torch.tensor(np.concatenate(forces), dtype=torch.float64, device=device),
            torch.tensor(np.stack(stresses), dtype=torch.float64, device=device),
        )

    def noise(self, batch: Batch) -> tuple[float, float]:
        """Return the random errors of energies, eV, and forces, eV/angstrom, measured once.

        Many calculators compute in float32, or until an iteration converges, and return float64.
        In the second difference over 1e-6 angstrom nothing but such errors is left; it is taken on
        at most eight structures.
        """
        if self.calculator not in _NOISE:
            batch, _ = batch.take(torch.arange(min(8, len(batch)), device=batch.positions.device))
            draws = np.random.default_rng(0).normal(size=batch.positions.shape)
            move = batch.positions.new_tensor(1e-6 * draws / np.linalg.norm(draws, axis=-1).max())
            before, here, after = (self(batch.at(batch.positions + k * move)) for k in (-1, 0, 1))
            energy = before.energy - 2 * here.energy + after.energy
            forces = before.forces - 2 * here.forces + after.forces
            energy, forces = (float(x.nan_to_num().abs().max()) / 2 for x in (energy, forces))
            # the second derivative of forces leaves less than this
            _NOISE[self.calculator] = (energy, forces) if forces > 1e-9 else (0.0, 0.0)
        return _NOISE[self.calculator]

    def __repr__(self) -> str:
        return f"CalculatorPotential({type(self.calculator).__name__})"


def lock_of(calculator: BaseCalculator) -> Any:
    """Return the lock of a calculator, which remembers one geometry: threads take turns with it."""
    return _LOCKS.setdefault(calculator, RLock())


def evaluated(
    calculator: BaseCalculator, geometry: Geometry
) -> tuple[float, NDArray, NDArray | None]:
    """Return energy, forces (n, d), also on fixed atoms, and stress (d, d) of a periodic structure.

    The energy is that whose slopes the forces are: the free energy, if the calculator has one.
    """
    # A calculator compares initial charges and moments, but not info, with those of the last
    # calculation: they keep an ion from getting the results of its neutral twin.
    atoms, stress = geometry.to_ase(), None
    with lock_of(calculator):
        atoms.calc = calculator
        # first: some programs compute the stress only on request, with energy and forces
        if geometry.dimension == 3 and geometry.pbc.all():
            with suppress(PropertyNotImplementedError):
                stress = atoms.get_stress(voigt=False, apply_constraint=False)
        energy = atoms.get_potential_energy()
        free = getattr(calculator, "results", {}).get("free_energy")
        energy = float(np.reshape(energy if free is None else free, ()))
        forces = atoms.get_forces(apply_constraint=False)[:, : geometry.dimension]
    return energy, forces, stress


def _state(atoms: Atoms) -> tuple[int, int, int]:
    """Return charge, multiplicity and dimension of an ASE structure."""
    return *state_of(atoms), int(atoms.info.get(OURS["dimension"], 3))


class GeometryCalculator(Calculator):
    """Base of ASE calculators whose results depend on charge, multiplicity and dimension, too."""

    # a class attribute without ClassVar, as ASE declares it
    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Return what has changed since the last calculation; ASE does not compare ``info``."""
        same = self.atoms is not None and _state(atoms) == _state(self.atoms)
        if same and atoms == self.atoms:  # many times faster than ASE's comparison
            return []
        changes = super().check_state(atoms, tol=tol)
        return changes if changes or same or self.atoms is None else ["charge"]

    def _store(self, energy: float, forces: NDArray, stress: NDArray | None) -> None:
        """Set ``results`` from energy, forces (n, d) and stress (d, d), which is used if d = 3."""
        padded = np.zeros((len(forces), 3))
        padded[:, : forces.shape[1]] = forces
        self.results = {"energy": energy, "free_energy": energy, "forces": padded}
        if stress is not None and len(stress) == 3:
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)


class PotentialCalculator(GeometryCalculator):
    """An ASE calculator from a potential.

    Charge and multiplicity are read as :meth:`Geometry.from_ase` does.

    Args:
        potential: any potential, or a committee, whose members are averaged.
        dimension: 3, or fewer for a model surface, whose remaining coordinates are then ignored.
        replicas: the atoms are this many independent copies of one geometry, one after the other,
            evaluated as one batch, so that ASE moves all of them; the energy is their sum.
        device: where the potential computes; None asks it.
    """

    def __init__(
        self,
        potential: Potential | Members,
        *,
        dimension: int = 3,
        replicas: int = 1,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.potential, self.dimension, self.replicas = potential, dimension, replicas
        self.device = device_of(potential) if device is None else device

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Set energy, forces, stress of one periodic 3D structure, and ``replica_energies``."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None  # ASE has set it
        charge, multiplicity, _ = _state(self.atoms)
        d, n, copies = self.dimension, len(self.atoms) // self.replicas, self.replicas
        pbc = self.atoms.pbc[:d]
        cell = self.atoms.cell.array[:d, :d] * pbc[:, None]
        batch = Batch(
            positions=torch.tensor(self.atoms.positions[:, :d], device=self.device),
            numbers=torch.tensor(self.atoms.numbers, dtype=torch.int64, device=self.device),
            owner=torch.arange(copies, device=self.device).repeat_interleave(n),
            cell=torch.tensor(np.tile(cell, (copies, 1, 1)), device=self.device),
            pbc=torch.tensor(np.tile(pbc, (copies, 1)), device=self.device),
            charge=torch.full((copies,), charge, device=self.device),
            multiplicity=torch.full((copies,), multiplicity, device=self.device),
        )
        prediction = self.potential(batch)
        if prediction.energy.ndim > 1:
            prediction = prediction.mean()
        energies = prediction.energy.double().cpu().numpy()
        single = copies == 1 and self.atoms.pbc.all()
        stress = prediction.stress[0].double().cpu().numpy() if single else None
        self._store(float(energies.sum()), prediction.forces.cpu().numpy(), stress)
        self.results["replica_energies"] = energies  # ASE's "energies" are those of atoms


@dataclass(frozen=True)
class Guard:
    """What happens where the largest uncertainty of the force on an atom passes a limit.

    Attributes:
        limit: eV/angstrom, of calibrated uncertainties (Cezar 2025, Eq. 9).
        action: "warn", "stop" (the run, by LimitPassed) or "collect" (go on without a word).
        file: extended xyz to which the structures are appended, without labels.
        every: evaluations, steps of a simulation, between structures that are told or collected.
    """

    limit: float
    action: Literal["warn", "stop", "collect"] = "warn"
    file: str | os.PathLike | None = None
    every: int = 100

    def __post_init__(self) -> None:
        if self.action not in ("warn", "stop", "collect") or not self.limit > 0 or self.every < 1:
            expected = "a positive limit, action 'warn', 'stop' or 'collect', every of at least 1"
            raise ValueError(f"{self}: expected {expected}")


class LimitPassed(RuntimeError):
    """A guard stopped a simulation; `atoms` is the structure that passed its limit."""

    def __init__(self, text: str, atoms: Atoms) -> None:
        super().__init__(text)
        self.atoms = atoms


class GuardedCalculator(GeometryCalculator):
    """An ASE calculator that watches how certain it is.

    Args:
        calculator: gives energy, forces and stress.
        guard: says what happens.
        judge: calculator with a calibrated "uncertainty" (n,) among its results.

    Attributes:
        collected: structures beyond the limit, at least `every` evaluations apart.
        passed: number of evaluations beyond the limit.
    """

    def __init__(self, calculator: Calculator, guard: Guard, judge: Calculator) -> None:
        super().__init__()
        self.calculator, self.guard, self.judge = calculator, guard, judge
        properties = {*calculator.implemented_properties, "uncertainty"}
        self.implemented_properties = sorted(properties)
        self.collected: list[Atoms] = []
        self.passed, self._done, self._last = 0, 0, -guard.every

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Take over all results of the calculator, and compare the uncertainty with the limit.

        Raises:
            LimitPassed: an uncertainty beyond the limit of a guard that stops.
        """
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        for name in set(properties) - {"uncertainty"} or {"forces"}:
            self.calculator.get_property(name, self.atoms)
        sigma = np.asarray(self.judge.get_property("uncertainty", self.atoms))
        self.results = {**self.calculator.results, "uncertainty": sigma}
        largest, guard, self._done = float(np.max(sigma)), self.guard, self._done + 1
        if largest <= guard.limit:  # not so where it is not finite
            return
        self.passed += 1
        text = f"evaluation {self._done}: the force on atom {int(np.argmax(sigma))} is uncertain by"
        text = f"{text} {largest:.3g} eV/Å, the limit is {guard.limit:g}"
        if guard.action == "stop" or self._done - self._last >= guard.every:
            self._last, kept = self._done, self.atoms.copy()
            kept.info[OURS["origin"]] = {"by": "guard", "uncertainty": largest}
            self.collected.append(kept)
            if guard.file is not None:
                from ase.io import write  # takes half a second to import

                write(Path(guard.file), kept, format="extxyz", append=True)
            if guard.action == "warn":
                warnings.warn(text, stacklevel=2)
        if guard.action == "stop":
            raise LimitPassed(text, self.collected[-1])
