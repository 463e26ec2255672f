"""Which version each part of the mesh has, and what it means that they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quilt_cli.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Versions:
    """Empty texts are what could not be read; `agents` maps each version to its number of nodes."""

    client: str
    installed: bool = False
    agents: Mapping[str, int] | None = None
    operator: str = ""
    chart: str = ""

    @property
    def skew(self) -> str:
        """A sentence on what differs."""
        if not self.installed:
            return "Quilt Mesh is not installed in this cluster."
        agents = sorted(self.agents or ())
        if len(agents) > 1:
            return f"Agents run {' and '.join(agents)} side by side: an upgrade is under way."
        mesh = {*agents, self.operator} - {""}
        if len(mesh) > 1:
            return f"Operator {self.operator} and agents {agents[0]} differ: finish the upgrade."
        if mesh and mesh != {self.client}:
            return f"This command is {self.client}, the mesh {mesh.pop()}: use its version for checks."
        return "All parts have the same version." if mesh else "No version of the mesh could be read."

    def wire(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "kind": "QuiltVersion",
            "schema": 1,
            "client": self.client,
            "installed": self.installed,
            "agents": dict(self.agents or {}),
            "operator": self.operator,
            "chart": self.chart,
            "skew": self.skew,
        }


def versions(client: str, found: Snapshot) -> Versions:
    """What a snapshot says, beside the command's own version."""
    agents = Counter(filter(None, (node.status.version for node in found.mesh_nodes)))
    charts = {item.chart for item in (found.agents, found.operator) if item is not None} - {""}
    operator = found.operator.version if found.operator else ""
    return Versions(
        client, found.installed, dict(sorted(agents.items())), operator, ", ".join(sorted(charts))
    )
