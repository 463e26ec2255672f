"""Clusters for the tests of judgements: a healthy one, from which each test breaks one thing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from quilt_cli.core.objects import Condition, KubeNode, MeshNode, Network, Subnet, SystemPod, Workload
from quilt_cli.core.snapshot import Snapshot

NAMES = ("n1", "n2", "n3")
WELL = {
    "SubnetAllocated": "True",
    "Ready": "True",
    "AgentUnresponsive": "False",
    "DataplaneInSync": "True",
    "RuntimeReady": "True",
    "ClaimLost": "False",
}


def conditions(**changed: str) -> dict[str, Condition]:
    return {
        name: Condition(name, status, "Reason", f"{name} is {status}")
        for name, status in (WELL | changed).items()
    }


def mesh_node(index: int, phase: str = "Up", **changed: str) -> MeshNode:
    return MeshNode(
        f"n{index}", phase, (f"10.42.{index}.0/24",), f"192.0.2.{index}", "0.1.0", conditions(**changed)
    )


def subnet(index: int, phase: str = "Up", **fields: Any) -> Subnet:
    made = Subnet(f"10.42.{index}.0-24", f"10.42.{index}.0/24", f"n{index}", phase, f"192.0.2.{index}")
    return replace(made, **fields)


def kube_node(index: int, **fields: Any) -> KubeNode:
    return replace(KubeNode(f"n{index}", True, (f"192.0.2.{index}",), (), "6.1.0"), **fields)


def pod(index: int, **fields: Any) -> SystemPod:
    return replace(SystemPod("quilt-system", f"quilt-mesh-{index}", f"n{index}", "node", True), **fields)


def network(**fields: Any) -> Network:
    counts = {"total": 254, "allocated": 3, "free": 251, "quarantined": 0}
    made = Network("default", ("10.42.0.0/16",), 100, 4789, "vxlan100", counts, {})
    return replace(made, **fields)


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
