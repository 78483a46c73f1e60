"""ORCA through ASE's writers and readers: the program that Schwalbe-Koda 2021 used.

Each label runs in a folder of its own, which is removed, so no calculation finds the orbitals of
another one.
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory

import numpy as np

from ..geometry import Geometry, Labels
from .molecules import check_molecule


@dataclass(frozen=True)
class ORCA:
    """Labels isolated molecules with the program ORCA, in eV and eV/angstrom.

    The defaults are the paper's BP86-D3/def2-SVP, damped as ORCA does by default (BJ). ORCA fits
    the Coulomb energy (RI-J) where the functional is a pure one and PySCF does not, so total
    energies differ from those of :class:`DFT` by a little that hardly depends on the geometry.

    Attributes:
        command: the program's full path, which it needs to start in parallel. (On desktops a bare
            ``orca`` may be a screen reader.)
        method: the simple input line; it must ask for the gradient.
        blocks: further lines of the input.
        cores: processes of one calculation.
        scratch: where the folders are made; None takes the system's place for temporary files.

    Raises:
        ValueError: a `method` without EnGrad, fewer than one core.
    """

    command: str = field(default="orca", compare=False)
    method: str = "BP86 D3BJ def2-SVP EnGrad TightSCF"
    blocks: str = ""
    cores: int = field(default=1, compare=False)
    scratch: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if "engrad" not in self.method.lower().split():
            raise ValueError(f"method is {self.method!r}, which yields no forces: add EnGrad")
        if self.cores < 1:
            raise ValueError(f"cores is {self.cores}, expected at least 1")

    def write(self, geometry: Geometry, folder: Path) -> Path:
        """Write ``orca.inp`` for `geometry` into `folder`; returns its path.

        Raises:
            ValueError: what no program could compute, see :func:`check_molecule`.
        """
        from ase.calculators.orca import OrcaTemplate  # with ase.io, half a second

        check_molecule(geometry, "ORCA")
        parameters = {
            "charge": geometry.charge,
            "mult": geometry.multiplicity,
            "orcasimpleinput": self.method,
            "orcablocks": "\n".join(filter(None, [f"%pal nprocs {self.cores} end", self.blocks])),
        }
        template = OrcaTemplate()
        template.write_input(None, folder, geometry.to_ase(), parameters, ["energy", "forces"])
        return folder / template.inputname

    def __call__(self, geometry: Geometry) -> Labels:
        """Energy and forces.

        Raises:
            FileNotFoundError: no such program.
            ValueError: see :meth:`write`.
            RuntimeError: ORCA stopped without a gradient or a converged field; the message names
                the geometry and ends with the end of its output.
        """
        from ase.calculators.orca import OrcaProfile, OrcaTemplate
        from ase.io import ParseError
        from ase.io.orca import read_orca_engrad, read_orca_output

        program = shutil.which(self.command)
        if program is None:
            raise FileNotFoundError(
                f"there is no program {self.command!r}: install ORCA and give its full path,"
                " ORCA(command='/opt/orca/orca'), or use DFT()"
            )
        with TemporaryDirectory(prefix="orca-", dir=self.scratch) as name:
            folder, template = Path(name), OrcaTemplate()
            output = folder / template.outputname
            self.write(geometry, folder)
            try:
                template.execute(
                    folder, OrcaProfile(command=shlex.quote(str(Path(program).resolve())))
                )
                # Not template.read_results, which prints and is deprecated.
                energy = read_orca_output(output, index=-1).get_potential_energy()
                forces = read_orca_engrad(output.with_suffix(".engrad"))
            except (CalledProcessError, ParseError, OSError) as error:
                raise RuntimeError(f"ORCA did not finish {geometry!r}; {_end(output)}") from error
            if not np.isfinite(energy):
                raise RuntimeError(f"ORCA's field of {geometry!r} did not converge; {_end(output)}")
        return Labels(energy=energy, forces=forces).check(geometry)


def _end(output: Path) -> str:
    """The last lines of an output, as a sentence."""
    lines = (
        [line.strip() for line in output.read_text(errors="replace").splitlines() if line.strip()]
        if output.exists()
        else []
    )
    return "its output ends: " + " | ".join(lines[-5:]) if lines else "it wrote nothing"
