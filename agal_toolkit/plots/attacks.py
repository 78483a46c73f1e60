"""What attacks did, step by step."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from ..attack.attack import Adversary
from .style import ADVERSARIAL


def attack_losses(axes: Axes, adversaries: Sequence[Adversary]) -> None:
    """The adversarial loss of each attack along its steps; larger is better here, as the papers print it."""
    for adversary in adversaries:
        axes.plot(-adversary.losses, lw=1.0, color=ADVERSARIAL, alpha=0.6)
        axes.plot(adversary.kept, -adversary.losses[adversary.kept], "o", ms=4, color=ADVERSARIAL, mec="white", mew=0.5)
    axes.set(xlabel="attack step", ylabel=r"$\mathcal{L}_\mathrm{adv}$")
    axes.grid(alpha=0.25)
