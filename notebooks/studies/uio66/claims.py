"""What the study of water in UiO-66 stands for, as numbers; each system by itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import loops
from ..jobs import Claim, Record, mean_claim
from ..water.bands import survivors
from .recipes import GROUPS, STRATEGIES, Preset, systems_of

STABLE = 0.9  # share of members, at the end
MARK = "converged at about 250"  # labels, Cezar 2025, Fig. 5
# key of a record -> name, unit, and factor of the unit
PROPERTIES = {
    "density": ("density", "g/cm3", 1.0),
    "diffusion": ("diffusion of waters", "1e-5 cm2/s", 1e5),
    "coordination": ("neighbours of waters", "", 1.0),
    "given": ("hydrogen bonds that a mu3-OH group gives", "", 1.0),
    "taken": ("hydrogen bonds that a mu3-OH group takes", "", 1.0),
}
PAPER = ("density", "diffusion", "coordination")  # Fig. 5d to f


def claims(records: Mapping[str, Record], preset: Preset) -> list[Claim]:
    """Return the claims of loops ("strategy group seed") that have ended."""
    result = []
    for group in GROUPS:
        systems = systems_of(preset, group)
        ended = loops.finished(records, preset.members * len(systems))
        for strategy in STRATEGIES:
            runs = [r for name, r in ended.items() if name.startswith(f"{strategy} {group} ")]
            if runs:
                which = f"{strategy}, {group}"
                for system in systems:
                    result += of_system(system, which, runs, preset, strategy)
    return result


def of_system(
    system: str, which: str, runs: list[Record], preset: Preset, strategy: str
) -> list[Claim]:
    """Return the claims of one system in loops of one strategy and group, a seed each."""
    result, last = [], str(preset.iterations)
    labels = runs[0]["iterations"][-1]["labels"]
    of = f"{system}, {which}"
    tested = [run["errors"] for run in runs if len(run.get("errors", {})) == preset.iterations]
    for key, unit in (("forces", "meV/A"), ("energy", "meV/atom"), ("virial", "meV/atom")):
        found = [1000 * errors[last][system][key] for errors in tested]
        if found:
            name = f"{key} error of the mean at {labels} labels, {of}"
            result.append(mean_claim(name, found, unit, None, MARK))
    falls = []
    for errors in tested:
        curve = [errors[str(k + 1)][system]["forces"] for k in range(preset.iterations)]
        falls.append(float(np.mean(np.diff(curve) < 0)))
    if falls:
        name = f"share of iterations with a smaller force error than the last, {of}"
        result.append(mean_claim(name, falls, "", 1.0, None, at_least=True))
    ratios = [errors[last][system]["ratio"] for errors in tested]
    if ratios:
        name = f"error over calibrated uncertainty at {labels} labels, {of}"
        result.append(mean_claim(name, ratios, "", None, "1"))
    if strategy == "attacks":
        found = [value for run in runs for value in found_over_target(run, system, preset)]
        if found:
            name = f"error found over target, {of}"
            result.append(mean_claim(name, found, "", None, "1"))
    committees = [members_of(run, last, system) for run in runs]
    return result + of_simulations([some for some in committees if some], preset, labels, of)


def members_of(run: Record, iteration: str, system: str) -> list[Record]:
    """Return the records of the members' simulations of a system, of an iteration from 1."""
    some = run.get("survival", {}).get(iteration, {})
    return [record for record in some.values() if record["system"] == system]


def of_simulations(
    committees: list[list[Record]], preset: Preset, labels: int, of: str
) -> list[Claim]:
    """Return the claims of simulations with the members of committees.

    Properties are averages over members that survived, whose number is in the name.
    """
    result = []
    if not committees:
        return []
    everyone = [member for some in committees for member in some]
    shares = [len(survivors(some)) / len(some) for some in committees]
    volume, pressure = preset.survive
    name = f"members that survive {volume:g} and {pressure:g} ps at {labels} labels, {of}"
    # in the paper the conventional cell, three replicas and 2 ns at constant pressure
    result.append(mean_claim(name, shares, "", STABLE, "stable", at_least=True))
    kept = f"{len(survivors(everyone))} of {len(everyone)} members"
    for key, (title, unit, scale) in PROPERTIES.items():
        means = [member_mean(some, key) for some in committees]
        if np.isfinite(means).any():
            values = [scale * mean for mean in means if np.isfinite(mean)]
            text = f"{title} at {labels} labels, {of}, {kept}"
            result.append(mean_claim(text, values, unit, None, MARK if key in PAPER else None))
    hops = [sum(m["hops"]["count"] for m in some) for some in committees]
    lengths = [sum(m["hops"]["picoseconds"] for m in some) for some in committees]
    if all(lengths):
        rates = [count / length for count, length in zip(hops, lengths, strict=True)]
        text = f"proton hops per picosecond at {labels} labels, {of}"
        result.append(mean_claim(text, rates, "1/ps"))
    return result


def member_mean(members: list[Record], key: str) -> float:
    """Return the average of a property over the members that survived, NaN if there is none."""
    values = [properties[key][0] for properties in survivors(members) if key in properties]
    return float(np.mean(values)) if values else np.nan


def found_over_target(run: Record, system: str, preset: Preset) -> list[float]:
    """Return the errors of a system's labelled attacks, relative to the target."""
    every = [iteration["systems"][system].get("found", []) for iteration in run["iterations"]]
    return [value / preset.target for values in every for value in values]
