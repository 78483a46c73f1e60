"""Formatter, linter and type checker have nothing to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def silent(*command: str) -> None:
    """Run a tool of this interpreter in the repository; its complaints are the failure."""
    run = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_everything_is_formatted():
    silent("ruff", "format", "--check", "--no-cache", ".")


def test_the_linter_finds_nothing():
    silent("ruff", "check", "--no-cache", ".")


@pytest.mark.timeout(600)
def test_types_are_right():
    silent("pyright", "--pythonpath", sys.executable)
