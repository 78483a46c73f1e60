"""Keys and downloads, which ipywidgets do not have; the only file that knows anywidget."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from .controls import Press


class Page(anywidget.AnyWidget):
    """An invisible part of a panel that hears its keys and offers files.

    Args:
        keys: key, as browsers name it ("a", "ArrowLeft") -> what it does. They work where the panel
            has the focus, but not in its text fields.
    """

    _esm = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    heard = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, keys: Mapping[str, Press]) -> None:
        super().__init__(heard=list(keys))
        self._calls = dict(keys)
        self.on_msg(self._on_key)

    def offer(self, name: str, content: bytes) -> None:
        """Let browsers that show the panel save a file."""
        self.send({"name": name}, [content])

    def _on_key(self, _: Any, message: Any, __: Any) -> None:
        if isinstance(message, dict) and message.get("key") in self._calls:
            self._calls[message["key"]]()
