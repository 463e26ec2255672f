"""What an extra declares is what its packages import, no more and no less."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = {
    ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ROOT.glob("*/quilt_*")
    for path in folder.rglob("*.py")
}
# Names that several distributions share.
OTHERWISE = {"google": "protobuf"}
COMPONENTS = {
    "operator": "quilt_operator",
    "agent": "quilt_nodeagent",
    "runtime": "quilt_runtime",
    "cli": "quilt_cli",
    "devcluster": "quilt_devcluster",
}


@cache
def imported(module: str) -> frozenset[str]:
    """What a module imports; `from a import b` counts as `a` and, where there is one, the module `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def reached(package: str) -> set[str]:
    """The product's modules that a component runs: its own, and all that these lead to."""
    found: set[str] = set()
    waiting = [name for name in MODULES if name.partition(".")[0] == package]
    while waiting:
        if (at := waiting.pop()) not in found and at in MODULES:
            found.add(at)
            waiting += [*imported(at), at.rpartition(".")[0]]
    return found


def distributions(modules: Iterable[str]) -> set[str]:
    """The distributions of others that the product's modules import."""
    names = {name.partition(".")[0] for module in modules for name in imported(module)}
    others = {name for name in names if name not in MODULES and name not in sys.stdlib_module_names}
    known = packages_distributions()
    return {OTHERWISE.get(name) or known[name][0].lower().replace("_", "-") for name in others}


def declared(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[; ]", requirement)[0] for requirement in requirements}


@pytest.mark.parametrize("extra", COMPONENTS)
def test_an_extra_declares_what_its_packages_import(extra: str) -> None:
    """D10: An extra installs what its programs import, and nothing else."""
    base = declared(PROJECT["dependencies"])
    needed = distributions(reached(COMPONENTS[extra]))
    assert declared(PROJECT["optional-dependencies"][extra]) == needed - base


def test_what_all_components_need_is_imported_by_some() -> None:
    assert declared(PROJECT["dependencies"]) <= distributions(MODULES)
