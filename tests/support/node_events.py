"""Events about QuiltNodes, as `kubectl get events` shows them."""

from __future__ import annotations

from typing import Any

from tests.support.mesh import Mesh


def node_events(mesh: Mesh, reason: str, node: str = "") -> dict[str, str]:
    """Messages of the Events of a reason about all QuiltNodes, or about that of one node, by object."""
    about = "involvedObject.kind=QuiltNode" + (f",involvedObject.name={node}" if node else "")
    found: Any = mesh.get("events", "-n", "default", f"--field-selector={about},reason={reason}")
    return {item["metadata"]["name"]: item["message"] for item in found["items"]}
