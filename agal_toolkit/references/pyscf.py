"""Density functional theory with PySCF, and dispersion with s-dftd3.

The defaults are BP86-D3(BJ)/def2-SVP, the reference of Schwalbe-Koda 2021 for ammonia. Every
calculation starts from the same kind of guess, so that no label depends on the one before it. The
integration grid is fine, and its motion with the atoms is part of the gradient, so that forces
agree with energies.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ..geometry import Geometry, Labels
from .calculators import check_molecule
from .outcomes import INSTALL, OTHER_SPIN, NotConverged

if TYPE_CHECKING:
    from pyscf.gto import Mole

SLOPE = units.Hartree / units.Bohr  # of an energy, atomic units to eV/angstrom
CURVATURE = SLOPE / units.Bohr  # eV/angstrom^2
HEAVIEST = 94  # plutonium, the last element with parameters in D3; s-dftd3 gives 0 beyond its own


@dataclass(frozen=True)
class DFT:
    """Isolated molecules by Kohn-Sham theory, with analytic forces.

    Restricted for singlets, unrestricted for any other multiplicity. A restricted determinant
    describes a breaking bond poorly: there the field often does not converge, which is a failure.

    The functional is P86 on VWN5, as ORCA's BP86 has it. libxc's own "b88,p86" sits on PZ81, which
    is another functional: 2 kcal/mol off in the total energy of ammonia, 0.04 in its inversion
    barrier. Heavy elements take the core potentials that belong to the basis. Labels of different
    releases are kept apart by ``Reference(DFT(), settings={"pyscf": pyscf.__version__})``.

    Attributes:
        functional: Exchange and correlation as libxc names them.
        basis: A basis of PySCF.
        dispersion: The functional whose D3(BJ) parameters are used (Grimme 2011,
            doi:10.1002/jcc.21759; two-body, as ORCA's D3BJ); that of another functional is refused;
            None leaves dispersion out.
        grid: PySCF's level, 0 to 9, of the integration grid, pruned as in NWChem; at level 4,
            turning ammonia changes its energy by 1e-6 eV.
        conv_tol: Largest change of the energy in the last cycle, hartree.
        conv_tol_grad: Largest norm of the orbital gradient, hartree; forces are then converged to
            about 1e-6 eV/angstrom.
        max_cycle: Largest number of cycles of DIIS, and then of the second-order method that
            continues if DIIS has not converged.
        threads: Of PySCF in this process; None leaves the choice to OMP_NUM_THREADS.
    """

    functional: str = "b88,p86vwn"
    basis: str = "def2-svp"
    dispersion: str | None = "bp86"
    grid: int = 4
    conv_tol: float = 1e-10
    conv_tol_grad: float = 1e-6
    max_cycle: int = 50
    threads: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.grid not in range(10):
            raise ValueError(f"grid is {self.grid}, expected a level of PySCF's grids, 0 to 9")
        if not min(self.conv_tol, self.conv_tol_grad) > 0 or self.max_cycle < 1:
            raise ValueError(f"{self}: conv_tol, conv_tol_grad and max_cycle must be positive")
        if self._bp86(self.dispersion) and not self._bp86(self.functional):
            raise ValueError(self._other_dispersion())

    @staticmethod
    def _bp86(name: str | None) -> bool:
        return (name or "").lower() in ("b88,p86vwn", "b88,p86", "bp86", "bp")

    def _other_dispersion(self) -> str:
        wrong = f"D3 parameters of {self.dispersion!r} do not belong to {self.functional!r}"
        remedy = "name the same functional with DFT(functional=..., dispersion=...)"
        return f"{wrong}: {remedy}, or leave dispersion out with dispersion=None"

    def __call__(self, geometry: Geometry) -> Labels:
        """Return energy and forces.

        Raises:
            ValueError: as :func:`check_molecule`, or an element without basis or D3 parameters.
            NotConverged: the self-consistent field.
            ImportError: PySCF or s-dftd3 is missing.
        """
        check_molecule(geometry, "DFT")
        energy, slope = self._dispersion(geometry)
        with _threads(self.threads):
            scf = self._converged(geometry)
            gradient = scf.nuc_grad_method()
            gradient.grid_response = True  # else the forces of a molecule do not sum to zero
            slope = slope + gradient.kernel()
        return Labels(energy=(scf.e_tot + energy) * units.Hartree, forces=-slope * SLOPE)

    def hessian(self, geometry: Geometry) -> NDArray:
        """Return (3n, 3n) second derivatives of the energy, eV/angstrom^2, atom by atom.

        Those of the Kohn-Sham energy are PySCF's analytic ones, which leave out the grid's
        response: a few tenths of a wavenumber from differences of our forces for ammonia. Those of
        D3 are central differences of its analytic gradient.

        Raises:
            ValueError, NotConverged, ImportError: as for labels, or all electrons have one spin.
        """
        check_molecule(geometry, "DFT")
        if geometry.multiplicity - 1 == geometry.numbers.sum() - geometry.charge:
            wrong = f"PySCF has no Hessian where all electrons have one spin, as in {geometry!r}"
            raise ValueError(f"{wrong}: take differences of forces")
        n, step = len(geometry), 1e-3
        curvature = np.zeros((3 * n, 3 * n))
        if self.dispersion is not None:
            for row in range(3 * n):
                shift = np.zeros((n, 3))
                shift.flat[row] = step
                ends = [geometry.moved(geometry.positions + sign * shift) for sign in (1, -1)]
                ahead, behind = (self._dispersion(end)[1] for end in ends)
                curvature[row] = (ahead - behind).ravel() / (2 * step / units.Bohr)
        with _threads(self.threads):
            hessian = self._converged(geometry).Hessian().kernel()
            curvature += hessian.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)
        return (curvature + curvature.T) / 2 * CURVATURE

    def _molecule(self, geometry: Geometry) -> Mole:
        from pyscf import gto

        symbols = [chemical_symbols[z] for z in geometry.numbers]
        elements = sorted(set(symbols))
        try:
            bases = {element: gto.basis.load(self.basis, element) for element in elements}
        except Exception as error:
            wrong = f"PySCF has no basis {self.basis!r} for one of {', '.join(elements)}"
            raise ValueError(f"{wrong}: choose another with DFT(basis=...)") from error
        cores = {element: gto.basis.load_ecp(self.basis, element) for element in elements}
        cores = {element: core for element, core in cores.items() if core}
        state = {"charge": geometry.charge, "spin": geometry.multiplicity - 1}
        atoms = list(zip(symbols, geometry.positions / units.Bohr, strict=True))
        molecule = gto.Mole(atom=atoms, unit="Bohr", basis=bases, ecp=cores, verbose=0, **state)
        molecule.build(dump_input=False, parse_arg=False)
        if molecule.nelec[0] > molecule.nao:
            wrong = f"{geometry!r} has {molecule.nelec[0]} electrons of one spin"
            available = f"{self.basis} {molecule.nao} functions for them"
            raise ValueError(f"{wrong}, {available}: choose a larger basis")
        return molecule

    def _converged(self, geometry: Geometry) -> Any:
        from pyscf import dft

        kind = dft.RKS if geometry.multiplicity == 1 else dft.UKS
        limits = {"conv_tol": self.conv_tol, "conv_tol_grad": self.conv_tol_grad}
        options = {**limits, "max_cycle": self.max_cycle, "init_guess": "minao", "chkfile": None}
        scf = kind(self._molecule(geometry)).set(xc=self.functional, **options)
        # PySCF opens a checkpoint file before chkfile=None takes effect, and leaves it open
        checkpoint = vars(scf).pop("_chkfile", None)
        if checkpoint is not None:
            checkpoint.close()
        scf.grids.set(level=self.grid, prune=dft.gen_grid.nwchem_prune)
        scf.kernel()
        if not scf.converged:
            # If two fields are nearly equal (the two places of a radical's hole), DIIS moves slowly
            # from one to the other for ever.
            second_order = scf.newton()
            second_order.kernel(scf.mo_coeff, scf.mo_occ)
            scf = second_order.undo_soscf()
        if not scf.converged:
            state = f"charge {geometry.charge}, multiplicity {geometry.multiplicity}"
            wrong = f"did not converge in {self.max_cycle} cycles: raise max_cycle, {OTHER_SPIN}"
            raise NotConverged(f"the self-consistent field of {geometry!r}, {state}, {wrong}")
        return scf

    def _dispersion(self, geometry: Geometry) -> tuple[float, NDArray]:
        """D3(BJ) energy, hartree, and its slope (n, 3), hartree/bohr."""
        if self.dispersion is None:
            return 0.0, np.zeros_like(geometry.positions)
        try:
            from dftd3.interface import DispersionModel, RationalDampingParam
        except ImportError as error:
            remedy = f"{INSTALL}, or DFT(dispersion=None)"
            raise ImportError(f"D3 comes from s-dftd3, which is missing: {remedy}") from error
        heaviest, remedy = geometry.numbers.max(), "leave dispersion out with DFT(dispersion=None)"
        if heaviest > HEAVIEST:
            raise ValueError(f"D3 has no parameters for {chemical_symbols[heaviest]}: {remedy}")
        try:
            damping = RationalDampingParam(method=self.dispersion, atm=False)
        except RuntimeError as error:
            missing = f"s-dftd3 has no D3(BJ) parameters for {self.dispersion!r}"
            raise ValueError(f"{missing}: name a functional that has, or {remedy}") from error
        model = DispersionModel(geometry.numbers, geometry.positions / units.Bohr)
        result = model.get_dispersion(damping, grad=True)
        with suppress(RuntimeError):  # s-dftd3 does not know the functional by libxc's name
            name = "bp86" if self._bp86(self.functional) else self.functional
            own = RationalDampingParam(method=name, atm=False)
            if not np.isclose(model.get_dispersion(own, grad=False)["energy"], result["energy"]):
                raise ValueError(self._other_dispersion())
        return float(result["energy"]), result["gradient"]


def _threads(count: int | None) -> Any:
    """A context in which PySCF runs on `count` threads."""
    try:
        from pyscf import lib
    except ImportError as error:
        raise ImportError(f"DFT() needs PySCF, which is missing: {INSTALL}") from error
    return lib.with_omp_threads(count)
