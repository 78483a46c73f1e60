"""Film the panels in JupyterLab for the front page: ``python notebooks/moving_picture.py``.

A point is dropped in the `AttackExplorer` and attacked; then a `Monitor` runs the loop, which finds
the second basin. The frames are screenshots of a real JupyterLab in headless Chromium. The loop is
shown faster than it runs. The results are ``results/dashboard.gif`` and its last
frame, ``dashboard.png``.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import nbformat
from PIL import Image, ImageChops, ImageDraw, ImageFont

FOLDER = Path(__file__).resolve().parent
WIDTH, CAPTION, COLOURS = 720, 34, 128  # pixels, pixels, palette
FRAMES = 44  # of the loop
SLOW, HOLD = 170, 2500  # milliseconds of a frame, of the last one

SETUP = """\
from tempfile import mkdtemp
import numpy as np
import torch
import agal_toolkit as agal
from agal_toolkit.widgets import Monitor
from studies.double_well.explorer import AttackExplorer
from studies.double_well import recipes as study

torch.set_num_threads(1)
preset = study.Preset(width=64, attack_steps=300, generations=5, grid=50)
recipe = study.recipe("adversarial", preset, "ours")
data = study.start(0, "ours")
rng = np.random.default_rng(0)
weights, valid = recipe.folds(data, recipe.members, rng)
committee = agal.Committee(recipe.trainer.fit(data, weights, valid, rng))
"""
EXPLORER = "AttackExplorer(committee, data, attack=recipe.attack)"
MONITOR = """\
folder = mkdtemp()
Monitor(
    {"adversarial": lambda report: study.generations(
        "adversarial", preset, 0, folder, report, "ours")},
    generations=preset.generations,
)
"""
Shot = Callable[[], Image.Image]


def film(shot: Shot, seconds: float, until: Callable[[], bool] = lambda: False) -> list:
    """Return pictures taken for at most `seconds`, those without any change left out."""
    end, frames = time.monotonic() + seconds, [shot()]
    while time.monotonic() < end and not until():
        time.sleep(0.15)
        frame = shot()
        if ImageChops.difference(frame, frames[-1]).getbbox():
            frames.append(frame)
    return [*frames, shot()]


def thinned(frames: Sequence[Image.Image], count: int) -> list[Image.Image]:
    """Return at most `count` frames, evenly spaced, with the first and the last."""
    if len(frames) <= count:
        return list(frames)
    return [frames[round(i * (len(frames) - 1) / (count - 1))] for i in range(count)]


def with_arrow(frame: Image.Image, x: float, y: float) -> Image.Image:
    """Return the frame with a mouse's arrow that points to (x, y)."""
    frame = frame.copy()
    shape = [(0, 0), (0, 22), (5, 17), (9, 26), (13, 24), (9, 16), (16, 16)]
    corners = [(x + dx, y + dy) for dx, dy in shape]
    ImageDraw.Draw(frame).polygon(corners, fill="black", outline="white")
    return frame


def captioned(frames: Sequence[Image.Image], text: str, height: int) -> list[Image.Image]:
    """Return the frames on white pages of `WIDTH` x `height` below a line of text."""
    font_file = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
    font = ImageFont.truetype(str(font_file), 17)
    pages = []
    for frame in frames:
        small = frame.resize(
            (WIDTH, round(frame.height * WIDTH / frame.width)), Image.Resampling.LANCZOS
        )
        page = Image.new("RGB", (WIDTH, height), "white")
        page.paste(small, (0, CAPTION))
        ImageDraw.Draw(page).text((12, 7), text, fill="#202020", font=font)
        pages.append(page)
    return pages


def scenes() -> list[tuple[str, list[Image.Image]]]:
    """Return the captions and screenshots of both panels while they run."""
    sys.path.insert(0, str(FOLDER.parent / "tests"))
    from browser.labdriver import lab_page, lab_server

    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in (SETUP, EXPLORER, MONITOR)]
    paths = [str(FOLDER.parent), str(FOLDER), os.environ.get("PYTHONPATH", "")]
    with tempfile.TemporaryDirectory() as root:
        nbformat.write(notebook, Path(root, "film.ipynb"))
        with (
            lab_server(root, {"PYTHONPATH": os.pathsep.join(filter(None, paths))}) as url,
            lab_page(url, "film.ipynb", size=(1300, 1300)) as lab,
        ):
            lab.run_cell(0, timeout=180)

            def show(index: int) -> tuple[Shot, dict]:
                lab.run_cell(index, timeout=120)
                panel = lab.output(index).locator(".widget-vbox").first
                panel.wait_for(state="visible")
                panel.evaluate("panel => panel.scrollIntoView({block: 'start'})")
                lab.page.wait_for_timeout(2500)
                box = panel.bounding_box()
                box["width"] = min(box["width"], 880)

                def shot() -> Image.Image:
                    png = lab.page.screenshot(clip=box)
                    return Image.open(io.BytesIO(png)).convert("RGB")

                return shot, box

            shot, box = show(1)
            canvas = lab.output(1).locator("canvas").last
            at = canvas.bounding_box()
            x, y = 0.27 * at["width"], 0.62 * at["height"]
            target = at["x"] + x - box["x"], at["y"] + y - box["y"]
            still = shot()
            approach = [with_arrow(still, target[0] + d, target[1] + d) for d in (120, 80, 40, 0)]
            canvas.click(position={"x": x, "y": y})
            attack = [with_arrow(frame, *target) for frame in film(shot, 5)]

            shot, box = show(2)
            start = lab.output(2).locator("button", has_text="Start")
            at = start.bounding_box()
            target = at["x"] + 30 - box["x"], at["y"] + 14 - box["y"]
            press = [with_arrow(shot(), *target)] * 4
            start.click()
            done = lab.output(2).get_by_text("done", exact=True)
            loop = film(shot, 240, lambda: done.count() > 0)
            lab.page.wait_for_timeout(2500)
            loop.append(shot())
    drop = "Drop a point. The attack pushes it to where the committee disagrees."
    run = "Start the loop: train, attack, label, repeat. The second basin appears."
    return [(drop, [*approach, *thinned(attack, 20)]), (run, press + thinned(loop, FRAMES))]


def main() -> None:
    """Write the moving picture."""
    filmed = scenes()
    sizes = {frames[0].size for _, frames in filmed}
    height = CAPTION + max(round(h * WIDTH / w) for w, h in sizes)
    pages = [page for text, frames in filmed for page in captioned(frames, text, height)]
    # one palette for all frames: colours do not flicker
    sheet = Image.new("RGB", (WIDTH, height * len(pages[::6])))
    for i, page in enumerate(pages[::6]):
        sheet.paste(page, (0, i * height))
    palette = sheet.quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
    small = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    path = FOLDER / "results" / "dashboard.gif"
    durations = [SLOW] * (len(small) - 1) + [HOLD]
    small[0].save(path, save_all=True, append_images=small[1:], duration=durations, loop=0)
    small[-1].save(path.with_suffix(".png"))  # the still
    total = sum(durations) / 1000
    print(f"{path.name}: {len(small)} frames, {total:.1f} s, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
