"""Run a study as jobs, and write its result so that it can be checked.

A job returns a record, which becomes a file when the job ends: a study can be run in pieces,
stopped at any time and finished elsewhere. The result file ``<study>-<preset>.json`` has settings,
seed, machine, versions, times, the records its figures are drawn from, and claims, each a number of
ours beside the paper's. Jobs whose records it holds are not run again.
"""

from __future__ import annotations

import json
import os
import re
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Event
from agal_toolkit.files import atomic_write, reading
from agal_toolkit.loop.run_directory import differences
from agal_toolkit.settings import machine

FORMAT = 2  # of result files; 1 named classes with their modules
NOTEBOOKS = Path(__file__).resolve().parents[1]
RESULTS = NOTEBOOKS / "results"
RUNS = NOTEBOOKS.parent / "runs"

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One number that a study stands for.

    Attributes:
        name: what was measured.
        value: the result.
        unit: of value, goal and spread; "" for a ratio.
        paper: what the paper prints, None where it prints nothing.
        goal: the bound to meet.
        at_least: the goal is a lower bound; an upper one if False.
        spread: an interval around the value, None for a single run.
        runs: number of runs that the value rests on.
    """

    name: str
    value: float
    unit: str = ""
    paper: str | None = None
    goal: float | None = None
    at_least: bool = True
    spread: tuple[float, float] | None = None
    runs: int = 1

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def interval(*samples: NDArray, statistic: Callable[..., NDArray] = np.mean) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a statistic of (n,) values.

    Args:
        samples: (n,) each; several are paired and drawn together.
        statistic: function of the samples with an argument `axis`.
    """
    from scipy.stats import bootstrap  # slow to import

    if len(samples[0]) == 1:
        value = float(statistic(*samples, axis=-1))
        return value, value
    bounds = bootstrap(
        samples, statistic, paired=True, n_resamples=2000, method="percentile", rng=0
    ).confidence_interval
    return float(bounds.low), float(bounds.high)


def rounded(bounds: Iterable[float]) -> tuple[float, float]:
    """Return the two ends of an interval with the four digits that claims have."""
    low, high = bounds
    return round(float(low), 4), round(float(high), 4)


def mean_claim(
    name: str,
    values: Iterable[float],
    unit: str = "",
    goal: float | None = None,
    paper: str | None = None,
    at_least: bool = False,
) -> Claim:
    """Return a claim of the mean of values of equal weight."""
    samples = np.array(list(values))
    low, high = interval(samples)
    settings: dict[str, Any] = {"goal": goal, "at_least": at_least, "paper": paper}
    if len(samples) > 1:
        settings["spread"] = (round(low, 4), round(high, 4))
    value = round(float(samples.mean()), 4)
    return Claim(name=name, value=value, unit=unit, runs=len(samples), **settings)


class OutOfTime(Exception):
    """The minutes of this call are over; finished stages are on disk, the next call resumes."""


@dataclass(frozen=True)
class Job:
    """A piece of a study.

    Attributes:
        file: JSON of the record and of what it was made with.
        settings: everything that changes the record, as JSON.
        make: returns the record, given a :class:`Runner`; picklable.
    """

    file: Path
    settings: Mapping[str, Any]
    make: Callable[[Runner], Record]

    def record(self) -> Record:
        """Return the record of a finished job; see :func:`finished`."""
        return finished(self.file, self.settings)


@dataclass
class Runner:
    """Where and how jobs run; of all this only the preset changes numbers.

    Attributes:
        preset: name of the study's sizes.
        out: folder of run directories and finished jobs; becomes its subfolder of the preset.
        results: folder of result files, and of labelled data in its subfolders.
        processes: jobs at a time, each in a process with one thread.
        device: where networks are trained.
        minutes: jobs stop after this time; the next call resumes.
        say: called with each line of progress; picklable if `processes` is above 1.
    """

    preset: str
    out: Path
    results: Path = RESULTS
    processes: int = 1
    device: str = "cpu"
    minutes: float = np.inf
    say: Callable[[str], None] = lambda text: None

    def __post_init__(self) -> None:
        self.out, self.results = Path(self.out) / self.preset, Path(self.results)
        self.deadline = time.time() + 60 * self.minutes

    def report(self, event: Event) -> None:
        """Raise OutOfTime if the minutes are over; every computation of a job reports to this."""
        if not self.has_time():
            raise OutOfTime

    def has_time(self) -> bool:
        """Return whether something new may begin."""
        return time.time() <= self.deadline

    def run(self, jobs: Mapping[str, Job]) -> list[Exception]:
        """Run jobs that have no file, by their names in order; return errors of those that failed.

        Raises:
            ValueError: a job's file was made with other settings.
        """
        errors: list[Exception] = []
        for job in jobs.values():
            if job.file.exists():
                job.record()
        jobs = {name: job for name, job in jobs.items() if not job.file.exists()}
        began = time.monotonic()
        workers = min(self.processes, len(jobs))
        spawn = get_context("spawn")
        pool = ProcessPoolExecutor(workers, spawn) if workers > 1 else nullcontext()
        with pool as executor:
            results = {}
            for name, job in jobs.items():
                here = partial(self._run_one, name, job)
                results[name] = executor.submit(here).result if executor else here
            for count, (name, result) in enumerate(results.items(), 1):
                try:
                    text = result()
                except (ValueError, RuntimeError) as error:  # the other jobs go on
                    error.add_note(f"in job {name}")
                    errors.append(error)
                    text = f"{name}: {error}"
                if text is not None:
                    seconds = time.monotonic() - began
                    left = seconds * (len(jobs) / count - 1)
                    self.say(f"{text}; job {count} of {len(jobs)}, about {left:.0f} s left")
        return errors

    def _run_one(self, name: str, job: Job) -> str | None:
        """Run a job and write its file; return a line of progress, None if it did not begin."""
        if not self.has_time():
            return None
        torch.set_num_threads(1)
        began = time.monotonic()
        try:
            record = job.make(self)
        except OutOfTime:
            return f"{name}: out of time, the next call goes on"
        made_with = {"settings": job.settings, **machine(), "device": self.device}
        save(job.file, {**made_with, "record": record})
        return f"{name}: finished in {time.monotonic() - began:.0f} s"

    def result_file(self, study: str) -> Path:
        """Return the place of a study's result file."""
        return self.results / f"{study}-{self.preset}.json"

    def stored(self, study: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return a study's result file, empty records if there is none.

        Raises:
            ValueError: the file was made with other settings.
        """
        file = self.result_file(study)
        if not file.exists():
            return {"settings": {}, "records": {}, "seconds": {}}
        content = read(file)
        agree(content["settings"], settings, file)
        return content

    def write(self, study: str, **content: Any) -> Path:
        """Write a study's result file with :func:`write` and report its claims."""
        path = write(self.results, study, self.preset, device=self.device, **content)
        for claim in content["claims"]:
            self.say(str(claim))
        self.say(f"written to {path}")
        return path


def raise_errors(errors: Sequence[Exception]) -> None:
    """Raise what jobs raised, once everything else is written."""
    if errors:
        raise ExceptionGroup("jobs failed; the others are finished and written", errors)


def finished(file: Path, settings: Mapping[str, Any]) -> Record:
    """Return the record in a job's file.

    Raises:
        ValueError: the job was run with other settings, or its file is damaged.
    """
    content = _parsed(file)
    agree(content.get("settings", {}), settings, file)
    return content["record"]


def write(
    folder: str | Path,
    study: str,
    preset: str,
    *,
    seed: int,
    device: str,
    seconds: Mapping[str, float],
    settings: Mapping[str, Any],
    records: Mapping[str, Any],
    claims: Sequence[Claim],
) -> Path:
    """Write the JSON file of a study, replaced as a whole; return its place.

    Where the same records are there already, the file keeps the machine that computed them.
    """
    path, where = Path(folder) / f"{study}-{preset}.json", machine()
    if path.exists():
        before = _parsed(path)
        if before.get("records") == json.loads(json.dumps(dict(records))):
            where = {key: before.get(key) for key in where}
    content = {
        "format": FORMAT,
        "study": study,
        "preset": preset,
        "seed": seed,
        **where,
        "device": device,
        "seconds": dict(seconds),
        "settings": dict(settings),
        "records": dict(records),
        "claims": [{**asdict(claim), "met": claim.met} for claim in claims],
    }
    text = json.dumps(content, indent=1)
    # a list of numbers is one line
    text = re.sub(r"\[\s+([^\[\]{}\"]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    with atomic_write(path) as part:
        part.write_text(text)
    return path


def read(path: str | Path) -> dict[str, Any]:
    """Return the content of a result file.

    Raises:
        ValueError: a damaged file, or one of another format.
    """
    content = _parsed(path)
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {content.get('format', 1)}, this version reads format {FORMAT}:"
            " take the file of this version"
        )
    return content


def _parsed(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file; ValueError names a damaged file."""
    text = Path(path).read_bytes()
    with reading(Path(path), "restore it, or remove it and run the study again", ValueError):
        return dict(json.loads(text))


def save(path: Path, content: Dataset | Mapping[str, Any]) -> None:
    """Write a data set as extxyz, or a mapping as JSON, completely or not at all."""
    with atomic_write(path) as part:
        if isinstance(content, Dataset):
            content.write(part)
        else:
            part.write_text(json.dumps(content))


def agree(stored: Mapping[str, Any], wanted: Mapping[str, Any], file: Path) -> None:
    """Raise ValueError with the differences if `file` was not made with the settings `wanted`."""
    lines = differences({name: stored.get(name, "nothing") for name in wanted}, wanted)
    if lines:
        raise ValueError(
            f"{file} was made with other settings; remove it or give another --out and"
            " --results:\n  " + "\n  ".join(lines)
        )


def chosen_preset(presets: Mapping[str, Any], default: str = "class") -> str:
    """Return the name in the environment variable AGAL_PRESET, or `default`.

    Raises:
        ValueError: a name that is not a preset.
    """
    name = os.environ.get("AGAL_PRESET", default)
    if name not in presets:
        raise ValueError(f"AGAL_PRESET is {name!r}: choose one of {', '.join(presets)}")
    return name


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    first, *others = (f"| {' | '.join(line)} |" for line in (head, *rows))
    return "\n".join([first, "|" + "---|" * len(head), *others])


def parser(description: str, presets: Iterable[str], runs: str) -> ArgumentParser:
    """Return a parser with the arguments of every study; `runs` is its subfolder of RUNS."""
    arguments = ArgumentParser(description=description.splitlines()[0])
    add = arguments.add_argument
    add("--preset", choices=presets, default="laptop")
    add("--processes", type=int, default=1, help="jobs at a time, each with one thread")
    add("--device", default="cpu", help="where networks are trained")
    add("--out", type=Path, default=RUNS / runs, help="run directories and finished jobs")
    add("--results", type=Path, default=RESULTS, help="result files and labelled data")
    add("--minutes", type=float, default=np.inf, help="stop after this; the next call goes on")
    return arguments


def runner(given: Namespace) -> Runner:
    """Return the runner that a command line asks for; it prints its progress."""
    say = partial(print, flush=True)
    return Runner(
        given.preset, given.out, given.results, given.processes, given.device, given.minutes, say
    )
