"""What members may learn from, and which of them learned nothing.

A network can stay where it was initialised: its loss is flat there, and a learning rate that falls
too early keeps it. Such a member predicts hardly more than the mean of its labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..batch import Batch
from ..dataset import CALIBRATION, Dataset, chunks
from ..events import Note, Report
from ..geometry import Geometry
from ..potentials.protocol import Baseline, Members

LEARNED = 0.9  # of the spread: members with larger errors learned nothing


def named(members: NDArray) -> str:
    """Return "member 3" or "members 0, 3"."""
    names = ", ".join(str(member) for member in members)
    return f"member {names}" if len(members) == 1 else f"members {names}"


def without_unknown_elements(
    data: Dataset, weights: NDArray, valid: NDArray, report: Report
) -> NDArray:
    """Return `valid` without the structures of elements that a member does not train on."""
    elements = np.array([np.bincount(g.numbers, minlength=119) > 0 for g in data])
    trained = (weights > 0).astype(int) @ elements > 0
    unknown = valid & (elements.astype(int) @ ~trained.T > 0).T
    for index in np.flatnonzero(unknown.any(axis=0)):
        which = f"{data[int(index)]!r} is no validation structure of"
        members = named(np.flatnonzero(unknown[:, index]))
        report(Note(None, f"{which} {members}: no training structure has all its elements"))
    return valid & ~unknown


def check_weights(data: Dataset, weights: NDArray, valid: NDArray) -> None:
    """Raise ValueError for weights of a wrong shape, negative ones, or members without any."""
    if weights.shape != valid.shape or weights.shape[1] != len(data):
        wrong = f"weights {weights.shape} and valid {valid.shape}"
        raise ValueError(f"{wrong} must both be (members, {len(data)})")
    if (weights < 0).any():
        raise ValueError(f"weights go down to {weights.min()}: they must not be negative")
    learns = (weights > 0).any(axis=1)
    if not learns.all():
        without = f"member {int(np.argmin(learns))} has no training data"
        raise ValueError(f"{without}: give it structures of positive weight")


def doubts(
    data: Dataset, learned: NDArray, forces_weight: float, stress_weight: float
) -> list[str]:
    """Return what a fit does not learn from `data`, or should not, one sentence for each.

    Args:
        data: n structures.
        learned: indices of the structures that some member trains on or validates on.
        forces_weight, stress_weight: of the loss.
    """
    texts, used = [], data[learned]
    if forces_weight and all(label.forces is None for label in used.labels):
        texts.append(f"forces_weight={forces_weight:g}, but no structure has forces")
    pairs = zip(used, used.labels, strict=True)
    if stress_weight and not any(g.pbc.all() and y.stress is not None for g, y in pairs):
        texts.append(
            f"stress_weight={stress_weight:g}, but no structure that is periodic in all directions"
            " has a stress: the fit is the same as with stress_weight=0"
        )
    states: dict[bytes, dict[tuple[int, int], Geometry]] = {}
    for geometry in used:
        composition = states.setdefault(np.sort(geometry.numbers).tobytes(), {})
        composition.setdefault((geometry.charge, geometry.multiplicity), geometry)
    for several in states.values():
        if len(several) > 1:
            texts.append(
                f"{next(iter(several.values()))!r} comes with (charge, multiplicity)"
                f" {sorted(several)}, which MLP, SchNet and DensityNet cannot tell apart: they"
                " learn a mixture; train a committee for each"
            )
    if CALIBRATION in data.roles:
        aside = {geometry.digest() for geometry in data.of_role(CALIBRATION)}
        twice = [i for i in learned if data[int(i)].digest() in aside]
        if twice:
            texts.append(
                f"{len(twice)} structures, the first of them {twice[0]}, are learned from and put"
                " aside for calibration: their errors are too small; remove the duplicates"
            )
    return texts


def training_errors(
    members: Members, data: Dataset, weights: NDArray, forces: bool = True
) -> tuple[NDArray, NDArray]:
    """Return the members' training errors and the spread of what they train on.

    Both are (M,) root mean squares over the structures with a weight: of force components, around
    their mean for the spread; or of energies, around the best energies for each element.

    Args:
        members: M members.
        data: n labelled structures; labels that are NaN do not count.
        weights: (M, n) of the structures for each member.
        forces: compare forces, otherwise energies.
    """
    seen = np.flatnonzero((weights > 0).any(axis=0))
    data, weights = data[seen], weights[:, seen]
    counts = [len(geometry) for geometry in data]
    parts = chunks(counts)
    predicted = [members(Batch.of(data[part], members.device)) for part in parts]
    if forces:
        labels = np.concatenate(data.forces)
        values = np.concatenate([p.forces.detach().cpu().numpy() for p in predicted], 1)
        weights = np.repeat(weights, counts, axis=1)
    else:
        numbers = [geometry.numbers for geometry in data]
        baseline = Baseline.fit(numbers, data.energies)
        atoms = np.concatenate([baseline(Batch.of(data[part])).cpu().numpy() for part in parts])
        labels = (data.energies - atoms)[:, None]
        values = np.concatenate([p.energy.detach().cpu().numpy() for p in predicted], 1)[..., None]
        values = values - atoms[:, None]
    known = np.asarray(np.isfinite(labels).all(-1))
    labels, weights = np.where(known[:, None], labels, 0.0), weights * known
    shares = weights / np.maximum(weights.sum(1, keepdims=True), np.finfo(float).tiny)
    mean = shares @ labels

    def average(differences: NDArray) -> NDArray:
        squares = np.where(shares[..., None] > 0, differences, 0.0) ** 2
        return np.sqrt((shares[..., None] * squares).sum(1).mean(-1))

    return average(values - labels), average(labels - mean[:, None])


def has_learned(errors: NDArray, spread: NDArray) -> NDArray:
    """Return for each member whether its training errors are below the spread of the labels.

    Labels without a spread, as those of isolated atoms, cannot tell.
    """
    return (errors < LEARNED * spread) | (spread < 1e-6)


def weights_of(data: Dataset, large_force: float | None) -> NDArray:
    """Return (n,) factors of the structures' losses: their weights, less for large forces."""
    if large_force is None:
        return data.weights
    largest = np.nan_to_num([np.abs(forces).max() for forces in data.forces])
    return data.weights / (1 + (largest / large_force) ** 2)
