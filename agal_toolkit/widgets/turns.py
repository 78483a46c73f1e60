"""Loops that take turns, one generation each, until each has the planned number.

Loops that have reached it are held, not ended: a larger number goes on with them, whether or not
there is a run directory. A stop ends them; they then begin again and read what is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from ..dataset import Dataset
from ..events import Report
from ..loop.generation import Generation
from ..loop.loop import Loop
from .progress import Begun, Turn

Generations = Callable[[Report], Iterator[Generation]]
_EXAMPLE = 'Monitor(loop, dataset, "runs/first", generations=5)'


class Turns:
    """The turns of named loops, as a function of a listener.

    Attributes:
        planned: number of generations of each loop; None has no end.
        ended: names of the loops that ended by themselves.

    Args:
        functions: name -> function of a listener that returns the generations.
        planned: see the attribute.
    """

    def __init__(self, functions: Mapping[str, Generations], planned: int | None) -> None:
        self.planned, self.ended = planned, set[str]()
        self._functions = dict(functions)
        self._held: dict[str, Iterator[Generation]] = {}
        self._finished: list[Turn] = []  # turns of those held

    def __call__(self, report: Callable[[Any], None]) -> Iterator[Turn]:
        """Yield the generations in turn, first those of held loops; a loop that ends drops out."""
        held, turns = self._held, self._finished
        self._held, self._finished = {}, []  # a run that is stopped loses its generators
        yield from turns
        running = held or {name: loop(report) for name, loop in self._functions.items()}
        counts = {name: sum(turn.strategy == name for turn in turns) for name in running}
        self.ended = set()
        while active := [name for name in running if self._goes_on(name, counts[name])]:
            for name in active:
                report(Begun(name))
                generation = next(running[name], None)
                if generation is None:
                    self.ended.add(name)
                    continue
                counts[name] += 1
                turns = [*turns, Turn(name, generation)]
                yield turns[-1]
        self._held, self._finished = running, turns

    def _goes_on(self, name: str, count: int) -> bool:
        return name not in self.ended and (self.planned is None or count < self.planned)


def functions_of(
    loops: Loop | Mapping[str, Loop | Generations],
    dataset: Dataset | None,
    directory: str | Path | None,
) -> dict[str, Generations]:
    """Return loops as functions of a listener; several have folders of their own in `directory`.

    Raises:
        TypeError: neither loops nor functions of one argument, or loops without a data set.
        ValueError: no loop.
    """
    named: Mapping[Any, Any] = {"loop": loops} if isinstance(loops, Loop) else loops
    if not isinstance(named, Mapping):
        wrong = f"a Monitor takes loops, not a {type(named).__name__}"
        raise TypeError(f'{wrong}: give {_EXAMPLE}, or a dictionary {{"name": loop}}')
    if not named:
        raise ValueError(f"a Monitor needs at least one loop to run: give {_EXAMPLE}")
    functions: dict[str, Generations] = {}
    for name, loop in named.items():
        owner = getattr(loop, "__self__", loop)  # loop.generations stands for the loop
        if isinstance(owner, Loop):
            if not isinstance(dataset, Dataset):
                wrong = f"{name!r} is a Loop, but the data that it starts from are {dataset!r}"
                raise TypeError(f"{wrong}: give a Dataset, as in {_EXAMPLE}")
            folder = None if directory is None else Path(directory)
            if folder is not None and len(named) > 1:
                folder = folder / str(name)
            functions[str(name)] = partial(owner.generations, dataset, folder)
        else:
            functions[str(name)] = _checked(name, loop)
    return functions


def _checked(name: str, function: Any) -> Generations:
    """Return a function that takes a listener; anything else is refused before a run begins."""
    try:
        signature(function).bind(None)
    except (TypeError, ValueError):
        wrong = f"{name!r} is {function!r}"
        need = "or a function of one argument, the listener: lambda report: ..."
        raise TypeError(f"{wrong}: give a Loop, as in {_EXAMPLE}, {need}") from None
    return function
