"""Flannel as a peer: flanneld in a network of its own, which learns its mesh from Nodes of a real API server.

It is built from its Go module when first asked for, in a minute or two, and kept; the SDK of a cloud
whose backend nobody asks for here is left out. flanneld runs as in its DaemonSet: VXLAN, subnets from the
Nodes, less masquerading and forward rules unless these are asked for. Its credentials are the
administrator's, whom the API server never lets wait. Its peers are Nodes as flanneld on each would leave
them, small ones: no kubelet adds conditions and images. Whoever makes them does so under
`ControlPlane.alone`: kube-controller-manager would take nodes without kubelets for dead.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import peers
from bench.controlplane import ControlPlane
from bench.events import Listener
from bench.node import BenchError, Node
from quilt_devcluster import binaries
from quilt_devcluster.tools import Tool
from quilt_netlink import Change, Delete, Link, Route

VERSION = "0.28.10"
PACKAGE = "github.com/flannel-io/flannel"
# Its UDP backend, which cannot be left out, is C.
TOOL = Tool(
    "flannel",
    {"flanneld": PACKAGE},
    ldflags=f"-X {PACKAGE}/pkg/version.Version=v{VERSION}",
    cgo=True,
    source=Path(__file__).parent / "tools",
)
NODES = "/api/v1/nodes"
DEVICE = "flannel.1"
OWN_NODE = "flannel"
OWN_SUBNET = "10.42.2.0/24"
ANNOTATION = "flannel.alpha.coreos.com"
PLACE = 2
Json = dict[str, Any]
NETWORK: Json = {"Network": "10.0.0.0/8", "Backend": {"Type": "vxlan"}}


def program(say: Callable[[str], None]) -> Path:
    """Return flanneld, built if need be."""
    return binaries.build(TOOL, say) / "flanneld"


def node_object(name: str, subnet: str, **annotations: str) -> Json:
    """A Node with a pod range."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"podCIDR": subnet, "podCIDRs": [subnet]},
    }


def peer_node(number: int) -> Json:
    """A peer's Node: all that makes it routable."""
    values = {
        "kube-subnet-manager": "true",
        "backend-type": "vxlan",
        "backend-data": json.dumps({"VNI": 1, "VtepMAC": peers.mac(number)}, separators=(",", ":")),
        "public-ip": peers.host(number),
    }
    annotations = {f"{ANNOTATION}/{key}": value for key, value in values.items()}
    return node_object(peers.node(number), peers.subnet(number), **annotations)


class Flannel(Node):
    """A node on which flanneld is the agent."""

    def __init__(self, program: Path, kubeconfig: Path) -> None:
        super().__init__(OWN_NODE)
        self._program, self._kubeconfig = program, kubeconfig
        self._log = self.folder / "log"

    def start_flanneld(self, count: int, *, rules: bool = False) -> float:
        """Start it on a kernel without its device; return the seconds until the last route to a peer.

        With `rules` it keeps those of its DaemonSet: masquerading and forwarding, by iptables.
        """
        if self.kernel.link(DEVICE):
            self.kernel.run(Delete(Link(DEVICE)))
        missing = {peers.subnet(number) for number in range(1, count + 1)}

        def complete(change: Change) -> bool:
            if change.new and isinstance(change.entry, Route):
                missing.discard(change.entry.prefix)
            return not missing

        with Listener(self.netns) as listener:
            self.agent = self._start("flanneld", self._command(rules), {"NODE_NAME": OWN_NODE})
            try:
                return listener.wait(complete) - self.agent.started
            except TimeoutError as error:
                log = self._log.read_text()[-2000:]
                raise BenchError(f"flanneld did not make {len(missing)} routes:\n{log}") from error

    def _command(self, rules: bool) -> list[str]:
        network = self.folder / "net-conf.json"
        network.write_text(json.dumps({**NETWORK, "EnableNFTables": not rules}))
        options = {
            "kube-subnet-mgr": "true",
            "kubeconfig-file": self._kubeconfig,
            "net-config-path": network,
            "subnet-file": self.folder / "subnet.env",
            "iface": "eth0",
            "ip-masq": str(rules).lower(),
            "iptables-forward-rules": str(rules).lower(),
        }
        # It writes much for each peer: into a file, or its reader would slow it down.
        shell = ["sh", "-c", f'exec "$@" >{self._log} 2>&1', "-"]
        return [*shell, str(self._program), *(f"--{name}={value}" for name, value in options.items())]


@contextmanager
def flannel(control: ControlPlane, count: int, say: Callable[[str], None]) -> Iterator[Flannel]:
    """A node for flanneld, and the Nodes of peers 1 to `count`; all gone afterwards."""
    built = program(say)
    # flanneld relies on a Node's having annotations, as a kubelet's has.
    own = node_object(OWN_NODE, OWN_SUBNET, **{"node.alpha.kubernetes.io/ttl": "0"})
    nodes = [own, *(peer_node(number) for number in range(1, count + 1))]
    asyncio.run(control.requests(("POST", NODES, node) for node in nodes))
    try:
        with Flannel(built, control.kubeconfig) as node:
            control.join(node, PLACE)
            yield node
    finally:
        gone = [f"{NODES}/{node['metadata']['name']}" for node in nodes]
        asyncio.run(control.requests(("DELETE", path, None) for path in gone))
