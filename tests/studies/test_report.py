"""The tables of claims, and that both pages show them."""

from __future__ import annotations

import pytest

from studies import report
from studies.jobs import Claim, chosen_preset, markdown, read, write


def a_result(folder, claims):
    return write(
        folder,
        "toy",
        "smoke",
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
    assert path.name == "toy-smoke.json"
    assert not list(tmp_path.glob("*.part"))
    result = read(path)
    assert result["claims"][0]["met"] is True
    assert result["machine"]
    assert result["versions"]["torch"]


def test_a_file_of_another_format_is_refused(tmp_path):
    (tmp_path / "old-smoke.json").write_text('{"study": "old", "claims": []}')
    with pytest.raises(ValueError, match="has format 1, this version reads format 2"):
        read(tmp_path / "old-smoke.json")


@pytest.mark.parametrize(
    ("value", "at_least", "met"),
    [(2.6, True, True), (2.4, True, False), (2.4, False, True), (2.6, False, False)],
)
def test_a_goal_is_a_lower_or_an_upper_bound(value, at_least, met):
    assert Claim(name="x", value=value, goal=2.5, at_least=at_least).met is met
    assert Claim(name="x", value=value).met is None


def test_a_row_has_the_numbers_of_the_paper_and_ours_but_not_our_goal(tmp_path):
    claim = Claim(
        name="barrier error",
        unit="kcal/mol",
        paper="< 0.25",
        goal=0.1,
        at_least=False,
        value=0.12,
        spread=(0.05, 0.21),
        runs=5,
    )
    a_result(tmp_path, [claim, Claim(name="ratio", value=2.0)])
    row = ("toy", "smoke", "barrier error", "< 0.25", "0.12 kcal/mol", "0.05 to 0.21", "5")
    assert report.rows(tmp_path) == [row, ("toy", "smoke", "ratio", "", "2", "", "1")]
    assert markdown(report.HEAD, [row]).splitlines() == [
        "| study | preset | what | paper | found | interval | runs |",
        "|---|---|---|---|---|---|---|",
        "| toy | smoke | barrier error | < 0.25 | 0.12 kcal/mol | 0.05 to 0.21 | 5 |",
    ]


@pytest.mark.parametrize("page", report.pages(), ids=lambda page: page.parent.name)
def test_pages_show_the_committed_results(page):
    """`python -m studies.report` in the folder notebooks renews them."""
    assert page.read_text() == report.pages()[page]


def test_the_readme_shows_at_most_ten_claims_beside_a_paper():
    shown = report.headlines(report.rows())
    assert len(shown) <= 10
    assert all(row[3] for row in shown)
    with pytest.raises(ValueError, match="no claim beside a paper's number"):
        report.headlines([])


def test_a_table_is_put_between_its_marks():
    assert (
        report.inserted("a\n<!-- claims -->\nold\n<!-- /claims -->\nb", "new")
        == "a\n<!-- claims -->\nnew\n<!-- /claims -->\nb"
    )
    with pytest.raises(ValueError, match="has no lines"):
        report.inserted("a\n<!-- claims -->\nb", "new")


def test_an_unknown_preset_fails_loudly(monkeypatch):
    monkeypatch.setenv("AGAL_PRESET", "fats")
    with pytest.raises(ValueError, match="'fats': choose one of smoke, class"):
        chosen_preset({"smoke": 1, "class": 2})
    monkeypatch.delenv("AGAL_PRESET")
    assert chosen_preset({"smoke": 1, "class": 2}) == "class"
