"""SOAP against dscribe called by hand, and UMAP's maps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import helpers
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import agal_toolkit
from agal_toolkit.analysis.descriptors import Soap, Umap
from agal_toolkit.geometry import Geometry, points

# Two clusters of six: what is far apart stays far apart. Run in a process of its own, where numba
# need not compile.
MAPPED = """
import json
import numpy as np
from agal_toolkit.analysis.descriptors import Umap
from umap import UMAP
features = np.random.default_rng(5).normal(size=(12, 6)) + np.repeat([[0.0], [30.0]], 6, axis=0)
settings = dict(n_neighbors=4, min_dist=0.2, metric="euclidean", random_state=3, n_jobs=1)
ours = Umap(neighbours=4, nearest=0.2, seed=3)(features)
maps = [ours, UMAP(**settings).fit_transform(features), Umap()(features[:5])]
print(json.dumps([positions.tolist() for positions in maps]))
"""


def ammonia(rng, noise=0.1):
    positions = np.array([[0.0, 0, 0.4], [0.94, 0, 0], [-0.47, 0.81, 0], [-0.47, -0.81, 0]])
    return Geometry(positions=positions + rng.normal(0, noise, (4, 3)), numbers=[7, 1, 1, 1])


def by_hand(geometries, species, periodic=False):
    from dscribe.descriptors import SOAP

    soap = SOAP(
        species=species,
        r_cut=5.0,
        n_max=5,
        l_max=6,
        sigma=1.0,
        rbf="gto",
        average="inner",
        periodic=periodic,
    )
    frames = [g.to_ase() for g in geometries]
    for atoms in frames:
        atoms.wrap()
    return np.stack([soap.create(atoms) for atoms in frames])


def test_soap_is_dscribes_with_the_papers_settings(rng):
    geometries = [ammonia(rng) for _ in range(4)]
    vectors = Soap()(geometries)
    assert vectors.shape == (4, (2 * 5) * (2 * 5 + 1) // 2 * 7)
    np.testing.assert_allclose(vectors, by_hand(geometries, ["H", "N"]), rtol=1e-12)
    np.testing.assert_array_equal(Soap()(geometries[:1]), vectors[:1])
    crystal = helpers.crystal(rng, (2, 2, 2))
    np.testing.assert_allclose(
        Soap()([crystal]), by_hand([crystal], ["C"], periodic=True), rtol=1e-12
    )


def test_soap_does_not_see_in_which_cell_an_atom_is(rng):
    x, cell = rng.uniform(0, 5, (4, 3)), 5.0 * np.eye(3)
    inside = {"positions": x, "numbers": [28, 28, 22, 22], "cell": cell, "pbc": True}
    unwrapped = {**inside, "positions": x + rng.integers(-2, 3, (4, 3)) @ cell}
    sheared = {**inside, "cell": cell + np.array([[0, 0, 0], [1, 0, 0], [1, -1, 0]]) @ cell}
    one, *others = (
        Soap(r_cut=4.5, n_max=4, l_max=4)([Geometry(**fields)])
        for fields in (inside, unwrapped, sheared)
    )
    for other in others:
        np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-6 * np.abs(one).max())


def test_soap_does_not_see_place_order_and_handedness(rng):
    one = ammonia(rng)
    turned = one.moved(one.positions @ Rotation.random(rng=rng).as_matrix() + 3.0)
    shuffled = Geometry(positions=one.positions[[2, 0, 3, 1]], numbers=one.numbers[[2, 0, 3, 1]])
    mirrored = one.moved(one.positions * [1, 1, -1])
    first, *same, other = Soap()([one, turned, shuffled, mirrored, ammonia(rng)])
    scale = np.abs(first).max()
    for vector in same:
        np.testing.assert_allclose(vector, first, atol=1e-9 * scale)
    assert np.abs(other - first).max() > 1e-3 * scale


def test_species_keep_room(rng):
    one = ammonia(rng)
    assert Soap(species=(1, 7, 8))([one]).shape == (1, 15 * 16 // 2 * 7)


def test_what_soap_refuses(rng):
    with pytest.raises(ValueError, match="at least one"):
        Soap()([])
    with pytest.raises(ValueError, match="all open or all periodic"):
        Soap()([ammonia(rng), helpers.crystal(rng, (2, 2, 2))])
    with pytest.raises(ValueError, match="known elements in three dimensions"):
        Soap()(points([[0.0, 1.0]]))


def check(maps):
    layout, right, few = map(np.array, maps)
    assert layout.shape == (12, 2)
    assert few.shape == (5, 2)
    assert np.isfinite(few).all()
    np.testing.assert_array_equal(layout, right)
    centres = layout[:6].mean(0), layout[6:].mean(0)
    within = max(
        np.linalg.norm(part - centre, axis=1).max()
        for part, centre in zip((layout[:6], layout[6:]), centres, strict=True)
    )
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * within


def test_maps_keep_neighbours_and_seeds():
    strict = ["-W", "error", "-W", "ignore:Tensorflow not installed:ImportWarning"]
    environment = {
        **os.environ,
        "NUMBA_DISABLE_JIT": "1",
        "PYTHONPATH": str(Path(agal_toolkit.__file__).parent.parent),
    }
    ran = subprocess.run(
        [sys.executable, *strict, "-c", MAPPED], capture_output=True, text=True, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    check(json.loads(ran.stdout))


@pytest.mark.slow
def test_maps_with_compiled_umap(capsys):
    exec(MAPPED, {})
    check(json.loads(capsys.readouterr().out))


def test_what_maps_refuse():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for features in (np.zeros((4, 3)), np.full((9, 3), np.nan), np.zeros(9)):
            with pytest.raises(ValueError, match="at least five finite vectors"):
                Umap()(features)
