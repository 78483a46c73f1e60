"""Which structures a person has chosen: one object that a map, a table and a molecule share.

It is the model of the rows in the browser, too. A page that is loaded gets all columns with it;
rows that come later are sent alone, and a page that missed some asks for everything.
"""

from __future__ import annotations

import io
from typing import Any

import ipywidgets
import numpy as np
from traitlets import Dict, Int, List

from ..committee import Committee
from .structure_rows import Column
from .structures import Source, Structures

_FILE = "structures.extxyz"


class Chosen(ipywidgets.Widget):
    """The active structure, the chosen ones, and the columns of all as the browser knows them.

    Attributes:
        active: index of the structure in view, or None; observable, and may be set.
        selected: indices of the chosen structures; observable, and may be set.

    Args:
        structures: whose rows are chosen.
    """

    active = Int(None, allow_none=True).tag(sync=True)
    selected = List(Int()).tag(sync=True)
    columns = Dict().tag(sync=True)

    def __init__(self, structures: Structures) -> None:
        self.structures = structures
        super().__init__(columns=_encoded(structures))
        if len(structures):
            self.active = 0
        structures.watch(self._follow)
        self.on_msg(self._answer)

    @classmethod
    def among(cls, source: Chosen | Structures | Source, committee: Committee | None = None) -> Any:
        """Return the choice itself, or a new one among structures of any kind."""
        if isinstance(source, Chosen):
            return source
        return cls(source if isinstance(source, Structures) else Structures(source, committee))

    def extxyz(self) -> str:
        """Return the chosen structures as extended xyz, with labels and what else is known."""
        from ase.io import write

        stream = io.StringIO()
        write(stream, self.structures.frames(self.selected), format="extxyz")
        return stream.getvalue()

    def _follow(self) -> None:
        """Send new rows alone if the others stay as they are; else, everything."""
        new, old = _encoded(self.structures), self.columns
        first = old["count"]
        if _grown(old, new):
            old.update(new)  # for pages that are loaded later; no message
            fields = [
                {k: v for k, v in column.items() if k != "values"} for column in new["columns"]
            ]
            parts = [column["values"][4 * first :] for column in new["columns"]]
            if new["count"] > first:
                self.send({"type": "rows", "from": first, "columns": fields}, parts)
        else:
            self.columns = new
        if self.active is None and len(self.structures):
            self.active = 0

    def _answer(self, _: Any, message: Any, __: Any) -> None:
        if "have" in message and message["have"] != self.columns["count"]:
            self.send_state("columns")
        elif "save" in message:
            self.send({"type": "file", "name": _FILE, "text": self.extxyz()})


def _encoded(structures: Structures) -> dict[str, Any]:
    """Return columns for the browser: float32, texts as numbers of their different values."""
    columns = [_column(name, column) for name, column in structures.columns.items()]
    return {"count": len(structures), "columns": columns}


def _column(name: str, column: Column) -> dict[str, Any]:
    values, texts = column.values, {}
    if not column.is_number:
        codes = {text: k for k, text in enumerate(dict.fromkeys(values.tolist()))}
        values, texts = np.array([codes[text] for text in values]), {"names": list(codes)}
    return {"name": name, "unit": column.unit, "values": values.astype("<f4").tobytes(), **texts}


def _grown(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Return whether all old rows are the first of the new ones, in the same columns."""
    if [c["name"] for c in old["columns"]] != [c["name"] for c in new["columns"]]:
        return False
    pairs = zip(old["columns"], new["columns"], strict=True)
    return all(
        one["unit"] == two["unit"]
        and two["values"].startswith(one["values"])
        and two.get("names", [])[: len(one.get("names", []))] == one.get("names", [])
        for one, two in pairs
    )
