"""Nitrogen's inversion in ammonia as a reaction path."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from agal_toolkit.analysis.paths import Model, NudgedElasticBand, ReactionPath, relaxed
from agal_toolkit.geometry import Geometry
from studies.ammonia.plane import inverted


def inversion_path(
    potential: Model,
    *,
    ground: Geometry,
    band: NudgedElasticBand = NudgedElasticBand(),
    start: Sequence[Geometry] | None = None,
    device: torch.device | str = "cpu",
) -> ReactionPath:
    """Nitrogen's inversion: from the potential's own minimum near `ground` to its mirror image
    (Schwalbe-Koda 2021, Fig. 3d).

    Where the potential does not tell mirror images apart, the image in the middle of an odd number
    is planar, and the path looks the same from both ends.

    Args:
        potential: as for :class:`NudgedElasticBand`.
        ground: where the search for the minimum starts.
        band: settings; its `fmax` is that of the minimum, too.
        start: images to start from, as there.
        device: where the potential computes.

    Raises:
        NoMinimum: the potential has none near `ground`.
    """
    first = relaxed(potential, ground, fmax=band.fmax, device=device)
    return band(potential, first, inverted(first), start=start, device=device)
