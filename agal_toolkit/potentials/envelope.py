"""The function that lets pairs fade out at the cutoff.

With s = r / cutoff it is f = 1 - 10 s^3 + 15 s^4 - 6 s^5, zero beyond s = 1 and twice continuously
differentiable there. It is written as a product with (1 - s)^3, which does not cancel near s = 1.
It stands here twice: networks were trained with either order of rounding, and keep theirs.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


def envelope(s: Tensor) -> tuple[Tensor, Tensor]:
    """Return f and df/ds at the relative distances `s`."""
    left = (1 - s).clamp(min=0)
    return left**3 * (1 + 3 * s + 6 * s.square()), -30 * (s * left).square()


class Envelope(NamedTuple):
    """The function and its first two derivatives in the distance r, (M, P, 1) each."""

    value: Tensor
    slope: Tensor
    curvature: Tensor

    @classmethod
    def of(cls, distances: Tensor, cutoff: float) -> Envelope:
        """Evaluate all three at `distances` (M, P), angstrom."""
        s = (distances / cutoff).unsqueeze(-1)
        left = (1 - s).clamp_(min=0)
        product = s * left
        return cls(
            left**3 * (6 * s.square() + 3 * s + 1),
            product.square() * (-30 / cutoff),
            product * (1 - 2 * s) * (-60 / cutoff**2),
        )
