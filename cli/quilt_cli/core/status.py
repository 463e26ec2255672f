"""From what was read of the cluster to one row per node and a list of what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from quilt_cli.core import finding, mesh_findings, node_findings
from quilt_cli.core.finding import EXIT_CANNOT_TELL, EXIT_HEALTHY, EXIT_PROBLEMS, Finding, Level
from quilt_cli.core.objects import SystemPod
from quilt_cli.core.snapshot import Snapshot
from quilt_crds.names import AGENT_UNRESPONSIVE, DATAPLANE_IN_SYNC, NODE_COMPONENT, PENDING, RUNTIME_READY, UP
from quilt_crds.wire import Node, QuiltNode, QuiltSubnet
from quilt_crds.wire_network import QuiltNetwork, QuiltNetworkSpec

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One node; `peers` is how many it should route to, None where it has no QuiltNode.

    `kubernetes`, `agent` and `runtime` are words: Ready, NotReady, … or empty where unknown.
    """

    node: str
    phase: str
    subnets: tuple[str, ...]
    host_ip: str
    kubernetes: str
    agent: str
    runtime: str
    peers: int | None
    in_sync: bool | None
    version: str = ""
    ok: bool = True

    def wire(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "name": self.node,
            "phase": self.phase,
            "subnets": list(self.subnets),
            "hostIP": self.host_ip,
            "kubernetes": self.kubernetes,
            "agent": self.agent,
            "runtime": self.runtime,
            "peers": {"expected": self.peers, "inSync": self.in_sync},
            "version": self.version,
            "healthy": self.ok,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The answer of `quiltctl status`; `unreadable` names what could not be looked at, and why."""

    network: QuiltNetwork | None
    spec: QuiltNetworkSpec
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
    unreadable: Mapping[str, str]

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 something is broken, 2 too little could be read to say."""
        if not finding.healthy(self.findings):
            return EXIT_PROBLEMS
        return EXIT_HEALTHY if self.rows else EXIT_CANNOT_TELL

    def wire(self) -> dict[str, Any]:
        """JSON form; keys are added over time, never renamed within a schema number."""
        network, spec = self.network, self.spec
        return {
            "kind": "QuiltStatus",
            "schema": SCHEMA,
            "healthy": finding.healthy(self.findings) if self.rows else None,
            "network": network
            and {
                "name": network.name,
                "clusterCIDRs": list(spec.cidrs),
                "vxlan": {name: getattr(spec.vxlan, name) for name in ("vni", "port", "device")},
                "subnets": msgspec.to_builtins(network.status.subnets),
            },
            "nodes": [row.wire() for row in self.rows],
            "findings": finding.wire(self.findings),
            "notLookedAt": dict(self.unreadable),
        }


def report(snapshot: Snapshot) -> Report:
    """Judge a snapshot."""
    found = [*mesh_findings.of(snapshot), *node_findings.of(snapshot)]
    blamed = {item.about for item in found if item.level is Level.FAIL}
    rows = tuple(_row(name, snapshot, blamed) for name in _node_names(snapshot))
    found = finding.worst_first(found)
    unreadable = dict(sorted(snapshot.unreadable.items()))
    return Report(snapshot.network, snapshot.spec, rows, tuple(found), unreadable)


def expected_peers(name: str, subnets: Sequence[QuiltSubnet]) -> int:
    """How many other nodes a node should route to: those with a subnet that is Up and has an address."""
    up = {item.spec.node for item in subnets if item.mesh.phase == UP and item.mesh.host_ip}
    return len(up - {name})


def _node_names(snapshot: Snapshot) -> list[str]:
    names = {item.name for item in snapshot.mesh_nodes}
    names |= {item.name for item in snapshot.kube_nodes or () if item.linux}
    return sorted(names)


def _row(name: str, snapshot: Snapshot, blamed: set[str]) -> Row:
    mesh = next((item for item in snapshot.mesh_nodes if item.name == name), None)
    claimed = tuple(item.spec.cidr for item in snapshot.subnets if item.spec.node == name)
    pod = next((p for p in snapshot.pods or () if p.node == name and p.component == NODE_COMPONENT), None)
    in_sync = _truth(mesh, DATAPLANE_IN_SYNC)
    return Row(
        node=name,
        phase=mesh.status.phase or PENDING if mesh else "absent",
        subnets=claimed or (mesh.status.subnets if mesh else ()),
        host_ip=mesh.status.host_ip if mesh else "",
        kubernetes=_kubernetes(name, snapshot.kube_nodes),
        agent=_agent(mesh, pod, known=snapshot.pods is not None),
        runtime={True: "Ready", False: "NotReady", None: ""}[_truth(mesh, RUNTIME_READY)],
        peers=expected_peers(name, snapshot.subnets) if mesh else None,
        in_sync=in_sync,
        version=mesh.status.version if mesh else "",
        ok=not {f"QuiltNode {name}", f"Node {name}"} & blamed,
    )


def _truth(mesh: QuiltNode | None, type_: str) -> bool | None:
    held = mesh.condition(type_) if mesh else None
    return {"True": True, "False": False}.get(held.status) if held else None


def _kubernetes(name: str, nodes: Sequence[Node] | None) -> str:
    if nodes is None:
        return ""
    node = next((item for item in nodes if item.name == name), None)
    if node is None:
        return "absent"
    return "Ready" if node.ready else "NotReady"


def _agent(mesh: QuiltNode | None, pod: SystemPod | None, *, known: bool) -> str:
    if mesh is not None and mesh.has(AGENT_UNRESPONSIVE):
        return "Unresponsive"
    if pod is not None:
        return "Ready" if pod.ready else "NotReady"
    return "absent" if known else ""
