"""Ways to a structure that is as uncertain as a target asks for: an attack, a random displacement,
a hot simulation.
"""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import Generator
from scipy.optimize import brentq
from torch import Tensor

from agal_toolkit.attack import Attack, TargetError
from agal_toolkit.attack.target_error import TargetLoss
from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.committee import Committee
from agal_toolkit.dynamics import Watch, nve
from agal_toolkit.geometry import Geometry
from agal_toolkit.potentials import Recorded

HOT, STEP, LONGEST = 1000.0, 0.25, 200.0  # K, fs and fs: of simulations
FARTHEST = 1.0  # angstrom: of random displacements


def attacked(
    attack: Attack, committee: Committee, seed: Geometry, rng: Generator
) -> tuple[Geometry, int]:
    """The end of an attack, and its evaluations."""
    (adversary,) = attack(committee, None, [seed], rng)
    return adversary.geometry, len(adversary.losses)


def rattled(
    aim: TargetError, committee: Committee, seed: Geometry, rng: Generator
) -> tuple[Geometry, int]:
    """A random displacement as long as the target wants it, and evaluations."""
    direction, loss, asked = rng.normal(size=seed.positions.shape), aim(committee), []

    def beyond(amplitude: float) -> float:
        batch = Batch.of([seed.moved(seed.positions + amplitude * direction)])
        asked.append(float(loss.mean_and_deviation(committee(batch), batch)[0]) - 1)
        return asked[-1]

    if beyond(0.0) >= 0:
        return seed, 1
    high = 0.02
    while beyond(high) < 0:
        high *= 1.5
        if high > FARTHEST:
            raise RuntimeError(
                f"no random displacement of up to {FARTHEST} angstrom is as uncertain as"
                f" {aim.target:.3g}: take a smaller target"
            )
    return seed.moved(seed.positions + brentq(beyond, 0.0, high, rtol=0.01) * direction), len(asked)


@dataclass(frozen=True)
class _Uncertain:
    """Stop where the recorded members are as uncertain as the loss's target."""

    loss: TargetLoss
    recorded: Recorded
    name: str = "uncertain"

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        return self.loss.mean_and_deviation(self.recorded.prediction, self.recorded.batch)[0] >= 1


def heated(
    aim: TargetError, committee: Committee, seed: Geometry, rng: Generator
) -> tuple[Geometry, int]:
    """The first frame as uncertain as the target of a simulation at constant energy from hot
    velocities, or its last; and evaluations.
    """
    recorded = Recorded(committee)
    (frames,) = nve(
        recorded,
        [seed],
        HOT,
        timestep=STEP,
        steps=round(LONGEST / STEP),
        rng=rng,
        watch=Watch(every=1, stops=(_Uncertain(aim(committee), recorded),)),
    )
    return frames.geometry(-1), recorded.calls
