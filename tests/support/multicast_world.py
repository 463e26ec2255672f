"""Three nodes of a mesh in network namespaces, two pods each, with the real multicast part of the agent."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from quilt_crds.wire_network import MulticastSpec
from quilt_multicast.core.state import Flow, Forward
from quilt_multicast.engine import Observer
from quilt_multicast.exchange import udp_socket
from quilt_multicast.keeper import Keeper
from quilt_multicast.metrics import MulticastMetrics
from quilt_multicast.mroute import MulticastTable
from quilt_multicast.service import Host, Multicast, Wanted
from quilt_netlink import Monitor, MulticastKernel, Snooping, VxlanGroup
from quilt_nodeagent.core.peer import Peer, make_peer
from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.firewall import Firewall, ruleset

T = TypeVar("T")
PORT = 5000
# Seconds: without fast leave a bridge asks for two before it believes that a member left.
UNASKED = 1.0
UNDERLAY = frozenset(f"198.18.200.{number}" for number in (1, 2, 3))

NODE = """
ip link add vxlan100 address {mac} mtu 1450 type vxlan id 100 local 198.18.200.{i} dstport 4789 nolearning
ip addr add 10.42.{i}.0/32 dev vxlan100
ip link set vxlan100 up
ip link add quilt0 type bridge
ip addr add 10.42.{i}.1/24 dev quilt0
ip link set quilt0 up
sysctl -qw net.ipv4.ip_forward=1
"""

CROSSING = """table ip crossing {{
  counter came {{}}
  counter went {{}}
  chain in {{
    type filter hook prerouting priority 0
    iifname vxlan100 ip daddr {group} counter name came
  }}
  chain out {{
    type filter hook postrouting priority 0
    oifname vxlan100 ip daddr {group} counter name went
  }}
}}
"""


def inside(path: str, act: Callable[[], T]) -> T:
    """Do something in the network namespace at a path, in a thread that ends with it."""
    done: list[Any] = []

    def run() -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            assert ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000) == 0
            done.append(act())
        except BaseException as error:
            done.append(error)
        finally:
            os.close(descriptor)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(done[0], BaseException):
        raise done[0]
    result: T = done[0]
    return result


@dataclass
class Receiver:
    """A pod's member of a group: counts what comes, by number."""

    sock: socket.socket
    group: str
    got: dict[int, int] = field(default_factory=dict)
    since: float = 0.0

    def drain(self) -> dict[int, int]:
        """Read what waits; {number: times received}."""
        while True:
            try:
                number, sent = struct.unpack("!Id", self.sock.recv(100))
            except BlockingIOError:
                return self.got
            if sent >= self.since:
                self.got[number] = self.got.get(number, 0) + 1

    def forget(self) -> None:
        """Count only what is sent from now on; what is still on its way does not count."""
        self.since = time.monotonic()
        self.got.clear()

    def join(self) -> None:
        self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, self._request())

    def leave(self) -> None:
        self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, self._request())

    def _request(self) -> bytes:
        return socket.inet_aton(self.group) + bytes(4)


@dataclass
class Sender:
    """A pod's socket that numbers what it sends."""

    sock: socket.socket
    sent: int = 0

    def send(self, group: str, count: int = 1) -> None:
        for _ in range(count):
            self.sock.sendto(struct.pack("!Id", self.sent, time.monotonic()), (group, PORT))
            self.sent += 1


@dataclass
class PodSpace:
    """A pod: a namespace behind a port of its node's bridge."""

    path: str
    address: str
    port: str
    sockets: list[socket.socket]

    def receiver(self, group: str, *, join: bool = True) -> Receiver:
        """Bind to the group, and join it; alias groups differ by the binding."""
        sock = inside(self.path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.sockets.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind((group, PORT))
        sock.setblocking(False)
        receiver = Receiver(sock, group)
        if join:
            receiver.join()
        return receiver

    def sender(self, ttl: int = 1) -> Sender:
        sock = inside(self.path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.sockets.append(sock)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        return Sender(sock)


class Log(Observer):
    """An observer that remembers."""

    def __init__(self) -> None:
        self.members: list[tuple[str, bool]] = []
        self.flows: list[tuple[Flow, Forward | None]] = []

    def member(self, group: str, joined: bool) -> None:
        self.members.append((group, joined))

    def flow(self, flow: Flow, old: Forward | None, new: Forward | None) -> None:
        self.flows.append((flow, new))


@dataclass
class Node:
    """One node: its namespace, pods, and its multicast service while it runs."""

    number: int
    space: Any
    pods: list[PodSpace]
    world: World
    reach: type[MulticastKernel] = MulticastKernel
    settings: MulticastSpec = field(default_factory=lambda: MulticastSpec(enabled=True))
    keeper: Keeper | None = None
    service: Multicast | None = None
    task: asyncio.Task[None] | None = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    log: Log = field(default_factory=Log)

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    def host(self) -> Host:
        path = self.space.path
        return Host(
            open_kernel=lambda: self.reach.open(path),
            open_table=lambda: inside(path, MulticastTable.open),
            open_monitor=lambda: Monitor(("group", "link"), path),
            make_socket=lambda: inside(path, udp_socket),
        )

    def wanted(self) -> Wanted:
        claims = list(self.world.claims.values())
        own = tuple(claim for claim in claims if claim.node == self.name)
        others = tuple(claim for claim in claims if claim.node != self.name)
        return Wanted(self.settings, "vxlan100", own, others)

    def start(self) -> None:
        self.registry = CollectorRegistry()
        self.repaired: list[str] = []
        self.service = Multicast(
            self.wanted,
            self.world.key,
            MulticastMetrics(self.registry),
            host=self.host(),
            observer=self.log,
            keeper=self.keeper,
            repaired=self.repaired.append,
        )
        self.task = asyncio.create_task(self.service.run())
        self.service.changed()

    async def stop(self) -> None:
        task, self.task = self.task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    def kernel(self) -> MulticastKernel:
        return MulticastKernel.open(self.space.path)

    def copies(self) -> set[tuple[str, str]]:
        with self.kernel() as kernel:
            link = kernel.link("vxlan100")
            assert link is not None
            held = [item for item in kernel.groups() if isinstance(item, VxlanGroup)]
            return {(item.group, item.dst) for item in held if item.ifindex == link.index}

    def count_crossing(self, group: str) -> None:
        """Begin to count packets of a group over the VXLAN device."""
        self.space.run("nft", "-f", "-", stdin=CROSSING.format(group=group))

    def crossed(self) -> tuple[int, int]:
        """How many came from other nodes and went to them, since `count_crossing`."""
        listed = json.loads(self.space.run("nft", "-j", "list", "counters", "table", "ip", "crossing"))
        counters = [item["counter"] for item in listed["nftables"] if "counter" in item]
        packets = {counter["name"]: counter["packets"] for counter in counters}
        return packets["came"], packets["went"]


@dataclass
class World:
    """The mesh: what the API would tell every node."""

    key: Path
    claims: dict[str, Peer] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    def set_phase(self, number: int, phase: str) -> None:
        """Let every node hear that a node is Up, Down or (empty) gone."""
        cidr = f"10.42.{number}.0/24"
        if phase:
            self.claims[cidr] = make_peer("default", cidr, f"node-{number}", phase, f"198.18.200.{number}")
        else:
            self.claims.pop(cidr, None)
        for node in self.nodes:
            if node.service is not None:
                node.service.changed()


async def until(what: str, check: Callable[[], Any], within: float = 20.0) -> float:
    """Poll; return how long it took in seconds. What waits for a timer of the agent's needs 30 and more."""
    started = time.monotonic()
    while not check():
        assert time.monotonic() - started < within, f"not within {within} s: {what}"
        await asyncio.sleep(0.002)
    return time.monotonic() - started


def set_up(node: Node, names: dict[int, str]) -> None:
    mine = node.number
    node.space.run("sh", "-ec", NODE.format(i=mine, mac=names[mine]))
    for other, mac in names.items():
        if other != mine:
            node.space.run(
                "sh",
                "-ec",
                f"ip neigh add 10.42.{other}.0 lladdr {mac} dev vxlan100 nud permanent;"
                f"bridge fdb add {mac} dev vxlan100 dst 198.18.200.{other} self permanent;"
                f"ip route add 10.42.{other}.0/24 via 10.42.{other}.0 dev vxlan100 onlink",
            )
    with node.kernel() as kernel:
        bridge = kernel.link("quilt0")
        assert bridge is not None
        # As the runtime does, but ready at once: a bridge floods for as long as members may take to answer.
        kernel.set_snooping(bridge.index, Snooping(query_response_intvl=20))
    config = NodeConfig(overlay_sources=UNDERLAY, multicast=True, spoof_guard=False)
    table = Firewall(config, IPv4Network(f"10.42.{mine}.0/24"))
    node.space.run("nft", "-f", "-", stdin="".join(ruleset(table)))


def add_pod(node: Node, make_netns: Callable[[], Any], namespace: str = "default") -> PodSpace:
    """One more pod on a node, as the runtime makes them: /32 address, fast leave on its port."""
    place = len(node.pods) + 10
    pod = make_netns()
    address = f"10.42.{node.number}.{place}"
    port = f"qv0a2a{node.number:02x}{place:02x}"
    node.space.run(
        "sh", "-ec",
        f"ip link add {port} type veth peer name eth0 netns {pod.name};"
        f"ip link set {port} alias {namespace}/pod-{place};"
        f"ip link set {port} master quilt0 up;"
        f"bridge link set dev {port} hairpin on fastleave {'on' if node.settings.fast_leave else 'off'}",
    )  # fmt: skip
    pod.run(
        "sh", "-ec",
        f"ip addr add {address}/32 dev eth0; ip link set eth0 up;"
        f"ip route add default via 10.42.{node.number}.1 dev eth0 onlink",
    )  # fmt: skip
    made = PodSpace(pod.path, address, port, [])
    node.pods.append(made)
    return made


def all_received(node: Node) -> bool:
    """Whether a node has received from its two peers and both know what it has."""
    return (
        node.metric("quilt_multicast_datagrams_total", direction="received", kind="Full") >= 2
        and node.metric("quilt_multicast_datagrams_total", direction="received", kind="Ack") >= 2
    )


@asynccontextmanager
async def make_world(
    make_netns: Callable[[], Any],
    tmp_path: Path,
    reach: type[MulticastKernel] = MulticastKernel,
    keepers: Mapping[int, Keeper] | None = None,
) -> AsyncIterator[World]:
    """Three nodes, two pods each, multicast started and every node knowing the others."""
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcdef0123456789abcdef")
    world = World(key)
    underlay = make_netns()
    underlay.run("sh", "-ec", "ip link add br0 type bridge mcast_snooping 0; ip link set br0 up")
    names = {}
    for number in (1, 2, 3):
        world.set_phase(number, "Up")
        names[number] = world.claims[f"10.42.{number}.0/24"].mac
        node = Node(number, make_netns(), [], world, reach)
        node.keeper = (keepers or {}).get(number)
        node.space.run(
            "sh", "-ec",
            f"ip link add eth0 type veth peer name u{number} netns {underlay.name};"
            f"ip addr add 198.18.200.{number}/24 dev eth0; ip link set eth0 up",
        )  # fmt: skip
        underlay.run("ip", "link", "set", f"u{number}", "master", "br0", "up")
        world.nodes.append(node)
    for node in world.nodes:
        set_up(node, names)
        for _ in range(2):
            add_pod(node, make_netns)
        node.start()
    try:
        for node in world.nodes:
            await until("peers have exchanged members", partial(all_received, node))
        yield world
    finally:
        for node in world.nodes:
            await node.stop()
            for pod in node.pods:
                for sock in pod.sockets:
                    sock.close()
