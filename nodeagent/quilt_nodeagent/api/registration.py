"""Making this node known: its QuiltNode, owned by the Node, so that it is deleted with the Node."""

from __future__ import annotations

from typing import Any

import structlog

from quilt_crds.names import API_VERSION, QUILTNODE
from quilt_crds.wire import Node, QuiltNode
from quilt_kube.aio import Sender
from quilt_kube.listwatch import decoder
from quilt_kube.request import ApiError, create, read

log = structlog.get_logger()

_node = decoder(Node)
_quiltnode = decoder(QuiltNode)


async def read_node(client: Sender, name: str) -> Node:
    """Read the Kubernetes Node; ApiError 404 when no Node has that name."""
    return _node(await client.send(read(f"/api/v1/nodes/{name}")))


async def ensure_quiltnode(client: Sender, name: str, owner: Node) -> QuiltNode:
    """Read this node's QuiltNode, created empty when absent: only an administrator fills its spec."""
    path = QUILTNODE.path(name)
    try:
        return _quiltnode(await client.send(read(path)))
    except ApiError as error:
        if not error.missing:
            raise
    try:
        body = await client.send(create(QUILTNODE.path(), _document(name, owner)))
    except ApiError as error:
        if error.status != 409:
            raise
        body = await client.send(read(path))
    log.info("quiltnode_created", node=name)
    return _quiltnode(body)


def owner_reference(node: Node) -> dict[str, Any]:
    """Reference that makes the garbage collector delete an object together with the Node."""
    meta = node.metadata
    return {"apiVersion": "v1", "kind": "Node", "name": meta.name, "uid": meta.uid}


def _document(name: str, owner: Node) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": QUILTNODE.kind,
        "metadata": {"name": name, "ownerReferences": [owner_reference(owner)]},
        "spec": {},
    }
