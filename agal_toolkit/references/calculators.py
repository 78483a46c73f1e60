"""Labels from ASE calculators: any of them, tight binding by tblite, and the program ORCA.

Each structure gets a calculator of its own, unless a calculator is given, and a program a folder
of its own, so that no label depends on the one before it.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from ase import units
from ase.calculators import calculator as ase
from ase.calculators.calculator import BaseCalculator
from ase.calculators.genericfileio import GenericFileIOCalculator
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ..geometry import Geometry, Labels
from ..potentials.ase import evaluated, lock_of
from ..settings import name_of, to_settings
from .outcomes import INSTALL, OTHER_SPIN, NotConverged

# angstrom; bonded nuclei are never this close, and their basis functions would nearly coincide
CLOSEST = 0.2


def check_molecule(geometry: Geometry, name: str) -> None:
    """Refuse periodic structures and what :func:`check_electrons` refuses; `name` as there."""
    if geometry.pbc.any():
        remedy = "use a reference for crystals and liquids, or pbc=False"
        raise ValueError(f"{name} labels isolated molecules, not periodic {geometry!r}: {remedy}")
    check_electrons(geometry, name)


def check_electrons(geometry: Geometry, name: str, cores: int = 0) -> None:
    """Refuse what no electronic structure can be computed for; errors call the method `name`.

    `cores` electrons of the atoms take no part in the method.

    Raises:
        ValueError: not three-dimensional, nameless particles, an impossible number of electrons or
            multiplicity, or atoms closer than 0.2 angstrom, periodic images included.
    """
    if geometry.dimension != 3 or not geometry.numbers.all():
        remedy = "give atomic numbers and (n, 3) positions"
        raise ValueError(f"{name} labels atoms in three dimensions, not {geometry!r}: {remedy}")
    charge, multiplicity = geometry.charge, geometry.multiplicity
    electrons, unpaired = int(geometry.numbers.sum()) - cores - charge, multiplicity - 1
    kind = "valence electrons" if cores else "electrons"
    if electrons < 1:
        remedy = "give the charge in elementary charges"
        raise ValueError(f"{geometry!r} with charge {charge} has no electrons left: {remedy}")
    if unpaired > electrons or (electrons - unpaired) % 2:
        possible = 2 if electrons % 2 else 1
        wrong = f"{electrons} {kind} cannot have multiplicity {multiplicity}, but {possible}"
        remedy = f"give {geometry!r} another multiplicity or charge"
        raise ValueError(f"{wrong}, {possible + 2}, ...: {remedy}")
    distances = geometry.to_ase().get_all_distances(mic=bool(geometry.pbc.any()))
    close = np.argwhere(np.triu(distances < CLOSEST, 1))
    if len(close):
        i, j = close[0]
        wrong = f"atoms {i} and {j} of {geometry!r} are {distances[i, j]:.3g} angstrom apart"
        remedy = "drop the geometry, with MinDistance before labelling"
        raise ValueError(f"{wrong}, on top of each other: {remedy}")


@dataclass(frozen=True)
class CalculatorLabels:
    """Labels from any ASE calculator with energy and forces, made anew for each structure.

    Attributes:
        make: The calculator's class, or a function of an importable module that makes it.
        settings: Keyword arguments of `make`; with its name they identify the labels.
        charge: The keyword argument of `make` for the total charge; None if it takes none.
        spin: The keyword argument of `make` for the multiplicity 2S + 1; None if it takes none.
        directory: The keyword argument of `make` for a working folder, new for each structure.
        scratch: Where these folders are made; None is the system's folder for temporary files.
    """

    make: Callable[..., BaseCalculator]
    settings: Mapping[str, Any] = field(default_factory=dict)
    charge: str | None = None
    spin: str | None = None
    directory: str | None = None
    scratch: Path | None = field(default=None, compare=False)

    def __call__(self, geometry: Geometry) -> Labels:
        """Return energy and forces, and stress if `geometry` is periodic and there is one.

        Raises:
            ValueError: an ion or a radical where `charge` or `spin` is None.
            NotConverged: the calculator's field.
            RuntimeError: the calculator raised something else.
        """
        state, arguments = _state(geometry), dict(self.settings)
        charge = ("charge", self.charge, geometry.charge, 0)
        spin = ("spin", self.spin, geometry.multiplicity, 1)
        for name, keyword, value, usual in (charge, spin):
            if keyword is not None:
                arguments[keyword] = value
            elif value != usual:
                remedy = f"name the calculator's argument for it, CalculatorLabels(..., {name}=...)"
                raise ValueError(f"the calculator is not told the {name} of {state}: {remedy}")
        with TemporaryDirectory(prefix="label-", dir=self.scratch) as folder:
            if self.directory is not None:
                arguments[self.directory] = folder
            return _labels(self.make(**arguments), geometry, folder)


# arguments of calculators' classes that do not change labels
_NO_SETTINGS = {"self", "args", "kwargs", "restart", "ignore_bad_restart_file", "label", "atoms"}
_NO_SETTINGS |= {"directory", "command", "profile", "txt", "logfile"}


@dataclass(frozen=True)
class OneCalculator:
    """Labels from an ASE calculator itself, for one structure after the other.

    The name of its class and its parameters identify labels. Charge and multiplicity stand where
    :meth:`Geometry.to_ase` puts them; parameters for them must be those of the structure.
    """

    calculator: BaseCalculator = field(compare=False)
    name: str = field(init=False)
    parameters: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", name_of(type(self.calculator)))
        object.__setattr__(self, "parameters", self.told()[0])

    def told(self) -> tuple[dict[str, Any], list[str]]:
        """Return the parameters as JSON, and names of settings that are not among them."""
        parameters = vars(self.calculator).get("parameters") or {}
        arguments = signature(type(self.calculator).__init__).parameters
        told: dict[str, Any] = {}
        unknown = [k for k in arguments if k not in parameters and k not in _NO_SETTINGS]
        for key, value in parameters.items():
            try:
                told[key] = to_settings(value)
            except (TypeError, ValueError):
                unknown.append(key)
        return told, unknown if told or unknown else ["its settings"]

    def __call__(self, geometry: Geometry) -> Labels:
        """Return energy and forces, and stress if `geometry` is periodic and there is one.

        Raises:
            ValueError: changed parameters, or those of another charge or multiplicity.
            NotConverged, RuntimeError: as for :class:`CalculatorLabels`.
        """
        calculator, parameters = self.calculator, self.told()[0]
        if parameters != self.parameters:
            changed = f"{parameters} are other parameters than {dict(self.parameters)}"
            raise ValueError(f"{self.name}: {changed}; make a new Reference when you change them")
        program = isinstance(calculator, (ase.FileIOCalculator, GenericFileIOCalculator))
        charge = (("charge", "total_charge"), geometry.charge, 0)
        spin = (("mult", "multiplicity"), geometry.multiplicity, 1)
        for names, value, usual in (charge, spin):
            given = [parameters[name] for name in names if parameters.get(name) is not None]
            if [*given, usual if program else value][0] != value:
                wrong = f"{self.name} has another {names[0]} than {_state(geometry)}"
                remedy = "CalculatorLabels(class, settings, charge=..., spin=...) sets it for each"
                raise ValueError(f"{wrong}: {remedy}")
        with lock_of(calculator), TemporaryDirectory(prefix="label-") as folder:
            if program:
                calculator.directory = Path(folder)
            return _labels(calculator, geometry, folder)


def _state(geometry: Geometry) -> str:
    return f"{geometry!r}, charge {geometry.charge}, multiplicity {geometry.multiplicity}"


def _labels(calculator: BaseCalculator, geometry: Geometry, folder: str) -> Labels:
    try:
        energy, forces, stress = evaluated(calculator, geometry)
        if not np.isfinite(energy):
            raise NotConverged(f"its energy is {energy}")
        return Labels(energy=energy, forces=forces, stress=stress).check(geometry)
    except ImportError:  # of a library that the calculator needs, for every structure
        raise
    except Exception as error:
        failed = isinstance(error, (NotConverged, ase.SCFError, ase.CalculationFailed))
        kind = NotConverged if failed else RuntimeError
        wrong = f"{type(calculator).__name__} did not finish {_state(geometry)}"
        reason = f"({type(error).__name__}: {error}){_end_of_output(folder)}"
        remedy = "mend the cause, or drop the geometry"
        remedy = f"allow more iterations, {OTHER_SPIN}" if failed else remedy
        raise kind(f"{wrong} {reason}: {remedy}") from error


def _end_of_output(folder: str) -> str:
    """The last lines of a program's output ``*.out`` in `folder`, for an error message."""
    text = "".join(path.read_text(errors="replace") for path in Path(folder).glob("*.out"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; its output ends: " + " | ".join(lines[-5:]) if lines else ""


EXTENT = 10.0  # angstrom; smallest distance between opposite faces of a cell that XTB labels
# electrons in GFN's cores, from each of these atomic numbers on; lanthanides have three outside
_FROM = np.array([1, 3, 11, 19, 30, 37, 48, 55, 72, 80])
_CORES = np.array([0, 2, 10, 18, 28, 36, 46, 54, 68, 78])


def core_electrons(numbers: NDArray) -> int:
    """Return how many electrons of atoms (n,) are in GFN's cores, all f electrons among them."""
    cores = _CORES[np.searchsorted(_FROM, numbers, "right") - 1]
    return int(np.where((numbers >= 57) & (numbers <= 71), numbers - 3, cores).sum())


@dataclass(frozen=True)
class XTB:
    """Extended tight binding by tblite, for molecules, and for crystals and liquids in large cells.

    GFN1-xTB is from Grimme 2017 (doi:10.1021/acs.jctc.7b00118), GFN2-xTB from Bannwarth 2019
    (doi:10.1021/acs.jctc.8b01176).

    tblite has no k-points: it samples the Gamma point of the cell that it is given. In small cells
    the energy of an atom then depends on the cell (silicon with 2, 16 and 54 atoms: -41.8, -46.1
    and -46.4 eV), so cells with opposite faces closer than 10 angstrom are refused. Label
    structures of one crystal in one supercell: in cells of 64 and 128 atoms, sodium chloride still
    differs by 0.05 eV per atom. Metals need k-points.

    Atoms moved by whole cell vectors have the same label to 1e-6 eV. Other vectors of the same
    lattice, or all atoms moved together, change an energy by a few micro-eV per atom (114 atoms of
    the framework UiO-66: 4e-4 eV, and forces by 5e-5 eV/angstrom).

    Attributes:
        method: "GFN1-xTB" or "GFN2-xTB".
        accuracy: Of integrals and self-consistency; smaller is tighter, 1 is tblite's default.
        temperature: Of the electrons, K; it smooths the crossing of levels.
        iterations: Largest number of iterations of the self-consistent charges.
    """

    method: Literal["GFN1-xTB", "GFN2-xTB"] = "GFN2-xTB"
    accuracy: float = 0.1
    temperature: float = 300.0
    iterations: int = 250

    def __post_init__(self) -> None:
        if self.method not in ("GFN1-xTB", "GFN2-xTB"):
            raise ValueError(f"method is {self.method!r}, expected 'GFN1-xTB' or 'GFN2-xTB'")
        if not min(self.accuracy, self.temperature) > 0 or self.iterations < 1:
            raise ValueError(f"{self}: accuracy, temperature and iterations must be positive")

    def __call__(self, geometry: Geometry) -> Labels:
        """Return energy and forces, and stress if `geometry` is periodic.

        Raises:
            ValueError: periodic in some directions only, a small cell, an element without
                parameters, or as :func:`check_electrons`, for the valence electrons.
            NotConverged: the self-consistent charges.
            ImportError: tblite is missing.
        """
        if geometry.pbc.any() != geometry.pbc.all():
            remedy = "use a large cell and pbc=True"
            raise ValueError(f"{geometry!r} is periodic in some directions only: {remedy}")
        numbers = geometry.numbers
        if numbers.max() > 86:
            wrong = f"{self.method} has no parameters for {chemical_symbols[numbers.max()]}"
            raise ValueError(f"{wrong}: use another reference")
        check_electrons(geometry, "XTB()", core_electrons(numbers))
        if geometry.pbc.all():
            heights = 1 / np.linalg.norm(np.linalg.inv(geometry.cell), axis=0)
            if heights.min() < EXTENT:
                wrong = f"the opposite faces of the cell of {geometry!r} are {heights.min():.1f}"
                wrong = f"{wrong} angstrom apart, and XTB() samples the Gamma point only"
                repeats = tuple(np.ceil(EXTENT / heights).astype(int).tolist())
                remedy = f"label a supercell of at least {EXTENT:g}, atoms.repeat({repeats})"
                raise ValueError(f"{wrong}: {remedy}, or use a reference with k-points")
        try:
            from tblite.ase import TBLite
            from tblite.interface import Calculator
        except ImportError as error:
            raise ImportError(f"XTB() needs tblite: {INSTALL}") from error
        unpaired = geometry.multiplicity - 1
        if unpaired > 1:  # tblite fills each orbital with as many electrons of one spin as are left
            electrons = numbers.sum() - core_electrons(numbers) - geometry.charge
            bare = Calculator(self.method, numbers, geometry.positions / units.Bohr)
            orbitals = len(bare.get("orbital-map"))
            if (electrons + unpaired) / 2 > orbitals:
                wrong = (
                    f"{(electrons + unpaired) // 2} electrons of one spin for {orbitals} orbitals"
                )
                raise ValueError(f"{geometry!r} has {wrong}: give a smaller multiplicity")
        settings = {"method": self.method, "accuracy": self.accuracy, "verbosity": 0}
        settings["electronic_temperature"] = self.temperature
        settings["max_iterations"] = self.iterations
        return CalculatorLabels(TBLite, settings, charge="charge", spin="multiplicity")(geometry)


@dataclass(frozen=True)
class ORCA:
    """The program ORCA, for isolated molecules.

    The defaults are BP86-D3/def2-SVP of Schwalbe-Koda 2021, with BJ damping, ORCA's default. For
    pure functionals ORCA fits the Coulomb energy (RI-J) and PySCF does not, so that total energies
    differ from those of :class:`DFT` by a small amount that hardly depends on the geometry.

    Attributes:
        command: The program's full path, which it needs to start in parallel. (On desktops a bare
            ``orca`` may be a screen reader.)
        method: The simple input line; it must ask for the gradient.
        blocks: Further lines of the input.
        cores: Processes of one calculation.
        scratch: Where working folders are made; None is the system's folder for temporary files.
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

    def __call__(self, geometry: Geometry) -> Labels:
        """Return energy and forces.

        Raises:
            FileNotFoundError: `command` does not exist.
            ValueError: no isolated molecule, see :func:`check_molecule`.
            NotConverged: ORCA's field.
            RuntimeError: ORCA ended without a gradient; the message has the end of its output.
        """
        check_molecule(geometry, "ORCA")
        program = shutil.which(self.command)
        if program is None:
            remedy = "install ORCA and give its full path, ORCA(command='/opt/orca/orca')"
            raise FileNotFoundError(f"there is no program {self.command!r}: {remedy}, or use DFT()")
        blocks = "\n".join(filter(None, [f"%pal nprocs {self.cores} end", self.blocks]))
        settings = {"orcasimpleinput": self.method, "orcablocks": blocks}
        make = partial(_orca, shlex.quote(str(Path(program).resolve())))
        label = CalculatorLabels(make, settings, "charge", "mult", "directory", self.scratch)
        return label(geometry)


def _orca(command: str, **arguments: Any) -> BaseCalculator:
    """ASE's calculator, which runs the program `command`."""
    from ase.calculators import orca  # with ase.io, half a second
    from ase.io.orca import read_orca_engrad, read_orca_output

    def read_results(directory: Path) -> dict[str, Any]:
        output = directory / calculator.template.outputname
        energy = read_orca_output(output)[-1].get_potential_energy()
        return {"energy": energy, "forces": read_orca_engrad(output.with_suffix(".engrad"))}

    calculator = orca.ORCA(profile=orca.OrcaProfile(command=command), **arguments)
    calculator.template.read_results = read_results  # the template's own prints and is deprecated
    return calculator
