"""What `quiltctl` shows, as pictures for the documents: `python scripts/screens.py [--check]`.

The command's own code draws a made-up cluster of three nodes: healthy, and with a node that is Down.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console

from quilt_cli.commands.connectivity.perf import show as show_performance
from quilt_cli.commands.connectivity.test import show as show_matrix
from quilt_cli.commands.status import show as show_status
from quilt_cli.core.matrix import Answer, Matrix, Server, Services, Source, targets
from quilt_cli.core.objects import SystemPod, Workload
from quilt_cli.core.performance import Figures, Performance
from quilt_cli.core.performance import Path as Way
from quilt_cli.core.snapshot import Snapshot
from quilt_cli.core.status import report
from quilt_crds.names import (
    CLAIM_LOST,
    DATAPLANE_IN_SYNC,
    DOWN,
    NODE_COMPONENT,
    NODE_DOWN,
    READY,
    RUNTIME_READY,
    UP,
    claim_name,
)
from quilt_crds.wire import (
    Condition,
    Mesh,
    Meta,
    Node,
    NodeAddress,
    NodeStatus,
    QuiltNode,
    QuiltNodeStatus,
    QuiltSubnet,
    SubnetSpec,
)
from quilt_crds.wire_network import QuiltNetwork, QuiltNetworkStatus, SubnetCounts

ROOT = Path(__file__).resolve().parents[1]
NODES = {"node-1": 1, "node-2": 2, "node-3": 3}
DEAD = "node-2"
WIDTH = 108
PORT = 8080
# rich has pictures load a font from elsewhere.
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def snapshot() -> Snapshot:
    """A mesh of which one node does not answer any more."""
    return Snapshot(
        installed=True,
        network=QuiltNetwork(
            Meta("default"), status=QuiltNetworkStatus(subnets=SubnetCounts(total=254, allocated=3, free=251))
        ),
        mesh_nodes=tuple(_mesh_node(name, number) for name, number in NODES.items()),
        subnets=tuple(_claim(name, number) for name, number in NODES.items()),
        kube_nodes=tuple(_node(name, number) for name, number in NODES.items()),
        pods=tuple(
            SystemPod("quilt-system", f"quilt-mesh-{name}", name, NODE_COMPONENT, name != DEAD)
            for name in NODES
        ),
        agents=Workload("DaemonSet", "quilt-system", "quilt-mesh", 3, 3, 2),
        operator=Workload("Deployment", "quilt-system", "quilt-operator", 2, 2, 2),
    )


def _mesh_node(name: str, number: int) -> QuiltNode:
    text = "neither the agent nor the kubelet renews its Lease; routes to this node are withdrawn"
    down = Condition(READY, "False", NODE_DOWN, text)
    # What the agent reports stays as it was when it died.
    conditions = (
        down if name == DEAD else Condition(READY, "True", "InMesh"),
        Condition(DATAPLANE_IN_SYNC, "True"),
        Condition(RUNTIME_READY, "True"),
        Condition(CLAIM_LOST, "False"),
    )
    status = QuiltNodeStatus(
        host_ip=f"192.0.2.{number}",
        version="0.1.0",
        phase=DOWN if name == DEAD else UP,
        subnets=(f"10.42.{number}.0/24",),
        conditions=conditions,
    )
    return QuiltNode(Meta(name), status=status)


def _claim(name: str, number: int) -> QuiltSubnet:
    cidr = f"10.42.{number}.0/24"
    mesh = Mesh(DOWN if name == DEAD else UP, f"192.0.2.{number}")
    return QuiltSubnet(Meta(claim_name(cidr)), SubnetSpec(cidr, "default", name), mesh)


def _node(name: str, number: int) -> Node:
    addresses = (NodeAddress("InternalIP", f"192.0.2.{number}"),)
    ready = Condition(READY, "Unknown" if name == DEAD else "True")
    return Node(Meta(name), status=NodeStatus(addresses=addresses, conditions=(ready,)))


def matrix() -> Matrix:
    """Every pod reaches every other one, in times that somebody might measure."""
    servers = [Server(name, (f"10.42.{number}.4",), f"192.0.2.{number}") for name, number in NODES.items()]
    sources = [Source(name, host) for host in (False, True) for name in NODES]
    asked = {
        source: targets(source, servers, Services("10.43.0.17", "echo.quilt-connectivity"), PORT)
        for source in sources
    }
    answers = {
        source: tuple(
            Answer(
                *msgspec.structs.astuple(target),
                ok=True,
                ms=0.1 if target.label == source.node else 0.4,
                mtu=1450 if target.way == "udp" else None,
            )
            for target in wanted
        )
        for source, wanted in asked.items()
    }
    return Matrix(tuple(servers), answers)


def performance() -> Performance:
    """Paths between two nodes, with figures that somebody might measure."""
    node, other = list(NODES)[:2]
    paths = {
        (node, other, False): Figures(bytes=3_180_000_000, seconds=3.0, requests=9_000, p50Us=162, p99Us=391),
        (other, other, False): Figures(bytes=8 << 30, seconds=2.6, requests=10_000, p50Us=48, p99Us=120),
        (node, other, True): Figures(bytes=3_470_000_000, seconds=3.0, requests=9_600, p50Us=131, p99Us=342),
    }
    return Performance(
        {
            Way(Source(source, host), Source(target, host), f"10.42.{NODES[target]}.4"): figures
            for (source, target, host), figures in paths.items()
        }
    )


def drawn(title: str, draw: Callable[[Console], None]) -> str:
    """Return what a command prints, as SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    draw(console)
    return FONT.sub("", console.export_svg(title=title, unique_id="quiltctl")) + "\n"


def main() -> int:
    """Write the pictures, or compare them with --check."""
    pictures = {
        "docs/quiltctl-status.svg": drawn(
            "quiltctl status", lambda out: show_status(report(snapshot()), out)
        ),
        "docs/quiltctl-connectivity.svg": drawn(
            "quiltctl connectivity test", lambda out: show_matrix(matrix(), out)
        ),
        "docs/quiltctl-performance.svg": drawn(
            "quiltctl connectivity perf --host", lambda out: show_performance(performance(), out)
        ),
    }
    stale = [
        name
        for name, text in pictures.items()
        if not (ROOT / name).exists() or (ROOT / name).read_text() != text
    ]
    if "--check" not in sys.argv[1:]:
        for name in stale:
            (ROOT / name).write_text(pictures[name])
        return 0
    if stale:
        sys.stderr.write(f"not current: {', '.join(stale)}; run `make generate`\n")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
