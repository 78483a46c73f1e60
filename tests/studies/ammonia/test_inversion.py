"""Nitrogen's inversion in ammonia: against a barrier by hand, and on the members of a committee."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from ammonia_springs import GROUND, SpringEnergy

from agal_toolkit.analysis.paths import NudgedElasticBand, ReactionPath
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.potentials import Differentiable
from agal_toolkit.references import NoMinimum
from studies.ammonia.inversion import CommitteePaths, inversion_path
from studies.ammonia.plane import coordinates


def test_nitrogen_inverts_over_the_plane(tmp_path):
    path = inversion_path(
        Differentiable(SpringEnergy()), ground=GROUND, band=NudgedElasticBand(fmax=1e-3)
    )
    assert path.converged
    assert path.barrier == pytest.approx(SpringEnergy().barrier, abs=1e-5)
    np.testing.assert_allclose(path.energies, path.energies[::-1], atol=1e-6)
    heights = [coordinates(geometry)[0] for geometry in path.images]
    np.testing.assert_allclose(heights, -np.array(heights)[::-1], atol=1e-4)
    assert np.all(np.diff(heights) < 0)
    assert np.argmax(path.energies) == 5
    assert abs(heights[5]) < 1e-6
    np.testing.assert_allclose(
        path.positions.mean(1), np.tile(GROUND.positions.mean(0), (11, 1)), atol=1e-6
    )
    path.images.write(tmp_path / "path.extxyz")
    assert ReactionPath(
        Dataset.read(tmp_path / "path.extxyz"), True, path.steps
    ).barrier == pytest.approx(path.barrier, abs=1e-7)


def test_a_committees_paths_and_where_they_start():
    members = [SpringEnergy(30.0, 5.0), SpringEnergy(24.0, 7.0)]
    committee = Committee([Differentiable(energy) for energy in members])
    band = NudgedElasticBand(images=5, fmax=1e-3)
    paths = CommitteePaths.of(committee, partial(inversion_path, ground=GROUND, band=band))
    np.testing.assert_allclose(paths.barriers, [energy.barrier for energy in members], atol=1e-5)
    assert paths.mean.barrier == pytest.approx(SpringEnergy(27.0, 6.0).barrier, abs=1e-5)
    again = band(
        committee.mean, paths.mean.images[0], paths.mean.images[-1], start=list(paths.mean.images)
    )
    assert again.converged
    assert again.steps == 0
    assert again.barrier == pytest.approx(paths.mean.barrier, abs=1e-12)


def test_a_member_without_a_minimum_takes_no_path_from_the_others():
    def find(potential):
        if len(paths_in_order) == 2:  # the second member, after the mean and the first
            paths_in_order.append(None)
            raise NoMinimum("it falls apart")
        paths_in_order.append(
            inversion_path(potential, ground=GROUND, band=NudgedElasticBand(images=3, fmax=1e-2))
        )
        return paths_in_order[-1]

    paths_in_order = []
    paths = CommitteePaths.of(
        Committee([Differentiable(SpringEnergy(bond)) for bond in (30.0, 24.0, 27.0)]), find
    )
    assert paths.members == (paths_in_order[1], None, paths_in_order[3])
    assert np.isnan(paths.barriers).tolist() == [False, True, False]
