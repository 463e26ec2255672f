"""Calls in the product's code, and the texts that their arguments may be: what scripts/reference.py reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = "…"
"""Stands for what the code fills in."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call somewhere in the code: its name (`Condition`, `info`) and what surrounds it."""

    name: str
    node: ast.Call
    path: Path
    scope: ast.AST

    def text(self, at: int, fallback: str = "") -> list[str]:
        """What the argument at a position may be: one text or several."""
        return list(texts(self.node.args[at], self.scope)) if at < len(self.node.args) else [fallback]


@cache
def constants() -> dict[str, str]:
    """Strings that modules name in capitals, of which `quilt_crds.names` has most."""
    found: dict[str, str] = {}
    names = ROOT / "crds/quilt_crds/names.py"
    for path in (*sorted(ROOT.glob("*/quilt_*/**/*.py")), names):
        for node in ast.parse(path.read_text()).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            match target, getattr(node, "value", None):
                case ast.Name(id=name), ast.Constant(value=str(value)):
                    found[name] = value
    return found


@cache
def calls(*folders: str) -> list[Call]:
    """All calls in the packages of some folders of the root, in order."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).glob("quilt_*/**/*.py")):
            tree = ast.parse(path.read_text())
            found += [call for scope, node in _within(tree, tree) if (call := _call(node, path, scope))]
    return found


def _within(node: ast.AST, scope: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
    inner = node if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else scope
    if isinstance(node, ast.Call):
        yield scope, node
    for child in ast.iter_child_nodes(node):
        yield from _within(child, inner)


def _call(node: ast.Call, path: Path, scope: ast.AST) -> Call | None:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return Call(name, node, path, scope)
        case ast.IfExp(body=ast.Name(id=one), orelse=ast.Name(id=other)):
            return Call(f"{one} or {other}", node, path, scope)
    return None


def texts(node: ast.expr, scope: ast.AST) -> Iterator[str]:
    """The strings that an expression may be; `…` where the code fills something in."""
    match node:
        case ast.Constant(value=str(value)):
            yield value
        case ast.JoinedStr(values=values):
            yield "".join(part.value if isinstance(part, ast.Constant) else ELSEWHERE for part in values)
        case ast.IfExp(body=body, orelse=other):
            yield from texts(body, scope)
            yield from texts(other, scope)
        case ast.BinOp(left=left, right=right):
            yield from (a + b for a in texts(left, scope) for b in texts(right, scope))
        case ast.Name(id=name):
            known = constants().get(name)
            yield from [known] if known is not None else list(_assigned(node, scope)) or [ELSEWHERE]
        case _:
            yield ELSEWHERE


def _assigned(name: ast.Name, scope: ast.AST) -> Iterator[str]:
    """What a local name has where it is used: by the last assignment, or by a loop over literal tuples."""
    last: ast.Assign | None = None
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and node.lineno < name.lineno:
            named = any(isinstance(target, ast.Name) and target.id == name.id for target in node.targets)
            last = node if named and (last is None or node.lineno > last.lineno) else last
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Tuple):
            names = [item.id if isinstance(item, ast.Name) else "" for item in node.target.elts]
            if name.id in names and isinstance(node.iter, ast.Tuple):
                rows = (row for row in node.iter.elts if isinstance(row, ast.Tuple))
                yield from (text for row in rows for text in texts(row.elts[names.index(name.id)], scope))
    if last is not None:
        yield from texts(last.value, scope)
