"""Pages for people: their code runs, their links exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def python_blocks(page: str) -> list[str]:
    """Return the fenced python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def page(monkeypatch, tmp_path):
    """The namespace of a module in which a page's code runs, in an empty folder."""
    module = ModuleType("page_of_a_guide")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    return module.__dict__


def test_the_snippets_for_contributors_run(page):
    blocks = python_blocks("CONTRIBUTING.md")
    assert len(blocks) == 4
    for block in blocks:
        exec(block, page)
    generation = page["generation"]
    assert generation.index == 0
    assert "MaxEnergy" in generation.verdicts or len(generation.labelled)


def test_the_loop_of_the_readme_runs(page):
    loop, calibrated = python_blocks("README.md")
    exec(loop.replace("600", "2").replace("120", "1"), page)
    assert len(page["generation"].dataset)
    exec(calibrated.splitlines()[1], page)
    assert page["attack"].cell


def test_the_readme_stays_short():
    text = (ROOT / "README.md").read_text()
    assert len(text.encode()) <= 12_000
    assert len(text.splitlines()) <= 150
    blocks = re.findall(r"^```\w+\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 88


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "notebooks/results/README.md"]
)
def test_links_between_files_lead_somewhere(name):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text())
    files = [link for link in links if not link.startswith("http")]
    assert not [link for link in files if not (ROOT / name).parent.joinpath(link).exists()]
