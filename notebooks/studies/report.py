"""Write the tables of claims: ``python -m studies.report`` in the folder ``notebooks``.

``results/README.md`` gets every claim of every result file, the iterations of the water loop and
the laws of elements, the project's README the claims named in :data:`HEADLINES`. A table stands
between the lines ``<!-- claims -->`` and ``<!-- /claims -->``, or those of "water" and "elements".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .calibrated import elements
from .jobs import RESULTS, markdown, read
from .water.claims import ITERATIONS, iterations

HEAD = ("study", "preset", "what", "paper", "found", "interval", "runs")
Row = tuple[str, str, str, str, str, str, str]

# Study, preset and claim: each stands beside a number of a paper.
HEADLINES = (
    ("double_well_printed", "laptop", "random's final RMSE over adversarial's"),
    ("double_well_ours", "laptop", "random's final RMSE over adversarial's"),
    ("double_well_ours", "laptop", "random's median sampled energy over adversarial's"),
    ("ammonia_printed_thermal", "laptop", "barrier error, third committee"),
    ("ammonia_ours_frozen", "laptop", "barrier error, first committee"),
    ("ammonia_ours_frozen", "laptop", "barrier error, third committee"),
    (
        "ammonia_ours_frozen",
        "laptop",
        "RMSE below 40 kcal/mol, the best other committee's over the third's",
    ),
    ("ammonia_ours_frozen", "laptop", "stable simulations, third committee"),
    ("calibrated_attacks", "laptop", "error found over target, uncalibrated"),
    ("calibrated_attacks", "laptop", "error found over target, 100 meV/A"),
)


def rows(folder: Path = RESULTS) -> list[Row]:
    """Return one row of texts for each claim of the result files in `folder`, sorted by file."""
    result = []
    for path in sorted(folder.glob("*-*.json")):
        record = read(path)
        for claim in record["claims"]:
            low_high = claim["spread"] or ()
            result.append(
                (
                    record["study"],
                    record["preset"],
                    claim["name"],
                    claim["paper"] or "",
                    f"{claim['value']:.3g} {claim['unit']}".strip(),
                    " to ".join(f"{bound:.3g}" for bound in low_high),
                    str(claim["runs"]),
                )
            )
    return result


def headlines(claims: Sequence[Row]) -> list[Row]:
    """Return the rows that :data:`HEADLINES` names.

    Raises:
        ValueError: a headline that is no claim with a paper's number.
    """
    by_name = {row[:3]: row for row in claims if row[3]}
    missing = [name for name in HEADLINES if name not in by_name]
    if missing:
        raise ValueError(
            f"no claim beside a paper's number is called {missing}: correct HEADLINES in {__file__}"
        )
    return [by_name[name] for name in HEADLINES]


def inserted(text: str, table: str, name: str = "claims") -> str:
    """Return `text` with a table between the marks of its name.

    Raises:
        ValueError: a text without the marks.
    """
    before, mark, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not mark or not end:
        raise ValueError(
            f"the text has no lines '<!-- {name} -->' and '<!-- /{name} -->': add both where the"
            " table belongs"
        )
    return f"{before}{mark}{table}\n{end}{after}"


def pages() -> dict[Path, str]:
    """Return the current text of each page that has a table."""
    claims = rows()
    shown = {RESULTS / "README.md": claims, RESULTS.parents[1] / "README.md": headlines(claims)}
    texts = {page: inserted(page.read_text(), markdown(HEAD, part)) for page, part in shown.items()}
    results = RESULTS / "README.md"
    loops = markdown(ITERATIONS, iterations(read(RESULTS / "water-laptop.json")["records"]))
    laws = elements.table(read(RESULTS / f"{elements.NAME}-laptop.json")["records"])
    text = inserted(texts[results], loops, "water")
    return texts | {results: inserted(text, laws, "elements")}


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text)
