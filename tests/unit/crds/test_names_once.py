"""A name that several components must spell alike is spelled in one place: crds/quilt_crds/names.py.

A component that spells one of them differently does not fail, it silently looks at nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from quilt_crds import names

ROOT = Path(__file__).parents[3]
PACKAGES = sorted(path for path in ROOT.glob("*/quilt_*/"))
HOME = ROOT / "crds/quilt_crds/names.py"
NUMBERS = {
    names.MESH_PROTOCOL,
    names.INJECTED_PROTOCOL,
    names.MULTICAST_TABLE,
    names.VXLAN_PORT,
    names.AGENT_HEALTH_PORT,
    names.RUNTIME_HEALTH_PORT,
    names.OPERATOR_HEALTH_PORT,
    names.MULTICAST_PORT,
}
# Anywhere in a text, and as a whole text. `Ready`, `Pending` and `Accepted` are words of others too.
PARTS = {names.BRIDGE_DEVICE, names.VXLAN_DEVICE, *names.DEFAULT_CLUSTER_CIDRS}
PARTS |= {str(number) for number in NUMBERS if number > 1000}
WHOLE = {names.POD_INTERFACE_PREFIX, names.UP, names.DOWN, names.RELEASING, names.NODE_DOWN}
WHOLE |= {*names.AGENT_CONDITIONS, *names.OPERATOR_CONDITIONS} - {names.READY}
WHOLE |= {names.SUBNETS_AVAILABLE, names.CLAIMS_CONSISTENT, names.WITHDRAWAL_PAUSED}
WHOLE |= {names.AGENTS_RESPONSIVE, names.PODS_FIT}
# What is spelled alike and is something else.
OTHERS = {
    # A general library: IANA's port of VXLAN, and a message of rtnetlink that has this number.
    "netlink/quilt_netlink": {"4789", "81"},
    # Neighbors of a PIM router are Up and Down in the API for routers.
    "multicast/quilt_pim": {"Up", "Down"},
    # CoreDNS's port.
    "devcluster/quilt_devcluster": {"8181"},
}


def literals(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every constant in the code, docstrings left out."""
    tree = ast.parse(source)
    prose = {id(statement.value) for statement in ast.walk(tree) if isinstance(statement, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in prose:
            continue
        if isinstance(node.value, str | int) and not isinstance(node.value, bool):
            yield node.lineno, str(node.value)


def copies(source: str) -> list[tuple[int, str]]:
    """Lines with a literal that has a name."""
    found = []
    for line, text in literals(source):
        whole = text in WHOLE or text in {str(number) for number in NUMBERS}
        found += [(line, text)] if whole else [(line, part) for part in PARTS if part in text]
    return found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_has_a_name_is_called_by_it(package: Path) -> None:
    spared = OTHERS.get(str(package.relative_to(ROOT)), set())
    found = {
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in package.rglob("*.py")
        if path != HOME and not path.name.endswith(("_pb2.py", "_pb2_grpc.py"))
        for line, text in copies(path.read_text())
        if text not in spared
    }
    assert found == set(), "use the name in quilt_crds.names"


def test_a_copy_is_found_and_prose_is_not() -> None:
    assert copies('BRIDGE = "quilt0"') == [(1, "quilt0")]
    assert copies('x = f"ipv4/conf/quilt0/{y}"\nport = 4789') == [(2, "4789"), (1, "quilt0")]
    assert copies('def f():\n    """About quilt0 and "Up"."""\n    return "Update", 810') == []
