"""The overlay of a real cluster: nobody else gets its packets, adds to them, or is disturbed by it.

QUILT_OVERLAY_SECONDS is how long datagrams flow, 15 where it is not set.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterator

import pytest

from tests.support.mesh import Mesh, Pod, pod_manifest, until
from tests.support.strange_host import SEND, send, strange_address
from tests.support.vxlan_packet import encapsulated

SECONDS = float(os.environ.get("QUILT_OVERLAY_SECONDS", "15"))
RATE = 200
PORT = 4789
TRAFFIC = 7000
PRINT = """
import socket
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("0.0.0.0", 5555))
while True:
    print(receiver.recvfrom(2048)[0].hex(), flush=True)
"""


def seen(mesh: Mesh) -> list[str]:
    """What the thief got, one datagram a line."""
    return mesh.kubectl("logs", "thief").split()


@pytest.fixture
def thief(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[list[str]]:
    """A pod that asks for the overlay's port on the second node, and a Service for it on the third.

    Gives these nodes' addresses, to which something else than VXLAN has come to the pod.
    """
    near, second, third = pods
    manifest = pod_manifest("thief", second, {"app": "thief"})
    container = manifest["spec"]["containers"][0]
    container["command"] = ["python3", "-c", PRINT]
    container["ports"] = [{"containerPort": 5555, "hostPort": PORT, "protocol": "UDP"}]
    addresses = [mesh.cluster.node_ip(node) for node in (second, third)]
    ports = [{"port": PORT, "targetPort": 5555, "protocol": "UDP"}]
    spec = {"selector": {"app": "thief"}, "externalIPs": addresses[1:], "ports": ports}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "thief"}, "spec": spec}
    mesh.apply(manifest, service)
    try:
        for address in addresses:

            def arrives(address: str = address) -> bool:
                send(mesh, near, address, address.encode())
                return address.encode().hex() in seen(mesh)

            until(f"the pod gets what is sent to {address}", arrives, timeout=60, every=0.5)
        yield addresses
    finally:
        mesh.kubectl("delete", "service", "thief")
        mesh.delete_pods("thief")


def test_no_overlay_packet_is_lost_to_a_host_port_or_a_service(
    mesh: Mesh, pods: dict[str, Pod], thief: list[str]
) -> None:
    """s1: Pods reach each other, whatever pod or Service asks for the overlay's port on their nodes."""
    for node in pods:  # as after some minutes: what was tracked before is forgotten
        mesh.on(node, "conntrack", "-D", "-p", "udp", "--dport", str(PORT), check=False)
    with mesh.flow(list(pods.values()), rate=RATE) as flow:
        time.sleep(SECONDS)
    flow.assert_complete(at_least=int(SECONDS * RATE / 2))
    plain = {address.encode().hex() for address in thief}
    assert set(seen(mesh)) == plain, "the pod sees what is sent to its port, and no packet of the overlay"


@pytest.fixture
def stranger(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[tuple[str, str]]:
    """A node, and an address of it that no peer has: what is sent from it comes from a strange host."""
    node = list(pods)[1]
    with strange_address(mesh, node) as address:
        yield node, address


@pytest.fixture
def node_port(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[int]:
    """A NodePort that leads to the third node's overlay port, by an EndpointSlice made by hand."""
    ports = [{"name": "", "port": PORT, "protocol": "UDP"}]
    labels = {"kubernetes.io/service-name": "deputy"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "deputy"}}
    slice_ = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4"}
    address = mesh.cluster.node_ip(list(pods)[2])
    mesh.apply(
        service | {"spec": {"type": "NodePort", "ports": ports}},
        slice_
        | {
            "metadata": {"name": "deputy", "labels": labels},
            "endpoints": [{"addresses": [address]}],
            "ports": ports,
        },
    )
    try:
        found: int = mesh.get("service", "deputy")["spec"]["ports"][0]["nodePort"]
        yield found
    finally:
        mesh.kubectl("delete", "service/deputy", "endpointslice/deputy", "--ignore-not-found")


@pytest.fixture
def container(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[tuple[str, str]]:
    """A container of another program on the first node, which masquerades it: (node, its namespace)."""
    node = next(iter(pods))
    lines = """ip netns add box
        ip link add box0 type bridge
        ip address add 192.0.2.1/24 dev box0
        ip link set box0 up
        ip link add box1 type veth peer name eth0 netns box
        ip link set box1 master box0 up
        ip -n box address add 192.0.2.2/24 dev eth0
        ip -n box link set eth0 up
        ip -n box route add default via 192.0.2.1
        sysctl -qw net.ipv4.conf.box0.forwarding=1
        nft add table ip box
        nft add chain ip box s { type nat hook postrouting priority 100 ; }
        nft add rule ip box s ip saddr 192.0.2.0/24 oifname != "box0" masquerade"""
    try:
        for line in lines.splitlines():
            mesh.on(node, *line.split())
        yield node, "box"
    finally:
        for line in ("nft delete table ip box", "ip link del box0", "ip netns del box"):
            mesh.on(node, *line.split(), check=False)


def arrived(mesh: Mesh, pod: Pod, source: str) -> list[int]:
    """The numbers of the datagrams that a pod got from an address."""
    report = json.loads(mesh.on(pod.node, "curl", "-sf", f"http://{pod.ip}:8080/report"))
    numbers: list[int] = report["received"].get(source, [])
    return numbers


def test_forged_overlay_packets_arrive_by_no_way(
    mesh: Mesh, pods: dict[str, Pod], stranger: tuple[str, str], node_port: int, container: tuple[str, str]
) -> None:
    """s2: Forged overlay packets of a strange host, by a NodePort, of another's bridge: none arrives."""
    near, second, third = pods
    victim = pods[third]
    host, other = mesh.cluster.node_ip(third), mesh.cluster.node_ip(near)
    source = pods[second].ip
    (device,) = json.loads(mesh.on(third, "ip", "-j", "link", "show", "vxlan100"))

    def forged(number: int) -> bytes:
        payload = struct.pack("!Qd", number, 0.0)
        return encapsulated(source, victim.ip, TRAFFIC, payload, mac=device["address"])

    mesh.on(third, "curl", "-sf", "-X", "POST", f"http://{victim.ip}:8080/reset")
    until("kube-proxy knows the NodePort", lambda: _knows(mesh, near, node_port), timeout=60, every=0.5)
    send(mesh, stranger[0], host, forged(1), source=stranger[1])
    send(mesh, stranger[0], other, forged(2), port=node_port, source=stranger[1])
    script = ["python3", "-c", SEND, "", host, str(PORT), forged(3).hex()]
    mesh.on(container[0], "ip", "netns", "exec", container[1], *script)
    mesh.kubectl("exec", pods[near].name, "--", "python3", "-c", SEND, "", host, str(PORT), forged(4).hex())
    mesh.kubectl(
        "exec", pods[near].name, "--", "python3", "-c", SEND, "", other, str(node_port), forged(5).hex()
    )  # fmt: skip
    # The same from the peer itself: such packets do arrive where they may.
    send(mesh, second, host, forged(9))
    until("the peer's packet arrives", lambda: 9 in arrived(mesh, victim, source), timeout=120)
    assert arrived(mesh, victim, source) == [9]


def _knows(mesh: Mesh, node: str, port: int) -> bool:
    return str(port) in mesh.on(node, "nft", "list", "ruleset")


def test_another_vni_on_the_overlays_port_is_let_alone(
    mesh: Mesh, pods: dict[str, Pod], stranger: tuple[str, str]
) -> None:
    """t19: A VXLAN of the host's own on the same port, with another VNI, loses nothing."""
    node, address = stranger
    near = next(iter(pods))
    ends = ((near, mesh.cluster.node_ip(near), address, 1), (node, address, mesh.cluster.node_ip(near), 2))
    try:
        for machine, local, remote, number in ends:
            link = f"other5 type vxlan id 5 dstport {PORT} local {local} remote {remote}"
            mesh.on(machine, "ip", "link", "add", *link.split())
            mesh.on(machine, "ip", "address", "add", f"192.0.2.{128 + number}/25", "dev", "other5")
            mesh.on(machine, "ip", "link", "set", "other5", "up")
        shown = mesh.on(near, "ping", "-c", "100", "-i", "0.02", "-W", "5", "192.0.2.130", check=False)
        assert " 100 received" in shown
    finally:
        for machine, *_ in ends:
            mesh.on(machine, "ip", "link", "del", "other5", check=False)
