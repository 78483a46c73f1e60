"""Attacks, step by step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..attack.attack import Adversary
from .style import ADVERSARIAL, TRUTH, framed_legend

_LOSS = r"$\mathcal{L}_\mathrm{adv}$"


def attack_losses(axes: Axes, adversaries: Sequence[Adversary]) -> None:
    """Draw the adversarial loss of each attack along its steps, maximised as in the papers."""
    kept = {"marker": "o", "ms": 4, "mec": "white", "mew": 0.5}
    for adversary in adversaries:
        gain, step = -adversary.losses, adversary.kept
        axes.plot(gain, lw=1.0, color=ADVERSARIAL, alpha=0.6)
        axes.plot(step, gain[step], **kept, color=ADVERSARIAL)
    axes.set(xlabel="attack step", ylabel=_LOSS)
    axes.grid(alpha=0.25)


def attack_path(
    axes: Sequence[Axes],
    energy: NDArray,
    sigma: NDArray,
    losses: NDArray,
    kept: int,
    *,
    truth: tuple[NDArray, NDArray] | None = None,
) -> None:
    """Draw energy, uncertainty and objective of one attack from its start to its end.

    Args:
        axes: three axes, one above the other.
        energy: (steps + 1,) mean energy of the committee above the ground state, kcal/mol.
        sigma: (steps + 1,) root of the force variance, kcal/mol/angstrom (Schwalbe-Koda 2021,
            Eq. 10).
        losses: (steps + 1,) minimised losses; the picture shows their negative (Eq. 4).
        kept: step whose geometry the attack returned, marked on all three axes.
        truth: steps (k,) and reference energies (k,) there, kcal/mol.
    """
    curves = (energy, sigma, -np.asarray(losses, dtype=float))
    labels = ("energy\n(kcal/mol)", "$\\sigma_F$\n(kcal/mol/Å)", _LOSS)
    for panel, values, label in zip(axes, curves, labels, strict=True):
        values = np.asarray(values, dtype=float)
        panel.plot(values, "-", lw=1.5, color=ADVERSARIAL, label="committee")
        panel.axvline(kept, color="0.5", lw=0.9, ls="--", zorder=1)
        dot = {"ms": 7, "color": ADVERSARIAL, "mec": "white", "zorder": 4}
        panel.plot(kept, values[kept], "o", **dot, label="kept")
        panel.set(xlim=(-0.02 * len(values), 1.02 * len(values) - 1), ylabel=label)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        panel.grid(alpha=0.25)
    if truth is not None:
        axes[0].plot(*truth, "o", ms=4.5, color=TRUTH, zorder=3, label="DFT")
    for panel in axes[:-1]:
        panel.tick_params(labelbottom=False)
    axes[-1].set_xlabel("attack step")
    framed_legend(axes[0], place="upper left", columns=3)
