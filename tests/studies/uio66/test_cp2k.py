"""CP2K's input as text: ASE's readers find sections, structure and the paper's settings."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from ase.calculators.cp2k import InputSection, parse_input
from ase.io.cp2k import read_cp2k_restart

from agal_toolkit.geometry import Geometry
from studies.uio66.cp2k import DensityCorrected, coulomb_radius, write
from studies.uio66.structures import packed, primitive


@pytest.fixture(scope="module")
def wet() -> Geometry:
    return packed("UiO-66 + 5 H2O")


@pytest.fixture(scope="module")
def texts(wet) -> dict[str, str]:
    return DensityCorrected().inputs(wet, "wet")


def words(root: InputSection, path: str) -> dict[str, list[str]]:
    """The keywords of a section that exists, with all their values."""
    for name in path.split("/"):
        (root,) = [found for found in root.subsections if found.name == name]
    values: dict[str, list[str]] = {}
    for line in root.keywords:
        key, _, value = line.partition(" ")
        values.setdefault(key, []).append(value.strip())
    return values


def test_every_section_is_closed_by_its_name(texts):
    for text in texts.values():
        opened = []
        for line in map(str.strip, text.splitlines()):
            if line.startswith("&END"):
                assert line == f"&END {opened.pop()}"
            elif line.startswith("&"):
                opened.append(line[1:].split()[0])
        assert not opened


def test_cell_and_atoms_are_those_of_the_structure(texts, wet):
    assert list(texts) == ["wet-pbe.inp", "wet-dc.inp"]
    for text in texts.values():
        atoms = read_cp2k_restart(StringIO(text))
        np.testing.assert_array_equal(atoms.numbers, wet.numbers)
        np.testing.assert_allclose(atoms.positions, wet.positions, atol=1e-9)
        np.testing.assert_allclose(atoms.cell.array, wet.cell, atol=1e-9)
        assert atoms.pbc.all()


def test_the_printed_settings_are_there(texts):
    """Numbers of Cezar 2025, Sec. IV.3."""
    root = parse_input(texts["wet-dc.inp"])
    dft = "FORCE_EVAL/DFT"
    assert words(root, f"{dft}/MGRID")["CUTOFF"] == ["2500"]
    assert words(root, dft)["BASIS_SET_FILE_NAME"] == ["BASIS_MOLOPT_UZH", "BASIS_ADMM_UZH"]
    hf = f"{dft}/XC/HF"
    assert words(root, hf)["FRACTION"] == ["1.0"]
    assert float(words(root, f"{hf}/SCREENING")["EPS_SCHWARZ"][0]) == 1e-6
    potential = words(root, f"{hf}/INTERACTION_POTENTIAL")
    assert potential["POTENTIAL_TYPE"] == ["TRUNCATED"]
    assert 5.0 <= float(potential["CUTOFF_RADIUS"][0]) <= 5.5
    correction = root.get_subsection(f"{dft}/ENERGY_CORRECTION")
    assert correction.keywords == ["ENERGY_FUNCTIONAL DCDFT"]
    names = [s.name for s in correction.get_subsection("XC/XC_FUNCTIONAL").subsections]
    assert names == ["MGGA_X_R2SCAN", "MGGA_C_R2SCAN"]
    # nothing but exchange makes the density
    assert root.get_subsection(f"{dft}/XC/XC_FUNCTIONAL").params == "NONE"
    kinds = [s for s in root.get_subsection("FORCE_EVAL/SUBSYS").subsections if s.name == "KIND"]
    bases = {kind.params: kind.keywords[0].split()[2] for kind in kinds}
    assert bases == {
        symbol: f"TZV2P-MOLOPT-SCAN-GTH-q{electrons}"
        for symbol, electrons in {"C": 4, "H": 1, "O": 6, "Zr": 12}.items()
    }


def test_lines_from_the_paper_are_marked(texts):
    marked = {line.split()[0] for line in texts["wet-dc.inp"].splitlines() if "! printed" in line}
    assert marked == {
        "BASIS_SET",
        "BASIS_SET_FILE_NAME",
        "CUTOFF",
        "CUTOFF_RADIUS",
        "ENERGY_FUNCTIONAL",
        "EPS_SCHWARZ",
        "POTENTIAL_TYPE",
        "WFN_RESTART_FILE_NAME",
    }


def test_the_second_file_goes_on_from_the_first(texts):
    first, second = (parse_input(text) for text in texts.values())
    project = words(first, "GLOBAL")["PROJECT"][0]
    assert words(second, "FORCE_EVAL/DFT")["WFN_RESTART_FILE_NAME"][0].split()[0] == (
        f"{project}-RESTART.wfn"
    )
    assert words(second, "FORCE_EVAL/DFT/SCF")["SCF_GUESS"] == ["RESTART"]
    assert first.get_subsection("FORCE_EVAL/DFT/XC/XC_FUNCTIONAL").params == "PBE"
    assert words(second, "FORCE_EVAL")["STRESS_TENSOR"] == ["ANALYTICAL"]
    assert words(second, "GLOBAL")["RUN_TYPE"] == ["ENERGY_FORCE"]


def test_the_coulomb_radius_follows_the_cell():
    box = Geometry(positions=[[0, 0, 0]], numbers=[8], cell=np.diag([10.5, 20, 20]), pbc=True)
    assert coulomb_radius(box) == pytest.approx(5.25)
    assert coulomb_radius(primitive()) == 5.5
    with pytest.raises(ValueError, match=r"9\.00 angstrom apart, expected at least 10"):
        coulomb_radius(replace(box, cell=9.0 * np.eye(3)))


def test_wrong_input_is_refused(wet):
    settings = DensityCorrected()
    with pytest.raises(ValueError, match=r"Xe has no number of valence electrons: expected H, C"):
        settings.inputs(replace(wet, numbers=[54, *wet.numbers[1:]]), "wet")
    with pytest.raises(ValueError, match="closed shell in a periodic cell"):
        settings.inputs(replace(wet, pbc=False), "wet")
    with pytest.raises(ValueError, match="give letters"):
        settings.inputs(wet, "UiO-66 + 5 H2O")
    with pytest.raises(ValueError, match="expected positive numbers"):
        DensityCorrected(cutoff=0)


def test_files_are_written(wet, tmp_path):
    settings = DensityCorrected(cutoff=600)
    pbe, dc = write(wet, tmp_path / "inputs", "wet", settings)
    assert [pbe.name, dc.name] == ["wet-pbe.inp", "wet-dc.inp"]
    assert dc.read_text() == settings.inputs(wet, "wet")["wet-dc.inp"]
    assert "CUTOFF 600 " in pbe.read_text()
