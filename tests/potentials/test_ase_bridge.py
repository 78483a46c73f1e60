"""Both bridges to ASE, against ASE."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import helpers
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones
from ase.optimize import BFGS

from agal_toolkit.batch import Batch
from agal_toolkit.geometry import Geometry, points
from agal_toolkit.potentials import (
    CalculatorPotential,
    Differentiable,
    NoGraph,
    PotentialCalculator,
)
from agal_toolkit.potentials.protocol import Recorded
from agal_toolkit.references import CalculatorLabels


def crystal(rng):
    return helpers.crystal(rng, (4, 4, 4)).to_ase()


def test_a_calculator_says_the_same_as_a_potential(rng):
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, rng=rng)
    cluster = Atoms("Cu4", positions=rng.uniform(0, 5, (4, 3)))
    prediction = CalculatorPotential(EMT())(Batch.of([atoms, cluster]))
    at = 0
    for i, structure in enumerate((atoms, cluster)):
        structure.calc = EMT()
        assert float(prediction.energy[i]) == pytest.approx(
            structure.get_potential_energy(), abs=1e-12
        )
        np.testing.assert_allclose(
            prediction.forces[at : at + len(structure)].numpy(), structure.get_forces(), atol=1e-12
        )
        at += len(structure)
    np.testing.assert_allclose(
        prediction.stress[0].numpy(), atoms.get_stress(voigt=False), atol=1e-12
    )
    assert prediction.stress[1].isnan().all()
    assert prediction.energy.dtype == torch.float64


def test_a_calculator_without_stress_has_none():
    class NoStress(LennardJones):
        implemented_properties = ("energy", "forces")

        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            self.results.pop("stress", None)

    prediction = CalculatorPotential(NoStress())(Batch.of([bulk("Ar", cubic=True)]))
    assert prediction.stress.isnan().all()
    assert not prediction.forces.isnan().any()


def test_a_calculator_has_no_graph():
    with pytest.raises(
        NoGraph,
        match=(
            r"calculator LennardJones cannot be differentiated twice: use the gradient"
            r" HessianVector\(\)"
        ),
    ):
        CalculatorPotential(LennardJones())(
            Batch.of([Atoms("Ar2", positions=[[0, 0, 0], [1.2, 0, 0]])]), graph=True
        )


def test_fixed_atoms_still_feel_forces(rng):
    geometry = Geometry(
        positions=[[0.0, 0.0, 0.0], [1.3, 0.0, 0.0]], numbers=[18, 18], movable=[False, True]
    )
    prediction = CalculatorPotential(LennardJones())(Batch.of([geometry]))
    assert prediction.forces[0].abs().max() > 0.1


def test_the_calculator_of_a_potential_against_ases_differences(rng):
    atoms = crystal(rng)
    atoms.calc = PotentialCalculator(Differentiable(helpers.PairEnergy()))
    forces = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[0, 5])
    np.testing.assert_allclose(atoms.get_forces()[[0, 5]], forces, atol=1e-5)
    numeric = calculate_numerical_stress(atoms, eps=1e-5, voigt=True)
    assert np.abs(numeric).max() > 1e-2
    np.testing.assert_allclose(atoms.get_stress(), numeric, rtol=1e-5, atol=1e-6)


def test_there_and_back_again(rng):
    atoms = bulk("Ar", cubic=True, a=5.2) * (2, 1, 1)
    atoms.rattle(0.1, rng=rng)
    lj = LennardJones(sigma=3.4, epsilon=0.0104, rc=6.0, smooth=True)
    other = atoms.copy()
    atoms.calc, other.calc = lj, PotentialCalculator(CalculatorPotential(lj))
    assert other.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
    np.testing.assert_allclose(other.get_forces(), atoms.get_forces(), atol=1e-12)
    np.testing.assert_allclose(other.get_stress(), atoms.get_stress(), atol=1e-12)


def test_an_open_structure_has_no_stress(rng):
    from ase.calculators.calculator import PropertyNotImplementedError

    atoms = helpers.molecule(rng).to_ase()
    atoms.calc = PotentialCalculator(Differentiable(helpers.PairEnergy()))
    assert atoms.get_forces().shape == (5, 3)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_a_model_surface_is_optimised_in_its_plane():
    atoms = points([[0.9, 0.4]])[0].to_ase()
    atoms.calc = PotentialCalculator(helpers.well_potential(), dimension=2)
    BFGS(atoms, logfile=None).run(fmax=1e-6, steps=60)
    x, y, z = atoms.positions[0]
    assert 40 * x**3 - 20 * x + 2 == pytest.approx(0.0, abs=1e-5)
    assert x > 0.5
    assert y == pytest.approx(0.0, abs=1e-6)
    assert z == 0.0


def test_replicas_are_one_batch(rng):
    where = rng.uniform(-1, 1, (5, 2))
    atoms = Atoms([0] * 5, positions=np.column_stack([where, np.full(5, 3.0)]))
    atoms.calc = PotentialCalculator(helpers.well_potential(), dimension=2, replicas=5)
    right = helpers.well_potential()(Batch.of(points(where)))
    assert atoms.get_potential_energy() == pytest.approx(float(right.energy.sum()))
    np.testing.assert_allclose(atoms.calc.results["replica_energies"], right.energy.numpy())
    np.testing.assert_allclose(
        atoms.get_forces(), np.column_stack([right.forces.numpy(), np.zeros(5)])
    )


def test_replicas_of_a_molecule_do_not_see_each_other(rng):
    one = helpers.molecule(rng, 3)
    atoms = Atoms(np.tile(one.numbers, 2), positions=np.tile(one.positions, (2, 1)))
    atoms.calc = PotentialCalculator(Differentiable(helpers.PairEnergy()), replicas=2)
    alone = Differentiable(helpers.PairEnergy())(Batch.of([one]))
    np.testing.assert_allclose(
        atoms.get_forces(), np.tile(alone.forces.numpy(), (2, 1)), atol=1e-13
    )


def test_the_repr_names_the_calculator():
    assert repr(CalculatorPotential(LennardJones())) == "CalculatorPotential(LennardJones)"


# -- charge and multiplicity


def ions() -> list[Geometry]:
    """One structure as a neutral singlet, as a cation and as a triplet, which only charge and
    multiplicity tell apart.
    """
    two = {"positions": [[0.0, 0.0, 0.0], [1.3, 0.0, 0.0]], "numbers": [18, 18]}
    return [
        Geometry(**two),
        Geometry(**two, charge=1, multiplicity=2),
        Geometry(**two, multiplicity=3),
        Geometry(**two),
    ]


def electronic(batch: Batch) -> torch.Tensor:
    """An energy that tells charges and multiplicities apart."""
    return (
        batch.sum(0.1 * batch.positions.square().sum(-1)) + 10.0 * batch.charge + batch.multiplicity
    )


def test_a_calculator_is_told_charge_and_multiplicity():
    """In info and in the initial charges and moments, so that it does not take an ion for the
    neutral twin it has just seen.
    """

    class Told(LennardJones):
        def calculate(self, atoms, *args, **kwargs):
            super().calculate(atoms, *args, **kwargs)
            calls.append(
                (
                    atoms.info["charge"],
                    atoms.info["multiplicity"],
                    atoms.get_initial_charges().sum(),
                    atoms.get_initial_magnetic_moments().sum(),
                )
            )

    calls = []
    CalculatorPotential(Told())(Batch.of(ions()))
    assert calls == [(0, 1, 0.0, 0.0), (1, 2, 1.0, 1.0), (0, 3, 0.0, 2.0), (0, 1, 0.0, 0.0)]


def test_xtb_sees_the_ion():
    tblite = pytest.importorskip(
        "tblite.ase", reason="tblite is not installed: pip install agal_toolkit[references]"
    )
    ammonium = molecule("CH4")
    ammonium.numbers[0] = 7
    batch = Batch.of([Geometry(positions=ammonium.positions, numbers=ammonium.numbers, charge=1)])
    prediction = CalculatorPotential(tblite.TBLite(method="GFN1-xTB", verbosity=0))(batch)
    ammonium.calc = tblite.TBLite(method="GFN1-xTB", charge=1, verbosity=0)
    assert float(prediction.energy[0]) == pytest.approx(ammonium.get_potential_energy(), abs=1e-6)


@pytest.mark.parametrize("replicas", [1, 3])
def test_the_calculator_of_a_potential_reads_charge_and_multiplicity(replicas):
    potential = Differentiable(electronic)
    atoms = Atoms("Ar" * replicas, positions=np.full((replicas, 3), 0.5))
    atoms.calc = PotentialCalculator(potential, replicas=replicas)
    neutral = atoms.get_potential_energy()
    atoms.info["charge"] = -2
    assert atoms.get_potential_energy() == pytest.approx(neutral - 20.0 * replicas)
    atoms.info["multiplicity"] = 3
    assert atoms.get_potential_energy() == pytest.approx(neutral - 18.0 * replicas)
    assert not atoms.calc.calculation_required(atoms, ["energy"])


def test_ions_there_and_back_again():
    potential = Differentiable(electronic)
    again = CalculatorPotential(PotentialCalculator(potential))(Batch.of(ions()))
    assert torch.equal(again.energy, potential(Batch.of(ions())).energy)


def test_threads_do_not_mix_what_a_calculator_remembers():
    """One calculator asked by several threads gives each the answer to its own question."""

    class Slow(Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            place = self.atoms.positions[0, 0]
            time.sleep(0.01)
            self.results = {"energy": place, "forces": np.full((len(self.atoms), 3), place)}

    potential = CalculatorPotential(Slow())
    batches = [Batch.of([Atoms("Ar", positions=[[float(k), 0, 0]])]) for k in range(8)]
    with ThreadPoolExecutor(4) as pool:
        predictions = list(pool.map(potential, batches))
    assert [float(prediction.energy) for prediction in predictions] == list(range(8))
    assert [float(prediction.forces[0, 0]) for prediction in predictions] == list(range(8))


def test_charge_and_spin_are_read_where_others_put_them():
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 3]])
    atoms.calc = PotentialCalculator(Differentiable(electronic))
    neutral = atoms.get_potential_energy()
    atoms.info["total_charge"], atoms.info["spin"] = 1, 2
    assert atoms.get_potential_energy() == pytest.approx(neutral + 11.0)
    atoms.info.clear()
    atoms.set_initial_charges([0.5, 0.5])
    assert atoms.get_potential_energy() == pytest.approx(neutral + 10.0)
    atoms.set_initial_charges([0.5, 0.0])
    with pytest.raises(ValueError, match=r"initial_charges is 0\.5: give a whole number"):
        atoms.get_potential_energy()


class Smeared(LennardJones):
    """Electrons at a temperature: energy extrapolated to 0 K beside forces of the free energy."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["energy"] = self.results["energy"] + 0.3


def test_energies_are_those_whose_slopes_the_forces_are():
    geometry = Geometry(positions=[[0, 0, 0], [0, 0, 1.1]], numbers=[18, 18])
    right = LennardJones()
    right.calculate(geometry.to_ase())
    (energy,) = CalculatorPotential(Smeared())(Batch.of([geometry])).energy
    assert float(energy) == right.results["free_energy"]
    assert CalculatorLabels(Smeared)(geometry).energy == right.results["free_energy"]


def test_energies_of_replicas_are_not_those_of_atoms():
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 3]])
    atoms.calc = PotentialCalculator(Differentiable(electronic), replicas=2)
    atoms.get_potential_energy()
    assert "energies" not in atoms.calc.results
    assert atoms.calc.results["replica_energies"].sum() == atoms.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_potential_energies()


def test_only_changes_are_computed_anew(rng):
    recorded = Recorded(Differentiable(helpers.Springs(4.0, 1.4)))
    atoms = crystal(rng)
    atoms.calc = PotentialCalculator(recorded)
    changes = (
        lambda: None,
        lambda: atoms.positions.__iadd__(1e-12),
        lambda: atoms.set_cell(1.01 * atoms.cell.array),
        lambda: atoms.set_pbc(False),
        lambda: atoms.numbers.__setitem__(0, 3),
        lambda: atoms.info.update(charge=1),
        lambda: atoms.positions.__setitem__(0, np.nan),
    )
    for calls, change in enumerate(changes, 1):
        change()
        atoms.get_potential_energy()
        if calls < len(changes):  # what is not finite equals nothing
            atoms.get_forces()
        assert recorded.calls == calls
