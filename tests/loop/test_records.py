"""Packed and unpacked, float for float, through a file that holds no pickles."""

from __future__ import annotations

import io

import numpy as np
import pytest

from agal_toolkit.attack import Adversary
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.loop.records import (
    pack_adversaries,
    pack_dataset,
    pack_geometries,
    unpack_adversaries,
    unpack_dataset,
    unpack_geometries,
)


def through_a_file(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as read:
        return dict(read)


def geometries(rng):
    return [
        Geometry(
            positions=rng.normal(size=(3, 3)) / 3,
            numbers=[8, 1, 1],
            charge=-1,
            multiplicity=2,
            movable=[True, False, True],
            origin={"by": "hand", "list": [1, {"ä": None}]},
        ),
        Geometry(
            positions=[[5e-324, -0.0, 1e300]],
            numbers=[29],
            cell=rng.normal(size=(3, 3)),
            pbc=[True, False, True],
        ),
    ]


def same(one, other):
    assert one.digest() == other.digest()
    assert one.positions.tobytes() == other.positions.tobytes()
    assert dict(one.origin) == dict(other.origin)
    assert one.movable.tolist() == other.movable.tolist()


def test_geometries(rng):
    given = geometries(rng)
    again = unpack_geometries(through_a_file(pack_geometries(given)))
    assert len(again) == 2
    for one, other in zip(again, given, strict=True):
        same(one, other)


def test_a_dataset(rng):
    given = geometries(rng)
    data = Dataset(
        given,
        [
            Labels(energy=1 / 3, forces=rng.normal(size=(3, 3))),
            Labels(energy=-7548.1, forces=np.ones((1, 3)), stress=rng.normal(size=(3, 3))),
        ],
        ["train", "calibration"],
    )
    again = unpack_dataset(through_a_file(pack_dataset(data)))
    assert again.roles == data.roles
    assert again.energies.tobytes() == data.energies.tobytes()
    for a, b, x, y in zip(again, data, again.labels, data.labels, strict=True):
        same(a, b)
        assert x.forces.tobytes() == y.forces.tobytes()
    assert again.labels[0].stress is None
    assert again.labels[1].stress.tobytes() == data.labels[1].stress.tobytes()


def test_adversaries(rng):
    given = [
        Adversary(
            4,
            points([[0.1, 0.2]], by="attack")[0],
            rng.normal(size=(6, 1, 2)),
            np.array([1.0, np.nan, np.inf, -np.inf, 0.1, 3.0]),
            4,
            True,
        ),
        Adversary(
            7,
            Geometry(positions=np.ones((2, 2)), numbers=[0, 0]),
            rng.normal(size=(6, 2, 2)),
            np.full(6, np.nan),
            0,
            False,
        ),
    ]
    again = unpack_adversaries(through_a_file(pack_adversaries(given)))
    for a, b in zip(again, given, strict=True):
        same(a.geometry, b.geometry)
        assert (a.seed, a.reached) == (b.seed, b.reached)
        assert type(a.reached) is bool
        assert a.path.tobytes() == b.path.tobytes()
        assert a.losses.tobytes() == b.losses.tobytes()


def test_nothing_at_all():
    assert unpack_geometries(through_a_file(pack_geometries([]))) == []
    assert len(unpack_dataset(through_a_file(pack_dataset(Dataset())))) == 0
    assert unpack_adversaries(through_a_file(pack_adversaries([]))) == []


def test_dimensions_do_not_mix(rng):
    with pytest.raises(ValueError, match="different dimensions cannot be stored together"):
        pack_geometries([*geometries(rng), *points([[0.0, 1.0]])])
