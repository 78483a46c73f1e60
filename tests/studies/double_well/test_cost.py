"""Costs are counted, and their speed is measured."""

from __future__ import annotations

import sys

import pytest

from studies.double_well import cost
from studies.double_well import study as double_well
from studies.double_well.recipes import PRESETS, Preset


def test_work_is_matrix_products():
    """One generation of the paper's random loop: 600 epochs over 34.8 points, five members, two
    hidden layers of 1024 x 1024.
    """
    one = Preset(width=1024, generations=1)
    assert cost.work(one, "printed", "random") == pytest.approx(
        6 * 600 * 0.6 * 58 * 5 * 2 * 2 * 1024**2
    )
    assert cost.work(one, "printed", "adversarial") == pytest.approx(
        (6 * 600 + 4 * 600) * 0.6 * 58 * 5 * 2 * 2 * 1024**2
    )
    assert cost.work(Preset(width=1024), "printed", "random") > 15 * cost.work(
        one, "printed", "random"
    )
    assert cost.work(Preset(width=128), "ten-members", "adversarial") == pytest.approx(
        2 * cost.work(Preset(width=128), "ours", "adversarial")
    )


def test_the_estimate_is_work_over_a_measured_speed():
    found = cost.estimate(
        Preset(width=16, epochs=10, attack_steps=10, generations=2), "ours", pairs=3
    )
    assert found.work == pytest.approx(
        3
        * sum(
            cost.work(Preset(width=16, epochs=10, attack_steps=10, generations=2), "ours", s)
            for s in ("adversarial", "random")
        )
    )
    assert found.speed > 1e5
    assert found.hours == pytest.approx(found.work / found.speed / 3600)


def test_a_dry_run_runs_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(PRESETS, "paper", Preset(width=8, epochs=2, generations=1))
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "study",
            "--preset",
            "paper",
            "--dry-run",
            "--out",
            str(tmp_path / "runs"),
            "--results",
            str(tmp_path),
        ],
    )
    double_well.main()
    assert "TFLOP" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
