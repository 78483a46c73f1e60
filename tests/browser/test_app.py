"""A visitor opens the double well as an app in Voila, without a network: drops a point, starts the
loops, stops them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import render
from browser import looks
from browser.labdriver import Lab, require_browser, voila_server, web_page

pytest.importorskip("voila", reason="no voila: pip install agal_toolkit[serve]")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Lab]:
    """The app as CONTRIBUTING serves it."""
    require_browser()
    notebook = Path(shutil.copy(render.FOLDER / "app.ipynb", tmp_path))
    env = {"JUPYTER_PATH": str(render.FOLDER), "PYTHONPATH": str(render.FOLDER)}
    with (
        voila_server(notebook, ["--template=offline"], env) as url,
        web_page(url, notebook.name) as app,
    ):
        yield app


@pytest.mark.timeout(300)
def test_a_visitor_uses_the_app(app: Lab, tmp_path: Path):
    page, folder = app.page, Path(os.environ.get("AGAL_SCREENSHOTS", tmp_path))
    start = page.get_by_role("button", name="Start")
    start.wait_for(timeout=200_000)  # Voila shows nothing until every cell has run

    # the attack: a click drops a point, which is pushed
    explorer, monitor = page.locator(".jp-OutputArea-output > .jupyter-widgets").all()
    canvas = explorer.locator("canvas").last  # ipympl puts its rubber band above the picture
    canvas.wait_for(timeout=20_000)
    page.wait_for_timeout(1000)
    curves = explorer.locator("img.widget-image").last
    before = curves.get_attribute("src")
    box = canvas.bounding_box()
    canvas.click(position={"x": 0.3 * box["width"], "y": 0.5 * box["height"]})
    app.wait_changed(curves, before)

    # the loops: nothing has run before Start, and Stop stops
    badge = re.compile(r"^(idle|running|stopping|stopped|done)$")
    assert monitor.get_by_text(badge).inner_text() == "idle"
    start.click()
    monitor.get_by_text(re.compile("^running$")).wait_for(timeout=20_000)
    page.wait_for_timeout(2000)
    app.screenshot(folder / "app-running.png")
    monitor.get_by_role("button", name="Stop").click()
    monitor.get_by_text(re.compile("^stopp(ing|ed)$")).wait_for(timeout=8000)
    monitor.get_by_text(re.compile("^stopped$")).wait_for(timeout=20_000)
    for panel in (explorer, monitor):
        assert looks.misplaced(panel) + looks.nameless(panel) + looks.faint(panel) == []
    assert app.errors == []
    assert app.outside == []
