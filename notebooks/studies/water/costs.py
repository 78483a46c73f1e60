"""Cost of prediction, attack and dynamics against the size of the box: 64 to 1000 waters.

``python -m studies.water.costs --preset laptop``

Boxes are packed at one density and relaxed with the committee, so all sizes have as many neighbours
for each atom. Each combination of task and size is a job in a process of its own with one thread,
so that its peak memory is its own. The committee is the stored one of the calibrated attacks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from agal_toolkit.settings import to_settings

from ..jobs import Claim, Job, Record, Runner, interval, parser, raise_errors, rounded, runner
from .cost_tasks import COMMITTEE, TARGET, Sizes, box, measure, tasks
from .truth import SEED

NAME = "water_costs"
PRESETS = {"smoke": Sizes(molecules=(8, 27), members=2, turns=3, relax=3), "laptop": Sizes()}


def make(name: str, molecules: int, sizes: Sizes, run: Runner) -> Record:
    """Return the record of :func:`measure`, which runs in a new process."""
    file = box(molecules, sizes, run.out)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure, name, sizes, file).result()


def slope(atoms: ArrayLike, values: ArrayLike) -> float:
    """Return the slope of log(values) against log(atoms); 1 is linear."""
    return float(np.polyfit(np.log(atoms), np.log(values), 1)[0])


def claims(records: Mapping[str, Sequence[Record]]) -> list[Claim]:
    """Return the exponent of each task, and its seconds and memory for the largest box."""
    result = []
    for name, rows in records.items():
        atoms = [row["atoms"] for row in rows]
        turns = np.array([row["seconds"] for row in rows])
        medians, largest = np.median(turns, axis=1), rows[-1]
        each = np.array([slope(atoms, values) for values in turns.T])
        waters = f"{largest['atoms'] // 3} waters"
        result += [
            Claim(
                name=f"slope of log(seconds) against log(atoms), {name}",
                value=round(slope(atoms, medians), 4),
                goal=1.1,
                at_least=False,
                spread=rounded(interval(each, statistic=np.median)),
                runs=turns.shape[1],
            ),
            Claim(
                name=f"{name}, {waters}",
                value=round(float(medians[-1]), 4),
                unit="s",
                spread=rounded(interval(turns[-1], statistic=np.median)),
                runs=turns.shape[1],
            ),
            Claim(name=f"peak memory, {name}, {waters}", value=largest["memory"], unit="MB"),
        ]
    return result


def settings(sizes: Sizes) -> dict[str, Any]:
    """Return everything that the records depend on but the machine, as JSON."""
    digest = hashlib.sha256((COMMITTEE / "parameters.npz").read_bytes()).hexdigest()
    return {"sizes": to_settings(sizes), "committee": digest, "target": TARGET, "seed": SEED}


def study(run: Runner) -> Path | None:
    """Run the jobs that are missing; return the result file once all are finished."""
    sizes = PRESETS[run.preset]
    common = settings(sizes)
    jobs = {
        f"{name}, {molecules} waters": Job(
            run.out / f"{name.replace(', ', '-').replace(' ', '-')}-{molecules}.json",
            {**common, "task": name, "molecules": molecules},
            partial(make, name, molecules, sizes),
        )
        for molecules in sizes.molecules
        for name in tasks(sizes.members)
    }
    raise_errors(run.run(jobs))
    if not all(job.file.exists() for job in jobs.values()):
        return None
    records = {
        name: [jobs[f"{name}, {molecules} waters"].record() for molecules in sizes.molecules]
        for name in tasks(sizes.members)
    }
    totals = {name: sum(sum(row["seconds"]) for row in rows) for name, rows in records.items()}
    seconds = {name: round(total, 3) for name, total in totals.items()}
    content = {"settings": common, "records": records, "claims": claims(records)}
    return run.write(NAME, seed=SEED, seconds=seconds, **content)


def main() -> None:
    """Run from the command line."""
    study(runner(parser(__doc__ or "", PRESETS, NAME).parse_args()))


if __name__ == "__main__":  # settings name this module, however it is called
    from studies.water import costs

    costs.main()
