"""Two nodes of a mesh on a real kernel, each with a pod, made by hand as agent and runtime make them.

Beside them is a switch, which is the underlay between them; and the objects that the API would have.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import Any

import msgspec

from quilt_cli.core.trace.ends import Cluster, resolve
from quilt_cli.core.trace.host_steps import Asked
from quilt_cli.core.trace.kernel import Kernel
from quilt_cli.core.trace.probed import Asking, Probed
from quilt_cli.core.trace.site import Site, Want
from quilt_cli.core.trace.step import Trace
from quilt_cli.core.trace.way import Way, asking, trace
from quilt_crds.names import VXLAN_DEVICE, vtep_mac
from quilt_runtime.core import firewall, guard
from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.firewall import Firewall
from tests.support import cli_snapshots as some
from tests.support.namespaces import Namespace

MTU = 1450


@dataclass(frozen=True)
class Node:
    """One node: the number is in its name, its host address and its subnets."""

    number: int
    host: Namespace
    pod: Namespace

    @property
    def name(self) -> str:
        return f"n{self.number}"

    @property
    def host_ip(self) -> str:
        return f"192.0.2.{self.number}"

    @property
    def subnet(self) -> IPv4Network:
        return IPv4Network(f"10.42.{self.number}.0/24")

    @property
    def pod_ip(self) -> str:
        return f"10.42.{self.number}.5"

    @property
    def interface(self) -> str:
        return f"qv0a2a0{self.number}05"

    @property
    def mac(self) -> str:
        return vtep_mac("default", self.name)

    def ask(self, *command: str) -> bytes:
        """What a command of `quiltctl` answers on the node, as JSON."""
        argv = [
            "ip",
            "netns",
            "exec",
            self.host.name,
            sys.executable,
            "-m",
            "quilt_cli",
            *command,
            "-o",
            "json",
        ]
        done = subprocess.run(
            argv, capture_output=True, check=True, env={**os.environ, "NODE_NAME": self.name}
        )
        return done.stdout

    def dump(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("node", "dump"))
        return found


def set_up(switch: Namespace, nodes: tuple[Node, Node]) -> None:
    """Make both nodes, joined by the switch."""
    switch.run("ip", "link", "add", "br0", "type", "bridge")
    switch.run("ip", "link", "set", "br0", "up")
    for node, peer in zip(nodes, reversed(nodes), strict=True):
        _host(switch, node)
        _pod(node)
        _overlay(node, peer)
        _tables(node, peer)


def _lines(where: Namespace, *lines: str) -> None:
    where.run("ip", "-batch", "-", stdin="\n".join(lines))


def _host(switch: Namespace, node: Node) -> None:
    port = f"port{node.number}"
    _lines(
        node.host,
        "link set lo up",
        f"link add eth0 type veth peer name {port} netns {switch.name}",
        f"addr add {node.host_ip}/24 dev eth0",
        "link set eth0 up",
    )
    _lines(switch, f"link set {port} master br0 up")
    node.host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")


def _pod(node: Node) -> None:
    gateway, gateway_mac = node.subnet.network_address + 1, guard.bridge_mac(node.subnet)
    pod_mac = guard.pod_mac(node.subnet.network_address + 5)
    _lines(
        node.host,
        f"link add quilt0 address {gateway_mac} type bridge",
        f"link set quilt0 mtu {MTU} up",
        f"addr add {gateway}/24 dev quilt0",
        f"link add {node.interface} mtu {MTU} type veth peer name eth0 address {pod_mac} mtu {MTU} "
        f"netns {node.pod.name}",
        f"link set {node.interface} alias default/pod{node.number}",
        f"link set {node.interface} master quilt0 up",
        f"link set {node.interface} type bridge_slave hairpin on",
    )
    _lines(
        node.pod,
        "link set lo up",
        f"addr add {node.pod_ip}/32 dev eth0",
        "link set eth0 up",
        f"route add {gateway} dev eth0 scope link",
        f"route add default via {gateway} dev eth0 onlink",
    )


def _overlay(node: Node, peer: Node) -> None:
    vtep, gateway = node.subnet.network_address, peer.subnet.network_address
    _lines(
        node.host,
        f"link add {VXLAN_DEVICE} address {node.mac} mtu {MTU} type vxlan id 100 dstport 4789 "
        f"local {node.host_ip} nolearning",
        f"addr add {vtep}/32 dev {VXLAN_DEVICE}",
        f"link set {VXLAN_DEVICE} up",
        f"neigh add {gateway} lladdr {peer.mac} dev {VXLAN_DEVICE} nud permanent",
        f"nexthop add id {int(gateway)} via {gateway} dev {VXLAN_DEVICE} onlink proto 81",
        f"route add {peer.subnet} nhid {int(gateway)} proto 81",
        "route add unreachable 10.42.0.0/16 metric 4294967295 proto 81",
    )
    node.host.run("bridge", "fdb", "add", peer.mac, "dev", VXLAN_DEVICE, "dst", peer.host_ip)
    node.host.run("sysctl", "-qw", f"net.ipv4.conf.{VXLAN_DEVICE}.rp_filter=2")


def _tables(node: Node, peer: Node) -> None:
    mac = guard.pod_mac(node.subnet.network_address + 5)
    ports = {node.interface: guard.Port(node.interface, mac, node.subnet.network_address + 5)}
    config = NodeConfig(overlay_sources=frozenset({peer.host_ip}))
    texts = (
        *guard.ruleset(node.subnet, guard.bridge_mac(node.subnet), ports),
        *firewall.ruleset(Firewall(config, node.subnet)),
    )
    for text in texts:
        node.host.run("nft", "-f", "-", stdin=text)


def cluster(nodes: tuple[Node, Node]) -> Cluster:
    """What the API server has of them."""
    pods = [
        {
            "metadata": {"namespace": "default", "name": f"pod{node.number}"},
            "spec": {"nodeName": node.name},
            "status": {"phase": "Running", "podIPs": [{"ip": node.pod_ip}]},
        }
        for node in nodes
    ]
    return Cluster(some.healthy(), pods=pods)


def traced(nodes: tuple[Node, Node], *flags: str, probing: bool = True, version: int = 4) -> Trace:
    """Trace from the first node's pod to the second's, as the command does; `flags` are of its probes."""
    way = way_between(nodes, version)
    before = {site.name: Kernel(site.held.document) for site in way.sites}
    results = probes(nodes, asking(way), flags) if probing else None
    return trace(replace(way, sites=_read(nodes, way.sites)), results, before)


def way_between(nodes: tuple[Node, Node], version: int = 4) -> Way:
    about = cluster(nodes)
    ends = [resolve(about, f"default/pod{node.number}", version) for node in nodes]
    sites = (about.site(nodes[0].name, version), about.site(nodes[1].name, version))
    asked = Asked(ends[0].address, ends[1].address, "tcp", 8080)
    return Way(ends[0], ends[1], _read(nodes, sites), Want(about.mesh.spec), asked)


def _read(nodes: tuple[Node, Node], sites: tuple[Site, Site]) -> tuple[Site, Site]:
    one, two = (replace(site, kernel=Kernel(node.dump())) for node, site in zip(nodes, sites, strict=True))
    return one, two


def probes(
    nodes: tuple[Node, Node], wanted: dict[str, Asking], flags: Sequence[str]
) -> dict[str, Probed | str]:
    """Both nodes' probes, side by side."""
    with ThreadPoolExecutor() as pool:
        asked = {
            node.name: pool.submit(node.ask, "node", "probe", *flags, *wanted[node.name].arguments())
            for node in nodes
        }
        return {name: msgspec.json.decode(answer.result(), type=Probed) for name, answer in asked.items()}
