"""A person looks at the structures that a loop chose, before they are labelled.

The panel is a loop's `review`: the loop calls it in its worker thread and waits there, so a run in
:class:`~agal_toolkit.widgets.monitor.Monitor` stays steerable and no cell is blocked. Every verdict
is written beside the run at once; a run that was stopped finds it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from ..analysis.grids import Grid, Surface
from ..events import Progress, Report
from ..loop.generation import Proposal
from ..loop.review import REJECTED, Reviewed, VerdictSheet
from ..plots.scene import formula
from .background import wait_for
from .candidate_views import Rows, draw_on_plane, numbers_of, seed_of
from .controls import Page, Press, button, row, side_by_side
from .energies import is_surface
from .molecule import Molecule
from .panel import Panel
from .picture import FAINT, Picture, error_html

REASONS = ("broken molecule", "atoms too close", "too high in energy", "known already")
_VIEW, _SIZE = (3.6, 3.5), (8.2, 3.5)  # inches
_ACCEPTED, _REJECTED = "#1e8449", "#b03a2e"
_KEYS = "Click here, then keys: a accept, r reject, {} with a reason, n next, p previous, u undo,"
_KEYS += " t text (Enter ends it), d done."
_WAITING = "nothing to review yet: this panel fills when a loop has chosen structures"


class Review(Panel):
    """Accept, reject and annotate structures one by one, by keys or by mouse.

    ``Loop(recipe, reference, review=Review())`` waits for the panel in each generation; run that
    loop in a Monitor. Between :meth:`Loop.ask` and :meth:`Loop.tell` give the proposal here, and
    :attr:`reviewed` to :meth:`Loop.reviewed`.

    Args:
        proposal: to review at once.
        reasons: of rejections, at most nine, with the keys 1, 2, ...
        target: error that the attacks aimed at, eV/angstrom, shown beside the predicted one.
    """

    def __init__(
        self,
        proposal: Proposal | None = None,
        *,
        reasons: Sequence[str] = REASONS,
        target: float | None = None,
    ) -> None:
        if len(reasons) > 9 or isinstance(reasons, str):
            raise ValueError(
                f"reasons is {reasons!r}: give at most nine texts, for the keys 1 to 9"
            )
        self.reasons, self.target = tuple(reasons), target
        self._proposal: Proposal | None = None
        self._sheet, self._taken = VerdictSheet([]), False  # whether a loop has these verdicts
        self._rows: list[Rows] = []
        self._surface: Surface | None = None
        self._lock, self._finished = threading.RLock(), threading.Event()
        self._filling = False  # whether the panel, not a person, writes into the text field
        self._molecule, self._plane = Molecule(size=_VIEW), Picture(self._draw_plane, _VIEW)
        self._plane.layout.display = "none"
        super().__init__(self._controls(), _SIZE, [self._plane])
        self._refresh()
        if proposal is not None:
            self.show(proposal)

    # -- what a loop and a script use

    def __call__(self, proposal: Proposal, report: Report, scratch: Path | None) -> Reviewed:
        """Show a proposal and wait, in a worker thread, until a person is done."""
        if threading.current_thread() is threading.main_thread():
            remedy = "run the loop in Monitor(loop, data, directory), or ask, review and tell"
            raise RuntimeError(f"a cell that waits for this panel would block it: {remedy}")
        with self._lock:
            self.show(proposal, scratch)
            sheet, finished = self._sheet, self._finished
        try:
            progress = lambda: Progress("structure", len(sheet.verdicts), len(sheet))  # noqa: E731
            wait_for(finished, report, progress)
        except BaseException:
            self._line.value = error_html("the run was stopped: Start it, and it goes on here")
            raise
        with self._lock:
            self._taken = True
            return sheet.reviewed

    @property
    def reviewed(self) -> Reviewed | None:
        """The verdicts; None before "done" was pressed."""
        return self._sheet.reviewed if self._finished.is_set() else None

    def show(self, proposal: Proposal, scratch: Path | None = None) -> Review:
        """Show the structures to label of a proposal; verdicts given before in `scratch` return."""
        geometries, committee = proposal.geometries, proposal.committee
        digests = [geometry.digest() for geometry in geometries]
        draft, plane = None if scratch is None else scratch / "review.json", is_surface(geometries)
        with self._lock:
            if self._taken or (digests, draft) != (self._sheet.digests, self._sheet.draft):
                self._sheet, self._taken = VerdictSheet(digests, draft), False
                self._finished = threading.Event()  # another caller may wait for the last sheet
            self._proposal = proposal
            self._clear_error()
            try:
                self._rows = numbers_of(proposal, self.target) if geometries else []
                self._surface = Surface.of(committee, Grid(points=60)) if plane else None
            except Exception as error:
                self._rows = [[] for _ in geometries]
                self._show_error(error, "these structures have no numbers: ")
            self._plane.layout.display = None if plane else "none"
            self._molecule.layout.display = "none" if plane else None
            self._refresh()
        return self

    # -- what a person does

    def accept(self) -> None:
        """Accept the structure in view and show the next one without a verdict."""
        self._change(lambda: self._sheet.judge({self._sheet.index: None}))

    def reject(self, reason: str | None = None) -> None:
        """Reject the structure in view; without a `reason` the text beside it is one."""
        index = self._sheet.index
        text = self._sheet.notes.get(index, "") if reason is None else reason
        self._change(lambda: self._sheet.judge({index: text}))

    def accept_rest(self) -> None:
        """Accept all structures without a verdict."""
        self._change(lambda: self._sheet.accept_rest())

    def undo(self) -> None:
        """Take back the last verdict, or all that "accept the rest" gave."""
        self._change(lambda: self._sheet.undo())

    def note(self, text: str) -> None:
        """Annotate the structure in view; a rejection without a reason has this text as one."""
        self._change(lambda: self._sheet.notes.update({self._sheet.index: text.strip()}))

    def move(self, by: int) -> None:
        """Show another structure, `by` places further."""
        with self._lock:
            self._sheet.index = (self._sheet.index + by) % max(len(self._sheet), 1)
            self._refresh()

    def finish(self) -> None:
        """Hand over the verdicts, once every structure has one."""
        with self._lock:
            if self._open and self._sheet.complete:
                self._finished.set()
                self._refresh()

    @property
    def _open(self) -> bool:
        return len(self._sheet) > 0 and not self._finished.is_set()

    def _change(self, change: Callable[[], None]) -> None:
        """Change the verdicts, write them beside the run and show them."""
        with self._lock:
            if self._open:
                change()
                try:
                    self._sheet.save()
                except OSError as error:
                    self._show_error(error, "these verdicts are not on disk: ")
                self._refresh()

    # -- drawing

    def _refresh(self) -> None:
        sheet = self._sheet
        if self._surface is not None:
            self._plane.request()
        elif self._proposal is not None and self._proposal.geometries:
            candidate = self._proposal.chosen[sheet.index]
            self._molecule.show(candidate.geometry, ghost=seed_of(candidate))
        self._numbers.value = self._described()
        self._filling, self._text.value = True, sheet.notes.get(sheet.index, "")
        self._filling = False
        self._bar.max, self._bar.value = max(len(sheet), 1), len(sheet.verdicts)
        self._line.value = f"<b>{escape(self._status())}</b>"
        for control in self._judging:
            control.disabled = not self._open
        self._done.disabled = not (self._open and sheet.complete)

    def _status(self) -> str:
        if self._proposal is None:
            return _WAITING
        (accepted, rejected), count = self._sheet.counts, len(self._proposal.geometries)
        left = f"{count - accepted - rejected} of {count} left"
        end = "done" if self._finished.is_set() else left
        title = f"generation {self._proposal.index + 1}"
        return f"{title}: {accepted} accepted, {rejected} rejected, {end}"

    def _verdict(self) -> tuple[str, str]:
        """Return the verdict on the structure in view, and its colour."""
        if self._sheet.index not in self._sheet.verdicts:
            return "none yet", "#888"
        reason = self._sheet.verdicts[self._sheet.index]
        if reason is None:
            return "accepted", _ACCEPTED
        return f"{REJECTED}: {reason}" if reason else REJECTED, _REJECTED

    def _table(self) -> Rows:
        if self._proposal is None or not self._proposal.geometries:
            return []
        index, geometries = self._sheet.index, self._proposal.geometries
        name = "" if self._surface is not None else f", {formula(geometries[index])}"
        place = ("structure", f"{index + 1} of {len(geometries)}{name}")
        return [place, *self._rows[index], ("verdict", self._verdict()[0])]

    def _described(self) -> str:
        name, value = f'<td style="{FAINT};padding-right:12px;white-space:nowrap">', "<td>"
        cells = [
            f"<tr>{name}{escape(a)}</td>{value}{escape(b)}</td></tr>" for a, b in self._table()
        ]
        edge = f"border-left:5px solid {self._verdict()[1]};padding-left:8px"
        return f'<table style="line-height:1.5;{edge}">{"".join(cells)}</table>' if cells else ""

    def _draw_plane(self, figure: Figure) -> None:
        if self._proposal is not None and self._surface is not None:
            axes = figure.subplots()
            figure.subplots_adjust(left=0.14, right=0.84, top=0.95, bottom=0.13)
            draw_on_plane(axes, self._proposal, self._surface, self._sheet.index)

    def _draw_static(self, figure: Figure) -> None:
        left, right = figure.subfigures(1, 2, squeeze=False)[0]
        if self._surface is None:
            self._molecule.draw(left.add_axes((0.0, 0.02, 1.0, 0.96)))
        else:
            self._draw_plane(left)
        right.text(0.02, 0.9, self._status(), fontsize=9.5, weight="bold", wrap=True)
        for k, (name, value) in enumerate(self._table()):
            right.text(0.02, 0.78 - 0.085 * k, name, fontsize=8.5, color="0.35")
            right.text(0.36, 0.78 - 0.085 * k, value, fontsize=8.5)

    def _controls(self) -> list[ipywidgets.Widget]:
        keys: dict[str, Press] = {"p": partial(self.move, -1), "n": partial(self.move, 1)}
        keys |= {"a": self.accept, "r": self.reject, "u": self.undo, "d": self.finish}
        back = button("Previous", "arrow-left", keys["p"], 110, tooltip="key p")
        ahead = button("Next", "arrow-right", keys["n"], 90, tooltip="key n")
        accept = button("Accept", "check", self.accept, 100, "success", "key a")
        reject = button("Reject", "times", self.reject, 100, "danger", "key r")
        undo = button("Undo", "undo", self.undo, 90, tooltip="key u")
        rest = button("Accept the rest", "forward", self.accept_rest, 150)
        self._done = button("Done", "flag", self.finish, 90, "primary", "key d")
        named = []
        for key, reason in enumerate(self.reasons, 1):
            keys[str(key)] = partial(self.reject, reason)
            named.append(button(f"{key} {reason}", "", keys[str(key)], 170, tooltip=f"key {key}"))
        look: dict[str, Any] = {"description": "text", "style": {"description_width": "30px"}}
        look |= {"placeholder": "a note, or why Reject rejects", "layout": {"width": "345px"}}
        self._text = ipywidgets.Text(continuous_update=False, **look)
        self._text.observe(self._on_text, "value")
        self._judging = [accept, reject, undo, rest, *named, self._text]
        self._numbers = ipywidgets.HTML(layout={"min_height": "190px"})
        self._bar = ipywidgets.IntProgress(layout={"width": "200px"})
        self._line = ipywidgets.HTML()
        hint = _KEYS.format(f"1 to {len(named)}")
        named_rows = [row(*named[k : k + 2]) for k in range(0, len(named), 2)]
        side = ipywidgets.VBox([self._numbers, self._text, *named_rows])
        side.layout.width, side.layout.max_width = "440px", "100%"
        return [
            row(self._bar, self._line),
            side_by_side(ipywidgets.VBox([self._molecule, self._plane]), side),
            row(back, ahead, accept, reject, undo, rest, self._done),
            ipywidgets.HTML(f'<div style="{FAINT};line-height:1.3">{hint}</div>'),
            Page(keys),
        ]

    def _on_text(self, change: Any) -> None:
        if not self._filling:
            self.note(change["new"])
