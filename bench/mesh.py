"""Two nodes of a mesh on the switch and the pods between which traffic flows; how pods get there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.node import Node
from bench.plugins import Call, Engine

SERVICE = "10.96.0.9"
MTU = 1450
PODS = 3
Json = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod's namespace and address."""

    netns: str
    address: str


Attach = Callable[[Node, str], Pod]
"""What connects a namespace of this name to a node."""


@dataclass(frozen=True)
class Mesh:
    """Two nodes and three pods: a client, one beside it, one on the other node."""

    nodes: tuple[Node, Node]
    client: Pod
    beside: Pod
    other: Pod

    @property
    def places(self) -> dict[str, str]:
        """Where the client's traffic is sent, by the name of the place."""
        return {"other node": self.other.address, "same node": self.beside.address, "ClusterIP": SERVICE}

    @property
    def servers(self) -> list[Pod]:
        """The pods to which traffic is sent."""
        return [self.beside, self.other]


def populated(nodes: tuple[Node, Node], attach: Attach, names: list[str]) -> Mesh:
    """Connect the pods, and give the nodes what kube-proxy has on every node, once for all meshes.

    It is a Service's DNAT before routing and masquerading of what is marked: so connections are tracked on
    all nodes, as in every cluster.
    """
    client, beside, other = names
    mesh = Mesh(nodes, attach(nodes[0], client), attach(nodes[0], beside), attach(nodes[1], other))
    to = f"type nat hook prerouting priority dstnat; ip daddr {SERVICE} dnat to {mesh.other.address};"
    out = "type nat hook postrouting priority srcnat; meta mark & 0x4000 != 0 masquerade;"
    for node in nodes:
        node.run("nft", f"table ip service {{ chain services {{ {to} }}; chain marked {{ {out} }}; }}")
    return mesh


def attached(node: Node, name: str, chain: list[tuple[str, Json]]) -> Pod:
    """Call CNI plugins (their path, their configuration) one after the other, each with the result before."""
    netns, result = f"/run/netns/{name}", ""
    with Engine(node) as engine:
        for plugin, config in chain:
            given = {"cniVersion": "1.0.0", **config} | ({"prevResult": json.loads(result)} if result else {})
            (done,) = engine.succeed([Call(plugin, "ADD", name, netns, given)])
            result = done.text
    return Pod(netns, done.address)
