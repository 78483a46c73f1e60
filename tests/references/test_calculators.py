"""Labels from ASE's own calculators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, SCFError
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from agal_toolkit.geometry import Geometry
from agal_toolkit.references import CalculatorLabels, NotConverged, Reference


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
