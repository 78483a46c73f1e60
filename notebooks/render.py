"""Execute the notebooks and keep what a reader without a kernel can see.

    python notebooks/render.py                          every notebook
    python notebooks/render.py 01_double_well           one of them
    python notebooks/render.py --preset laptop          other sizes, see AGAL_PRESET
    python notebooks/render.py --check                  run nothing; fail if a notebook is not its
    script's

The percent script ``NAME.py`` is the source; ``NAME.ipynb`` beside it is made from it and from a
run, never edited. Pictures stay. Live widgets are removed, because their state weighs megabytes and
GitHub refuses to show it, so a widget must also give a picture of itself: one without a picture is
an error here, as is anything a cell writes to stderr. Times of execution are left out and the ids
of cells follow from their contents, so that two runs differ where the results do.

A script's cell with the tag ``unattended`` does what a person does with the mouse in the panel
above it. It is run here and is not part of the notebook; the panel that it leaves takes the place
of the panel above.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbformat import NotebookNode

from agal_toolkit.files import atomic_write

FOLDER = Path(__file__).resolve().parent
WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURES = ("image/png", "image/svg+xml", "image/jpeg")
UNATTENDED = "unattended"


class RenderError(RuntimeError):
    """A reader of the notebook would miss something or see a warning; the message names cells."""


def scripts(folder: Path = FOLDER) -> list[Path]:
    """Return the sources of all notebooks, in reading order: their names start with a number."""
    return sorted(folder.glob("[0-9][0-9]_*.py"))


def sources(path: str | Path) -> list[tuple[str, str]]:
    """Return the kind and text of a notebook's cells, from a percent script or an .ipynb file."""
    fmt = "py:percent" if Path(path).suffix == ".py" else "ipynb"
    cells = jupytext.read(path, fmt=fmt).cells
    return [(cell.cell_type, cell.source) for cell in cells if not is_unattended(cell)]


def is_unattended(cell: NotebookNode) -> bool:
    """Return whether a cell stands for a person's hand, see the module."""
    return UNATTENDED in cell.metadata.get("tags", ())


def read(script: str | Path, *, unattended: bool = False) -> NotebookNode:
    """Return the notebook of a percent script, not executed.

    A cell's id is a digest of its text: a new cell leaves the ids of the others alone.

    Args:
        script: the source.
        unattended: keep the cells that stand for a person's hand.
    """
    notebook = jupytext.read(script, fmt="py:percent")
    if not unattended:
        notebook.cells = [cell for cell in notebook.cells if not is_unattended(cell)]
    notebook.metadata = NotebookNode(
        kernelspec={
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        language_info={"name": "python"},
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] += 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return notebook


def execute(
    notebook: NotebookNode, preset: str, folder: str | Path = FOLDER, timeout: float | None = None
) -> NotebookNode:
    """Run a notebook, in place, with a kernel of this very interpreter.

    Args:
        notebook: from :func:`read`.
        preset: the value of ``AGAL_PRESET`` in the kernel.
        folder: where the kernel starts.
        timeout: seconds for one cell, or None for no limit.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
        RenderError: a cell wrote to stderr.
    """
    # without folders of kernels, or a `python3` installed elsewhere would replace ours
    kernels = KernelSpecManager(kernel_dirs=[], ensure_native_kernel=True)
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=kernels),
        timeout=timeout,
        resources={"metadata": {"path": str(folder)}},
        # a line of progress overwritten by the next is gone, as in a terminal
        coalesce_streams=True,
        record_timing=False,
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],  # of the kernel; output of cells is kept
    )
    # MPLBACKEND would keep figures out of the notebook, and the debugger complains on stderr about
    # frozen modules
    variables = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    variables |= {"AGAL_PRESET": preset, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    client.execute(env=variables, cleanup_kc=True)  # or nbclient would leave our kernel running
    complaints = [
        f"cell {index} ({cell.source.splitlines()[0]!r}):\n{output.text}"
        for index, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", ())
        if output.output_type == "stream" and output.name == "stderr"
    ]
    if complaints:
        raise RenderError(
            "a notebook's reader should see no warning. On stderr:\n" + "\n".join(complaints)
        )
    return replace_panels(notebook)


def replace_panels(notebook: NotebookNode) -> NotebookNode:
    """Give the outputs of unattended cells to the panels above, and remove those cells, in place.

    What the cell above printed stays.
    """
    cells: list[NotebookNode] = []
    for cell in notebook.cells:
        if is_unattended(cell):
            printed = [out for out in cells[-1].outputs if out.output_type == "stream"]
            cells[-1].outputs = printed + cell.outputs
        else:
            cells.append(cell)
    notebook.cells = cells
    count = 0
    for cell in cells:
        if cell.get("execution_count") is not None:
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = count
    return notebook


def keep_pictures(notebook: NotebookNode) -> NotebookNode:
    """Remove, in place, outputs that only a live kernel can show.

    Raises:
        RenderError: a widget has neither picture nor HTML of its own.
    """
    bare = []
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if data.pop(WIDGET, None) is None:
                continue
            if any(kind in data for kind in PICTURES):
                # the picture once more (ipympl), or a script that needs the kernel
                data.pop("text/html", None)
                data.pop("text/plain", None)  # a repr of traits and addresses, new in each run
            elif "text/html" not in data:
                bare.append(
                    f"cell {index} ({cell.source.splitlines()[-1]!r}):"
                    f" {data.get('text/plain', 'a widget')[:80]}"
                )
    if bare:
        raise RenderError(
            "these widgets need `_repr_mimebundle_` to give image/png:\n" + "\n".join(bare)
        )
    notebook.metadata.pop("widgets", None)
    # the kernel's language_info has its Python's patch release, which changes with the machine
    notebook.metadata.language_info = NotebookNode(name="python")
    return notebook


def render(script: Path, preset: str) -> Path:
    """Execute a script and write its notebook beside it, whole or not at all."""
    run = execute(read(script, unattended=True), preset, folder=script.parent)
    notebook = keep_pictures(run)
    notebook.metadata.agal_toolkit = NotebookNode(preset=preset)
    target = script.with_suffix(".ipynb")
    nbformat.validate(notebook)
    with atomic_write(target) as part:
        part.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return target


def fault(script: Path, preset: str) -> str | None:
    """Return what is wrong with the notebook beside `script`, or None.

    It should have the same cells, all run, at `preset`.
    """
    target = script.with_suffix(".ipynb")
    if not target.exists():
        return "there is none"
    if sources(script) != sources(target):
        return "its cells are not the script's"
    notebook = nbformat.read(target, as_version=4)
    if any(
        cell.cell_type == "code" and cell.source and cell.execution_count is None
        for cell in notebook.cells
    ):
        return "it was not run to its end"
    rendered = notebook.metadata.get("agal_toolkit", {}).get("preset")
    return None if rendered == preset else f"it was run at the preset {rendered!r}, not {preset!r}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = {script.stem: script for script in scripts()}
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(known) or 'no notebook yet'}; default: all",
    )
    parser.add_argument(
        "--preset", default="class", help="AGAL_PRESET of the run (default: %(default)s)"
    )
    parser.add_argument(
        "--check", action="store_true", help="only say which notebooks are not their script's"
    )
    options = parser.parse_args(arguments)
    names = [Path(name).stem for name in options.names] or list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no notebook {', '.join(unknown)}; there are {', '.join(known)}")

    faults = 0
    for name in names:
        if options.check:
            wrong = fault(known[name], options.preset)
            faults += wrong is not None
            print(f"{name}: {wrong or 'as its script'}")
        else:
            start = time.monotonic()
            target = render(known[name], options.preset)
            print(
                f"{target.name}: {target.stat().st_size / 1e6:.1f} MB in"
                f" {time.monotonic() - start:.0f} s",
                flush=True,
            )
    if faults:
        print(f"make them anew: python notebooks/render.py --preset {options.preset}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
