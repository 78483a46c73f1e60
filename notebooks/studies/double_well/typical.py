"""Which seed is typical: ``python -m studies.double_well.typical``.

Pairs of loops of the lesson's recipe are run at the preset "class" from the seeds 0 to 4. The
typical seed has the median ratio of final errors. The command runs the pairs that are missing, and
prints all ratios.
"""

from __future__ import annotations

from functools import partial

from ..jobs import RESULTS, RUNS, Runner, read
from .study import final, study

FOLDER = RESULTS / "lessons"
PRESET, VARIANT, PAIRS = "class", "lesson", 5
STORED = FOLDER / f"double_well_{VARIANT}-{PRESET}.json"
TYPICAL = 3


def ratios() -> dict[int, float]:
    """Return seed -> final error of the random loop over that of the adversarial loop."""
    pairs = read(STORED)["records"]["pairs"]
    values = final(pairs, "random") / final(pairs, "adversarial")
    return {pair["seed"]: float(value) for pair, value in zip(pairs, values, strict=True)}


def typical(found: dict[int, float]) -> int:
    """Return the seed of the median ratio."""
    return sorted(found, key=found.__getitem__)[len(found) // 2]


def main() -> None:
    """Run the pairs that are missing and print the ratios."""
    say = partial(print, flush=True)
    runner = Runner(PRESET, RUNS / "lessons", FOLDER, processes=2, say=say)
    study(runner, VARIANT, pairs=PAIRS)
    found = ratios()
    for seed, ratio in sorted(found.items(), key=lambda item: item[1]):
        say(f"seed {seed}: ratio {ratio:.2f}")
    say(f"typical: seed {typical(found)}")


if __name__ == "__main__":
    main()
