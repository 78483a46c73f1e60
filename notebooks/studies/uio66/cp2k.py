"""Input of the program CP2K for density-corrected R2SCAN, the paper's reference.

The energy is that of the functional R2SCAN on the density of Hartree-Fock theory, and is not made
self-consistent; its forces and stress need the response of that density. CP2K calls this
``ENERGY_FUNCTIONAL DCDFT`` (CP2K 2023.1 and later, built with libint and libxc).

Two files are run one after the other: PBE to convergence, then density-corrected R2SCAN from its
orbitals. Printed in Cezar 2025, Sec. IV.3, are: GTH pseudopotentials, TZV2P basis sets optimised
for SCAN, a plane-wave cutoff of 2500 Ry, a truncated Coulomb operator of 5.0 to 5.5 angstrom (about
half the shortest edge), ADMM with basis sets of the file BASIS_ADMM_UZH, and Schwarz screening of
1e-6 from a converged PBE calculation. These lines end with "! printed" in the files. The others are
ours, because the paper's inputs were not at hand: which of that file's basis sets, pseudopotentials
made for SCAN, the kind of ADMM, and all other thresholds. No dispersion correction is printed, and
there is none.

The files were checked as text, and have not been run: CP2K is not among this project's libraries.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from agal_toolkit.files import atomic_write
from agal_toolkit.geometry import Geometry

from .structures import SYSTEMS, file_of, start

VALENCE = {"H": 1, "C": 4, "O": 6, "Zr": 12}  # electrons outside the pseudopotentials' cores
RADII = (5.0, 5.5)  # angstrom, of the truncated Coulomb operator
PRINTED = "  ! printed"


@dataclass(frozen=True, kw_only=True)
class DensityCorrected:
    """Density-corrected R2SCAN in CP2K.

    Attributes:
        cutoff: of plane waves, Ry; the paper's.
        relative_cutoff: of Gaussians on the grids, Ry.
        schwarz: screening of exchange integrals, atomic units; the paper's.
        scf: largest gradient of a converged calculation.
        precision: of everything else (EPS_DEFAULT).
        auxiliary: basis set of the exchange in BASIS_ADMM_UZH, without its number of electrons.
        memory: for exchange integrals, MiB for each process.

    Raises:
        ValueError: numbers that are not positive.
    """

    cutoff: float = 2500.0
    relative_cutoff: float = 100.0
    schwarz: float = 1e-6
    scf: float = 1e-7
    precision: float = 1e-14
    auxiliary: str = "admm-tzp"
    memory: int = 4000

    def __post_init__(self) -> None:
        numbers = (self.cutoff, self.relative_cutoff, self.schwarz, self.scf, self.precision)
        if not min(*numbers, self.memory) > 0:
            raise ValueError(f"{self}: expected positive numbers")

    def inputs(self, geometry: Geometry, project: str) -> dict[str, str]:
        """Return the texts of the two files by their names, in the order in which they are run.

        Args:
            geometry: periodic along all three vectors, a closed shell.
            project: beginning of the names of all files, without spaces.

        Raises:
            ValueError: another geometry or element, a cell too small for the Coulomb operator.
        """
        if not project or not project.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"project is {project!r}: give letters, digits, - and _")
        if geometry.dimension != 3 or not geometry.pbc.all() or geometry.multiplicity != 1:
            raise ValueError(f"{geometry!r}: expected a closed shell in a periodic cell")
        first, second = f"{project}-pbe", f"{project}-dc"
        pbe = section("XC", section("XC_FUNCTIONAL PBE"))
        restart = [f"WFN_RESTART_FILE_NAME {first}-RESTART.wfn{PRINTED}"]
        return {
            f"{first}.inp": self._file(geometry, first, "ENERGY", self._dft("ATOMIC", pbe)),
            f"{second}.inp": self._file(
                geometry,
                second,
                "ENERGY_FORCE",
                [*restart, *self._dft("RESTART", self._hartree_fock(geometry))],
            ),
        }

    def _hartree_fock(self, geometry: Geometry) -> list[str]:
        """The density's theory, and the functional that is evaluated on this density."""
        exchange = section(
            "HF",
            ["FRACTION 1.0"],
            section(
                "INTERACTION_POTENTIAL",
                [f"POTENTIAL_TYPE TRUNCATED{PRINTED}"],
                [f"CUTOFF_RADIUS {coulomb_radius(geometry):.2f}{PRINTED}"],
                ["T_C_G_DATA t_c_g.dat"],
            ),
            section(
                "SCREENING",
                [f"EPS_SCHWARZ {self.schwarz:.1E}{PRINTED}", "SCREEN_ON_INITIAL_P TRUE"],
            ),
            section("MEMORY", [f"MAX_MEMORY {self.memory}"]),
        )
        admm = ["METHOD BASIS_PROJECTION", "ADMM_PURIFICATION_METHOD NONE"]
        admm += ["EXCH_SCALING_MODEL NONE", "EXCH_CORRECTION_FUNC PBEX"]
        functional = section("XC_FUNCTIONAL", section("MGGA_X_R2SCAN"), section("MGGA_C_R2SCAN"))
        return [
            *section("AUXILIARY_DENSITY_MATRIX_METHOD", admm),
            *section("XC", section("XC_FUNCTIONAL NONE"), exchange),
            *section(
                "ENERGY_CORRECTION",
                [f"ENERGY_FUNCTIONAL DCDFT{PRINTED}"],
                section("XC", functional),
                section("RESPONSE_SOLVER", ["METHOD AO_ORTHO"]),
            ),
        ]

    def _dft(self, guess: str, theory: list[str]) -> list[str]:
        """What both calculations share, with the theory of one."""
        return [
            "BASIS_SET_FILE_NAME BASIS_MOLOPT_UZH",
            f"BASIS_SET_FILE_NAME BASIS_ADMM_UZH{PRINTED}",
            "POTENTIAL_FILE_NAME POTENTIAL_UZH",
            *section(
                "MGRID",
                [f"CUTOFF {self.cutoff:g}{PRINTED}", f"REL_CUTOFF {self.relative_cutoff:g}"],
            ),
            *section("QS", ["METHOD GPW", f"EPS_DEFAULT {self.precision:.1E}"]),
            *section(
                "SCF",
                [f"SCF_GUESS {guess}", f"EPS_SCF {self.scf:.1E}", "MAX_SCF 30"],
                section("OT", ["MINIMIZER DIIS", "PRECONDITIONER FULL_ALL"]),
                section("OUTER_SCF", [f"EPS_SCF {self.scf:.1E}", "MAX_SCF 20"]),
            ),
            *theory,
        ]

    def _file(self, geometry: Geometry, project: str, run: str, dft: list[str]) -> str:
        """The text of a file."""
        symbols = [chemical_symbols[number] for number in geometry.numbers]
        axes = zip("ABC", geometry.cell, strict=True)
        cell = [f"{axis} {_numbers(vector)}" for axis, vector in axes]
        atoms = zip(symbols, geometry.positions, strict=True)
        lines = [
            *section("GLOBAL", [f"PROJECT {project}", f"RUN_TYPE {run}", "PRINT_LEVEL MEDIUM"]),
            *section(
                "FORCE_EVAL",
                ["METHOD QUICKSTEP"],
                ["STRESS_TENSOR ANALYTICAL"] if run == "ENERGY_FORCE" else [],
                section("DFT", [f"CHARGE {geometry.charge}", "MULTIPLICITY 1"], dft),
                section(
                    "SUBSYS",
                    section("CELL", cell, ["PERIODIC XYZ"]),
                    section("COORD", [f"{symbol} {_numbers(x)}" for symbol, x in atoms]),
                    *[self._kind(symbol) for symbol in sorted(set(symbols))],
                ),
                section("PRINT", section("FORCES ON"), section("STRESS_TENSOR ON"))
                if run == "ENERGY_FORCE"
                else [],
            ),
        ]
        return "\n".join(lines) + "\n"

    def _kind(self, symbol: str) -> list[str]:
        """Basis sets and pseudopotential of an element."""
        if symbol not in VALENCE:
            expected = f"expected {', '.join(VALENCE)}"
            raise ValueError(f"{symbol} has no number of valence electrons: {expected}; add it")
        electrons = VALENCE[symbol]
        return section(
            f"KIND {symbol}",
            [f"BASIS_SET ORB TZV2P-MOLOPT-SCAN-GTH-q{electrons}{PRINTED}"],
            [f"BASIS_SET AUX_FIT {self.auxiliary}-q{electrons}"],
            [f"POTENTIAL GTH-SCAN-q{electrons}"],
        )


def section(name: str, *content: Sequence[str]) -> list[str]:
    """Return the lines of a section; `name` may have a parameter behind it."""
    inner = [f"  {line}" for lines in content for line in lines]
    return [f"&{name}", *inner, f"&END {name.split()[0]}"]


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.10f}" for value in values)


def coulomb_radius(geometry: Geometry) -> float:
    """Return where the Coulomb operator is cut, angstrom.

    It is half the smallest distance between opposite faces of the cell, rounded down to 0.01, and
    at most the paper's 5.5.

    Raises:
        ValueError: less than the paper's 5.0.
    """
    width = float(1 / np.linalg.norm(np.linalg.inv(geometry.cell), axis=0).max())
    radius = min(RADII[1], np.floor(50 * width) / 100)
    if radius < RADII[0]:
        wrong = f"opposite faces of the cell of {geometry!r} are {width:.2f} angstrom apart"
        raise ValueError(f"{wrong}, expected at least {2 * RADII[0]:g}: repeat the cell")
    return radius


def write(
    geometry: Geometry, folder: Path, project: str, settings: DensityCorrected = DensityCorrected()
) -> list[Path]:
    """Write the two files of a structure; return their places, in the order to run them."""
    paths = []
    for name, text in settings.inputs(geometry, project).items():
        paths.append(Path(folder) / name)
        with atomic_write(paths[-1]) as part:
            part.write_text(text)
    return paths


def main(folder: str) -> None:
    """Write the files of all eleven systems into a folder."""
    for system in SYSTEMS:
        project = file_of(system).name.split(".")[0].replace("start", "uio66")
        for path in write(start(system)[0], Path(folder), project):
            print(path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give a folder: python -m studies.uio66.cp2k FOLDER")
    main(sys.argv[1])
