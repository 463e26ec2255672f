"""Whoever asks the kernel for something looks at what it refused."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGES = ("netlink", "multicast", "probes", "runtime", "nodeagent", "cli")
# They return what was refused, instead of raising it.
RETURNING = frozenset({"apply", "add_copies", "remove_copies"})
KERNELS = frozenset({"kernel", "_kernel", "host", "pod", "self"})


def ignored(path: Path) -> Iterator[str]:
    """Calls that return refusals and whose answer is thrown away."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
            continue
        call = node.value.func
        if isinstance(call, ast.Attribute) and call.attr in RETURNING:
            owner = call.value.attr if isinstance(call.value, ast.Attribute) else ast.unparse(call.value)
            if owner in KERNELS:
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"


def test_no_failure_of_a_netlink_operation_is_ignored() -> None:
    """t24: No component throws away what the kernel refused."""
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(sources) > 100
    assert [line for path in sources for line in ignored(path)] == []
