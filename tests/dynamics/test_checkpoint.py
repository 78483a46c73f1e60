"""A simulation that was killed goes on to the end that it would have had."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import helpers
import numpy as np
import pytest
import torch

from agal_toolkit import files
from agal_toolkit.dynamics import Checkpoint, Watch, npt, nve, nvt
from agal_toolkit.potentials import Differentiable

POTENTIAL = Differentiable(helpers.PairEnergy())


class Killed(Exception):
    pass


@dataclass(frozen=True)
class Moved:
    """A particle is farther than `limit` from where the first replica had it."""

    start: torch.Tensor
    limit: float
    name: str = "moved"

    def __call__(self, batch, prediction):
        apart = (batch.positions.reshape(len(batch), -1, 3) - self.start).norm(dim=-1)
        return apart.amax(-1) > self.limit


def killed_at(step):
    def report(event):
        if event.done >= step:
            raise Killed

    return report


@pytest.mark.parametrize(
    "run",
    [
        partial(nve, timestep=1.0),
        partial(nvt, timestep=1.0, damping=20.0),
        partial(npt, timestep=1.0, pressure=1e-4, damping=20.0, pressure_damping=500.0),
    ],
    ids=["nve", "nvt", "npt"],
)
@pytest.mark.parametrize("kill", [4, 20, 36])
def test_a_killed_simulation_ends_as_an_uninterrupted_one(run, kill, tmp_path):
    box = helpers.crystal(np.random.default_rng(0), (3, 3, 3))
    temperatures = [10.0, 90000.0, 30.0]  # the second breaks the criterion on its way
    watch = Watch(every=4, explosion=1e3, stops=(Moved(torch.tensor(box.positions), 1.5),))

    def simulate(**keywords):
        rng = np.random.default_rng(1)
        return run(POTENTIAL, [box] * 3, temperatures, steps=40, watch=watch, rng=rng, **keywords)

    whole = simulate()
    assert [frames.reason for frames in whole][1] == "moved"
    assert 1 < len(whole[1]) < len(whole[0])
    checkpoint = Checkpoint(tmp_path / "run.npz", seconds=0.0)
    with pytest.raises(Killed):
        simulate(checkpoint=checkpoint, report=killed_at(kill))
    steps = []
    parts = simulate(checkpoint=checkpoint, report=lambda event: steps.append(event.done))
    assert steps[0] == kill  # the step whose report was the last was not kept; the one before was
    for one, other in zip(whole, parts, strict=True):
        assert one.reason == other.reason
        for name in ("times", "positions", "cells", "energies", "kinetic", "velocities"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_checkpoint_of_another_simulation_is_refused(tmp_path):
    box = helpers.crystal(np.random.default_rng(0), (3, 3, 3))
    checkpoint = Checkpoint(tmp_path / "run.npz", seconds=0.0)

    def simulate(steps, **keywords):
        rng = np.random.default_rng(1)
        return nvt(POTENTIAL, [box], 300, timestep=1.0, steps=steps, rng=rng, **keywords)

    simulate(8, checkpoint=checkpoint)
    with pytest.raises(ValueError, match=r"made from something else .*: remove it"):
        simulate(9, checkpoint=checkpoint)
    content = checkpoint.file.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"no archive at all"):
        checkpoint.file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"run.npz is damaged"):
            simulate(8, checkpoint=checkpoint)


def test_a_finished_simulation_is_read_and_not_repeated(tmp_path):
    box = helpers.crystal(np.random.default_rng(0), (3, 3, 3))
    checkpoint = Checkpoint(tmp_path / "run.npz", seconds=0.0)
    ends = [
        nvt(
            POTENTIAL,
            [box],
            300,
            timestep=1.0,
            steps=8,
            rng=np.random.default_rng(1),
            checkpoint=checkpoint,
            report=report,
        )
        for report in (lambda event: None, killed_at(0))
    ]
    np.testing.assert_array_equal(ends[0][0].positions, ends[1][0].positions)


def test_only_the_end_is_written_before_the_time_is_over(tmp_path):
    box = helpers.crystal(np.random.default_rng(0), (3, 3, 3))
    checkpoint = Checkpoint(tmp_path / "run.npz", seconds=3600.0)

    def simulate(**keywords):
        rng = np.random.default_rng(1)
        return nve(
            POTENTIAL, [box], 300, timestep=1.0, steps=4, rng=rng, checkpoint=checkpoint, **keywords
        )

    with pytest.raises(Killed):
        simulate(watch=Watch(every=2), report=killed_at(2))
    assert not checkpoint.file.exists()
    (ended,) = simulate(watch=Watch(every=2))
    (again,) = simulate(watch=Watch(every=2), report=killed_at(0))
    np.testing.assert_array_equal(ended.velocities, again.velocities)


def test_a_full_disk_loses_nothing_that_was_kept(tmp_path, monkeypatch):
    box = helpers.crystal(np.random.default_rng(0), (3, 3, 3))
    checkpoint, real, written = Checkpoint(tmp_path / "run.npz", seconds=0.0), files.os.replace, []

    def simulate(**keywords):
        rng, watch = np.random.default_rng(1), Watch(every=4)
        run = partial(nvt, POTENTIAL, [box], 300, timestep=1.0, steps=40)
        return run(rng=rng, watch=watch, **keywords)[0]

    def replace_until_full(part, place):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(place)
        real(part, place)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", replace_until_full)
        message = r"cannot write the checkpoint .*run\.npz .*No space left.*: free the disk"
        with pytest.raises(OSError, match=message):
            simulate(checkpoint=checkpoint)
    steps = []
    parts = simulate(checkpoint=checkpoint, report=lambda event: steps.append(event.done))
    assert steps[0] > 0  # it goes on, and does not begin anew
    np.testing.assert_array_equal(parts.positions, simulate().positions)


def test_a_simulation_that_ended_early_is_read(tmp_path):
    """All replicas stop at the first frame; the next call does not begin again."""
    box = helpers.crystal(np.random.default_rng(0), (3, 3, 3))
    watch = Watch(stops=(Moved(torch.tensor(box.positions) + 9.0, 1.5),))
    for report in (lambda event: None, killed_at(0)):
        (frames,) = nve(
            POTENTIAL,
            [box],
            300,
            timestep=1.0,
            steps=4,
            rng=np.random.default_rng(1),
            watch=watch,
            checkpoint=Checkpoint(tmp_path / "run.npz"),
            report=report,
        )
        assert frames.reason == "moved"
        assert len(frames) == 1
