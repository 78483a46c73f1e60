"""A person looks through structures in a browser: on a map, in a table and in 3D."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import ase.io
import nbformat
import pytest
from browser import looks
from browser.labdriver import Lab, lab_page, lab_server, require_browser, voila_server, web_page

NOTEBOOK_7 = "pageerror: Cannot read properties of undefined (reading 'schema')"  # its own

SETTING = """
import numpy as np
from ase.build import molecule
import agal_toolkit as agal
from agal_toolkit.widgets import StructuresPanel

rng = np.random.default_rng(0)
ammonia = agal.Geometry.from_ase(molecule("NH3"))
sizes = {"features": 8, "filters": 8, "interactions": 1, "gaussians": 8}
committee = agal.Committee(agal.Stacked(agal.SchNet([1, 7], [0, 1, 2], **sizes)))

def structures(count, spread):
    moved = [ammonia.positions + rng.normal(0, spread, (4, 3)) for _ in range(count)]
    labels = [agal.Labels(energy=rng.gamma(2), forces=rng.normal(size=(4, 3))) for _ in moved]
    return agal.Dataset([ammonia.moved(x, by="attack") for x in moved], labels)

data = structures(COUNT, 0.1)
"""
PANEL = """
panel = StructuresPanel(data, committee)
panel
"""
GROW = "panel.structures.append(structures(5, 0.3))"
TELL = "print(panel.map.colour, panel.rows.active, len(panel.rows.selected))"


def written(folder: Path, *cells: str, count: int = 60) -> Path:
    spec = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    sources = [cell.replace("COUNT", str(count)).strip() for cell in (SETTING, *cells)]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources],
        metadata={"kernelspec": spec},
    )
    nbformat.write(notebook, folder / "structures.ipynb")
    return folder / "structures.ipynb"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    require_browser()
    written(tmp_path, PANEL, GROW, TELL)
    with lab_server(tmp_path) as url, lab_page(url, "structures.ipynb", size=(1280, 1050)) as lab:
        yield lab


def shoot(lab: Lab, tmp_path: Path, name: str, index: int = 1) -> None:
    folder = Path(os.environ.get("AGAL_SCREENSHOTS", tmp_path))
    assert lab.screenshot(folder / f"structures-{name}.png", index).stat().st_size > 20_000


def place(lab: Lab, row: int) -> tuple[float, float]:
    """Where a structure is on the page."""
    box = lab.page.locator(".agal-map canvas").last.bounding_box()
    x, y = lab.page.locator(".agal-map").evaluate("(map, row) => map.placeOf(row)", row)
    return box["x"] + x, box["y"] + y


def ringed(lab: Lab, row: int) -> bool:
    """Whether a ring in the colour of the active structure is around its place on the map."""
    return lab.page.locator(".agal-map").evaluate(
        """(map, row) => {
            const top = [...map.querySelectorAll('canvas')].at(-1), [x, y] = map.placeOf(row);
            const k = top.width / top.clientWidth;
            const [r, g, b] = top.getContext('2d').getImageData(k * (x + 9), k * y, 1, 1).data;
            return r > 150 && g < 100 && b > 60;
        }""",
        row,
    )


@pytest.mark.timeout(420)
def test_a_choice_is_the_same_on_the_map_in_the_table_and_in_3d(lab: Lab, tmp_path: Path):
    page = lab.page
    lab.run_cell(0, timeout=200)
    lab.run_cell(1, timeout=90)
    panel, table = lab.output(1), lab.output(1).locator(".agal-table")
    chosen = page.locator(".agal-map").get_by_text(re.compile(r"^60 structures, 0 chosen"))
    chosen.wait_for(timeout=20_000)
    lab.wait_text("NH3, row 0", 1)

    # a point of the map: the row and the molecule follow; a row: the ring and the molecule
    page.mouse.move(*place(lab, 17))
    panel.locator(".tip").get_by_text("row: 17").wait_for(timeout=5000)
    page.mouse.click(*place(lab, 17))
    table.locator(".active[data-row='17'][aria-selected=true]").wait_for(timeout=5000)
    lab.wait_text("NH3, row 17", 1)
    shoot(lab, tmp_path, "clicked")
    table.locator(".line[data-row='14']").click()
    lab.wait_text("NH3, row 14", 1)
    assert ringed(lab, 14)
    assert not ringed(lab, 17)

    # one more with shift, all rows between in the table, everything with a lasso
    page.keyboard.down("Shift")
    page.mouse.click(*place(lab, 40))
    page.keyboard.up("Shift")
    lab.wait_text(re.compile("^60 structures, 2 chosen$"), 1)
    table.locator(".line[data-row='40']").click()
    table.locator(".line[data-row='44']").click(modifiers=["Shift"])
    lab.wait_text(re.compile("^60 structures, 5 chosen$"), 1)
    box = page.locator(".agal-map canvas").last.bounding_box()
    left, top = box["x"] + 58, box["y"] + 10
    right, bottom = box["x"] + box["width"] - 86, box["y"] + box["height"] - 42
    page.mouse.move(left, top)
    page.mouse.down()
    for corner in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(*corner, steps=4)
    page.mouse.up()
    lab.wait_text(re.compile("^60 structures, 60 chosen$"), 1)

    # sorting, colours, keys
    table.get_by_role("columnheader", name="raw sigma").get_by_role("button").click()
    sigma = table.get_by_role("row").nth(1).get_by_role("gridcell").nth(3).inner_text()
    others = table.locator(".line:not(.head) > :nth-child(4)").all_inner_texts()
    assert float(sigma) == max(map(float, others))
    panel.get_by_label("colour").first.select_option("generation")
    page.locator(".agal-map canvas").last.focus()
    page.keyboard.press("ArrowRight")
    lab.wait_text("NH3, row 45", 1)

    # it grows while it is shown, and saves what is chosen
    lab.run_cell(2)
    lab.wait_text(re.compile("^65 structures, 1 chosen$"), 1)
    lab.run_cell(3)
    assert lab.text(3).split() == ["generation", "45", "1"]
    with page.expect_download() as download:
        table.get_by_role("button", name="Download extxyz").click()
    [frame] = ase.io.read(download.value.path(), index=":", format="extxyz")
    assert (frame.get_chemical_formula(), frame.info["row"]) == ("H3N", 45)

    # saved and loaded anew, in the dark, in a narrow window
    lab.reload()
    lab.wait_text(re.compile("^65 structures, 1 chosen$"), 1)
    lab.wait_text("NH3, row 45", 1)
    lab.darken()
    shoot(lab, tmp_path, "dark")
    assert looks.misplaced(panel) + looks.faint(panel) + looks.nameless(panel) == []
    page.set_viewport_size({"width": 900, "height": 1500})
    page.wait_for_timeout(1500)
    assert looks.misplaced(panel) == []
    shoot(lab, tmp_path, "narrow")
    assert lab.errors == []
    assert lab.outside == []


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("app", ["notebook", "voila"])
def test_other_front_ends_show_it(app: str, tmp_path: Path):
    require_browser()
    notebook = written(tmp_path, PANEL)
    if app == "voila":
        import render

        env = {"JUPYTER_PATH": str(render.FOLDER)}
        server = voila_server(notebook, ["--template=offline"], env)
    else:
        server = lab_server(tmp_path, app=app)
    with server as url:
        opened = web_page(url, "") if app == "voila" else lab_page(url, notebook.name, app=app)
        with opened as lab:
            if app == "notebook":
                lab.run_all()
            lab.wait_text(re.compile("^60 structures, 0 chosen$"), timeout=200)
            lab.page.locator(".agal-table .line[data-row='3']").click()
            lab.wait_text("NH3, row 3")
            folder = Path(os.environ.get("AGAL_SCREENSHOTS", tmp_path))
            lab.screenshot(folder / f"structures-{app}.png")
            assert [error for error in lab.errors if error != NOTEBOOK_7] == []
            assert lab.outside == []


# Milliseconds between frames, at rest and while the mouse moves, and of the script alone.
TIMES = """async map => {
    const top = [...map.querySelectorAll('canvas')].at(-1), box = top.getBoundingClientRect();
    const half = times => times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
    const point = k => ({clientX: box.x + 120 + 7 * (k % 40), clientY: box.y + 60 + 5 * (k % 30)});
    const move = k => top.dispatchEvent(new PointerEvent('pointermove', point(k)));
    const zoom = k => top.dispatchEvent(new WheelEvent(
        'wheel', {...point(0), ctrlKey: true, deltaY: k % 2 ? 20 : -20, cancelable: true}));
    const frames = async act => {
        const gaps = [];
        for (let k = 0, last = performance.now(); k < 60; k++) {
            act(k);
            const now = await new Promise(requestAnimationFrame);
            gaps.push(now - last);
            last = now;
        }
        return half(gaps);
    };
    const script = act => half(Array.from({length: 60}, (_, k) => {
        const start = performance.now();
        act(k);
        return performance.now() - start;
    }));
    return {
        rest: await frames(() => {}), moving: await frames(move), zooming: await frames(zoom),
        move: script(move), draw: script(zoom),
    };
}"""


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_2000_structures_stay_fluid(tmp_path: Path):
    """Prints medians of milliseconds, and what is sent at first and for five more structures."""
    require_browser()
    written(tmp_path, PANEL, GROW, count=2000)
    with lab_server(tmp_path) as url, lab_page(url, "structures.ipynb") as lab:
        sent = [0]
        lab.page.on(
            "websocket",
            lambda socket: socket.on(
                "framereceived", lambda frame: sent.append(sent[-1] + len(frame))
            ),
        )
        lab.reload()
        lab.run_cell(0, timeout=200)
        before = sent[-1]
        lab.run_cell(1, timeout=200)
        lab.wait_text(re.compile("^2000 structures, 0 chosen$"), 1)
        lab.page.wait_for_timeout(2000)
        first, before = sent[-1] - before, sent[-1]
        times = lab.page.locator(".agal-map").evaluate(TIMES)
        lab.run_cell(2, timeout=60)
        lab.wait_text(re.compile("^2005 structures"), 1)
        grown = sent[-1] - before
        print({name: round(value, 1) for name, value in times.items()})
        print(f"{first / 1e3:.0f} kB at first, {grown / 1e3:.1f} kB for five more")
        assert first < 600_000
        assert grown < 60_000
        assert times["move"] < 10
        assert times["draw"] < 50
