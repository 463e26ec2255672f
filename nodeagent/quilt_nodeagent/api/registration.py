"""Making this node known: its QuiltNode, owned by the Node, so that it is deleted with the Node."""

from __future__ import annotations

from typing import Any

from quilt_crds.names import NODE, QUILTNODE
from quilt_crds.wire import Node, QuiltNode
from quilt_kube.aio import Client
from quilt_kube.decoding import convert
from quilt_kube.request import ApiError, create, read
from quilt_log import log


async def read_node(client: Client, name: str) -> Node:
    """Read the Kubernetes Node; ApiError 404 when no Node has that name."""
    return convert(await client.ask(read(NODE.path(name))), Node)


async def ensure_quiltnode(client: Client, name: str, owner: Node) -> QuiltNode:
    """Read this node's QuiltNode, created empty when absent: only an administrator fills its spec."""
    path = QUILTNODE.path(name)
    found = await client.find(path)
    if found is None:
        meta = {"name": name, "ownerReferences": [owner_reference(owner)]}
        try:
            found = await client.ask(create(QUILTNODE.path(), QUILTNODE.document(meta, spec={})))
        except ApiError as error:
            if error.status != 409:
                raise
            found = await client.ask(read(path))
        log.info("quiltnode_created", node=name)
    return convert(found, QuiltNode)


def owner_reference(node: Node) -> dict[str, Any]:
    """Reference that makes the garbage collector delete an object together with the Node."""
    return {"apiVersion": NODE.api, "kind": NODE.kind, "name": node.name, "uid": node.uid}
