"""Results that can be checked: what a study found, with everything needed to find it again.

A study writes ``<study>-<preset>.json``: settings, seed, machine, versions, times, the records its
figures are drawn from, and claims, each a number of ours beside the papers'.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.dataset import Dataset
from agal_toolkit.loop.run_directory import differences
from agal_toolkit.settings import machine

FORMAT = 2  # of result files; 1 named classes with their modules


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One number that a study stands for.

    Attributes:
        name: what was measured.
        unit: of the values; "" for a ratio.
        paper: what the paper prints, None where it prints nothing.
        goal: the bound to meet.
        at_least: the goal is a lower bound; otherwise an upper one.
        value: what was found.
        spread: an interval around it, None for a single run.
        runs: how many runs it rests on.
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


def interval_of_median(values: NDArray) -> tuple[float, float]:
    """95 % bootstrap interval of the median of (n,) values."""
    return _interval(np.median(values[_drawn(values)], axis=1))


def interval_of_mean(values: NDArray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of (n,) values."""
    return _interval(values[_drawn(values)].mean(1))


def _drawn(values: NDArray) -> NDArray:
    """(2000, n) indices of (n,) values, drawn with replacement."""
    return np.random.default_rng(0).integers(len(values), size=(2000, len(values)))


def _interval(drawn: NDArray) -> tuple[float, float]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def ratio(
    name: str, numerator: NDArray, denominator: NDArray, paper: str | None, goal: float | None
) -> Claim | None:
    """Ratio of the medians of two paired samples (n,) with a 95 % bootstrap interval over the
    pairs; None where no pair has both numbers.
    """
    both = np.isfinite(numerator) & np.isfinite(denominator)
    if not both.any():
        return None
    above, below = numerator[both], denominator[both]
    drawn = _drawn(above)
    ratios = np.median(above[drawn], axis=1) / np.median(below[drawn], axis=1)
    spread = tuple(np.percentile(ratios, [2.5, 97.5]).round(4).tolist()) if len(above) > 1 else None
    return Claim(
        name=name,
        value=round(float(np.median(above) / np.median(below)), 4),
        paper=paper,
        goal=goal,
        spread=spread,
        runs=len(above),
    )


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
    """The JSON file of a study, replaced as a whole."""
    path = Path(folder) / f"{study}-{preset}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "study": study,
        "preset": preset,
        "seed": seed,
        **machine(),
        "device": device,
        "seconds": dict(seconds),
        "settings": dict(settings),
        "records": dict(records),
        "claims": [{**asdict(claim), "met": claim.met} for claim in claims],
    }
    part = path.with_suffix(".part")
    text = json.dumps(content, indent=1)
    part.write_text(
        re.sub(r"\[\s+([^\[\]{}\"]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    )  # a list of numbers is one line
    part.replace(path)
    return path


def read(path: str | Path) -> dict[str, Any]:
    """What :func:`write` wrote.

    Raises:
        ValueError: a file of another format.
    """
    content = json.loads(Path(path).read_text())
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {content.get('format', 1)}, this version reads format {FORMAT}:"
            " take the file of this version"
        )
    return content


def keep(place: str | Path, content: Dataset | Mapping[str, Any]) -> None:
    """A data set as extxyz, or a mapping as JSON, in its place: complete or not at all."""
    place = Path(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name("part-" + place.name)  # the ending tells how it is compressed
    if isinstance(content, Dataset):
        content.write(part)
    else:
        part.write_text(json.dumps(content))
    part.replace(place)


def agree(stored: Mapping[str, Any], wanted: Mapping[str, Any], file: Path) -> None:
    """Raises ValueError, with the differences, where what a file was made with is not what is
    `wanted` now.
    """
    found = differences({name: stored.get(name, "nothing") for name in wanted}, wanted)
    if found:
        raise ValueError(
            f"{file} was made with other settings; remove it or give another --out and"
            " --results:\n  " + "\n  ".join(found)
        )


def chosen_preset(presets: Mapping[str, Any], default: str = "laptop") -> str:
    """The name in the environment variable AGAL_PRESET, or `default`.

    Raises:
        ValueError: a name that is not a preset.
    """
    name = os.environ.get("AGAL_PRESET", default)
    if name not in presets:
        raise ValueError(f"AGAL_PRESET is {name!r}: choose one of {', '.join(presets)}")
    return name
