"""What a stranger is told agrees with what is there: README, pyproject.toml, environment.yml,
CITATION.cff, .ci/run.
"""

from __future__ import annotations

import ast
import fnmatch
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

TOP_LEVEL = {
    "notebooks", "agal_toolkit", "tests", ".ci",
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "CITATION.cff",
    "pyproject.toml", "environment.yml", ".gitignore", ".git-blame-ignore-revs",
}  # fmt: skip

# One cannot write a widget without these: they are ipywidgets' own interface, and it brings them.
COMES_WITH = {"IPython": "ipywidgets", "traitlets": "ipywidgets", "jupyter_core": "jupyterlab"}


def requirements() -> dict[str, list[Requirement]]:
    """The requirements of the package, under "", and of each extra, under its name."""
    groups = {"": PROJECT["dependencies"]} | PROJECT["optional-dependencies"]
    return {group: [Requirement(line) for line in lines] for group, lines in groups.items()}


def declared() -> set[str]:
    """The names of all distributions that pyproject.toml requires, the extra `test` aside."""
    return {
        canonicalize_name(need.name)
        for group, needs in requirements().items()
        if group != "test"
        for need in needs
    }


def bash_blocks() -> list[str]:
    """The fenced bash blocks of the README."""
    return re.findall(
        r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )


def extras_in(text: str) -> set[str]:
    """The extras with which `text` installs this folder: those of ``.[references,md]``."""
    return {
        extra.strip()
        for group in re.findall(r"(?<![\w.])\.\[([\w, ]+)\]", text)
        for extra in group.split(",")
    }


def test_extras_in_a_command() -> None:
    assert extras_in('pip install -e ".[references, md]"') == {"references", "md"}
    assert extras_in("pip install dask[distributed] a.[b]") == set()


# -- README and .ci/run


def test_readme_installs_with_the_extras_every_notebook_needs() -> None:
    installs = [extras_in(block) for block in bash_blocks() if extras_in(block)]
    assert {"references", "md", "map"} in installs
    assert {"references", "md", "map", "test"} in installs


def test_readme_names_only_extras_that_exist() -> None:
    assert extras_in((ROOT / "README.md").read_text()) <= set(PROJECT["optional-dependencies"])


def test_ci_runs_the_test_command_of_the_readme() -> None:
    printed = subprocess.run(
        [ROOT / ".ci" / "run", "--command"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert printed in [block.strip() for block in bash_blocks()]
    assert "pytest" in printed
    assert extras_in(printed) == {"references", "md", "map", "test"}


def test_ci_writes_no_test_command_of_its_own() -> None:
    assert "pytest" not in (ROOT / ".ci" / "run").read_text()


def test_constraints_satisfy_pyproject() -> None:
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    pins = {
        canonicalize_name(name): version
        for name, version in (line.split("==") for line in lines if line and line[0] != "#")
    }
    tested = ("", "references", "md", "map", "test")
    needs = [need for group in tested for need in requirements()[group]]
    unpinned = [str(need) for need in needs if canonicalize_name(need.name) not in pins]
    outside = [
        str(need)
        for need in needs
        if not need.specifier.contains(pins.get(canonicalize_name(need.name), "0"))
    ]
    assert not unpinned
    assert not outside


# -- environment.yml


def test_environment_installs_the_package_as_the_readme_does() -> None:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    [by_pip] = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    assert len(by_pip) == 1, (
        "versions live in pyproject.toml: environment.yml asks pip for the package and nothing else"
    )
    assert by_pip[0].startswith("-e .[")
    assert extras_in(by_pip[0]) in [extras_in(block) for block in bash_blocks()]


def test_environment_names_no_version_but_a_fitting_python() -> None:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    [python] = [
        entry for entry in dependencies if isinstance(entry, str) and entry.startswith("python")
    ]
    assert [entry for entry in dependencies if isinstance(entry, str) and entry != python] == [
        "pip"
    ]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python="))


# -- CITATION.cff and LICENSE


def test_citation_has_both_papers_and_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    papers = {entry["doi"]: entry["title"] for entry in citation["references"]}
    assert papers == {
        "10.1038/s41467-021-25342-8": (
            "Differentiable sampling of molecular geometries with uncertainty-based adversarial"
            " attacks"
        ),
        "10.1038/s41524-025-01703-5": (
            "Learning atomic forces from uncertainty-calibrated adversarial attacks"
        ),
    }


def test_license_is_the_declared_one() -> None:
    assert (ROOT / "LICENSE").read_text().startswith(f"{PROJECT['license']} License")


# -- the package


def imported_roots(file: Path) -> set[str]:
    """The top-level names a module imports, relative imports aside."""
    roots = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            roots.add(node.module.partition(".")[0])
    return roots


def test_every_import_is_declared() -> None:
    providers, known = packages_distributions(), declared()
    undeclared = {}
    for file in sorted((ROOT / "agal_toolkit").rglob("*.py")):
        for root in imported_roots(file) - set(sys.stdlib_module_names) - {"agal_toolkit"}:
            names = {root, COMES_WITH.get(root, root), *providers.get(root, ())}
            if not known & {canonicalize_name(name) for name in names}:
                undeclared[str(file.relative_to(ROOT))] = root
    assert not undeclared, f"declare these in pyproject.toml: {undeclared}"


def top_level() -> set[str]:
    """What lies in the repository's root: what git knows or would add, or without git what
    .gitignore lets through.
    """
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        return {line.partition("/")[0] for line in listed.stdout.splitlines()}
    lines = (ROOT / ".gitignore").read_text().splitlines()
    ignored = [line.rstrip("/") for line in lines if line and not line.startswith("#")]
    names = {entry.name for entry in ROOT.iterdir()} - {".git"}
    return {
        name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in ignored)
    }


def test_top_level_holds_nothing_else() -> None:
    assert top_level() <= TOP_LEVEL


@pytest.mark.parametrize("name", sorted(TOP_LEVEL))
def test_top_level_is_complete(name: str) -> None:
    assert (ROOT / name).exists()
