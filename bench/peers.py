"""The peers that benchmarks make up: where they are, what they are called, and their four kernel entries."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from quilt_crds.names import API_VERSION, DEFAULT_NETWORK, QUILTSUBNET, claim_name, vtep_mac
from quilt_nodeagent.core.peer import Peer, make_peer

OWN_NODE = "bench-node"
OWN_SUBNET = "10.42.1.0/24"
CLUSTER_CIDRS = ["10.42.0.0/16", "10.128.0.0/9"]
DEVICE = "vxlan100"


def vtep(number: int) -> str:
    """Network address of a peer's subnet; numbers run from 1 to 32,000."""
    return f"10.{128 + (number >> 8)}.{number & 255}.0"


def subnet(number: int) -> str:
    return f"{vtep(number)}/24"


def host(number: int) -> str:
    return f"198.19.{number >> 8}.{number & 255}"


def node(number: int) -> str:
    return f"node-{number}"


def mac(number: int) -> str:
    return vtep_mac(DEFAULT_NETWORK, node(number))


def peer(number: int) -> Peer:
    return make_peer(DEFAULT_NETWORK, subnet(number), node(number), "Up", host(number))


def claim(cidr: str, of: str, host_ip: str, phase: str = "Up") -> dict[str, Any]:
    """A QuiltSubnet as the operator publishes it."""
    return {
        "apiVersion": API_VERSION,
        "kind": QUILTSUBNET.kind,
        "metadata": {"name": claim_name(cidr)},
        "spec": {"cidr": cidr, "network": DEFAULT_NETWORK, "node": of},
        "mesh": {"phase": phase, "hostIP": host_ip},
    }


def peer_claim(number: int) -> dict[str, Any]:
    return claim(subnet(number), node(number), host(number))


def iproute2(folder: Path, numbers: Iterable[int]) -> tuple[Path, Path]:
    """Write the same entries as scripts for `ip -batch` and `bridge -batch`."""
    numbers = list(numbers)
    ip = [f"neigh replace {vtep(n)} lladdr {mac(n)} dev {DEVICE} nud permanent" for n in numbers]
    ip += [f"nexthop add id {n} via {vtep(n)} dev {DEVICE} onlink proto 81" for n in numbers]
    ip += [f"route replace {subnet(n)} nhid {n} proto 81" for n in numbers]
    bridge = [f"fdb replace {mac(n)} dev {DEVICE} dst {host(n)} self permanent" for n in numbers]
    for name, lines in (("ip", ip), ("bridge", bridge)):
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder / "ip", folder / "bridge"
