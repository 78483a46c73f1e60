"""Tight binding: GFN1-xTB and GFN2-xTB by tblite, for molecules, liquids and frameworks; energies,
forces and stress.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import units
from ase.data import chemical_symbols

from ..geometry import Geometry, Labels
from .molecules import check_electrons
from .pyscf import NotConverged

Method = Literal["GFN1-xTB", "GFN2-xTB"]


@dataclass(frozen=True)
class XTB:
    """Labels molecules and crystals with extended tight binding (Grimme 2017,
    doi:10.1021/acs.jctc.7b00118; Bannwarth 2019, doi:10.1021/acs.jctc.8b01176).

    A label knows nothing of the one before it: each starts from the same guess.

    Attributes:
        method: "GFN1-xTB" or "GFN2-xTB".
        accuracy: of integrals and self-consistency, smaller is tighter; 1 is tblite's default.
        temperature: of the electrons, K; it smooths the crossing of levels.
        iterations: of the self-consistent charges.

    Raises:
        ValueError: a setting out of range.
    """

    method: Method = "GFN2-xTB"
    accuracy: float = 0.1
    temperature: float = 300.0
    iterations: int = 250

    def __post_init__(self) -> None:
        if self.method not in ("GFN1-xTB", "GFN2-xTB"):
            raise ValueError(f"method is {self.method!r}, expected 'GFN1-xTB' or 'GFN2-xTB'")
        if not min(self.accuracy, self.temperature) > 0 or self.iterations < 1:
            raise ValueError(
                f"accuracy={self.accuracy}, temperature={self.temperature} and"
                f" iterations={self.iterations} must be positive"
            )

    def __call__(self, geometry: Geometry) -> Labels:
        """Energy and forces, and stress where the geometry is periodic.

        Raises:
            ValueError: periodic in some directions only, an impossible charge or multiplicity,
                atoms on top of each other, an element without parameters.
            NotConverged: the self-consistent charges.
            ImportError: tblite is missing.
        """
        if geometry.pbc.any() != geometry.pbc.all():
            raise ValueError(
                f"XTB() labels molecules and crystals and {geometry!r} is periodic in some"
                " directions only: give a large cell, pbc=True"
            )
        check_electrons(geometry, "XTB()")
        if geometry.numbers.max() > 86:
            raise ValueError(
                f"{self.method} has no parameters for {chemical_symbols[geometry.numbers.max()]}:"
                " take another reference"
            )
        try:
            from tblite.exceptions import TBLiteRuntimeError
            from tblite.interface import Calculator
        except ImportError as error:
            raise ImportError(
                "XTB() computes with tblite, which is missing: pip install"
                " 'agal_toolkit[references]'"
            ) from error
        periodic = bool(geometry.pbc.all())
        box = (
            {"lattice": geometry.cell / units.Bohr, "periodic": np.ones(3, dtype=bool)}
            if periodic
            else {}
        )
        calculator = Calculator(
            self.method,
            geometry.numbers,
            geometry.positions / units.Bohr,
            float(geometry.charge),
            geometry.multiplicity - 1,
            **box,
        )
        for key, value in (
            ("verbosity", 0),
            ("accuracy", self.accuracy),
            ("temperature", self.temperature * units.kB / units.Hartree),
            ("max-iter", self.iterations),
        ):
            calculator.set(key, value)
        try:
            said = calculator.singlepoint()
        except TBLiteRuntimeError as error:
            raise NotConverged(
                f"the self-consistent charges of {geometry!r}, charge {geometry.charge},"
                f" multiplicity {geometry.multiplicity}, did not converge ({error}): give another"
                " multiplicity, raise iterations or the temperature, or drop the geometry"
                " (MinDistance before labelling)"
            ) from error
        slope = units.Hartree / units.Bohr
        stress = (
            {"stress": said.get("virial") * units.Hartree / abs(np.linalg.det(geometry.cell))}
            if periodic
            else {}
        )
        return Labels(
            energy=float(said.get("energy")) * units.Hartree,
            forces=-said.get("gradient") * slope,
            **stress,
        )
