"""What attacks did, step by step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..attack.attack import Adversary
from .style import ADVERSARIAL, TRUTH, framed_legend


def attack_losses(axes: Axes, adversaries: Sequence[Adversary]) -> None:
    """The adversarial loss of each attack along its steps; larger is better here, as the papers
    print it.
    """
    for adversary in adversaries:
        axes.plot(-adversary.losses, lw=1.0, color=ADVERSARIAL, alpha=0.6)
        axes.plot(
            adversary.kept,
            -adversary.losses[adversary.kept],
            "o",
            ms=4,
            color=ADVERSARIAL,
            mec="white",
            mew=0.5,
        )
    axes.set(xlabel="attack step", ylabel=r"$\mathcal{L}_\mathrm{adv}$")
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
    """One attack from its start to its end: what it reaches in energy, in uncertainty and in its
    objective.

    Args:
        axes: three of them, one above the other.
        energy: (steps + 1,) mean of the committee above the ground state, kcal/mol, the start
            first.
        sigma: (steps + 1,) root of the force variance (Schwalbe-Koda 2021, Eq. 10),
            kcal/mol/angstrom.
        losses: (steps + 1,) that were minimised; drawn with the other sign, as the papers print it
            (Eq. 4).
        kept: the step whose geometry the attack returned: a line through all three and a dot on
            each.
        truth: steps (k,) and energies (k,) of the reference there, kcal/mol: black dots beside the
            committee's curve.
    """
    rows = (
        (energy, "energy\n(kcal/mol)"),
        (sigma, "$\\sigma_F$\n(kcal/mol/Å)"),
        (-np.asarray(losses, dtype=float), r"$\mathcal{L}_\mathrm{adv}$"),
    )
    for own, (values, label) in zip(axes, rows, strict=True):
        values = np.asarray(values, dtype=float)
        own.plot(
            values, "-", lw=1.5, color=ADVERSARIAL, label="committee" if own is axes[0] else None
        )
        own.axvline(kept, color="0.5", lw=0.9, ls="--", zorder=1)
        own.plot(
            kept,
            values[kept],
            "o",
            ms=7,
            color=ADVERSARIAL,
            mec="white",
            zorder=4,
            label="kept" if own is axes[0] else None,
        )
        own.set(xlim=(-0.02 * len(values), 1.02 * len(values) - 1), ylabel=label)
        own.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        own.grid(alpha=0.25)
    if truth is not None:
        axes[0].plot(*truth, "o", ms=4.5, color=TRUTH, zorder=3, label="DFT")
    for own in axes[:-1]:
        own.tick_params(labelbottom=False)
    axes[-1].set_xlabel("attack step")
    framed_legend(axes[0], place="upper left", columns=3)
