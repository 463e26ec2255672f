"""What tests share has one home, and tests do not rest on each other."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
SUPPORT = TESTS / "support"
OURS = sorted(path for path in TESTS.rglob("*.py") if SUPPORT not in path.parents)


def test_beside_the_tests_stand_fixtures_alone() -> None:
    others = [path for path in OURS if not path.name.startswith("test_") and path.name != "conftest.py"]
    assert others == []


def test_no_test_imports_anything_from_another() -> None:
    assert [
        path
        for path in OURS
        for name in imported(path)
        if name.startswith((".", "tests")) and not name.startswith("tests.support")
    ] == []


def imported(path: Path) -> list[str]:
    """The modules that a file imports from, with a dot for a relative one."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return ["." * node.level + (node.module or "") for node in found]
