"""Nitrogen's inversion in ammonia as a reaction path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from agal_toolkit.analysis.paths import Model, NudgedElasticBand, ReactionPath, relaxed
from agal_toolkit.committee import Committee
from agal_toolkit.geometry import Geometry
from agal_toolkit.potentials.protocol import Potential
from agal_toolkit.references import NoMinimum

from .plane import inverted


def inversion_path(
    potential: Model,
    *,
    ground: Geometry,
    band: NudgedElasticBand = NudgedElasticBand(),
    start: Sequence[Geometry] | None = None,
    device: torch.device | str = "cpu",
) -> ReactionPath:
    """Return the path from the potential's minimum near `ground` to its mirror image.

    If the potential does not distinguish mirror images, the middle image of an odd number is planar
    and the path looks the same from both ends (Schwalbe-Koda 2021, Fig. 3d).

    Args:
        potential: as for :class:`NudgedElasticBand`.
        ground: where the search for the minimum starts.
        band: settings; its `fmax` is also used for the minimum.
        start: initial images, as for :class:`NudgedElasticBand`.
        device: where the potential computes.

    Raises:
        NoMinimum: the potential has no minimum near `ground`.
    """
    first = relaxed(potential, ground, fmax=band.fmax, device=device)
    return band(potential, first, inverted(first), start=start, device=device)


@dataclass(frozen=True)
class CommitteePaths:
    """The paths of a committee (Schwalbe-Koda 2021, Fig. 3d).

    Attributes:
        mean: On the mean of the members.
        members: On each member; None if it has no minimum to start from.
    """

    mean: ReactionPath
    members: tuple[ReactionPath | None, ...]

    @property
    def barriers(self) -> NDArray:
        """(members,) eV, NaN without a path; their mean is not the barrier of :attr:`mean`."""
        return np.array([np.nan if path is None else path.barrier for path in self.members])

    @classmethod
    def of(cls, committee: Committee, find: Callable[[Potential], ReactionPath]) -> CommitteePaths:
        """Apply `find`, which makes a path of a potential, to the mean and to each member.

        Raises:
            NoMinimum: the mean has none.
        """

        def of_member(member: Committee) -> ReactionPath | None:
            try:
                return find(member.mean)
            except NoMinimum:
                return None

        mean = find(committee.mean)
        return cls(mean, tuple(of_member(committee[[m]]) for m in range(len(committee))))
