"""Nitrogen's inversion in ammonia as a reaction path."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from agal_toolkit.analysis.paths import Model, NudgedElasticBand, ReactionPath, relaxed
from agal_toolkit.geometry import Geometry

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
