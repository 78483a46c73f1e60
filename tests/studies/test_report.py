"""The table of claims, and that the README shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from studies import report
from studies.results import Claim, chosen_preset, read, write

ROOT = Path(__file__).parents[2]


def a_result(folder, claims):
    return write(
        folder,
        "toy",
        "fast",
        seed=1,
        device="cpu",
        seconds={"all": 1.0},
        settings={},
        records={},
        claims=claims,
    )


def test_a_result_is_written_whole_and_read_back(tmp_path):
    path = a_result(
        tmp_path, [Claim(name="ratio", value=2.6, goal=2.5, spread=(2.0, 3.1), runs=20)]
    )
    assert path.name == "toy-fast.json"
    assert not list(tmp_path.glob("*.part"))
    result = read(path)
    assert result["claims"][0]["met"] is True
    assert result["machine"]
    assert result["versions"]["torch"]


def test_a_file_of_another_format_is_refused(tmp_path):
    (tmp_path / "old-fast.json").write_text('{"study": "old", "claims": []}')
    with pytest.raises(ValueError, match="has format 1, this version reads format 2"):
        read(tmp_path / "old-fast.json")


@pytest.mark.parametrize(
    ("value", "at_least", "met"),
    [(2.6, True, True), (2.4, True, False), (2.4, False, True), (2.6, False, False)],
)
def test_a_goal_is_a_lower_or_an_upper_bound(value, at_least, met):
    assert Claim(name="x", value=value, goal=2.5, at_least=at_least).met is met
    assert Claim(name="x", value=value).met is None


def test_a_row_says_everything(tmp_path):
    a_result(
        tmp_path,
        [
            Claim(
                name="barrier error",
                unit="kcal/mol",
                paper="< 0.25",
                goal=0.1,
                at_least=False,
                value=0.12,
                spread=(0.05, 0.21),
                runs=5,
            )
        ],
    )
    assert report.rows(tmp_path) == [
        (
            "toy",
            "fast",
            "barrier error",
            "< 0.25",
            "≤ 0.1 kcal/mol",
            "0.12 kcal/mol",
            "0.05 to 0.21",
            "5",
            "**no**",
        )
    ]
    assert report.table(tmp_path).splitlines()[-1].startswith("| toy | fast | barrier error |")


def test_the_readme_shows_the_table_of_the_committed_results():
    shown = re.search(
        r"<!-- claims -->\n(.*?)\n?<!-- /claims -->", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert (
        shown.group(1).strip()
        == report.table(ROOT / "notebooks" / "results", everything=False).strip()
    )


def test_what_nothing_is_set_against_may_be_left_out(tmp_path):
    a_result(
        tmp_path,
        [
            Claim(name="goal", value=1.0, goal=2.0),
            Claim(name="paper", value=1.0, paper="3"),
            Claim(name="neither", value=1.0),
        ],
    )
    assert [row[2] for row in report.rows(tmp_path)] == ["goal", "paper", "neither"]
    assert [row[2] for row in report.rows(tmp_path, everything=False)] == ["goal", "paper"]


def test_a_table_is_put_between_its_marks():
    assert (
        report.insert("a\n<!-- claims -->\nold\n<!-- /claims -->\nb", "new")
        == "a\n<!-- claims -->\nnew\n<!-- /claims -->\nb"
    )
    with pytest.raises(ValueError, match="has no lines"):
        report.insert("a\n<!-- claims -->\nb", "new")


def test_an_unknown_preset_fails_loudly(monkeypatch):
    monkeypatch.setenv("AGAL_PRESET", "fats")
    with pytest.raises(ValueError, match="'fats': choose one of fast, laptop"):
        chosen_preset({"fast": 1, "laptop": 2})
    monkeypatch.delenv("AGAL_PRESET")
    assert chosen_preset({"fast": 1, "laptop": 2}) == "laptop"
