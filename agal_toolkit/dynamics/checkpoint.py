"""A simulation on its way, kept in a file, so that it goes on as if it had never stopped.

The file holds the engine's whole state (thermostats and barostats, too) and every frame so far, all
to the last digit. It belongs to one potential: the caller names the file after what it simulates.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..files import checkpoint_write, read_arrays, reading, write_arrays
from .engines import Engine, InitialState
from .stops import Watch

PER_FRAME = ("times", "positions", "cells", "energies", "kinetic")


@dataclass
class Recording:
    """What is known of R replicas at a step.

    Attributes:
        frames: for each replica the frames so far, tuples in the order of `PER_FRAME`.
        velocities: for each replica (n, d) of its last frame; None without frames.
        moving: replica at each place of the engine's batch.
        stopped: {replica: reason}.
        at_start: (2, B) potential and kinetic energies of the first step of those that move.
        step: the next one.
    """

    frames: list[list[tuple]]
    velocities: list[NDArray | None]
    moving: list[int]
    stopped: dict[int, str] = field(default_factory=dict)
    at_start: torch.Tensor | None = None
    step: int = 0

    @classmethod
    def of(cls, replicas: int) -> Recording:
        """Return the recording before the first step."""
        return cls([[] for _ in range(replicas)], [None] * replicas, list(range(replicas)))


@dataclass(frozen=True)
class Checkpoint:
    """Where a simulation is kept, and how often.

    Attributes:
        file: of one simulation, ``.npz``; removed by nobody.
        seconds: between writes; the end is always written.
    """

    file: Path
    seconds: float = 60.0

    def load(self, engine: Engine, replicas: int, digest: str) -> Recording:
        """Return the recording in the file, and set the engine to it; a new one without a file.

        Raises:
            DamagedFile: the file holds another simulation, or cannot be read.
        """
        if not self.file.exists():
            return Recording.of(replicas)
        with reading(self.file, "remove it to begin anew, or give another file"):
            arrays = read_arrays(self.file, {"simulation": digest})
            head = json.loads(str(arrays.pop("head")))
        recording = Recording.of(replicas)
        recording.moving, recording.step = head["moving"], head["step"]
        recording.stopped = {int(replica): reason for replica, reason in head["stopped"].items()}
        recording.at_start = torch.from_numpy(arrays.pop("at_start"))
        for replica in range(replicas):
            columns = [arrays.pop(f"{replica} {name}") for name in PER_FRAME]
            recording.frames[replica] = list(zip(*columns, strict=True))
            if recording.frames[replica]:
                recording.velocities[replica] = arrays.pop(f"{replica} velocities")
        if recording.moving:
            if len(recording.moving) < replicas:
                engine.select(recording.moving)
            engine.restore(arrays)
        return recording

    def save(self, engine: Engine, recording: Recording, digest: str) -> None:
        """Write the recording and the state of the engine.

        Raises:
            OSError: the file cannot be written; the one before it stays.
        """
        head = {
            "moving": recording.moving,
            "step": recording.step,
            "stopped": recording.stopped,
        }
        state = engine.state() if recording.moving else {}
        arrays = {"head": np.array(json.dumps(head)), **state}
        if recording.at_start is not None:
            arrays["at_start"] = recording.at_start.cpu().numpy()
        for replica, frames in enumerate(recording.frames):
            for column, name in enumerate(PER_FRAME):
                arrays[f"{replica} {name}"] = np.array([frame[column] for frame in frames])
            if frames:
                arrays[f"{replica} velocities"] = np.asarray(recording.velocities[replica])
        with checkpoint_write(self.file) as part:
            write_arrays(part, arrays, {"simulation": digest})


@dataclass
class Saver:
    """Writes to a checkpoint, if there is one, whenever its seconds are over.

    Attributes:
        checkpoint: where, and how often; None keeps nothing.
        digest: of the simulation.
        last: time of the last write, s.
    """

    checkpoint: Checkpoint | None
    digest: str
    last: float = field(default_factory=time.monotonic)

    def load(self, engine: Engine, replicas: int) -> Recording:
        """Return what is kept of this simulation, see :meth:`Checkpoint.load`."""
        if self.checkpoint is None:
            return Recording.of(replicas)
        return self.checkpoint.load(engine, replicas, self.digest)

    def __call__(self, engine: Engine, recording: Recording, finished: bool = False) -> None:
        """Write if it is time, or if the simulation is finished."""
        now = time.monotonic()
        if self.checkpoint is None:
            return
        if finished or now - self.last >= self.checkpoint.seconds:
            self.checkpoint.save(engine, recording, self.digest)
            self.last = now


def digest_of(initial: InitialState, watch: Watch, settings: Mapping[str, float]) -> str:
    """Return a digest of everything that decides a simulation but its potential."""
    content = {
        "starts": [start.digest() for start in initial.starts],
        "temperatures": initial.temperatures.tolist(),
        "momenta": [hashlib.sha256(p.tobytes()).hexdigest() for p in initial.momenta],
        "watch": [watch.every, watch.check, watch.explosion, *(stop.name for stop in watch.stops)],
        "settings": dict(settings),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
