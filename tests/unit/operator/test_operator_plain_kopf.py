"""kopf is used as its documentation shows: by its public names, without a change to what is another's."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import quilt_operator

SOURCES = sorted(Path(quilt_operator.__file__).parent.rglob("*.py"))
# The pure core imports nobody's library (a contract), so that each object there is the core's own.
OUTSIDE_THE_CORE = [path for path in SOURCES if path.parent.name != "core"]
# Handlers that store their progress in the object, or hold its deletion up by a finalizer.
OWNING = {"create", "update", "delete", "resume", "field", "timer", "daemon", "mutate", "validate"}


def nodes(source: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(source.read_text()))


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an expression of names, empty for any other."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def private(source: Path) -> set[str]:
    """Names of kopf below an underscore that are imported or reached for."""
    found = set()
    for node in nodes(source):
        match node:
            case ast.ImportFrom(module=str(module), names=names):
                found |= {f"{module}.{name.name}" for name in names}
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.Attribute():
                found.add(dotted(node))
    return {name for name in found if name.startswith("kopf.") and "._" in name}


def targets(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Assign(targets=several):
            for target in several:
                yield from target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
        case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            yield target


def changed(source: Path) -> set[str]:
    """Attributes that are assigned to, of anything but `self`, by `=` or by setattr."""
    found = set()
    for node in nodes(source):
        for target in targets(node):
            if isinstance(target, ast.Attribute) and dotted(target.value) != "self":
                found.add(dotted(target) or ast.unparse(target))
        if isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] in {"setattr", "__setattr__"}:
            found.add(ast.unparse(node))
    return found


# Objects of this package; and what a library's documentation shows how to set: kopf's settings in a startup
# handler, the official client's configuration.
OURS = {"probes", "series", "self._network", "self.heartbeats", "self.world"}
DOCUMENTED = {"settings", "configuration"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_nothing_private_of_kopf_is_used(source: Path) -> None:
    assert not private(source)


def test_no_handler_owns_an_object() -> None:
    used = {
        dotted(node).removeprefix("kopf.on.").removeprefix("kopf.")
        for source in SOURCES
        for node in nodes(source)
        if isinstance(node, ast.Attribute) and dotted(node).startswith("kopf.")
    }
    assert {"event", "startup", "cleanup", "login"} <= used
    assert not used & OWNING


@pytest.mark.parametrize("source", OUTSIDE_THE_CORE, ids=lambda path: path.stem)
def test_no_attribute_of_anothers_object_is_replaced(source: Path) -> None:
    foreign = {
        name
        for name in changed(source)
        if name.rpartition(".")[0] not in OURS and name.partition(".")[0] not in DOCUMENTED
    }
    assert not foreign
