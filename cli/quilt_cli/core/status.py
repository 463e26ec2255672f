"""From what was read of the cluster to one row per node and a list of what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Set

from msgspec import Struct

from quilt_cli.core import finding, mesh_findings
from quilt_cli.core.finding import EXIT_CANNOT_TELL, EXIT_HEALTHY, EXIT_PROBLEMS, Finding, Level
from quilt_cli.core.objects import SystemPod
from quilt_cli.core.snapshot import Snapshot
from quilt_crds.names import AGENT_UNRESPONSIVE, DATAPLANE_IN_SYNC, PENDING, RUNTIME_READY, UP
from quilt_crds.wire import Node, QuiltNode, QuiltNodeStatus, Wire
from quilt_crds.wire_network import SubnetCounts


class Peers(Wire, frozen=True):
    """How many nodes a node should route to, None where it has no QuiltNode, and whether it does."""

    expected: int | None
    in_sync: bool | None


class Row(Wire, frozen=True):
    """One node. `kubernetes`, `agent` and `runtime` are words: Ready, NotReady, … or empty where unknown."""

    name: str
    phase: str
    subnets: tuple[str, ...]
    host_ip: str
    kubernetes: str
    agent: str
    runtime: str
    peers: Peers
    version: str
    healthy: bool


class Network(Wire, frozen=True):
    """The mesh's network: what was asked for, and what became of its subnets."""

    name: str
    cluster_cidrs: tuple[str, ...]
    vxlan: Mapping[str, int | str]
    subnets: SubnetCounts


class Report(Struct, frozen=True, tag_field="kind", tag="QuiltStatus", rename={"unreadable": "notLookedAt"}):
    """The answer of `quiltctl status`; `unreadable` names what could not be looked at, and why.

    Keys of its JSON form are added over time, never renamed within a schema number.
    """

    schema: int
    healthy: bool | None
    network: Network | None
    nodes: tuple[Row, ...]
    findings: tuple[Finding, ...]
    unreadable: Mapping[str, str]

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 something is broken, 2 too little could be read to say."""
        if not finding.healthy(self.findings):
            return EXIT_PROBLEMS
        return EXIT_HEALTHY if self.nodes else EXIT_CANNOT_TELL


def report(snapshot: Snapshot) -> Report:
    """Judge a snapshot."""
    found = finding.worst_first(mesh_findings.of(snapshot))
    blamed = {item.about for item in found if item.level is Level.FAIL}
    # Whom the others route to.
    up = {item.spec.node for item in snapshot.subnets if item.mesh.phase == UP and item.mesh.host_ip}
    names = {item.name for item in snapshot.mesh_nodes}
    names |= {item.name for item in snapshot.kube_nodes or () if item.linux}
    rows = tuple(_row(name, snapshot, up, blamed) for name in sorted(names))
    return Report(
        schema=1,
        healthy=finding.healthy(found) if rows else None,
        network=_network(snapshot),
        nodes=rows,
        findings=tuple(found),
        unreadable=dict(sorted(snapshot.unreadable.items())),
    )


def _network(snapshot: Snapshot) -> Network | None:
    network, spec = snapshot.network, snapshot.spec
    if network is None:
        return None
    vxlan = {name: getattr(spec.vxlan, name) for name in ("vni", "port", "device")}
    return Network(network.name, spec.cidrs, vxlan, network.status.subnets)


def _row(name: str, snapshot: Snapshot, up: Set[str], blamed: Set[str]) -> Row:
    mesh = snapshot.mesh_node_of.get(name)
    status = mesh.status if mesh else QuiltNodeStatus()
    claimed = tuple(item.cidr for item in snapshot.subnets_of.get(name, ()))
    node = snapshot.kube_node_of.get(name)
    agent = _word(snapshot.pod_of.get(name), snapshot.pods)
    return Row(
        name=name,
        phase=status.phase or PENDING if mesh else "absent",
        subnets=claimed or status.subnets,
        host_ip=status.host_ip,
        kubernetes=_word(node, snapshot.kube_nodes),
        agent="Unresponsive" if mesh and mesh.has(AGENT_UNRESPONSIVE) else agent,
        runtime={True: "Ready", False: "NotReady", None: ""}[_truth(mesh, RUNTIME_READY)],
        peers=Peers(len(up) - (name in up) if mesh else None, _truth(mesh, DATAPLANE_IN_SYNC)),
        version=status.version,
        healthy=not {f"QuiltNode {name}", f"Node {name}"} & blamed,
    )


def _truth(mesh: QuiltNode | None, type_: str) -> bool | None:
    held = mesh.condition(type_) if mesh else None
    return {"True": True, "False": False}.get(held.status) if held else None


def _word(found: Node | SystemPod | None, known: object) -> str:
    """Whether a node or pod is Ready; one that is not there is absent, where its kind could be read."""
    if found is not None:
        return "Ready" if found.ready else "NotReady"
    return "" if known is None else "absent"
