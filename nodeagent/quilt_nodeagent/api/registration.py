"""Making this node known: its QuiltNode, owned by the Node, so that it goes when the Node goes."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog

from quilt_crds.names import API_VERSION, QUILTNODE
from quilt_nodeagent.api.client import ApiClient, ApiError
from quilt_nodeagent.api.objects import Node, QuiltNode

log = structlog.get_logger()


async def read_node(client: ApiClient, name: str) -> Node:
    """Read the Kubernetes Node; ApiError 404 when there is none of that name."""
    return msgspec.json.decode(await client.get(f"/api/v1/nodes/{name}"), type=Node)


async def ensure_quiltnode(client: ApiClient, name: str, owner: Node) -> QuiltNode:
    """Read this node's QuiltNode, created empty when absent: only an administrator fills its spec."""
    path = QUILTNODE.path(name)
    try:
        return msgspec.json.decode(await client.get(path), type=QuiltNode)
    except ApiError as error:
        if error.status != 404:
            raise
    try:
        body = await client.post(QUILTNODE.path(), _quiltnode(name, owner))
    except ApiError as error:
        if error.status != 409:
            raise
        body = await client.get(path)
    log.info("quiltnode_created", node=name)
    return msgspec.json.decode(body, type=QuiltNode)


def owner_reference(node: Node) -> dict[str, Any]:
    """Reference that makes the garbage collector delete an object together with the Node."""
    meta = node.metadata
    return {"apiVersion": "v1", "kind": "Node", "name": meta.name, "uid": meta.uid}


def _quiltnode(name: str, owner: Node) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": QUILTNODE.kind,
        "metadata": {"name": name, "ownerReferences": [owner_reference(owner)]},
        "spec": {},
    }
