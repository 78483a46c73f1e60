"""Seeds from molecular dynamics with the committee's mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from numpy.random import Generator
from torch import Tensor

from ..batch import Batch, Prediction
from ..committee import Committee
from ..dataset import Dataset
from ..dynamics import Stop, Watch, nvt
from ..events import Note, Report, ignore
from ..geometry import Geometry
from ..potentials.protocol import Recorded
from ..uncertainty.variance import force_variance
from .samplers import NoSeeds, starts_of


@dataclass(frozen=True, kw_only=True)
class MolecularDynamics:
    """The end of each of several simulations with the committee's mean (as Cezar 2025 attacks).

    Constant temperature, all replicas in one batch (:func:`~agal_toolkit.dynamics.nvt`). If a stop
    criterion ends a replica, the last frame before it is returned; if the uncertainty limit ends
    it, that frame itself. A replica that is not finite at its start is left out, with a note.

    Attributes:
        temperature: lowest and highest, K; each replica draws its own uniformly.
        picoseconds: length of each simulation.
        count: number of replicas.
        start: structure that all replicas start from; None draws from the labelled structures.
        timestep: fs.
        damping: relaxation time of the thermostats, fs.
        stops: criteria that end a replica, see :mod:`agal_toolkit.dynamics.stops`.
        uncertain: limit of the root of the force variance (Schwalbe-Koda 2021, Eq. 10),
            eV/angstrom; None sets no limit.

    Raises:
        ValueError: settings out of range.
        NoSeeds: a committee that is finite at no start.
    """

    temperature: tuple[float, float]
    picoseconds: float
    count: int
    start: Geometry | None = None
    timestep: float = 0.5
    damping: float = 50.0
    stops: tuple[Stop, ...] = ()
    uncertain: float | None = None

    def __post_init__(self) -> None:
        low, high = self.temperature
        times = self.picoseconds, self.timestep, self.damping
        if not 0 < low <= high or self.count < 1 or not min(times) > 0:
            raise ValueError(
                f"{self}: temperatures must be (lowest, highest) above 0 K, at least one replica,"
                " and the times positive"
            )

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        rng: Generator,
        report: Report = ignore,
        scratch: Path | None = None,
    ) -> list[Geometry]:
        starts = starts_of(self.start, dataset, self.count, rng)
        recorded = Recorded(committee)
        limit = () if self.uncertain is None else (Uncertain(recorded, self.uncertain),)
        replicas = nvt(
            recorded,
            starts,
            rng.uniform(*self.temperature, self.count),
            timestep=self.timestep,
            steps=max(1, round(1000 * self.picoseconds / self.timestep)),
            damping=self.damping,
            watch=Watch(every=max(1, round(10 / self.timestep)), stops=(*self.stops, *limit)),
            rng=rng,
            device=committee.device,
            report=report,
        )
        lost = [frames.replica for frames in replicas if not len(frames)]
        if len(lost) == len(replicas):
            remedy = "the committee predicts energies or forces that are not finite for them"
            raise NoSeeds(f"no replica could start: {remedy}; train it on such structures")
        if lost:
            report(Note(None, f"replicas {lost} are left out: not finite at their start"))
        whole = (None, Uncertain.name)  # reasons after which the last frame is returned
        return [
            frames.geometry(-1 if frames.reason in whole else max(len(frames) - 2, 0))
            for frames in replicas
            if len(frames)
        ]


@dataclass(frozen=True)
class Uncertain:
    """Stop criterion, `name` "uncertain": sigma_F of a `recorded` committee exceeds `limit`.

    sigma_F is the root of the force variance (Schwalbe-Koda 2021, Eq. 10), eV/angstrom.
    """

    recorded: Recorded
    limit: float
    name: str = "uncertain"

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        variance = force_variance(self.recorded.prediction, self.recorded.batch)
        return variance.sqrt() > self.limit
