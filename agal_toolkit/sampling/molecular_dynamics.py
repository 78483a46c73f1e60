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
from ..events import Report, ignore
from ..geometry import Geometry
from ..potentials.protocol import Recorded
from ..uncertainty.variance import force_variance


@dataclass(frozen=True, kw_only=True)
class MolecularDynamics:
    """Where simulations with the committee's mean arrive: one structure of each replica (Cezar 2025
    attacks from such frames).

    Constant temperature, all replicas in one batch (:func:`~agal_toolkit.dynamics.nvt`). A replica
    that is stopped gives the frame before the one that stopped it; one that goes where the
    committee is `uncertain` ends there.

    Attributes:
        temperature: lowest and highest, K; each replica draws its own, uniformly.
        picoseconds: of each replica.
        count: replicas.
        start: where they start; None draws from the labelled structures.
        timestep: fs.
        damping: relaxation time of the thermostats, fs.
        stops: what a replica must not do, see :mod:`agal_toolkit.dynamics.stops`.
        uncertain: root of the force variance (Schwalbe-Koda 2021, Eq. 10), eV/angstrom, at which a
            replica ends; None lets it go on.

    Raises:
        ValueError: settings out of range.
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
        if (
            not 0 < low <= high
            or self.count < 1
            or not min(self.picoseconds, self.timestep, self.damping) > 0
        ):
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
        starts = (
            [dataset[int(i)] for i in rng.integers(len(dataset), size=self.count)]
            if self.start is None
            else [self.start] * self.count
        )
        temperatures, steps = (
            rng.uniform(*self.temperature, self.count),
            max(1, round(1000 * self.picoseconds / self.timestep)),
        )
        recorded = Recorded(committee)
        doubt = () if self.uncertain is None else (_Uncertain(recorded, self.uncertain),)
        ran = nvt(
            recorded,
            starts,
            temperatures,
            timestep=self.timestep,
            steps=steps,
            damping=self.damping,
            rng=rng,
            device=committee.device,
            report=report,
            watch=Watch(every=max(1, round(10 / self.timestep)), stops=(*self.stops, *doubt)),
        )
        return [
            frames.geometry(
                -1 if frames.reason in (None, _Uncertain.name) else max(len(frames) - 2, 0)
            )
            for frames in ran
        ]


@dataclass(frozen=True)
class _Uncertain:
    """Stop where the members' forces differ by more than `limit`, eV/angstrom."""

    recorded: Recorded
    limit: float
    name: str = "uncertain"

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        variance = force_variance(self.recorded.prediction, self.recorded.batch)
        return variance.sqrt() > self.limit
