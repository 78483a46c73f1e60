"""Density functional theory: PySCF for the electrons, s-dftd3 for dispersion, and no other program.

The defaults are BP86-D3(BJ)/def2-SVP, the reference of Schwalbe-Koda 2021 for ammonia. What could
make forces disagree
with energies, or a label depend on those before it, is settled here: every calculation starts from
the same kind of guess and knows nothing of the last one, the grid is fine and its own motion with
the atoms is part of the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ..geometry import Geometry, Labels
from .molecules import check_molecule
from .outcomes import NotConverged

if TYPE_CHECKING:
    from pyscf.gto import Mole

SLOPE = units.Hartree / units.Bohr  # of an energy, atomic units to eV/angstrom
CURVATURE = SLOPE / units.Bohr  # eV/angstrom^2
HEAVIEST = 94  # plutonium, the last element with parameters in D3; s-dftd3 says 0 beyond its own


@dataclass(frozen=True)
class DFT:
    """Labels isolated molecules with Kohn-Sham energies and analytic forces, in eV and eV/angstrom.

    Restricted for singlets, unrestricted for any other multiplicity. A restricted determinant is a
    poor description of a
    bond that is being broken: there the field often does not converge, which is a failure and not a
    label.

    The functional is P86 on VWN5, as ORCA's BP86 has it. libxc's own "b88,p86" sits on PZ81, which
    is another functional: 2 kcal/mol off in the total energy of ammonia, 0.04 in its inversion
    barrier. Heavy elements take the core potentials that belong to the basis. Labels of different
    releases are kept apart by ``Reference(DFT(), settings={"pyscf": pyscf.__version__})``.

    Attributes:
        functional: exchange and correlation as libxc names them.
        basis: a basis of PySCF.
        dispersion: the functional whose D3(BJ) parameters are taken (Grimme 2011,
            doi:10.1002/jcc.21759; two-body, as ORCA's D3BJ); None leaves dispersion out.
        grid: PySCF's level, 0 to 9, of the integration grid, pruned as in NWChem. At 4 it has 60 x
            434 points for H, 90 x 590 for C, N and O; turning ammonia then changes its energy by
            1e-6 eV.
        conv_tol: largest change of the energy in the last cycle, hartree.
        conv_tol_grad: largest norm of the orbital gradient, hartree; forces are then converged to
            about 1e-6 eV/angstrom.
        max_cycle: cycles of DIIS, and, where they do not suffice, of the second-order method that
            goes on from there; then the field counts as not converged.
        threads: of PySCF, in this process; None leaves the choice to OMP_NUM_THREADS.

    Raises:
        ValueError: a setting out of range.
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
            raise ValueError(
                f"conv_tol={self.conv_tol}, conv_tol_grad={self.conv_tol_grad} and"
                f" max_cycle={self.max_cycle} must be positive"
            )

    def __call__(self, geometry: Geometry) -> Labels:
        """Energy and forces.

        Raises:
            ValueError: a periodic or flat geometry, an impossible charge or multiplicity, atoms on
                top of each other, an element without basis or dispersion parameters.
            NotConverged: the self-consistent field.
            ImportError: PySCF or s-dftd3 is missing.
        """
        check_molecule(geometry, "DFT")
        energy, slope = self._dispersion(geometry)
        with _threads(self.threads):
            mean = self._converged(geometry)
            gradient = mean.nuc_grad_method()
            gradient.grid_response = True  # else the forces of a molecule do not sum to zero
            slope = slope + gradient.kernel()
        return Labels(energy=(mean.e_tot + energy) * units.Hartree, forces=-slope * SLOPE)

    def hessian(self, geometry: Geometry) -> NDArray:
        """(3n, 3n) second derivatives of the energy, eV/angstrom^2, symmetric; rows and columns run
        over atoms, then x, y, z.

        Those of the Kohn-Sham energy are PySCF's analytic ones, which leave out the grid's
        response: a few tenths of a wavenumber from differences of our forces for ammonia. Those of
        D3 are central differences of its analytic gradient.

        Raises:
            ValueError, NotConverged, ImportError: as for labels; ValueError also where all
                electrons have one spin.
        """
        check_molecule(geometry, "DFT")
        if geometry.multiplicity - 1 == geometry.numbers.sum() - geometry.charge:
            raise ValueError(
                f"PySCF has no Hessian where all electrons have one spin, as in {geometry!r}: take"
                " differences of forces"
            )
        n, step = len(geometry), 1e-3
        curvature = np.zeros((3 * n, 3 * n))
        if self.dispersion is not None:
            for row in range(3 * n):
                shift = np.zeros((n, 3))
                shift.flat[row] = step
                ahead, behind = (
                    self._dispersion(geometry.moved(geometry.positions + sign * shift))[1]
                    for sign in (1, -1)
                )
                curvature[row] = (ahead - behind).ravel() / (2 * step / units.Bohr)
        with _threads(self.threads):
            mean = self._converged(geometry)
            curvature += mean.Hessian().kernel().transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)
        return (curvature + curvature.T) / 2 * CURVATURE

    def _molecule(self, geometry: Geometry) -> Mole:
        """The molecule with its basis, for PySCF."""
        from pyscf import gto

        elements = sorted({chemical_symbols[z] for z in geometry.numbers})
        try:
            bases = {element: gto.basis.load(self.basis, element) for element in elements}
        except Exception as error:
            raise ValueError(
                f"PySCF has no basis {self.basis!r} for one of {', '.join(elements)}: choose"
                " another with DFT(basis=...)"
            ) from error
        molecule = gto.Mole(
            atom=[
                (chemical_symbols[z], x)
                for z, x in zip(geometry.numbers, geometry.positions / units.Bohr, strict=True)
            ],
            unit="Bohr",
            basis=bases,
            ecp={
                element: core
                for element in elements
                if (core := gto.basis.load_ecp(self.basis, element))
            },
            charge=geometry.charge,
            spin=geometry.multiplicity - 1,
            verbose=0,
        )
        molecule.build(dump_input=False, parse_arg=False)
        if molecule.nelec[0] > molecule.nao:
            raise ValueError(
                f"{geometry!r} has {molecule.nelec[0]} electrons of one spin, {self.basis}"
                f" {molecule.nao} functions for them: choose a larger basis"
            )
        return molecule

    def _converged(self, geometry: Geometry) -> Any:
        """PySCF's mean field, converged."""
        try:
            from pyscf import dft
        except ImportError as error:
            raise ImportError(
                "DFT() computes with PySCF, which is missing: pip install"
                " 'agal_toolkit[references]'"
            ) from error
        kind = dft.RKS if geometry.multiplicity == 1 else dft.UKS
        mean = kind(self._molecule(geometry)).set(
            xc=self.functional,
            conv_tol=self.conv_tol,
            conv_tol_grad=self.conv_tol_grad,
            max_cycle=self.max_cycle,
            init_guess="minao",
            chkfile=None,
        )
        checkpoint = vars(mean).pop(
            "_chkfile", None
        )  # PySCF opens one before it can be told not to, and leaves it open
        if checkpoint is not None:
            checkpoint.close()
        mean.grids.set(level=self.grid, prune=dft.gen_grid.nwchem_prune)
        mean.kernel()
        if not mean.converged:
            # Where two fields are all but equal (the two places of a radical's hole) DIIS creeps
            # from one to the other for ever.
            second = mean.newton()
            second.kernel(mean.mo_coeff, mean.mo_occ)
            mean = second.undo_soscf()
        if not mean.converged:
            raise NotConverged(
                f"the self-consistent field of {geometry!r}, charge {geometry.charge}, multiplicity"
                f" {geometry.multiplicity}, did not converge in {self.max_cycle} cycles: give"
                " another multiplicity, raise max_cycle, or drop the geometry (MinDistance before"
                " labelling)"
            )
        return mean

    def _dispersion(self, geometry: Geometry) -> tuple[float, NDArray]:
        """D3(BJ) energy, hartree, and its slope (n, 3), hartree/bohr."""
        if self.dispersion is None:
            return 0.0, np.zeros_like(geometry.positions)
        try:
            from dftd3.interface import DispersionModel, RationalDampingParam
        except ImportError as error:
            raise ImportError(
                "D3 comes from s-dftd3, which is missing: pip install 'agal_toolkit[references]',"
                " or DFT(dispersion=None)"
            ) from error
        if geometry.numbers.max() > HEAVIEST:
            raise ValueError(
                f"D3 has no parameters for {chemical_symbols[geometry.numbers.max()]}: leave"
                " dispersion out with DFT(dispersion=None)"
            )
        try:
            damping = RationalDampingParam(method=self.dispersion, atm=False)
        except RuntimeError as error:
            raise ValueError(
                f"s-dftd3 has no D3(BJ) parameters for {self.dispersion!r}: name a functional that"
                " has, or None"
            ) from error
        said = DispersionModel(geometry.numbers, geometry.positions / units.Bohr).get_dispersion(
            damping, grad=True
        )
        return float(said["energy"]), said["gradient"]


def _threads(count: int | None) -> Any:
    """A context in which PySCF runs on `count` threads."""
    try:
        from pyscf import lib
    except ImportError as error:
        raise ImportError(
            "DFT() computes with PySCF, which is missing: pip install 'agal_toolkit[references]'"
        ) from error
    return lib.with_omp_threads(count)
