"""Clusters for the tests of judgements: a healthy one, from which each test breaks one thing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from quilt_cli.core.objects import SystemPod, Workload
from quilt_cli.core.snapshot import Snapshot
from quilt_crds.names import claim_name
from quilt_crds.wire import (
    Condition,
    LabeledMeta,
    Mesh,
    Meta,
    Node,
    NodeAddress,
    NodeInfo,
    NodeSpec,
    NodeStatus,
    QuiltNode,
    QuiltNodeStatus,
    QuiltSubnet,
    SubnetSpec,
)
from quilt_crds.wire_network import QuiltNetwork, QuiltNetworkStatus, SubnetCounts

SUBNETS = SubnetCounts(total=254, allocated=3, free=251)
NAMES = ("n1", "n2", "n3")
WELL = {
    "SubnetAllocated": "True",
    "Ready": "True",
    "AgentUnresponsive": "False",
    "DataplaneInSync": "True",
    "RuntimeReady": "True",
    "ClaimLost": "False",
}


def conditions(**changed: str) -> tuple[Condition, ...]:
    return tuple(
        Condition(name, status, "Reason", f"{name} is {status}") for name, status in (WELL | changed).items()
    )


def mesh_node(index: int, phase: str = "Up", **changed: str) -> QuiltNode:
    status = QuiltNodeStatus(
        host_ip=f"192.0.2.{index}",
        version="0.1.0",
        phase=phase,
        subnets=(f"10.42.{index}.0/24",),
        conditions=conditions(**changed),
    )
    return QuiltNode(Meta(f"n{index}"), status=status)


def subnet(
    index: int, phase: str = "Up", *, node: str = "", cidr: str = "", host_ip: str | None = None
) -> QuiltSubnet:
    cidr = cidr or f"10.42.{index}.0/24"
    address = f"192.0.2.{index}" if host_ip is None else host_ip
    spec = SubnetSpec(cidr, "default", node or f"n{index}")
    return QuiltSubnet(Meta(claim_name(cidr)), spec, Mesh(phase, address))


def kube_node(
    index: int,
    *,
    address: str = "",
    pod_cidrs: tuple[str, ...] = (),
    kernel: str = "6.1.0",
    system: str = "linux",
) -> Node:
    status = NodeStatus(
        addresses=(NodeAddress("InternalIP", address or f"192.0.2.{index}"),),
        conditions=(Condition("Ready", "True"),),
        node_info=NodeInfo(kernel, operating_system=system),
    )
    return Node(LabeledMeta(f"n{index}"), NodeSpec(pod_cidrs), status)


def pod(index: int, **fields: Any) -> SystemPod:
    return replace(SystemPod("quilt-system", f"quilt-mesh-{index}", f"n{index}", "node", True), **fields)


def network(subnets: SubnetCounts = SUBNETS, conditions: tuple[Condition, ...] = ()) -> QuiltNetwork:
    return QuiltNetwork(Meta("default"), status=QuiltNetworkStatus(subnets=subnets, conditions=conditions))


def healthy(**fields: Any) -> Snapshot:
    made = Snapshot(
        installed=True,
        network=network(),
        mesh_nodes=tuple(mesh_node(index) for index in (1, 2, 3)),
        subnets=tuple(subnet(index) for index in (1, 2, 3)),
        kube_nodes=tuple(kube_node(index) for index in (1, 2, 3)),
        pods=tuple(pod(index) for index in (1, 2, 3)),
        agents=Workload("DaemonSet", "quilt-system", "quilt-mesh", 3, 3, 3, "quilt-mesh-node:0.1.0"),
        operator=Workload("Deployment", "quilt-system", "quilt-operator", 2, 2, 2),
    )
    return replace(made, **fields)
