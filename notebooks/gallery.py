"""Take the front page's pictures from the committed notebooks: ``python notebooks/gallery.py``.

Each picture is the last output of the first cell that contains the given text. It becomes at most
640 pixels wide with 256 colours, which keeps the front page small.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import nbformat
from PIL import Image

FOLDER = Path(__file__).resolve().parent
PICTURES = FOLDER / "results" / "pictures"
WIDTH = 640

# The picture's name: notebook, text in the cell.
CELLS = {
    "committee": ("01_double_well", "CommitteeView(committee"),
    "attacks": ("01_double_well", "lesson.show_attacks("),
    "generations": ("01_double_well", "lesson.show_maps("),
    "ammonia": ("02_ammonia", "player = AttackPlayer("),
    "atlas": ("02_ammonia", "sampled.atlas("),
    "water": ("03_calibrated_attacks", "panel = TargetPanel("),
    "liquid": ("04_water", "explorer = gallery.explorer("),
    "knowledge": ("04_water", "lesson.show_uncertainty(first"),
    "live": ("04_water", "panel = Monitor("),
}


def picture(notebook: str, text: str) -> Image.Image:
    """Return the last PNG of the first cell of `notebook` whose source contains `text`.

    Raises:
        LookupError: no cell that contains `text` shows a picture.
    """
    for cell in nbformat.read(FOLDER / f"{notebook}.ipynb", as_version=4).cells:
        if text not in cell.source:
            continue
        data = [output.get("data", {}) for output in cell.get("outputs", ())]
        if pngs := [d["image/png"] for d in data if "image/png" in d]:
            return Image.open(io.BytesIO(base64.b64decode(pngs[-1]))).convert("RGB")
    raise LookupError(f"no cell of {notebook} with {text!r} shows a picture: render the notebook")


def main() -> None:
    """Write all pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, (notebook, text) in CELLS.items():
        image = picture(notebook, text)
        height = round(image.height * min(1, WIDTH / image.width))
        if image.width > WIDTH:
            image = image.resize((WIDTH, height), Image.Resampling.LANCZOS)
        path = PICTURES / f"{name}.png"
        # maximum coverage keeps the colours of small marks, which a median cut loses
        image = image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        image.save(path, optimize=True)
        print(f"{path.name}: {image.width} x {image.height}, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
