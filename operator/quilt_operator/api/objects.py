"""The operator's writes, one function each: what is sent, and under which precondition.

A claim is made by creating it (atomic: its name is its CIDR), changed under its resourceVersion, and deleted
under uid and resourceVersion. Statuses are applied whole under one field manager and guarded by the uid, so
that nothing is said about a successor of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quilt_crds.names import (
    API_VERSION,
    OPERATOR_FIELD_MANAGER,
    QUILTNETWORK,
    QUILTNODE,
    QUILTSUBNET,
    claim_name,
)
from quilt_crds.wire import Mesh, Node, QuiltNode, QuiltSubnet
from quilt_kube.request import STRATEGIC_PATCH, Json, apply, create, delete, patch
from quilt_operator.api.client import Client

CHART_FIELD_MANAGER = "quilt-chart"


class Objects:
    """Typed access to the objects that the operator reads one by one or writes."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create_claim(self, cidr: str, network: str, node: str, mesh: Mesh) -> Json:
        """QuiltSubnet `cidr` for `node`; ApiError.exists when it is taken."""
        body = {
            "apiVersion": API_VERSION,
            "kind": QUILTSUBNET.kind,
            "metadata": {"name": claim_name(cidr)},
            "spec": {"cidr": cidr, "network": network, "node": node},
            "mesh": {key: value for key, value in _mesh(mesh).items() if value is not None},
        }
        return await self._client.ask(create(QUILTSUBNET.path(), body, OPERATOR_FIELD_MANAGER))

    async def publish(self, claim: QuiltSubnet, mesh: Mesh) -> Json:
        """Change what a claim publishes; ApiError.conflict when the claim is not as it was seen."""
        body = {"metadata": {"resourceVersion": str(claim.version), "uid": claim.uid}, "mesh": _mesh(mesh)}
        return await self._client.ask(patch(QUILTSUBNET.path(claim.name), body, OPERATOR_FIELD_MANAGER))

    async def delete_claim(self, claim: QuiltSubnet) -> None:
        """Delete exactly the claim that was seen."""
        await self._client.ask(
            delete(QUILTSUBNET.path(claim.name), uid=claim.uid, version=str(claim.version))
        )

    async def claim(self, name: str) -> Json | None:
        """The claim as it is now, or None."""
        return await self._client.find(QUILTSUBNET.path(name))

    async def node(self, name: str) -> Json | None:
        """The QuiltNode as it is now, or None."""
        return await self._client.find(QUILTNODE.path(name))

    async def kube_node(self, name: str) -> Json | None:
        """The Node as it is now, or None."""
        return await self._client.find(f"/api/v1/nodes/{name}")

    async def config_map(self, namespace: str, name: str) -> Json | None:
        """The ConfigMap as it is now, or None."""
        return await self._client.find(f"/api/v1/namespaces/{namespace}/configmaps/{name}")

    async def service_cidrs(self) -> tuple[str, ...]:
        """The Service networks; none from a server that does not tell (before Kubernetes 1.33)."""
        answer = await self._client.find("/apis/networking.k8s.io/v1/servicecidrs") or {}
        lists = ((item.get("spec") or {}).get("cidrs") or [] for item in answer.get("items") or [])
        return tuple(cidr for cidrs in lists for cidr in cidrs)

    async def apply_node_status(self, node: QuiltNode, status: Mapping[str, Any]) -> Json:
        """Say all that the operator says about a QuiltNode."""
        body = _object(QUILTNODE.kind, node.name, node.uid, status=status)
        return await self._client.ask(
            apply(QUILTNODE.path(node.name, "status"), body, OPERATOR_FIELD_MANAGER)
        )

    async def apply_network_status(self, name: str, uid: str, status: Mapping[str, Any]) -> Json:
        """Say all that the operator says about a QuiltNetwork."""
        body = _object(QUILTNETWORK.kind, name, uid, status=status)
        return await self._client.ask(apply(QUILTNETWORK.path(name, "status"), body, OPERATOR_FIELD_MANAGER))

    async def apply_network_spec(self, name: str, spec: Mapping[str, Any]) -> Json:
        """Create the QuiltNetwork or apply what the chart says about it."""
        body = _object(QUILTNETWORK.kind, name, "", spec=spec)
        return await self._client.ask(apply(QUILTNETWORK.path(name), body, CHART_FIELD_MANAGER))

    async def clear_network_unavailable(self, host: Node, now: str) -> Json:
        """Tell a cloud that waits for routes that the node has its network; `now` in RFC 3339."""
        condition = {
            "type": "NetworkUnavailable",
            "status": "False",
            "reason": "QuiltIsUp",
            "message": "the node is part of the Quilt mesh",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        path = f"/api/v1/nodes/{host.name}/status"
        body = {"metadata": {"uid": host.uid}, "status": {"conditions": [condition]}}
        return await self._client.ask(patch(path, body, OPERATOR_FIELD_MANAGER, STRATEGIC_PATCH))


def _mesh(mesh: Mesh) -> dict[str, str | None]:
    # null removes a field in a merge patch.
    return {
        "phase": mesh.phase,
        "hostIP": mesh.host_ip or None,
        "releasedAt": mesh.released_at or None,
    }


def _object(kind: str, name: str, uid: str, **parts: Mapping[str, Any]) -> dict[str, Any]:
    meta = {"name": name, **({"uid": uid} if uid else {})}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": meta, **parts}
