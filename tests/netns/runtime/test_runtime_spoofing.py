"""What a pod makes up reaches nobody: the spoofing matrix, with bridged packets in and out of iptables."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from quilt_proto import node_pb2
from tests.support.frames import (
    ARP,
    BROADCAST,
    IP,
    IP6,
    advertisement,
    arp_reply,
    datagram,
    ethernet,
    mac_of,
    router_advertisement,
    send,
    spying,
)
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node, ping, show

SUBNET6 = "fd42:42:0:1::"
GATEWAY, GATEWAY6, GATEWAY_MAC = "10.42.1.1", f"{SUBNET6}1", "02:71:0a:2a:01:01"
FORGER, VICTIM, THIRD = "10.42.1.2", "10.42.1.3", "10.42.1.4"
FORGER6, VICTIM6, THIRD6 = (f"{SUBNET6}{last}" for last in (2, 3, 4))
FORGER_LL, VICTIM_LL = "fe80::858:aff:fe2a:102", "fe80::858:aff:fe2a:103"
MINE, VICTIMS, THIRDS = map(mac_of, (FORGER, VICTIM, THIRD))
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"


@dataclass(frozen=True)
class Mesh:
    """A node with three pods, of which the first forges; `peer` is another host on the overlay."""

    node: Node
    forger: Namespace
    victim: Namespace
    third: Namespace
    peer: Namespace

    def forge(self, *frames: bytes) -> None:
        """Send forged frames, and one behind them that is right."""
        honest = ethernet(GATEWAY_MAC, MINE, IP, datagram(FORGER, THIRD, "end"))
        send(self.forger, [*frames, honest])

    def dropped(self, reason: str, direction: str) -> float:
        """What the node counted as dropped for a reason."""
        labels = f'direction="{direction}",reason="{reason}"'
        return self.node.metric(f"quilt_runtime_dropped_packets_total{{{labels}}}")

    def neighbour(self, where: Namespace, address: str) -> str:
        """The MAC at which a namespace believes an address to be, empty where it knows none."""
        (entry, *_) = [*show(where, "neigh", "show", address), {}]
        return str(entry.get("lladdr", ""))


@pytest.fixture(params=["0", "1"], ids=["bridged", "through-iptables"])
def mesh(
    request: pytest.FixtureRequest, make_node: Callable[[], Node], make_netns: Callable[[], Namespace]
) -> Mesh:
    node, peer = make_node(), make_netns()
    for name in ("call-iptables", "call-ip6tables", "call-arptables"):
        node.netns.run("sysctl", "-qw", f"net.bridge.bridge-nf-{name}={request.param}")
    overlay(node.netns, peer)
    node.start()
    node.give_subnet()
    answer = node.config.Configure(
        node_pb2.ConfigureRequest(
            cluster_cidrs=["10.42.0.0/16", "fd42:42::/48"],
            subnet_v6=f"{SUBNET6}/64",
            overlay_sources=["198.18.0.2"],
        )
    )
    assert answer.success, answer.error
    node.netns.run("sysctl", "-qw", "net.ipv4.neigh.quilt0.locktime=0")
    pods = [make_netns() for _ in range(3)]
    for pod, address in zip(pods, (FORGER, VICTIM, THIRD), strict=True):
        assert node.add_pod(pod) == address
        # An entry that was confirmed a moment ago would stay, whatever is claimed.
        pod.run("sysctl", "-qw", "net.ipv4.neigh.eth0.locktime=0")
        ping(pod, GATEWAY)
        ping(pod, GATEWAY6)
    return Mesh(node, *pods, peer)


def overlay(node: Namespace, peer: Namespace) -> None:
    """Join node and peer by VXLAN, as agents would. Nothing but the runtime judges sources here."""
    node.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")
    node.run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", peer.name)
    for namespace, own, other, vtep in ((node, 1, 2, "10.42.1.0"), (peer, 2, 1, "10.42.2.0")):
        namespace.run("ip", "addr", "add", f"198.18.0.{own}/24", "dev", "up0")
        namespace.run("ip", "link", "set", "up0", "up")
        kind = f"vxlan id 100 dstport 4789 local 198.18.0.{own} remote 198.18.0.{other} nolearning"
        namespace.run("ip", "link", "add", "vxlan100", "type", *kind.split())
        namespace.run("ip", "link", "set", "vxlan100", "address", f"02:00:00:00:00:0{own}", "up")
        namespace.run("ip", "addr", "add", f"{vtep}/32", "dev", "vxlan100")
    node.run("ip", "route", "add", "10.42.2.0/24", "dev", "vxlan100")


def test_what_a_pod_makes_up_reaches_no_other_pod(mesh: Mesh) -> None:
    """s5: Forged sources and MACs, and frames past the node's IP layer, reach no other pod."""

    def v4(word: str, to_mac: str = GATEWAY_MAC, mac: str = MINE, source: str = FORGER) -> bytes:
        return ethernet(to_mac, mac, IP, datagram(source, THIRD, word))

    def v6(word: str, to_mac: str = GATEWAY_MAC, mac: str = MINE, source: str = FORGER6) -> bytes:
        return ethernet(to_mac, mac, IP6, datagram(source, THIRD6, word))

    straight = datagram(FORGER, THIRD, "tagged")
    forged = [
        v4("source", source=VICTIM), v4("gateway", source=GATEWAY), v4("stranger", source="198.18.9.9"),
        v4("mac", mac=VICTIMS), v4("both", mac=VICTIMS, source=VICTIM),
        v4("group-mac", mac="01:00:5e:00:00:01"), v6("mac6", mac=VICTIMS), v6("gateway6", source=GATEWAY6),
        v4("straight", THIRDS), v4("straight-source", THIRDS, source=VICTIM), v4("broadcast", BROADCAST),
        v6("source6", source=VICTIM6), v6("straight6", THIRDS),
        v6("group6", ALL_NODES_MAC), v6("link-local6", THIRDS, source=FORGER_LL),
        ethernet(THIRDS, MINE, 0x8100, bytes(2) + IP.to_bytes(2) + straight),
        ethernet(THIRDS, MINE, 0x88A8, b"\0\7\x81\0\0\0" + IP.to_bytes(2) + straight),
        ethernet(THIRDS, MINE, 0x88B5, b"<other-protocol>" + bytes(40)),
        ethernet(BROADCAST, MINE, 0x88B5, b"<other-broadcast>" + bytes(40)),
    ]  # fmt: skip
    with spying(mesh.third) as arrived:
        mesh.forge(*forged)
    assert arrived == ["end"]
    for reason in ("guard_destination", "guard_address", "guard_protocol"):
        assert mesh.dropped(reason, "out"), reason


def test_no_pod_answers_arp_for_another(mesh: Mesh) -> None:
    """s5: ARP of a pod that claims its gateway's or its neighbour's address changes nobody's mind."""
    for pod, to_mac, to in ((mesh.victim, VICTIMS, VICTIM), (mesh.third, THIRDS, THIRD)):
        assert mesh.neighbour(pod, GATEWAY) == GATEWAY_MAC
        for mac in (MINE, VICTIMS):
            claims = [arp_reply(mac, GATEWAY, to_mac, to), arp_reply(mac, GATEWAY, BROADCAST, GATEWAY)]
            mesh.forge(
                *(ethernet(where, MINE, ARP, claim) for claim in claims for where in (to_mac, BROADCAST))
            )
    theirs = arp_reply(MINE, VICTIM, GATEWAY_MAC, GATEWAY)
    with spying(mesh.third):
        mesh.forge(ethernet(GATEWAY_MAC, MINE, ARP, theirs), ethernet(BROADCAST, VICTIMS, ARP, theirs))
    believed = [mesh.neighbour(pod, GATEWAY) for pod in (mesh.victim, mesh.third)]
    assert (believed, mesh.neighbour(mesh.node.netns, VICTIM)) == ([GATEWAY_MAC] * 2, VICTIMS)


def test_no_pod_answers_neighbor_discovery_for_another(mesh: Mesh) -> None:
    """s5: Neighbor and router advertisements of a pod that claims others' addresses change nobody's mind."""
    for pod in (mesh.victim, mesh.third):
        assert mesh.neighbour(pod, GATEWAY6) == GATEWAY_MAC
    claims = [
        advertisement(source, ALL_NODES, GATEWAY6, MINE)
        for source in (FORGER6, FORGER_LL, GATEWAY6, "fe80::1")
    ]
    claims += [router_advertisement(source, ALL_NODES, MINE) for source in (FORGER_LL, "fe80::1")]
    about_victim = [
        advertisement(source, GATEWAY6, VICTIM6, MINE) for source in (FORGER6, VICTIM6, FORGER_LL)
    ]
    with spying(mesh.third):
        mesh.forge(
            *(ethernet(ALL_NODES_MAC, MINE, IP6, claim) for claim in claims),
            *(ethernet(GATEWAY_MAC, MINE, IP6, claim) for claim in about_victim),
        )
    believed = [mesh.neighbour(pod, GATEWAY6) for pod in (mesh.victim, mesh.third)]
    assert (believed, mesh.neighbour(mesh.node.netns, VICTIM6)) == ([GATEWAY_MAC] * 2, VICTIMS)
    routers = [
        show(pod, "-6", "route", "show", "default", "proto", "ra") for pod in (mesh.victim, mesh.third)
    ]
    assert routers == [[], []]


def test_the_bridge_learns_no_macs_from_what_is_made_up(mesh: Mesh) -> None:
    """s5: A frame with a neighbour's MAC as its source does not lead the neighbour's traffic elsewhere."""
    with spying(mesh.third):
        mesh.forge(ethernet(GATEWAY_MAC, VICTIMS, IP, datagram(FORGER, THIRD, "stolen")))
    entries = mesh.node.netns.run("bridge", "fdb", "show", "br", "quilt0", "dynamic")
    ports = [line.split()[2] for line in entries.splitlines() if line.startswith(VICTIMS)]
    assert ports == ["qv0a2a0103"]


def test_nobody_outside_speaks_for_a_local_pod(mesh: Mesh) -> None:
    """s5: A packet from the overlay or an uplink with a local pod's address as its source is dropped."""
    node_mac = {
        device: show(mesh.node.netns, "link", "show", "dev", device)[0]["address"]
        for device in ("vxlan100", "up0")
    }
    with spying(mesh.third) as arrived:
        for device, mac in node_mac.items():
            own = show(mesh.peer, "link", "show", "dev", device)[0]["address"]
            forged = [
                ethernet(mac, own, IP, datagram(source, THIRD, f"{device}-{source}"))
                for source in (VICTIM, GATEWAY, "10.42.1.200")
            ]
            forged.append(ethernet(mac, own, IP6, datagram(VICTIM6, THIRD6, f"{device}-6")))
            send(mesh.peer, forged, device)
        own = show(mesh.peer, "link", "show", "dev", "vxlan100")[0]["address"]
        honest = datagram("10.42.2.9", THIRD, "end")
        send(mesh.peer, [ethernet(node_mac["vxlan100"], own, IP, honest)], "vxlan100")
    assert arrived == ["end"]
    assert mesh.dropped("spoofed_from_outside", "in") == 8


SERVICE = """table ip service {
  chain prerouting { type nat hook prerouting priority dstnat; ip daddr 10.96.0.9 dnat to %s; }
  chain postrouting { type nat hook postrouting priority srcnat; ip saddr %s ct status dnat masquerade; }
}"""
JOIN = """
import socket
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("239.1.2.3", 7777))
request = socket.inet_aton("239.1.2.3") + socket.inet_aton("0.0.0.0")
receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
receiver.settimeout(30)
print("ready", flush=True)
print(receiver.recv(99).decode(), flush=True)
"""
SAY = """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"to all", ("239.1.2.3", 7777))
"""


def test_what_pods_may_do_still_works(mesh: Mesh) -> None:
    """s5: Pods reach node, neighbours, Services, themselves by a Service and each other's multicast."""
    for pod in (mesh.forger, mesh.victim):
        pod.run("ip", "neigh", "flush", "all")
        for address in (GATEWAY, THIRD, GATEWAY6, THIRD6):
            ping(pod, address)
    ping(mesh.node.netns, VICTIM6)
    for backend, client in ((THIRD, mesh.victim), (THIRD, mesh.third)):
        source = THIRD if client is mesh.third else "198.18.9.9"
        mesh.node.netns.run("nft", "-f", "-", stdin=SERVICE % (backend, source))
        ping(client, "10.96.0.9")
        mesh.node.netns.run("nft", "delete", "table", "ip", "service")
    command = ["ip", "netns", "exec", mesh.victim.name, "python3", "-c", JOIN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        try:
            assert receiver.stdout.readline() == "ready\n"
            mesh.forger.run("python3", "-c", SAY)
            assert receiver.stdout.readline() == "to all\n"
        finally:
            receiver.kill()
    link_local = mesh.victim.run("ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link")
    assert VICTIM_LL in link_local
    assert "dadfailed" not in link_local
