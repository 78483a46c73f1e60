"""Labels made elsewhere: the asked structures go out in a file, and answers come back in files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from ..dataset import Dataset
from ..events import Progress, Report
from ..files import absolute
from ..geometry import Labels
from ..loop.generation import Generation, Proposal
from ..loop.loop import Loop
from ..loop.matching import matches, unit_doubts
from ..loop.run_directory import RunDirectory
from .background import wait_for
from .controls import Page, button, row
from .panel import Panel
from .picture import AMBER, error_html

_HARTREE = "Hartree", "Hartree/Bohr", "Hartree/Bohr/Bohr/Bohr"  # energies, forces and stresses
_EV, _KCAL = ("eV", "eV/A", "eV/A/A/A"), ("kcal/mol", "kcal/mol/A", "kcal/mol/A/A/A")
_UNITS = {"eV, eV/Å": _EV, "Hartree, Hartree/Bohr": _HARTREE, "kcal/mol, kcal/mol/Å": _KCAL}


class LabelExchange(Panel):
    """Offers the structures to label as a file, and reads labels of them from files.

    It is a function of a listener that returns a loop's generations, for a Monitor:
    ``Monitor({"by hand": LabelExchange(loop, data, "runs/mine")})``. Answers come in any order and
    in several files; those that do not belong are named, and nothing is used before a press.

    Args:
        loop: its reference is not called; it names what the labels are.
        dataset, directory: as in :meth:`Loop.ask`.
        tolerance: as in :meth:`Loop.tell`.
    """

    def __init__(
        self, loop: Loop, dataset: Dataset, directory: str | Path | None, tolerance: float = 1e-3
    ) -> None:
        self.loop, self.dataset, self.tolerance = loop, dataset, tolerance
        self.directory = None if directory is None else absolute(directory)
        self._proposal: Proposal | None = None
        self._digests, self._said = list[str](), list[str]()
        self._labels, self._ready, self._page = dict[int, Labels](), threading.Event(), Page({})
        self._line, self._messages = ipywidgets.HTML(), ipywidgets.HTML()
        self._out = button("Structures to label", "download", self.export, 170, "primary")
        self._use = button("Use these labels", "check", self._ready.set, 150, "success")
        look = {"style": {"description_width": "40px"}, "layout": {"width": "240px"}}
        self._units: Any = ipywidgets.Dropdown(options=_UNITS, description="units", **look)
        self._upload = ipywidgets.FileUpload(description="Labelled files", multiple=True)
        self._upload.layout.width = "180px"
        self._upload.observe(self._on_upload, "value")
        steps = row(self._out, self._units, self._upload, self._use)
        super().__init__([self._line, steps, self._messages, self._page], (8.2, 1.6))
        self._refresh()

    def __call__(self, report: Report) -> Iterator[Generation]:
        """Yield the generations whose labels are there, then each that gets labels here."""
        stored, last = RunDirectory(self.directory), None
        made = self.loop.generations(self.dataset, self.directory, report)
        while stored.has_labels(0 if last is None else last.index + 1):
            last = next(made)
            yield last
        while True:
            proposal = self.loop.ask(self.dataset, self.directory, last, report)
            self._open(proposal)
            if proposal.geometries:
                progress = lambda: Progress("label", len(self._labels), len(self._digests))  # noqa: E731
                wait_for(self._ready, report, progress)
                self._ready.clear()
            labels = [self._labels.get(i) for i in range(len(self._digests))]
            last = self.loop.tell(proposal, labels, self.directory, report)
            self._proposal, self._digests = None, []  # the next proposal begins anew
            self._refresh()
            yield last

    def export(self) -> None:
        """Let the browser save the structures to label, as extended xyz."""
        if self._proposal is not None:
            with TemporaryDirectory() as folder:
                path = Path(folder, f"generation-{self._proposal.index + 1}.extxyz")
                self._proposal.write(path)
                self._page.offer(path.name, path.read_bytes())

    def answer(self, answers: Dataset, name: str = "these answers") -> None:
        """Take the labels that belong to structures to label, and say what else there is."""
        if (proposal := self._proposal) is None:
            raise ValueError("nothing was asked yet: wait until there are structures to label")
        found = matches(proposal.geometries, answers, proposal.index, self.tolerance)
        self._labels = self._labels | found.labels
        count, order = len(answers), sorted(found.labels)
        self._said += [f"{name}: {len(order)} of its {count} structures were asked"]
        for sentences in (list(found.strangers.values()), list(found.doubles.values())):
            more = len(sentences) - 5
            self._said += [*sentences[:5], *[f"and {more} more of these"] * (more > 0)]
        if order:
            prediction = proposal.committee.predict([proposal.geometries[i] for i in order])
            self._said += unit_doubts([found.labels[i] for i in order], prediction)
        self._refresh()

    def _open(self, proposal: Proposal) -> None:
        digests = [geometry.digest() for geometry in proposal.geometries]
        if digests != self._digests:
            self._digests, self._labels, self._said = digests, {}, []
            self._ready.clear()
        self._proposal = proposal
        self._refresh()

    def _on_upload(self, change: Any) -> None:
        if change["new"]:  # not when it is emptied below
            self._said, self._trouble.value = [], ""
        units: Any = dict(zip(("energy", "forces", "stress"), self._units.value, strict=True))
        for file in change["new"]:
            with TemporaryDirectory() as folder:
                path = Path(folder, Path(file["name"]).name)
                try:
                    path.write_bytes(file["content"])
                    self.answer(Dataset.read(path, units=units), path.name)
                except Exception as error:
                    self._trouble.value += error_html(str(error).replace(f"{folder}/", ""))
        self._upload.value = ()  # so that the same file can be given again

    def _refresh(self) -> None:
        self._line.value = f"<b>{escape(self._status())}</b>"
        self._out.disabled = self._upload.disabled = not self._digests
        self._use.disabled = not (self._digests and self._labels)
        texts = [error_html(text, AMBER) for text in self._said[1:]]
        self._messages.value = escape(self._said[0]) + "".join(texts) if self._said else ""

    def _status(self) -> str:
        if self._proposal is None:
            return "no structures to label yet: start the run"
        missing = sorted({*range(count := len(self._digests))} - set(self._labels))
        names = ", ".join(map(str, missing[:10])) + ", ..." * (len(missing) > 10)
        which = f" (places {names} of the file, from 0)" if self._labels and missing else ""
        answered = f"{count - len(missing)} of {count} structures have labels"
        return f"generation {self._proposal.index + 1}: {answered}, {len(missing)} missing{which}"

    def _draw_static(self, figure: Figure) -> None:
        text = "\n".join([self._status(), *self._said])
        figure.text(0.02, 0.92, text, fontsize=9, va="top", wrap=True)
