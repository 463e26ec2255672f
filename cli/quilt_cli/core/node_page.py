"""One node as a page shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quilt_cli.core.board import Line, lines
from quilt_cli.core.finding import Finding
from quilt_cli.core.peer_entries import Dump, PeerEntries, peer_entries
from quilt_cli.core.snapshot import Snapshot
from quilt_cli.core.status import report
from quilt_crds.wire import Condition, Wire


class NodePage(Wire, frozen=True):
    """A node: its line, conditions, what `quiltctl check node` finds there, and its kernel's entries by peer.

    `blind` says what of the last two could not be looked at, and why.
    """

    line: Line
    conditions: tuple[Condition, ...]
    checks: tuple[Finding, ...]
    peers: tuple[PeerEntries, ...]
    blind: Mapping[str, str]


def node_page(
    name: str, snapshot: Snapshot, checks: Sequence[Finding], dump: Dump | None, blind: Mapping[str, str]
) -> NodePage | None:
    """Put together what is known of a node; None where no node has that name."""
    line = lines(report(snapshot)).get(name)
    if line is None:
        return None
    mesh = snapshot.mesh_node_of.get(name)
    return NodePage(
        line=line,
        conditions=mesh.conditions if mesh else (),
        checks=tuple(checks),
        peers=peer_entries(name, snapshot, dump) if dump is not None else (),
        blind=blind,
    )
