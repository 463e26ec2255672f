"""Causes of the chart's alerts that are packets, rules or tables of the kernel, planted and undone again.

Each yields the node that its alert names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from socket import AF_INET

from quilt_crds.names import vtep_mac
from quilt_netlink.counters import neighbour_tables
from tests.support.alert_causes import repeating
from tests.support.forward_wall import wall
from tests.support.mesh import Mesh, Pod
from tests.support.overlay_cut import cut
from tests.support.strange_host import send, strange_address
from tests.support.vxlan_packet import encapsulated

# Twenty UDP datagrams with a header of their own, in two seconds: an empty one from 192.0.2.1.
FORGE = """
import socket, struct, sys, time
target = socket.inet_aton(sys.argv[1])
header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 1, 0, 64, 17, 0, socket.inet_aton("192.0.2.1"), target)
sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for _ in range(20):
    sender.sendto(header + struct.pack("!HHHH", 7000, 7000, 8, 0), (sys.argv[1], 0))
    time.sleep(0.1)
"""
# Empty datagrams to so many sockets: each is a connection of its own.
CONNECT = """
import itertools, socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
targets = ((f"192.0.2.{host}", port) for host in range(2, 255) for port in range(1, 65536))
for target in itertools.islice(targets, int(sys.argv[1])):
    sender.sendto(b"", target)
"""


@contextmanager
def path_is_cut(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """From the first node to the second."""
    source, target, *_ = pods
    with cut(mesh, source, target):
        yield source


@contextmanager
def path_is_narrow(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """From the first node to the second no packet of more than 1400 bytes passes."""
    source, target, *_ = pods
    with cut(mesh, source, target, "meta length > 1400"):
        yield source


@contextmanager
def overlay_has_no_way(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """The third node has no route to the second's host for the overlay, whose packets to it go on."""
    _, peer, node = pods
    rule = ("to", mesh.cluster.node_ip(peer), "ipproto", "udp", "dport", "4789", "unreachable")
    mesh.on(node, "ip", "rule", "add", "pref", "10", *rule)

    def ping() -> None:
        mesh.on(node, "ping", "-c", "10", "-i", "0.2", "-W", "1", pods[peer].ip, check=False)

    try:
        with repeating(ping, every=0.1):
            yield node
    finally:
        mesh.on(node, "ip", "rule", "del", "pref", "10", *rule)


@contextmanager
def strange_host_sends(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """To the first node; the second has an address of a host that is no peer."""
    node, host, *_ = pods
    target = mesh.cluster.node_ip(node)
    packet = encapsulated(pods[host].ip, pods[node].ip, 7000, b"forged", mac=vtep_mac("default", node))
    with (
        strange_address(mesh, host) as source,
        repeating(lambda: send(mesh, host, target, packet, source=source)),
    ):
        yield node


@contextmanager
def pod_forges(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """A pod of the second node sends under an address that is not its own."""
    other, node, *_ = pods

    def forge() -> None:
        mesh.kubectl("exec", pods[node].name, "--", "python3", "-c", FORGE, pods[other].ip)

    with repeating(forge, every=0.1):
        yield node


@contextmanager
def forward_is_dropped(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """By another firewall of the first node."""
    node = next(iter(pods))
    with wall(mesh, node):
        yield node


@contextmanager
def connections_are_many(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """The first node has sent to 19 of 20 of the most sockets that it can track."""
    node = next(iter(pods))
    most = int(mesh.on(node, "sysctl", "-n", "net.netfilter.nf_conntrack_max"))
    timeout = mesh.on(node, "sysctl", "-n", "net.netfilter.nf_conntrack_udp_timeout").strip()
    script = "sysctl -qw net.netfilter.nf_conntrack_udp_timeout={}; {}"
    undo = "ip link del away0; conntrack -D -d 192.0.2.0/24 >/dev/null 2>&1 || true"
    try:
        mesh.on(node, "sh", "-ec", script.format(600, "ip link add away0 up arp off type bridge"))
        mesh.on(node, "ip", "route", "add", "192.0.2.0/24", "dev", "away0")
        mesh.cluster.exec(node, ["python3", "-c", CONNECT, str(most * 19 // 20)], timeout=300)
        yield node
    finally:
        mesh.cluster.exec(node, ["sh", "-c", script.format(timeout, undo)], timeout=300)


@contextmanager
def neighbors_are_many(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[str]:
    """The second node has met more neighbors than there may be, and forgotten them at once.

    The limit is the whole machine's: for some hundredths of a second nothing on it learns a new neighbor.
    """
    node = list(pods)[1]
    limit = next(table.limit for table in neighbour_tables() if table.family == AF_INET)
    first = IPv4Address("198.19.0.1")
    known = (
        f"neigh add {first + n} lladdr 02:00:00:00:00:01 dev crowd0 nud stale" for n in range(limit + 64)
    )
    batch = ["link add crowd0 up type bridge", *known, "link del crowd0"]
    mesh.cluster.exec(node, ["ip", "-force", "-batch", "-"], stdin="\n".join(batch), check=False)
    yield node
