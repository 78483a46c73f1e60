"""Controls and rows of panels, which keep their size and wrap on a narrow page; keys and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets
from ipywidgets import Widget
from matplotlib.axes import Axes

Press = Callable[[], Any]


def button(
    name: str, icon: str, call: Press, width: int = 92, style: str = "", tooltip: str | None = None
) -> ipywidgets.Button:
    """Return a button of `width` pixels that calls `call()`."""
    look = {"icon": icon, "button_style": style, "layout": {"width": f"{width}px"}}
    widget = ipywidgets.Button(description=name, tooltip=tooltip, **look)
    widget.on_click(lambda _: call())
    return widget


def row(*widgets: Widget) -> ipywidgets.HBox:
    """Return controls side by side; they wrap where the page is narrow."""
    return ipywidgets.HBox(widgets, layout={"align_items": "center", "flex_flow": "row wrap"})


def side_by_side(*widgets: Widget) -> ipywidgets.HBox:
    """Return views side by side, one below the other on a narrow page; none of them shrinks."""
    for widget in widgets:
        widget.layout.flex = "0 0 auto"  # type: ignore[attr-defined]
    return ipywidgets.HBox(widgets, layout={"align_items": "flex-start", "flex_flow": "row wrap"})


def slider_layout(width: int) -> ipywidgets.Layout:
    """Return the layout of a slider of `width` pixels, at most the width of the page."""
    return ipywidgets.Layout(width=f"{width}px", max_width="97%", flex="0 0 auto")


def placeholder(axes: Axes, text: str, colour: str = "0.55", size: float = 9) -> None:
    """Write a text in the middle of empty axes."""
    place = {"ha": "center", "va": "center", "transform": axes.transAxes}
    axes.text(0.5, 0.5, text, color=colour, fontsize=size, **place)


class Page(anywidget.AnyWidget):
    """An invisible part of a panel that hears its keys and offers files.

    Args:
        keys: key, as browsers name it ("a", "ArrowLeft") -> what it does. They work where the panel
            has the focus, but not in its text fields.
    """

    _esm = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
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
