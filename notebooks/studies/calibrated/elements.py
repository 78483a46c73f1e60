"""One law of forces for all atoms beside a law for each element, on water (Cezar 2025, Fig. 2).

Laws are fitted on structures that no member has seen, and tested on structures that served for
nothing else: frames of the truth's simulations, and rattled ones. ``python -m
studies.calibrated.elements`` writes the result file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.analysis.reliability import binned
from agal_toolkit.uncertainty.calibration import Calibration, samples

from .. import jobs
from ..jobs import Claim, Runner, markdown, rounded
from ..water.truth import SEED
from .committee import ELEMENTS
from .recipes import PRESETS
from .study import scene_of, settings
from .trials import Scene, predict, simulated

NAME = "calibrated_elements"
BINS, DRAWS = 12, 200  # of the slope, and of the bootstrap over structures
FITS = {True: "simulated and rattled", False: "simulated"}  # what the laws are fitted on
LAWS = ("one law", "a law for each element")
# statistic, its ideal value, text, goal of its deviation
STATISTICS = (
    ("width", 1.0, "standard deviation of r", 0.1),
    ("slope", 1.0, "log-log slope of errors against uncertainties", 0.15),
    ("within_1", 0.6827, "share of errors within one sigma", 0.03),
    ("within_2", 0.9545, "share of errors within two sigma", 0.02),
)
HEAD = ("fitted on", "law", "tested on", "width", "slope", "% within 1 sigma", "% within 2 sigma")


def compare(scene: Scene, draws: int = DRAWS) -> dict[str, Any]:
    """Return laws, and the statistics of each on the test structures, overall and by element.

    Each value is a list of itself and its 95 % bootstrap interval over structures.

    Args:
        scene: committee and data; it holds the predictions of the calibration structures.
        draws: of the bootstrap.
    """
    laws, rows = {}, []
    alone = scene.aside[simulated(scene.aside)]
    for rattled, fitted_on in FITS.items():
        data = scene.aside if rattled else alone
        prediction = scene.predicted if rattled else predict(scene.committee, list(alone))
        of_elements = Calibration.fit(prediction, data, quantities=("forces",), per_element=True)
        one = replace(of_elements, elements={}, notes=())
        laws |= {(fitted_on, LAWS[0]): one, (fitted_on, LAWS[1]): of_elements}
    tests = {"simulated": scene.data.first + scene.data.second, "rattled": scene.data.shaken}
    for tested_on, data in tests.items():
        points = samples(predict(scene.committee, list(data)), data)
        for (fitted_on, law), calibration in laws.items():
            sigma = calibration.sigma(points)
            for atoms, number in {"all": None, **ELEMENTS}.items():
                on = np.full(sigma.shape, True) if number is None else points.numbers == number
                values = statistics(sigma[on], points.errors[:, on], points.owner[on], draws)
                place = {"fitted on": fitted_on, "law": law, "tested on": tested_on}
                rows.append({**place, "atoms": atoms, **values})
    notes = sorted({note for calibration in laws.values() for note in calibration.notes})
    stored = {
        f"{fitted_on}, {symbol or 'all atoms'}": asdict(law)
        for (fitted_on, name), calibration in laws.items()
        if name == LAWS[1]
        for symbol, law in {"": calibration.law("forces"), **calibration.elements}.items()
    }
    return {"laws": stored, "notes": notes, "rows": rows}


def statistics(
    sigma: NDArray, errors: NDArray, owner: NDArray, draws: int = DRAWS
) -> dict[str, list[float]]:
    """Return width and coverage of r = error / sigma, and the slope in bins, with intervals.

    Args:
        sigma: (n,) calibrated uncertainties.
        errors: (M, n) of the members.
        owner: (n,) index of each sample's structure.
        draws: of the bootstrap over structures.
    """
    names, place = np.unique(owner, return_inverse=True)
    ratio, root = errors / sigma, np.sqrt(np.mean(errors**2, axis=0))
    per_sample = [np.ones(ratio.shape), ratio, ratio**2, np.abs(ratio) < 1, np.abs(ratio) < 2]
    sums = np.stack([np.bincount(place, part.sum(0)) for part in per_sample])  # by structure
    rows = [np.flatnonzero(place == k) for k in range(len(names))]

    def of(chosen: NDArray) -> list[float]:
        """Return the statistics of structures, some of them several times."""
        count, first, second, one, two = sums[:, chosen].sum(1)
        width = np.sqrt(second / count - (first / count) ** 2)
        here = np.concatenate([rows[k] for k in chosen])
        x, y = np.log(binned(sigma[here], root[None, here], BINS)).T
        return [width, np.polyfit(x, y, 1)[0], one / count, two / count]

    rng = np.random.default_rng(SEED)
    drawn = [of(rng.integers(len(names), size=len(names))) for _ in range(draws)]
    whole = of(np.arange(len(names)))
    limits = np.percentile(drawn, [2.5, 97.5], axis=0) if draws else [whole, whole]
    table = np.round([whole, *limits], 5).T.tolist()
    return {name: values for (name, *_), values in zip(STATISTICS, table, strict=True)}


def claims(record: Mapping[str, Any]) -> list[Claim]:
    """Return how far the worse element is from the ideal on simulated structures, by law."""
    result = []
    for law in LAWS:
        for statistic, ideal, text, goal in STATISTICS:
            of_elements = [
                row[statistic]
                for row in record["rows"]
                if (row["law"], row["tested on"]) == (law, "simulated")
                and row["fitted on"] == FITS[True]
                and row["atoms"] in ELEMENTS
            ]
            value, *bounds = max(of_elements, key=lambda values: abs(values[0] - ideal))
            near, far = sorted(abs(bound - ideal) for bound in bounds)
            result.append(
                Claim(
                    name=f"{text} off {ideal:.3g}, the worse element, {law}",
                    value=round(abs(value - ideal), 4),
                    goal=goal,
                    at_least=False,
                    spread=rounded((0 if bounds[0] < ideal < bounds[1] else near, far)),
                    runs=80,
                )
            )
    return result


def table(record: Mapping[str, Any]) -> str:
    """Return a record as a table in Markdown; cells hold values of all atoms, of O and of H."""
    lines: dict[tuple[str, ...], list[list[str]]] = {}
    for row in record["rows"]:
        values = [f"{row[name][0]:.2f}" for name in ("width", "slope")]
        values += [f"{100 * row[name][0]:.1f}" for name in ("within_1", "within_2")]
        place = row["fitted on"], row["law"], row["tested on"]
        lines.setdefault(place, []).append(values)
    rows = [
        (*place, *(", ".join(cell) for cell in zip(*of_atoms, strict=True)))
        for place, of_atoms in lines.items()
    ]
    return markdown(HEAD, rows)


def study(runner: Runner, draws: int = DRAWS) -> None:
    """Compare the laws with the committee of the study and write the result file."""
    began = time.monotonic()
    record = compare(scene_of(runner), draws)
    sizes = settings(PRESETS[runner.preset])
    runner.write(
        NAME,
        seed=SEED,
        seconds={"comparison": round(time.monotonic() - began, 1)},
        settings={name: sizes[name] for name in ("sizes", "truth", "trainer")},
        records=record,
        claims=claims(record),
    )


def main() -> None:
    """Run the command line."""
    study(jobs.runner(jobs.parser(str(__doc__), PRESETS, NAME).parse_args()))


if __name__ == "__main__":
    main()
