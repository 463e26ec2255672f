"""Objects as the API server sends them, turned into the operator's values.

These run for every watch event, and on objects that an older or newer schema wrote: they pick fields, never
raise, and leave judging what they picked to the rules that use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quilt_crds.wire import Condition, Mesh, Meta, QuiltNetworkStatus, QuiltNode, QuiltSubnet
from quilt_crds.wire_kubernetes import Node
from quilt_kube.listwatch import convert
from quilt_operator.core.model import Claim, KubeNode, MeshNode

Raw = Mapping[str, Any]


def mesh_node(raw: Raw) -> MeshNode:
    """Return the QuiltNode in `raw`."""
    node = convert(raw, QuiltNode)
    meta, spec, status = node.metadata, node.spec, node.status
    return MeshNode(
        name=meta.name,
        uid=meta.uid,
        version=meta.version,
        deleting=bool(meta.deletion_timestamp),
        wanted_subnet=spec.subnet,
        wanted_host_ip=spec.host_ip,
        host_ip=status.host_ip,
        phase=status.phase,
        subnets=status.subnets,
        served=status.served_subnets,
        mac=status.mac,
        since=status.last_transition_time,
        conditions=status.conditions,
    )


def kube_node(raw: Raw) -> KubeNode:
    """Return the Node in `raw`."""
    node = convert(raw, Node)
    unavailable = node.condition("NetworkUnavailable")
    return KubeNode(
        name=node.name,
        uid=node.metadata.uid,
        version=node.metadata.version,
        addresses=frozenset(node.ips),
        network_unavailable=unavailable is not None and unavailable.status != "False",
        pod_cidrs=node.spec.pod_cidrs,
        pods=node.pods,
    )


def claim(raw: Raw) -> Claim:
    """The QuiltSubnet in `raw`."""
    return claim_of(convert(raw, QuiltSubnet))


def claim_of(subnet: QuiltSubnet) -> Claim:
    """The claim that a QuiltSubnet is."""
    meta, spec, mesh = subnet.metadata, subnet.spec, subnet.mesh
    return Claim(
        name=meta.name,
        uid=meta.uid,
        version=meta.version,
        created=meta.creation_timestamp,
        cidr=spec.cidr,
        network=spec.network,
        node=spec.node,
        mesh=Mesh(mesh.phase, mesh.host_ip, mesh.released_at),
    )


def conditions(status: Raw) -> tuple[Condition, ...]:
    """Return the conditions in a status, in their order."""
    return convert(status, QuiltNetworkStatus).conditions


def name(raw: Raw) -> str:
    """Return metadata.name, or an empty string."""
    return _meta(raw).name


def version(raw: Raw) -> int:
    """Return metadata.resourceVersion as a number, comparable for one resource (KEP-5504); 0 when absent."""
    return _meta(raw).version


def _meta(raw: Raw) -> Meta:
    return convert(raw.get("metadata"), Meta)
