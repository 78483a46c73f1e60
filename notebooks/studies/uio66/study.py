"""Water in UiO-66, several systems in one loop: Cezar 2025, Sec. IV E 3 and Fig. 5.

``python -m studies.uio66 --preset laptop --minutes 60 --processes 2``

Jobs are loops, of a strategy, a group of systems and a seed; held-out structures of each system;
errors of each iteration on them; and simulations of each system with each member of a committee. A
job that fails stops no other. A loop goes on from its last finished stage, a simulation from its
last checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agal_toolkit.sampling import Conditions
from agal_toolkit.settings import settings_digest, to_settings

from .. import loops
from ..jobs import Job, OutOfTime, Record, Runner, parser, raise_errors, runner
from ..water.recipes import ATMOSPHERE
from . import properties, protons
from .claims import claims
from .held_out import file_of, run_system
from .iterations import committee_of, errors, folder_of, iterations
from .recipes import (
    GROUPS,
    PRESETS,
    STRATEGIES,
    Preset,
    first,
    reference,
    schedule,
    systems_of,
)
from .structures import SEED

Loop = tuple[str, str, int]  # strategy, group, seed


def settings(run: Runner, loop: Loop) -> dict[str, Any]:
    """Return everything that changes a loop, as JSON; recipes as a digest."""
    (strategy, group, seed), preset = loop, PRESETS[run.preset]
    return {
        "preset": to_settings(preset),
        "strategy": strategy,
        "group": group,
        "seed": seed,
        "recipes": settings_digest(to_settings(schedule(strategy, preset, group))),
        "reference": reference(preset).identity,
    }


def run_loop(loop: Loop, run: Runner) -> Record:
    """Run a loop to its last iteration; return the records of its iterations."""
    records = []
    for record in iterations(run, *loop):
        records.append(record)
        books = [f"{len(b.get('found', []))} of {name}" for name, b in record["systems"].items()]
        text = f"{record['labels']} labels, new ones {', '.join(books)}"
        run.say(f"{' '.join(map(str, loop))}, iteration {record['iteration']}: {text}")
    return {"iterations": records}


def run_errors(loop: Loop, iteration: int, run: Runner) -> Record:
    """Return the errors of an iteration's committee on held-out structures of each system."""
    _committee(run, loop, iteration)
    if not all(file_of(run, name).exists() for name in systems_of(PRESETS[run.preset], loop[1])):
        raise OutOfTime  # a system has not been simulated
    return errors(run, *loop, iteration)


def _committee(run: Runner, loop: Loop, iteration: int) -> Path:
    """Return the folder of a committee, which must be there."""
    place = folder_of(run, *loop) / f"committee-{iteration}"
    if not (place / "calibration.json").exists():
        raise OutOfTime  # the loop has not come so far
    return place


def conditions(preset: Preset) -> dict[str, Conditions]:
    """Return the simulations that a member must survive."""
    volume, pressure = preset.survive
    common = Conditions(picoseconds=volume, timestep=preset.timestep, every=min(50.0, 100 * volume))
    return {
        "volume": common,
        "pressure": replace(common, picoseconds=pressure, pressure=ATMOSPHERE),
    }


def run_member(loop: Loop, iteration: int, system: str, member: int, run: Runner) -> Record:
    """Simulate a system with a member of the committee of an iteration, which must be there.

    Frames stay in the scratch folder, from where they can be analysed. The record has the proton
    hops of the last simulation, at constant pressure unless the member broke before, see
    :func:`~studies.uio66.protons.record`, and of a member that survived the "properties" that
    :func:`~studies.uio66.properties.measured` returns.
    """
    place, preset = _committee(run, loop, iteration), PRESETS[run.preset]
    committee, structure = committee_of(run, loop[1], place), first(system)[0]
    index = preset.systems.index(system)
    scratch = place / f"system-{index}-member-{member}"
    seeds = SEED, loop[2], iteration, index, member
    both = conditions(preset)
    record, frames = loops.survived(committee, member, structure, both, seeds, scratch, run)
    record |= {"system": system, "hops": protons.record(frames)}
    if record["reason"] is None:
        record["properties"] = properties.measured(frames)
    return record


def all_jobs(
    run: Runner, chosen: Iterable[Loop], simulated: Iterable[int] = ()
) -> dict[str, dict[str, Job]]:
    """Return jobs by kind: "loops", "held out", "errors" and "members", by name.

    Args:
        run: where.
        chosen: loops.
        simulated: iterations, from 0, whose members are simulated.
    """
    preset, chosen, simulated = PRESETS[run.preset], list(chosen), list(simulated)
    kinds: dict[str, dict[str, Job]] = {"loops": {}, "held out": {}, "errors": {}, "members": {}}
    for system in dict.fromkeys(s for loop in chosen for s in systems_of(preset, loop[1])):
        file, sizes = file_of(run, system), to_settings(preset.held_out)
        made_with = {"held out": sizes, "reference": reference(preset).identity, "system": system}
        place = run.out / "held-out" / f"{file.name.partition('.')[0]}.json"
        if place.exists() or not file.exists():
            kinds["held out"][system] = Job(place, made_with, partial(run_system, system))
    for loop in chosen:
        title, made_with = " ".join(map(str, loop)), settings(run, loop)
        folder = folder_of(run, *loop)
        kinds["loops"][title] = Job(folder / "loop.json", made_with, partial(run_loop, loop))
        for k in range(preset.iterations):
            name, also = f"{title}, iteration {k + 1}", {**made_with, "iteration": k}
            file = folder / f"errors-{k}.json"
            kinds["errors"][name] = Job(file, also, partial(run_errors, loop, k))
        for k in simulated:
            for index, system in enumerate(systems_of(preset, loop[1])):
                for member in range(preset.members):
                    name = f"{title}, iteration {k + 1}, {system}, member {member}"
                    also = {**made_with, "iteration": k, "system": system, "member": member}
                    also["analysis"] = properties.SETTINGS
                    file = folder / f"survived-{k}-{index}-{member}.json"
                    make = partial(run_member, loop, k, system, member)
                    kinds["members"][name] = Job(file, also, make)
    return kinds


def collected(records: Record, kinds: dict[str, dict[str, Job]]) -> Record:
    """Return stored records with those of finished jobs.

    Loops have "iterations"; "errors" by iteration from 1; and "survival" by iteration and by
    system and member. Held-out structures are under "held-out", by system.
    """
    for kind, jobs in kinds.items():
        for name, job in jobs.items():
            if not job.file.exists():
                continue
            title, *rest = name.split(", ", 2)
            record = job.record()
            if kind == "held out":
                records.setdefault("held-out", {})[name] = record
            elif kind == "loops":
                records.setdefault(name, {}).update(record)
            else:
                iteration = rest[0].split()[1]
                mine = records.setdefault(title, {})
                if kind == "errors":
                    mine.setdefault("errors", {})[iteration] = record
                else:
                    mine.setdefault("survival", {}).setdefault(iteration, {})[rest[1]] = record
    return records


def study(
    run: Runner,
    strategies: Iterable[str] = ("attacks",),
    groups: Iterable[str] = ("all",),
    seeds: Iterable[int] = (0,),
    simulated: Iterable[int] = (),
) -> Path | None:
    """Run the jobs that are missing; write all that is finished to the study's result file.

    Args:
        run: where and how.
        strategies, groups, seeds: of the loops.
        simulated: iterations, from 0, whose members are simulated.

    Raises:
        ValueError: finished jobs have other settings.
        ExceptionGroup: jobs failed; the others are written.
    """
    preset = PRESETS[run.preset]
    kinds = all_jobs(run, [(s, g, k) for k in seeds for g in groups for s in strategies], simulated)
    failed = run.run({**kinds["loops"], **kinds["held out"]})
    failed += run.run(kinds["errors"])
    failed += run.run(kinds["members"])
    made_with = {"preset": to_settings(preset), "reference": reference(preset).identity}
    records = collected(dict(run.stored("uio66", made_with)["records"]), kinds)
    path = None
    if records:
        path = run.write(
            "uio66",
            seed=SEED,
            seconds={name: loops.seconds_of(r) for name, r in records.items() if " " in name},
            settings=made_with,
            records=records,
            claims=claims(records, preset),
        )
    raise_errors(failed)
    return path


def main() -> None:
    """Run from the command line."""
    arguments = parser(__doc__ or "", PRESETS, "uio66")
    add = arguments.add_argument
    add("--strategies", choices=STRATEGIES, nargs="+", default=["attacks"])
    add("--groups", choices=GROUPS, nargs="+", default=["all"])
    add("--seeds", type=int, nargs="+", default=[0])
    text = "iterations, from 1, whose members are simulated"
    add("--simulated", type=int, nargs="*", default=[], help=text)
    given = arguments.parse_args()
    simulated = [k - 1 for k in given.simulated]
    study(runner(given), given.strategies, given.groups, given.seeds, simulated)
