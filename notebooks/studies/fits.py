"""What studies of fits to public frames share: a job for each fit, and their command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .jobs import Claim, Job, Record, Runner, parser, raise_errors, runner


def run_fits(
    run: Runner,
    study: str,
    seed: int,
    settings: Callable[[str | None], Mapping[str, Any]],
    fits: Mapping[str, Callable[[Runner], Record]],
    claims: Callable[[Mapping[str, Record]], Sequence[Claim]],
    seconds: str,
) -> Path | None:
    """Run the fits that are missing; return the result file once at least one is finished.

    Args:
        run: where and how.
        study: name of the result file.
        seed: of the study.
        settings: everything that changes the numbers of one fit, or, without a name, of all.
        fits: name -> what makes the record, picklable.
        claims: of the records that are there.
        seconds: key of the seconds in a record.

    Raises:
        ValueError: results of other settings or data.
        ExceptionGroup: fits failed; the others are written.
    """
    common = settings(None)
    records = run.stored(study, common)["records"]
    jobs = {
        name: Job(
            run.out / f"{name.replace(', ', '-').replace(' ', '-')}.json", settings(name), make
        )
        for name, make in fits.items()
    }
    failed = run.run({name: job for name, job in jobs.items() if name not in records})
    records |= {name: job.record() for name, job in jobs.items() if job.file.exists()}
    records = {name: records[name] for name in fits if name in records}
    place = None
    if records:
        spent = {name: record[seconds] for name, record in records.items()}
        content = {"settings": common, "records": records, "claims": claims(records)}
        place = run.write(study, seed=seed, seconds=spent, **content)
    raise_errors(failed)
    return place


def run_from_command_line(
    description: str,
    presets: Mapping[str, Any],
    name: str,
    study: Callable[[Runner, Path], Path | None],
) -> None:
    """Run a study of the public frames in the folder that ``--data`` names."""
    arguments = parser(description, presets, name)
    arguments.add_argument("--data", type=Path, required=True, help="folder of the public frames")
    given = arguments.parse_args()
    try:
        study(runner(given), given.data)
    except FileNotFoundError as error:
        arguments.error(str(error))
