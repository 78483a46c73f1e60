"""The command line: ``python -m agal_toolkit show RUN`` and ``export RUN --to FILE``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from .loop import Run, RunDirectoryError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors that a user can cause end it with one sentence."""
    parser = ArgumentParser("python -m agal_toolkit", description="Run directories of loops.")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="show the generations of a run as a table")
    export = commands.add_parser("export", help="write the labelled structures, or the committee")
    for command in (show, export):
        command.add_argument("run", help="run directory")
    kinds = "structures as .extxyz or .traj, .json.gz for chemiscope, or .html, a page to look at"
    final = ".agal, the final committee (trained if needed)"
    export.add_argument("--to", required=True, help=f"file: {kinds}; or {final}")
    chosen = parser.parse_args(arguments)
    try:
        run = Run.open(chosen.run)
        if chosen.command == "show":
            sys.stdout.write(f"{run}\n")
        elif chosen.to.endswith(".agal"):
            run.final().save(chosen.to, run.data)
        else:
            run.data.write(chosen.to)
    except (RunDirectoryError, ValueError, OSError, ImportError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
