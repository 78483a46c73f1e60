"""The claims of all studies as one table: ``python -m studies.report [FOLDER] [--all] [--into
README.md]``.

A README wants those that a paper's number or a goal stands beside; the others say what these mean,
and follow with ``--all``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .results import read

HEAD = ("study", "preset", "what", "paper", "goal", "found", "interval", "runs", "met")


def rows(folder: str | Path, everything: bool = True) -> list[tuple[str, ...]]:
    """One row of texts for each claim in the JSON files of `folder`, in the order of their names;
    without `everything` those with a goal or a paper's number.
    """
    table = []
    for path in sorted(Path(folder).glob("*-*.json")):
        result = read(path)
        for claim in result["claims"]:
            if not everything and claim["goal"] is None and not claim["paper"]:
                continue
            unit = f" {claim['unit']}" if claim["unit"] else ""
            bound = (
                ""
                if claim["goal"] is None
                else f"{'≥' if claim['at_least'] else '≤'} {claim['goal']:g}{unit}"
            )
            interval = (
                ""
                if claim["spread"] is None
                else f"{claim['spread'][0]:.3g} to {claim['spread'][1]:.3g}"
            )
            met = {None: "", True: "yes", False: "**no**"}[claim["met"]]
            table.append(
                (
                    result["study"],
                    result["preset"],
                    claim["name"],
                    claim["paper"] or "",
                    bound,
                    f"{claim['value']:.3g}{unit}",
                    interval,
                    str(claim["runs"]),
                    met,
                )
            )
    return table


def table(folder: str | Path, everything: bool = True) -> str:
    """The claims as a Markdown table, see :func:`rows`."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows(folder, everything)])


def insert(text: str, claims: str) -> str:
    """`text` with `claims` between its marks.

    Raises:
        ValueError: a text without the marks.
    """
    before, mark, rest = text.partition("<!-- claims -->\n")
    _, end, after = rest.partition("<!-- /claims -->")
    if not mark or not end:
        raise ValueError(
            "the text has no lines '<!-- claims -->' and '<!-- /claims -->' for the table to stand"
            " between"
        )
    return f"{before}{mark}{claims}\n{end}{after}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", nargs="?", default="notebooks/results", help="where the JSON files are"
    )
    parser.add_argument(
        "--into", type=Path, help="a Markdown file whose table is replaced, README.md"
    )
    parser.add_argument("--all", action="store_true", help="claims without goal or paper, too")
    arguments = parser.parse_args()
    print(table(arguments.folder, arguments.all))
    if arguments.into is not None:
        arguments.into.write_text(
            insert(arguments.into.read_text(), table(arguments.folder, arguments.all))
        )
