"""A page of structures opens from a file, offline, and shows them."""

from __future__ import annotations

import numpy as np
import pytest
from browser.labdriver import CHROMIUM_FLAGS, require_browser
from helpers import ammonia

from agal_toolkit import Dataset, Labels


@pytest.mark.timeout(300)
def test_a_page_shows_500_structures_without_a_request(tmp_path):
    chromium = require_browser()
    from playwright.sync_api import sync_playwright

    rng = np.random.default_rng(0)
    structures = [
        ammonia().moved(ammonia().positions + rng.normal(0, 0.1, (4, 3)), by="attack", generation=k)
        for k in rng.integers(0, 5, 500).tolist()
    ]
    labels = [Labels(energy=float(e), forces=rng.normal(size=(4, 3))) for e in rng.normal(size=500)]
    Dataset(structures, labels).write(tmp_path / "structures.html")
    assert (tmp_path / "structures.html").stat().st_size < 5e6
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        errors, requests = [], []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("request", lambda request: requests.append(request.url))
        page.goto((tmp_path / "structures.html").as_uri())
        page.locator("#view canvas").first.wait_for(timeout=200_000)
        page.get_by_text("energy per atom (eV)").first.wait_for(timeout=60_000)
        outside = [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]
        browser.close()
    assert errors == []
    assert outside == []
