"""One node as a page shows it."""

from __future__ import annotations

from collections.abc import Sequence

from quilt_cli.core.board import Line, lines
from quilt_cli.core.finding import Finding
from quilt_cli.core.snapshot import Snapshot
from quilt_cli.core.status import report
from quilt_crds.wire import Condition, Wire


class NodePage(Wire, frozen=True):
    """A node: its line, conditions, what was found of its kernel, or in `blind` why nothing was."""

    line: Line
    conditions: tuple[Condition, ...]
    checks: tuple[Finding, ...]
    blind: str = ""


def node_page(name: str, snapshot: Snapshot, checks: Sequence[Finding] | str) -> NodePage | None:
    """Put together what is known of a node; None where no node has that name."""
    line = lines(report(snapshot)).get(name)
    if line is None:
        return None
    mesh = snapshot.mesh_node_of.get(name)
    blind = isinstance(checks, str)
    return NodePage(
        line=line,
        conditions=mesh.conditions if mesh else (),
        checks=() if isinstance(checks, str) else tuple(checks),
        blind=str(checks) if blind else "",
    )
