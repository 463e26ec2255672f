"""kube-network-policies as a peer: it asks its process for each first packet, over a queue of the kernel.

It is built from its Go module when first asked for, and kept. It runs as in its DaemonSet, without the
container engine's NRI, with the administrator's credentials, whom the API server never lets wait, and it
hears of pods' addresses by their status. Where the kernel lacks NFT_QUEUE its own table cannot be loaded; it
says so, once a second, and serves its queue all the same. Then the packets that its rules would send there
are sent by iptables: those of its pods that belong to no established connection. Its strict mode, and how
soon it obeys a new policy, cannot be measured so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from bench.node import Node, Process, until
from quilt_devcluster import binaries
from quilt_devcluster.tools import Tool

VERSION = "1.1.1"
PACKAGE = "sigs.k8s.io/kube-network-policies"
PROGRAM = "kube-network-policies"
TOOL = Tool(
    PROGRAM,
    {PROGRAM: f"{PACKAGE}/cmd/kube-network-policies/standard"},
    source=Path(__file__).parent / "tools",
)
QUEUE = 100
_TABLE = "inet kube-network-policies"


def program(say: Callable[[str], None]) -> Path:
    """Return the program, built if need be."""
    return binaries.build(TOOL, say) / PROGRAM


def start(node: Node, built: Path, kubeconfig: Path, name: str) -> Process:
    """Start it on a node that the API server knows by a name; it serves its queue when this returns."""
    options = {
        "kubeconfig": kubeconfig,
        "hostname-override": name,
        "nfqueue-id": QUEUE,
        "disable-nri": "true",
        "metrics-bind-address": "127.0.0.1:9080",
    }
    process = node.start(PROGRAM, str(built), *(f"--{key}={value}" for key, value in options.items()))
    queues = "/proc/net/netfilter/nfnetlink_queue"
    until(lambda: f" {QUEUE} " in node.ask("cat", queues), f"{PROGRAM} serves its queue")
    return process


def lead(node: Node, addresses: Iterable[str]) -> bool:
    """Lead pods' first packets into the queue, unless its own table does; return whether it does."""
    if _TABLE in node.ask("nft", "list", "tables"):
        return True
    for address in addresses:
        for way in ("-s", "-d"):
            new = ("-m", "conntrack", "!", "--ctstate", "ESTABLISHED,RELATED")
            queue = ("-j", "NFQUEUE", "--queue-num", str(QUEUE), "--queue-bypass")
            node.run("iptables-nft", "-t", "mangle", "-A", "POSTROUTING", way, address, *new, *queue)
    return False
