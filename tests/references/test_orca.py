"""ORCA's input, and its output as far as it goes without the program: a stand-in writes it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import units

from agal_toolkit.geometry import Geometry
from agal_toolkit.references import ORCA, Reference

OH = Geometry(
    positions=[[0.0, 0.0, 0.0], [0.0, 0.1, 0.9712345678901234]],
    numbers=[8, 1],
    multiplicity=2,
    origin={"by": "hand"},
)

OUTPUT = """Number of atoms                             ...      2
CARTESIAN COORDINATES (ANGSTROEM)
---------------------------------
  O      0.000000    0.000000    0.000000
  H      0.000000    0.100000    0.971235

FINAL SINGLE POINT ENERGY       -75.66886719363913{note}
ORCA TERMINATED {how}
"""
ENGRAD = """#
# Number of atoms
#
 2
#
# The current total energy in Eh
#
    -75.668867193639
#
# The current gradient in Eh/bohr
#
       0.000000000000
       0.010000000000
      -0.020000000000
       0.000000000000
      -0.010000000000
       0.020000000000
#
# The atomic numbers and current coordinates in Bohr
#
   8     0.0000000    0.0000000    0.0000000
   1     0.0000000    0.1889726    1.8353671
"""


def stand_in(folder: Path, how: str = "NORMALLY", note: str = "", engrad: bool = True) -> ORCA:
    """A program in the place of ORCA, in a folder with a blank, that keeps its input."""
    program = folder / "in stalled" / "orca"
    program.parent.mkdir(exist_ok=True)
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, shutil, sys\n"
        f"shutil.copy(sys.argv[1], {str(folder / 'seen.inp')!r})\n"
        "assert [p.name for p in pathlib.Path().iterdir() if p.suffix == '.gbw'] == []\n"
        "pathlib.Path('orca.gbw').touch()\n"
        + (f"pathlib.Path('orca.engrad').write_text({ENGRAD!r})\n" if engrad else "")
        + f"print({OUTPUT.format(how=how, note=note)!r})\n"
    )
    program.chmod(0o755)
    return ORCA(command=str(program), scratch=folder)


def written(folder: Path, geometry: Geometry = OH, **changes) -> str:
    """The input that the program was given for `geometry`."""
    replace(stand_in(folder), **changes)(geometry)
    return (folder / "seen.inp").read_text()


def test_the_input_is_the_papers(tmp_path):
    lines = [line.split() for line in written(tmp_path).splitlines() if line.strip()]
    assert lines == [
        ["!", "BP86", "D3BJ", "def2-SVP", "EnGrad", "TightSCF"],
        ["%pal", "nprocs", "1", "end"],
        ["*xyz", "0", "2"],
        ["O", "0.0", "0.0", "0.0"],
        ["H", "0.0", "0.1", "0.9712345678901234"],
        ["*"],
    ]


def test_charge_cores_and_blocks_are_written(tmp_path):
    ion = replace(OH, charge=-1, multiplicity=1)
    text = written(tmp_path, ion, cores=4, blocks="%scf maxiter 300 end")
    assert "%pal nprocs 4 end\n%scf maxiter 300 end" in text
    assert "*xyz -1 1" in text


def test_what_it_says_is_read(tmp_path):
    orca = stand_in(tmp_path)
    for _ in range(2):  # the second finds nothing of the first
        labels = orca(OH)
    assert labels.energy == pytest.approx(-75.66886719363913 * units.Hartree, rel=1e-12)
    np.testing.assert_allclose(
        labels.forces,
        np.array([[0, -0.01, 0.02], [0, 0.01, -0.02]]) * units.Hartree / units.Bohr,
        rtol=1e-12,
    )
    assert (tmp_path / "seen.inp").read_text().startswith("! BP86 D3BJ def2-SVP EnGrad TightSCF")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in stalled", "seen.inp"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"how": "WITH ERRORS"},
            (
                r"ORCA did not finish Geometry\(HO, 3d, from {'by': 'hand'}\), .*; its output ends:"
                r" .*ORCA TERMINATED WITH ERRORS"
            ),
        ),
        ({"engrad": False}, r"ORCA did not finish Geometry\(HO.*ORCA TERMINATED NORMALLY"),
        (
            {"note": "  (Wavefunction not fully converged!)"},
            r"ORCA did not finish Geometry\(HO.*its energy is nan\); its output ends: ",
        ),
    ],
)
def test_a_calculation_without_an_answer_is_a_failure(how, message, tmp_path):
    with pytest.raises(RuntimeError, match=message):
        stand_in(tmp_path, **how)(OH)


def test_a_missing_program_is_said():
    wanted = "there is no program '/nowhere/orca': install ORCA and give its full path"
    with pytest.raises(FileNotFoundError, match=wanted):
        list(Reference(ORCA(command="/nowhere/orca"))([OH]))


def test_what_orca_refuses(tmp_path):
    with pytest.raises(
        ValueError, match=r"method is 'BP86 def2-SVP', which yields no forces: add EnGrad"
    ):
        ORCA(method="BP86 def2-SVP")
    with pytest.raises(ValueError, match="cores is 0"):
        ORCA(cores=0)
    with pytest.raises(ValueError, match="9 electrons cannot have multiplicity 1"):
        stand_in(tmp_path)(replace(OH, multiplicity=1))


def test_where_it_runs_does_not_name_its_labels():
    assert (
        Reference(ORCA(command="/opt/orca", cores=8)).settings_digest
        == Reference(ORCA()).settings_digest
    )
    assert (
        Reference(ORCA(blocks="%scf maxiter 300 end")).settings_digest
        != Reference(ORCA()).settings_digest
    )
