"""Two nodes of a mesh on the switch and the pods between which traffic flows; how pods get there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.node import Node
from bench.plugins import Call, Engine
from bench.switch import Switch, host
from bench.traffic import PORT
from quilt_devcluster.binaries import cni_plugin_dir

SERVICE, SERVICE6 = "10.96.0.9", "fd00:96::9"
HOST_PORT = 6999
MTU = 1450
OTHER, BESIDE, CLUSTER_IP, HOST_PORTS, DIRECT, IPV6 = (
    "other node",
    "same node",
    "ClusterIP",
    "hostPort",
    "direct routing",
    "IPv6",
)
USUAL = (OTHER, BESIDE, CLUSTER_IP, HOST_PORTS)
Json = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """A mesh's nodes by their numbers on the switch, and where traffic is sent.

    `DIRECT` among the places makes routes by the link that nodes share, `IPV6` gives nodes IPv6 subnets
    beside those of IPv4. `policies` has them enforced, where there are any.
    """

    numbers: tuple[int, int]
    places: tuple[str, ...] = USUAL
    policies: bool = False

    @property
    def direct(self) -> bool:
        return DIRECT in self.places

    @property
    def dual(self) -> bool:
        return IPV6 in self.places


@dataclass(frozen=True)
class Pod:
    """A pod's namespace and addresses."""

    netns: str
    address: str
    address6: str = ""


@dataclass(frozen=True)
class Way:
    """Where traffic is sent."""

    address: str
    port: int = PORT


Attach = Callable[[Node, str], Pod]
"""What connects a namespace of this name to a node."""


@dataclass(frozen=True)
class Mesh:
    """Two nodes and at least three pods: a client, one beside it, one on the other node and more there."""

    shape: Shape
    nodes: tuple[Node, Node]
    client: Pod
    beside: Pod
    others: tuple[Pod, ...]

    @property
    def ways(self) -> dict[str, Way]:
        """Where the client's traffic is sent, by the name of the place."""
        other = self.others[0]
        every = {
            OTHER: Way(other.address),
            BESIDE: Way(self.beside.address),
            CLUSTER_IP: Way(SERVICE),
            HOST_PORTS: Way(host(self.shape.numbers[1]), HOST_PORT),
            DIRECT: Way(other.address),
            IPV6: Way(other.address6),
        }
        return {place: every[place] for place in self.shape.places}

    @property
    def servers(self) -> list[Pod]:
        """The pods to which traffic is sent."""
        return [self.beside, *self.others]


def nodes_of(switch: Switch, shape: Shape) -> tuple[Node, Node]:
    """The nodes of a mesh, with an IPv6 address and forwarding where the mesh has IPv6."""
    nodes = switch.node(shape.numbers[0]), switch.node(shape.numbers[1])
    for node, number in zip(nodes, shape.numbers, strict=True):
        if shape.dual:
            node.run("ip", "address", "add", f"fd00:198::{number}/64", "dev", "eth0", "nodad")
            node.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    return nodes


def populated(shape: Shape, nodes: tuple[Node, Node], attach: Attach, names: list[str]) -> Mesh:
    """Connect the pods, and give the nodes what kube-proxy has on every node, once for all meshes.

    It is a Service's DNAT before routing and masquerading of what is marked, of each family that the mesh
    has: so connections are tracked on all nodes, as in every cluster.
    """
    client, beside, *others = names
    here = attach(nodes[0], client), attach(nodes[0], beside)
    mesh = Mesh(shape, nodes, *here, tuple(attach(nodes[1], other) for other in others))
    served = mesh.others[0]
    for node in nodes:
        node.run("nft", _service("ip", SERVICE, served.address))
        if shape.dual:
            node.run("nft", _service("ip6", SERVICE6, served.address6))
    return mesh


def _service(family: str, address: str, to: str) -> str:
    translated = f"type nat hook prerouting priority dstnat; {family} daddr {address} dnat to {to};"
    out = "type nat hook postrouting priority srcnat; meta mark & 0x4000 != 0 masquerade;"
    return f"table {family} service {{ chain services {{ {translated} }}; chain marked {{ {out} }}; }}"


def portmap(network: str, *, mapped: bool) -> tuple[str, Json]:
    """The plugin of host ports, with its configuration: `mapped` has one to the server."""
    config: Json = {"name": network, "type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    if mapped:
        port = {"hostPort": HOST_PORT, "containerPort": PORT}
        mappings = [{**port, "protocol": protocol} for protocol in ("tcp", "udp")]
        config["runtimeConfig"] = {"portMappings": mappings}
    return str(cni_plugin_dir() / "portmap"), config


def attached(node: Node, name: str, chain: list[tuple[str, Json]], arguments: str = "") -> Pod:
    """Call CNI plugins (their path, their configuration) one after the other, each with the result before."""
    netns, result = f"/run/netns/{name}", ""
    with Engine(node) as engine:
        for plugin, config in chain:
            given = {"cniVersion": "1.0.0", **config} | ({"prevResult": json.loads(result)} if result else {})
            (done,) = engine.succeed([Call(plugin, "ADD", name, netns, given, arguments)])
            result = done.text
    return Pod(netns, *(str(ip["address"]).partition("/")[0] for ip in json.loads(result)["ips"]))
