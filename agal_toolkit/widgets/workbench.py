"""One panel for a study: run the loop, see its structures, attack, review, compare with promises.

Its parts are the panels that also stand alone, one of which is in view. They share what is chosen
among the structures, and grow with the run. What a run has finished lies in its directory: a page
that is loaded anew, another tab or another kernel opens it again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Self
from weakref import finalize

import ipywidgets
from ipywidgets import Widget
from matplotlib.figure import Figure

from ..dataset import Dataset
from ..loop.generation import Generation
from ..loop.loop import Loop
from ..loop.recipe import Recipe
from ..loop.run import Run
from ..references import Reference
from .attack_panel import AttackPanel
from .background import LIVE, Background
from .chosen import Chosen
from .controls import placeholder
from .energies import is_surface
from .monitor import Monitor
from .panel import Panel, value_of
from .picture import FAINT, Coalesced
from .progress import Turn
from .promises import Promises
from .review import Review
from .structures import Structures
from .structures_panel import StructuresPanel

RUN, STRUCTURES, ATTACK, REVIEW, PROMISES = "run", "structures", "attack", "review", "promises"
_EARLY = "An attack needs a committee: there is one after the first generation."
_AIMING = "The newest committee and the structures that are chosen are being made ready."
_PLANE = "This panel attacks atoms; lesson 01 attacks a particle in the plane."


class Workbench(Panel):
    """Runs a loop on your data, or shows a run: its structures, attacks, verdicts and promises.

    Args:
        source: labelled data to begin with, or a run.
        reference: labels structures; without one a run is only shown.
        directory: of the run that begins with data; None keeps it as long as the panel.
        loop: the loop, instead of one that suits the data (:meth:`~agal_toolkit.Recipe.for_atoms`);
            a run whose loop has test data, metrics or functions of its own needs it to go on.
        generations: number to run, as in :class:`Monitor`; None runs until a stop.
        review: whether a person reviews what is to be labelled, in the part of that name.

    Attributes:
        monitor: the part that runs the loop; None without a reference.
        rows: the choice that all parts share, see :class:`Chosen`.
    """

    part = value_of("_parts", "Name of the part in view; set it to see another.")

    def __init__(
        self,
        source: Dataset | Run,
        reference: Reference | None = None,
        directory: str | Path | None = None,
        *,
        loop: Loop | None = None,
        generations: int | None = None,
        review: bool = False,
    ) -> None:
        self._generations: list[Generation] = []
        self.monitor: Monitor | None = None
        self._panels: dict[str, Widget] = {}
        begins = isinstance(source, Dataset)
        data = source if begins else source.start
        if loop is None and reference is None and (begins or review or generations):
            raise ValueError("nothing here can label structures: give a reference, or a loop")
        if loop is not None and reference is not None:
            raise ValueError("a loop has a reference of its own: give one of the two")
        if directory is not None and not begins:
            raise ValueError(f"the run lies in {source.directory}: leave out directory")
        loop = _loop(source, reference) if reference is not None else loop
        if loop is not None:
            if review:
                self._panels[REVIEW] = panel = Review()
                loop = replace(loop, review=panel)
            if begins and directory is None:  # so that a stopped run goes on
                directory = mkdtemp(prefix="agal-")
                finalize(self, rmtree, directory, ignore_errors=True)
            folder = directory if begins else source.directory
            self.monitor = Monitor(loop, data, folder, generations=generations)
            self._panels = {RUN: self.monitor, **self._panels}
        self._recipe: Any = source.recipe if isinstance(source, Run) else None
        if loop is not None:
            self._recipe = loop.recipe
        name = next(iter(self.monitor.runs)) if self.monitor else ""
        structures = Structures().append(source, name)
        if not begins:
            self._generations += source.generations
        self.rows = Chosen(structures)
        self._attack: AttackPanel | None = None
        self._attacked: tuple[Any, ...] = ()  # committee and structures of the attack's panel
        self._place = ipywidgets.VBox()
        self._promises = Promises(self._generations, self._recipe)
        self._panels[STRUCTURES] = StructuresPanel(self.rows)
        self._panels |= {ATTACK: self._place, PROMISES: self._promises}
        order = [RUN, STRUCTURES, ATTACK, REVIEW, PROMISES]
        self._panels = {name: self._panels[name] for name in order if name in self._panels}
        look = {"style": {"button_width": "104px"}, "layout": {"width": "auto"}}
        self._parts: Any = ipywidgets.ToggleButtons(options=list(self._panels), **look)
        self._line = ipywidgets.HTML()
        self._stage = ipywidgets.VBox(list(self._panels.values()))
        self._aim = Coalesced(self._aim_attack)
        super().__init__([self._parts, self._line, self._stage], (8.6, 6.4), [self._aim])
        self._parts.observe(lambda _: self._show_part(), "value")
        if self.monitor is not None:
            background: Background[Turn] = self.monitor.background
            structures.follow(background, self._show_error)
            background.subscribe(self._on_turn, kinds=(Turn,), failed=self._show_error)
        self._show_part()

    def start(self) -> Self:
        """Start or resume the loop."""
        if self.monitor is not None:
            self.monitor.start()
        return self

    def settle(self, timeout: float = 60.0) -> Self:
        """Wait until everything requested is drawn, at most `timeout` seconds."""
        super().settle(timeout)
        for panel in (*self._panels.values(), self._attack):
            if isinstance(panel, Panel):
                panel.settle(timeout)
        return self

    def _on_turn(self, turn: Turn) -> None:
        """Take a generation, in the worker; a loop that begins again reads those that are here."""
        generation = turn.generation
        known = [each.index for each in self._generations]
        if generation.index in known:
            return
        self._generations.append(generation)
        self._promises.add(generation)
        self._write_line()
        if self._attack is None:
            self._aim.request()

    def _show_part(self) -> None:
        for name, panel in self._panels.items():
            panel.layout.display = None if name == self.part else "none"  # type: ignore[attr-defined]
        if self.part == ATTACK:
            self._aim.request()
        self._write_line()

    def _write_line(self) -> None:
        count, turns = len(self.rows.structures), len(self._generations)
        text = f"{count} structures, {turns} generation{'s' * (turns != 1)}"
        self._line.value = f'<span style="{FAINT}">{text}</span>'

    def _aim_attack(self) -> None:
        """Give the attack's panel the newest committee and the structures that are chosen."""
        if self._attack is not None and self._attack.state in LIVE:
            return  # it is shown until it ends, and can be stopped
        try:
            self._aim_at_chosen()
        except Exception as error:
            self._show_error(error, "no attack: ")

    def _aim_at_chosen(self) -> None:
        if not self._generations:
            self._place.children = (ipywidgets.HTML(_EARLY),)
            return
        generation, structures = self._generations[-1], self.rows.structures
        if is_surface(generation.dataset):
            self._place.children = (ipywidgets.HTML(_PLANE),)
            return
        chosen = list(self.rows.selected) or [self.rows.active or 0]
        if self._attacked == (generation, chosen):
            return
        seeds = [structures[index].geometry for index in chosen]
        recipe = self._recipe
        recipe = recipe if isinstance(recipe, Recipe) else recipe(generation.index)
        old, shown = self._attack, self._place.children
        begun = 0 if old is None else old.begun
        self._place.children = (ipywidgets.HTML(_AIMING),)
        try:
            panel = AttackPanel(generation.committee, seeds, generation.dataset, recipe.attack)
        except Exception:
            self._place.children = shown
            raise
        if old is not None and old.begun > begun:  # its button was pressed meanwhile
            self._place.children = shown
            return
        self._attack, self._attacked = panel, (generation, chosen)
        self._place.children = (panel,)

    def _static_picture(self) -> bytes:
        panel = self._attack if self.part == ATTACK else self._panels[self.part]
        if isinstance(panel, Panel):
            return panel._static_picture()
        return super()._static_picture()

    def _draw_static(self, figure: Figure) -> None:
        axes = figure.subplots()
        axes.axis("off")
        placeholder(axes, _EARLY)


def _loop(source: Dataset | Run, reference: Reference) -> Loop:
    if isinstance(source, Dataset):
        return Loop(Recipe.for_atoms(source), reference)
    return Loop(source.recipe, reference, seed=source.settings["seed"])
