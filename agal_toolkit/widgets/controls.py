"""Controls and rows of panels, which keep their size and wrap on a narrow page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
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
