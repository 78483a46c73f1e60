"""What the study of water stands for, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from ..jobs import Claim, Record, mean_claim
from .bands import covered, survivors
from .recipes import STRATEGIES, TRAININGS, in_words

TARGET = 0.2  # eV/angstrom
ITERATIONS = (
    "loop",
    "labels",
    "force error per component (meV/Å)",
    "error found over target",
    "energy error, the same without its mean (meV per molecule)",
    "minutes of one core, of these training",
)


def claims(records: Mapping[str, Record]) -> list[Claim]:
    """Return the claims of the loops ("strategy training seed") and of the truth ("truth")."""
    result = []
    for training, strategy in product(TRAININGS, STRATEGIES):
        loops = [r for name, r in records.items() if name.startswith(f"{strategy} {training} ")]
        result += of_strategy(in_words(strategy, training), loops, records.get("truth"))
    return result + warm_claims(records)


def of_strategy(strategy: str, loops: list[Record], truth: Record | None) -> list[Claim]:
    """Return the claims of the loops of one strategy and training, a seed each."""
    result, attacks = [], strategy.startswith("attacks")
    last = [loop["iterations"][-1] for loop in loops if "iterations" in loop]
    if last:
        labels = last[0]["labels"]
        force = [1000 * record["errors"]["forces"] for record in last]
        of = f"of the mean at {labels} labels, {strategy}"
        goal = 45.0 if attacks else None
        result.append(mean_claim(f"force error {of}", force, "meV/A", goal, None))
        energy = [1000 * record["errors"]["energy"] for record in last]
        result.append(mean_claim(f"energy error {of}", energy, "meV/molecule"))
        shifted = [1000 * record["errors"]["energy without shift"] for record in last]
        result.append(mean_claim(f"energy error without shift {of}", shifted, "meV/molecule"))
    attacked = [records for loop in loops if (records := _attacked(loop)) and attacks]
    found = [float(np.mean([np.mean(r["found"]) for r in each])) / TARGET for each in attacked]
    if found:
        name = f"error found over target, average of iterations, {strategy}"
        result.append(mean_claim(name, found, "", None, "1"))
    for iteration in sorted({k for loop in loops for k in loop.get("survival", {})}, key=int):
        some = [loop for loop in loops if iteration in loop.get("survival", {})]
        shares = [_stable_share(loop, iteration) for loop in some]
        labels = some[0]["iterations"][int(iteration) - 1]["labels"]
        name = f"members that survive at {labels} labels, {strategy}"
        # in the paper 256 waters, three replicas and 2 ns at constant pressure
        paper = "stable from about 80 labels" if attacks else None
        goal = 1.0 if attacks and labels >= 40 else None
        result.append(mean_claim(name, shares, "", goal, paper, at_least=True))
    if truth is not None:
        result += _liquid(strategy, loops, truth)
    return result


def _attacked(loop: Record) -> list[Record]:
    return [r for r in loop.get("iterations", []) if r.get("by", [""])[0] == "attack"]


def _stable_share(loop: Record, iteration: str) -> float:
    members = loop["survival"].get(iteration, {}).values()
    return float(np.mean([record["reason"] is None for record in members]))


def _liquid(strategy: str, loops: list[Record], truth: Record) -> list[Claim]:
    """Return deviations of properties from the truth's, in percent.

    They are averages over the members that survived, whose number is in the name. And the share of
    bins in which the truth lies in the committee's band.
    """
    iterations = {k for loop in loops for k in loop.get("survival", {})}
    if not iterations:
        return []
    last, result = max(iterations, key=int), []
    labels = loops[0]["iterations"][int(last) - 1]["labels"]
    names = (
        ("density", "density", 2.0),
        ("O-O coordination", "coordination", 3.0),
        ("place of the first O-O peak", "peak", 3.0),
        ("height of the first O-O peak", "height", 3.0),
        ("diffusion", "diffusion", None),
    )
    everyone = [member for loop in loops for member in _members(loop, last)]
    kept = f"{len(survivors(everyone))} of {len(everyone)} members"
    for name, key, goal in names:
        values = []
        for loop in loops:
            members = survivors(_members(loop, last))
            if members:
                mean = np.mean([properties[key][0] for properties in members])
                values.append(100 * abs(mean / truth[key][0] - 1))
        if values:
            text = f"deviation of {name} from the truth's at {labels} labels, {strategy}, {kept}"
            result.append(
                mean_claim(text, values, "%", goal if strategy.startswith("attacks") else None)
            )
    committees = [_members(loop, last) for loop in loops]
    shares = [covered(some, truth, "OO") for some in committees if len(survivors(some)) > 1]
    if shares:
        text = f"share of g_OO bins with the truth in the band at {labels} labels, {strategy}"
        goal = 0.9 if strategy.startswith("attacks") else None
        result.append(mean_claim(text, shares, "", goal, at_least=True))
    return result


def _members(loop: Record, iteration: str) -> list[Record]:
    return [*loop.get("survival", {}).get(iteration, {}).values()]


def warm_claims(records: Mapping[str, Record]) -> list[Claim]:
    """Return what warm starts save and cost against training afresh, averages of iterations."""
    seconds, errors, spreads = [], [], []
    for name, afresh in records.items():
        warm = records.get(name.replace(" afresh ", " warm "))
        if " afresh " not in name or warm is None:
            continue
        pairs = [*zip(warm["iterations"][1:], afresh["iterations"][1:], strict=True)]
        seconds.append(np.mean([_ratio(*pair, "cpu seconds", "members") for pair in pairs]))
        errors.append(np.mean([_ratio(*pair, "errors", "forces") for pair in pairs]))
        spreads.append(np.mean([_ratio(*pair, "errors", "spread") for pair in pairs]))
    if not seconds:
        return []
    return [
        mean_claim("training seconds, warm over afresh", seconds, "", 0.4),
        mean_claim("force error, warm over afresh", errors, "", 1.05),
        mean_claim("spread of the committee, warm over afresh", spreads, "", 0.9, at_least=True),
    ]


def _ratio(one: Record, other: Record, group: str, key: str) -> float:
    return one[group][key] / other[group][key]


def iterations(records: Mapping[str, Record]) -> list[tuple[str, ...]]:
    """Return a row of texts for each iteration of each loop, see :data:`ITERATIONS`."""
    rows = []
    for name, loop in records.items():
        for record in loop.get("iterations", []):
            errors, seconds = record["errors"], record["cpu seconds"]
            energies = (1000 * errors[key] for key in ("energy", "energy without shift"))
            aimed = name.startswith("attacks") and _attacked({"iterations": [record]})
            found = np.mean(record["found"]) / TARGET if aimed else 0
            minutes = (sum(seconds.values()) / 60, seconds["members"] / 60)
            row = (
                name,
                str(record["labels"]),
                f"{1000 * errors['forces']:.1f}",
                f"{found:.2f}" if found else "",
                ", ".join(f"{energy:.1f}" for energy in energies),
                ", ".join(f"{time:.1f}" for time in minutes),
            )
            rows.append(row)
    return rows
