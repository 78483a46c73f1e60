"""Attacks, step by step."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from ..attack.attack import Adversary
from .style import ADVERSARIAL


def attack_losses(axes: Axes, adversaries: Sequence[Adversary]) -> None:
    """Draw the adversarial loss of each attack along its steps, maximised as in the papers."""
    kept = {"marker": "o", "ms": 4, "mec": "white", "mew": 0.5}
    for adversary in adversaries:
        gain, step = -adversary.losses, adversary.kept
        axes.plot(gain, lw=1.0, color=ADVERSARIAL, alpha=0.6)
        axes.plot(step, gain[step], **kept, color=ADVERSARIAL)
    axes.set(xlabel="attack step", ylabel=r"$\mathcal{L}_\mathrm{adv}$")
    axes.grid(alpha=0.25)
