"""Distances, descriptors, paths and dynamics where cells, images, charges and stress matter."""

from __future__ import annotations

from dataclasses import replace

import helpers
import numpy as np
import pytest
from ase.build import bulk, fcc111
from ase.calculators.lj import LennardJones

from agal_toolkit import Dataset, Geometry, Labels, MolecularDynamics
from agal_toolkit.analysis.descriptors import Soap
from agal_toolkit.analysis.paths import ReactionPath
from agal_toolkit.analysis.rmsd import AlignedRmsd
from agal_toolkit.dynamics import npt
from agal_toolkit.events import Note
from agal_toolkit.potentials import CalculatorPotential
from agal_toolkit.sampling import NoSeeds


def test_soap_of_a_slab_without_a_third_vector():
    """As in a box whose third vector is long enough."""
    pytest.importorskip("dscribe")
    slab, boxed = fcc111("Cu", (2, 2, 2)), fcc111("Cu", (2, 2, 2), vacuum=12.0)
    slab.pbc, boxed.pbc = (True, True, False), True
    one, other = (Soap(r_cut=4.0)([Geometry.from_ase(atoms)]) for atoms in (slab, boxed))
    np.testing.assert_allclose(one, other, atol=1e-8)


def test_a_path_does_not_lengthen_where_an_end_is_written_at_another_image():
    copper = Geometry.from_ase(bulk("Cu", cubic=True))
    shift = np.zeros((4, 3))
    shift[0] = 0.3, 0.0, 0.4
    ends = [copper, copper.moved(copper.positions + shift + copper.cell[1])]
    path = ReactionPath(Dataset(ends, [Labels(energy=0.0, forces=shift)] * 2), True, 0)
    np.testing.assert_allclose(path.lengths, [0.0, 0.5])


def test_the_rmsd_tells_ions_apart_and_looks_through_a_box():
    neutral = helpers.ammonia()
    cation = replace(neutral, charge=1, multiplicity=2)
    assert AlignedRmsd()(neutral, cation) == np.inf
    assert AlignedRmsd()(neutral, replace(neutral, cell=9 * np.eye(3))) < 1e-7


class WithoutStress(LennardJones):
    """A calculator that does not know its stress."""

    def calculate(self, *args):
        super().calculate(*args)
        del self.results["stress"]


def test_constant_pressure_needs_a_stress(rng):
    argon = Geometry.from_ase(bulk("Ar", cubic=True) * (2, 2, 2))
    potential = CalculatorPotential(WithoutStress(sigma=3.4, epsilon=0.01))
    with pytest.raises(ValueError, match=r"predicts no stress for .*use nvt"):
        npt(potential, [argon], 50.0, pressure=0.0, timestep=1.0, steps=1, rng=rng)


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_a_replica_that_is_not_finite_at_its_start_is_left_out(rng):
    sound, heard = helpers.ammonia(), []
    sick = Geometry(positions=np.zeros((4, 3)), numbers=sound.numbers)
    labels = Labels(energy=0.0, forces=np.zeros((4, 3)))
    committee = type(helpers.pair_committee()).from_calculators([LennardJones(epsilon=1e-4)] * 2)
    sampler = MolecularDynamics(temperature=(9.0, 9.0), picoseconds=0.001, count=6)
    data = Dataset([sound, sick], [labels] * 2)
    found = sampler(committee, data, np.random.default_rng(0), heard.append)
    drawn = np.random.default_rng(0).integers(2, size=6)
    assert 0 < len(found) == (drawn == 0).sum() < 6
    notes = [event.text for event in heard if isinstance(event, Note)]
    lost = np.flatnonzero(drawn).tolist()
    assert notes == [f"replicas {lost} are left out: not finite at their start"]
    with pytest.raises(NoSeeds, match="no replica could start"):
        sampler(committee, data[1:], rng)
