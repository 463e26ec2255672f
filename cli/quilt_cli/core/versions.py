"""Which version each part of the mesh has, and what it means that they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct

from quilt_cli.core.snapshot import Snapshot


class Versions(Struct, frozen=True, tag_field="kind", tag="QuiltVersion"):
    """Empty texts are what could not be read; `agents` maps each version to its number of nodes."""

    schema: int
    client: str
    installed: bool
    agents: Mapping[str, int]
    operator: str
    chart: str
    skew: str
    """A sentence on what differs."""


def versions(client: str, found: Snapshot) -> Versions:
    """What a snapshot says, beside the command's own version."""
    agents = Counter(filter(None, (node.status.version for node in found.mesh_nodes)))
    charts = {item.chart for item in (found.agents, found.operator) if item is not None} - {""}
    operator = found.operator.version if found.operator else ""
    return Versions(
        schema=1,
        client=client,
        installed=found.installed,
        agents=dict(sorted(agents.items())),
        operator=operator,
        chart=", ".join(sorted(charts)),
        skew=_skew(client, sorted(agents), operator, installed=found.installed),
    )


def _skew(client: str, agents: list[str], operator: str, *, installed: bool) -> str:
    if not installed:
        return "Quilt Mesh is not installed in this cluster."
    if len(agents) > 1:
        return f"Agents run {' and '.join(agents)} side by side: an upgrade is under way."
    mesh = {*agents, operator} - {""}
    if len(mesh) > 1:
        return f"Operator {operator} and agents {agents[0]} differ: finish the upgrade."
    if mesh and mesh != {client}:
        return f"This command is {client}, the mesh {mesh.pop()}: use its version for checks."
    return "All parts have the same version." if mesh else "No version of the mesh could be read."
