"""Nodes with real runtimes on one link, with the overlay that agents make between them, and a host beside.

Addresses: the nodes are 198.18.0.1, .2 …, with the subnets 10.42.1.0/24, 10.42.2.0/24 …; the link's own
namespace is 198.18.0.254, a host that is no peer.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from quilt_proto import node_pb2
from tests.support import vxlan_packet
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node

PORT = 4789
OUTSIDER = "198.18.0.254"
FORGED_FROM = "10.42.9.0/24"
SEND = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.bind((sys.argv[4], 0))
sender.sendto(bytes.fromhex(sys.argv[1]), (sys.argv[2], int(sys.argv[3])))
"""
RECEIVE = """
import socket, sys
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
while True:
    data, source = receiver.recvfrom(999)
    print(source[0], data.hex(), flush=True)
"""


@dataclass
class Member:
    """A node of the mesh and what the others need to know of it."""

    node: Node
    number: int

    @property
    def netns(self) -> Namespace:
        return self.node.netns

    @property
    def host(self) -> str:
        return f"198.18.0.{self.number}"

    @property
    def subnet(self) -> str:
        return f"10.42.{self.number}.0/24"

    @property
    def vtep(self) -> str:
        return f"10.42.{self.number}.0"

    @property
    def mac(self) -> str:
        return f"02:00:00:00:0{self.number}:00"


@dataclass
class OverlayWorld:
    """The link and the nodes on it."""

    link: Namespace
    members: list[Member]


def make_world(
    make_node: Callable[[], Node], make_netns: Callable[[], Namespace], count: int, rp_filter: int = 2
) -> OverlayWorld:
    """Make `count` nodes that are each other's peers."""
    link = make_netns()
    link.run("ip", "link", "add", "br0", "type", "bridge")
    link.run("ip", "addr", "add", f"{OUTSIDER}/24", "dev", "br0")
    link.run("ip", "link", "set", "br0", "up")
    members = [Member(make_node(), number) for number in range(1, count + 1)]
    for member in members:
        _wire(member, link, rp_filter)
    for member in members:
        _start(member, [other for other in members if other is not member])
    return OverlayWorld(link, members)


def _wire(member: Member, link: Namespace, rp_filter: int) -> None:
    netns = member.netns
    port = f"s{member.number}"
    link.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", netns.name)
    link.run("ip", "link", "set", port, "master", "br0", "up")
    for interface in ("all", "default", "eth0"):
        netns.run("sysctl", "-qw", f"net.ipv4.conf.{interface}.rp_filter={rp_filter}")
    netns.run("ip", "addr", "add", f"{member.host}/24", "dev", "eth0")
    netns.run("ip", "link", "set", "eth0", "up")
    netns.run("ip", "route", "add", "default", "via", OUTSIDER)
    kind = f"type vxlan id {vxlan_packet.VNI} dstport {PORT} local {member.host} nolearning"
    netns.run("ip", "link", "add", "vxlan100", "address", member.mac, *kind.split())
    netns.run("sysctl", "-qw", "net.ipv4.conf.vxlan100.rp_filter=2")
    netns.run("ip", "link", "set", "vxlan100", "mtu", "1450", "up")
    netns.run("ip", "addr", "add", f"{member.vtep}/32", "dev", "vxlan100")
    # What forged packets claim to come from is routed: no check of sources drops them for want of that.
    netns.run("ip", "route", "add", FORGED_FROM, "dev", "vxlan100")


def _start(member: Member, others: list[Member]) -> None:
    member.node.start()
    configure(member, *(other.host for other in others))
    member.node.give_subnet(member.subnet)
    for other in others:
        neighbour = f"{other.vtep} lladdr {other.mac} dev vxlan100 nud permanent"
        member.netns.run("ip", "neigh", "add", *neighbour.split())
        member.netns.run("bridge", "fdb", "add", other.mac, "dev", "vxlan100", "dst", other.host, "self")
        route = node_pb2.Route(destination=other.subnet, gateway=other.vtep, interface="vxlan100")
        answer = member.node.routes.ApplyRoutes(node_pb2.ApplyRoutesRequest(add=[route]))
        assert answer.results[0].success, answer


def configure(member: Member, *peers: str) -> None:
    """Tell a runtime what an agent tells it."""
    request = node_pb2.ConfigureRequest(
        cluster_cidrs=["10.42.0.0/16"],
        mtu=1450,
        vxlan_interface="vxlan100",
        vxlan_port=PORT,
        overlay_sources=peers,
    )
    answer = member.node.config.Configure(request)
    assert answer.success, answer.error


def encapsulated(target: str, port: int, payload: bytes, *, to: Member) -> bytes:
    """A VXLAN packet that claims to carry a pod's datagram from another node to `target`."""
    return vxlan_packet.encapsulated("10.42.9.53", target, port, payload, mac=to.mac)


def send(netns: Namespace, packet: bytes, address: str, port: int = PORT, source: str = "") -> None:
    """Send a UDP datagram from a namespace."""
    netns.run(sys.executable, "-c", SEND, packet.hex(), address, str(port), source)


@contextlib.contextmanager
def listening(netns: Namespace, port: int) -> Iterator[Callable[[], tuple[str, bytes]]]:
    """A UDP receiver; calling what it yields returns the next packet's source and content."""
    command = ["ip", "netns", "exec", netns.name, sys.executable, "-c", RECEIVE, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    out = process.stdout

    def received() -> tuple[str, bytes]:
        source, _, data = out.readline().strip().partition(" ")
        return source, bytes.fromhex(data)

    try:
        assert out.readline().strip() == "ready"
        yield received
    finally:
        process.kill()
        process.wait()
        out.close()
