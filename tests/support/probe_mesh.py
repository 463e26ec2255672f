"""Three nodes in network namespaces over a real VXLAN mesh, with the real probes of the agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from prometheus_client import CollectorRegistry

from quilt_crds.names import vtep_mac
from quilt_events.news import News
from quilt_probes.service import Probes, Wanted
from quilt_probes.udp import udp_socket
from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.firewall import Firewall, ruleset
from tests.support.multicast_world import inside
from tests.support.namespaces import Namespace
from tests.support.probe_api import FakeApi
from tests.support.probe_world import Claim

MTU = 1450
HOSTS = {number: f"198.18.201.{number}" for number in (1, 2, 3)}
NODE = """
ip link add vxlan100 address {mac} mtu {mtu} type vxlan id 100 local {host} dstport 4789 nolearning
ip addr add 10.42.{i}.0/32 dev vxlan100
ip link set vxlan100 up
"""
PEER = """
ip neigh add 10.42.{i}.0 lladdr {mac} dev vxlan100 nud permanent
bridge fdb add {mac} dev vxlan100 dst {host} self permanent
ip route add 10.42.{i}.0/24 via 10.42.{i}.0 dev vxlan100 onlink
"""
CUT = """
table ip cut {{
  chain cut {{
    type filter hook input priority -300
    udp dport 4789 ip saddr {host} {what} drop
  }}
}}
"""


@dataclass
class Node:
    """One node: its namespace, and its probes while they run."""

    number: int
    space: Namespace
    api: FakeApi
    probes: Probes | None = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    task: asyncio.Task[None] | None = None
    news: list[News] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    def start(self) -> None:
        self.registry = CollectorRegistry()
        self.probes = Probes(
            self.name,
            lambda: Wanted(True, True, MTU, [Claim(f"10.42.{i}.0/24", f"node-{i}") for i in HOSTS]),
            self.api.client,
            self.registry,
            interval=lambda: 2.0,
            tell=self.news.append,
            make_socket=lambda: inside(self.space.path, udp_socket),
        )
        self.task = asyncio.create_task(self.probes.run())
        self.api.alive.add(self.name)

    async def stop(self) -> None:
        self.api.alive.discard(self.name)
        task, self.task = self.task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def cut(self, source: int, what: str = "") -> None:
        """Drop the overlay's packets that come from another node's host; `what` narrows it."""
        self.space.run("nft", "-f", "-", stdin=CUT.format(host=HOSTS[source], what=what))

    def repair(self) -> None:
        self.space.run("nft", "delete", "table", "ip", "cut")

    @property
    def condition(self) -> tuple[str, str, str]:
        """Status, reason and message."""
        assert self.probes is not None
        held = self.probes.condition
        return held.status, held.reason, held.message

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def probe_mesh(make_netns: Callable[[], Namespace]) -> AsyncIterator[dict[int, Node]]:
    """Nodes 1 to 3, each with the runtime's nftables table, probing each other."""
    underlay = make_netns()
    underlay.run("sh", "-ec", "ip link add br0 type bridge mcast_snooping 0; ip link set br0 up")
    api = FakeApi()
    nodes = {number: Node(number, make_netns(), api) for number in HOSTS}
    for number, node in nodes.items():
        api.node(node.name, "Reachable")
        node.space.run(
            "sh", "-ec",
            f"ip link add eth0 type veth peer name u{number} netns {underlay.name};"
            f"ip addr add {HOSTS[number]}/24 dev eth0; ip link set eth0 up",
        )  # fmt: skip
        underlay.run("ip", "link", "set", f"u{number}", "master", "br0", "up")
        _join(node)
        node.start()
    try:
        yield nodes
    finally:
        for node in nodes.values():
            await node.stop()


def _join(node: Node) -> None:
    macs = {number: vtep_mac("default", f"node-{number}") for number in HOSTS}
    mine = node.number
    text = NODE.format(mac=macs[mine], mtu=MTU, host=HOSTS[mine], i=mine)
    text += "".join(PEER.format(i=i, mac=macs[i], host=HOSTS[i]) for i in HOSTS if i != mine)
    node.space.run("sh", "-ec", text)
    table = Firewall(NodeConfig(overlay_sources=frozenset(HOSTS.values())), IPv4Network(f"10.42.{mine}.0/24"))
    node.space.run("nft", "-f", "-", stdin="".join(ruleset(table)))
