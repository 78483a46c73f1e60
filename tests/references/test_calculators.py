"""Labels from ASE's own calculators."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, FileIOCalculator, SCFError
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from agal_toolkit.geometry import Geometry
from agal_toolkit.references import CalculatorLabels, NotConverged, Reference
from agal_toolkit.references.worker import portable


def copper(rng) -> Geometry:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, rng=rng)
    return Geometry.from_ase(atoms)


class Ionic(Calculator):
    """Energy: charge and multiplicity; raises, or is not finite, on request."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        if "error" in self.parameters:
            raise self.parameters["error"]
        energy = self.parameters.get("energy", self.parameters["q"] + 10 * self.parameters["mult"])
        self.results = {"energy": energy, "forces": np.zeros((len(atoms), 3))}


def test_labels_are_the_calculators(rng):
    geometry = copper(rng)
    atoms = geometry.to_ase()
    atoms.calc = EMT(asap_cutoff=True)
    labels = CalculatorLabels(EMT, {"asap_cutoff": True})(geometry)
    assert labels.energy == atoms.get_potential_energy()
    np.testing.assert_array_equal(labels.forces, atoms.get_forces())
    np.testing.assert_array_equal(labels.stress, atoms.get_stress(voigt=False))
    assert CalculatorLabels(EMT)(replace(geometry, pbc=False)).stress is None


def test_forces_on_fixed_atoms_are_labels_too(rng):
    geometry = copper(rng)
    fixed = replace(geometry, movable=np.arange(len(geometry)) > 1)
    label = CalculatorLabels(LennardJones, {"sigma": 2.5})
    np.testing.assert_array_equal(label(fixed).forces, label(geometry).forces)


def test_charge_and_multiplicity_go_where_the_calculator_takes_them():
    ion = replace(Geometry.from_ase(molecule("OH")), charge=-1, multiplicity=3)
    assert CalculatorLabels(Ionic, charge="q", spin="mult")(ion).energy == 29
    for missing in ("charge", "spin"):
        label = CalculatorLabels(Ionic, **{"charge": "q", "spin": "mult", missing: None})
        with pytest.raises(ValueError, match=rf"name the calculator's argument .*{missing}=\.\.\."):
            label(ion)


@pytest.mark.parametrize(
    ("settings", "kind", "reason"),
    [
        ({"error": SCFError("no")}, NotConverged, "SCFError: no"),
        ({"error": OSError("disk full")}, RuntimeError, "OSError: disk full"),
        ({"energy": np.nan}, NotConverged, "its energy is nan"),
    ],
)
def test_a_calculator_that_fails_names_the_geometry(settings, kind, reason):
    with pytest.raises(
        kind, match=rf"Ionic did not finish Geometry\(HO, 3d\).*{reason}.*drop"
    ) as e:
        CalculatorLabels(Ionic, settings, "q", "mult")(Geometry.from_ase(molecule("OH")))
    assert e.type is kind


def test_method_and_parameters_identify_labels(tmp_path):
    reference = Reference(CalculatorLabels(LennardJones, {"sigma": 2.5}, scratch=tmp_path))
    assert reference.identity["settings"] == {
        "make": "ase.calculators.lj.LennardJones",
        "settings": {"sigma": 2.5},
        "charge": None,
        "spin": None,
        "directory": None,
    }
    others = [CalculatorLabels(LennardJones, {"sigma": 2.6}), CalculatorLabels(EMT)]
    digests = {Reference(label).settings_digest for label in [reference.label, *others]}
    assert len(digests) == 3


# -- a calculator itself


class Hidden(Calculator):
    """Has a setting that is not among its parameters."""

    implemented_properties = ("energy", "forces")

    def __init__(self, depth, **kwargs):
        super().__init__(**kwargs)
        self.depth = depth

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": self.depth, "forces": np.zeros((len(atoms), 3))}


class Program(FileIOCalculator):
    """Writes into its folder, as programs do."""

    implemented_properties = ("energy", "forces")
    _legacy_default_command = "true"

    def write_input(self, atoms, properties=None, system_changes=None):
        super().write_input(atoms, properties, system_changes)
        Path(self.directory, "in").write_text(repr(atoms.positions[0, 0]))

    def read_results(self):
        assert [path.name for path in Path(self.directory).iterdir()] == ["in"]
        energy = float(Path(self.directory, "in").read_text().split("(")[-1].rstrip(")"))
        self.results = {"energy": energy, "forces": np.zeros((len(self.atoms), 3))}


def test_a_calculator_is_a_reference(rng):
    geometry = copper(rng)
    fixed = replace(geometry, movable=np.arange(len(geometry)) > 1)
    reference = Reference(EMT(asap_cutoff=True))
    used = pickle.loads(pickle.dumps(reference.label))
    ((_, labels),) = reference(fixed)
    right = CalculatorLabels(EMT, {"asap_cutoff": True})(geometry)
    assert labels.energy == pytest.approx(right.energy, abs=1e-10)
    np.testing.assert_allclose(labels.forces, right.forces, atol=1e-10)
    np.testing.assert_allclose(labels.stress, right.stress, atol=1e-10)
    assert reference.identity["settings"] == {
        "name": "ase.calculators.emt.EMT",
        "parameters": {"asap_cutoff": True},
    }
    assert used(geometry).energy == pytest.approx(right.energy, abs=1e-10)
    assert Reference(used.calculator).settings_digest == reference.settings_digest


def test_settings_of_calculators_never_mix(rng, tmp_path):
    geometry = copper(rng)
    calculators = [LennardJones(sigma=2.5), LennardJones(sigma=2.6), EMT()]
    energies = [
        dict(Reference(calculator)(geometry, tmp_path))[0].energy for calculator in calculators
    ]
    assert len(set(energies)) == len(list(tmp_path.iterdir())) == 3
    calculator = LennardJones(sigma=2.5)
    reference = Reference(calculator)
    calculator.set(sigma=2.6)
    with pytest.raises(ValueError, match=r"2\.6.* other parameters than .*2\.5.* new Reference"):
        reference.label(geometry)


def test_a_calculator_that_does_not_tell_its_settings_needs_a_version():
    with pytest.raises(ValueError, match=r"Hidden does not tell depth .*settings=\{'version'"):
        Reference(Hidden(1.0))
    with pytest.raises(ValueError, match="does not tell its settings"):
        Reference(Calculator())
    with pytest.raises(ValueError, match="does not tell q as parameters"):
        Reference(Ionic(q=object()))
    versions = [Reference(Hidden(v), settings={"version": f"depth {v}"}) for v in (1.0, 2.0)]
    assert versions[0].settings_digest != versions[1].settings_digest
    with pytest.raises(ValueError, match=r"settings has \['parameters'\]"):
        Reference(EMT(), settings={"parameters": "mine"})


def test_charge_and_multiplicity_are_those_of_the_calculator(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = Program(command="true", method="ours")
    hydroxide = replace(Geometry.from_ase(molecule("OH")), charge=-1, multiplicity=1)
    for calculator in (Ionic(q=0, mult=1, charge=0), program):
        with pytest.raises(ValueError, match=r"has another charge than .*CalculatorLabels\(class"):
            Reference(calculator).label(hydroxide)
    assert Reference(Ionic(q=0, mult=1, charge=-1)).label(hydroxide).energy == 10
    with pytest.raises(ValueError, match="has another mult than"):
        Reference(Ionic(q=0, mult=3)).label(hydroxide)


def test_a_program_gets_a_folder_for_each_structure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    some = [Geometry(positions=[[x, 0, 0]], numbers=[2]) for x in (0.5, 1.5)]
    with ThreadPoolExecutor(2) as threads:
        reference = Reference(Program(command="true"), {"version": "1"}, executor=threads)
        assert reference.labelled(some).energies.tolist() == [0.5, 1.5]
    assert not list(tmp_path.iterdir())


def test_a_calculator_that_cannot_travel():
    calculator = EMT()
    calculator.handle = lambda: None
    with pytest.raises(TypeError, match=r"another process .*give CalculatorLabels\(make\)"):
        portable(Reference(calculator).label)
