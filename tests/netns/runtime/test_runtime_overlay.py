"""Packets of the overlay (our port, our VNI) belong to the mesh alone, whatever else the host does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.namespaces import Namespace
from tests.support.overlay_world import (
    OUTSIDER,
    Member,
    OverlayWorld,
    configure,
    encapsulated,
    listening,
    make_world,
    send,
)
from tests.support.runtime_node import Node

INNER = 7777


@pytest.fixture
def world(make_node: Callable[[], Node], make_netns: Callable[[], Namespace]) -> OverlayWorld:
    return make_world(make_node, make_netns, 2)


@pytest.fixture
def add_pod(make_netns: Callable[[], Namespace]) -> Callable[[Member], tuple[Namespace, str]]:
    def add(member: Member) -> tuple[Namespace, str]:
        pod = make_netns()
        return pod, member.node.add_pod(pod)

    return add


AddPod = Callable[[Member], tuple[Namespace, str]]


def answered(pod: Namespace, address: str) -> bool:
    command = ["ip", "netns", "exec", pod.name, "ping", "-c", "3", "-i", "0.2", "-W", "2", address]
    return subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0


def nft(member: Member, text: str) -> None:
    member.netns.run("nft", "-f", "-", stdin=text)


def forget_connections(*members: Member) -> None:
    """As after some minutes: what was tracked before is no longer."""
    for member in members:
        subprocess.run(["ip", "netns", "exec", member.netns.name, "conntrack", "-F"], capture_output=True)


def test_a_pods_host_port_does_not_get_the_nodes_overlay_packets(
    world: OverlayWorld, add_pod: AddPod
) -> None:
    """s1: A pod whose hostPort is the overlay's port gets none of the node's overlay packets."""
    near, far = world.members
    pod, _ = add_pod(near)
    _, address = add_pod(far)
    thief, thief_address = add_pod(far)
    with listening(thief, 5555) as stolen:
        nft(
            far,
            "table ip portmap { chain p { type nat hook prerouting priority -100; "
            f"fib daddr type local udp dport 4789 dnat to {thief_address}:5555; }}; }}",
        )
        forget_connections(near, far)
        assert answered(pod, address)
        send(world.link, b"to the hostPort", far.host)
        assert stolen() == (OUTSIDER, b"to the hostPort"), "the hostPort works, and this is its first packet"


def test_an_external_address_of_a_service_does_not_lead_overlay_packets_away(
    world: OverlayWorld, add_pod: AddPod
) -> None:
    """s1: A Service with a node's address and the overlay's port gets none of the packets to that node."""
    near, far = world.members
    pod, _ = add_pod(near)
    _, address = add_pod(far)
    thief, thief_address = add_pod(near)
    with listening(thief, 5555) as stolen:
        nft(
            near,
            "table ip services { chain o { type nat hook output priority -100; "
            f"ip daddr {far.host} udp dport 4789 dnat to {thief_address}:5555; }}; }}",
        )
        forget_connections(near, far)
        assert answered(pod, address)
        send(near.netns, b"to the Service", far.host)
        assert stolen()[1] == b"to the Service"


def test_a_node_port_does_not_carry_forged_packets_to_a_peer(world: OverlayWorld, add_pod: AddPod) -> None:
    """s2: What a NodePort leads to another node's overlay port is dropped: no node vouches for it."""
    near, far = world.members
    pod, address = add_pod(far)
    nft(
        near,
        "table ip services { "
        "chain p { type nat hook prerouting priority -100; "
        f"fib daddr type local udp dport 30789 meta mark set 0x4000 dnat to {far.host}:4789; }}; "
        "chain s { type nat hook postrouting priority 100; meta mark 0x4000 masquerade; }; }",
    )
    forged = encapsulated(address, INNER, b"forged", to=far)
    with listening(pod, INNER) as arrived:
        send(world.link, forged, near.host, 30789)
        send(add_pod(near)[0], forged, far.host)
        send(near.netns, b"honest", address, INNER)
        assert arrived()[1] == b"honest", "the first that arrived is the test's own"


def test_what_another_programs_bridge_sends_to_a_peers_overlay_port_is_dropped(
    world: OverlayWorld, add_pod: AddPod, make_netns: Callable[[], Namespace]
) -> None:
    """s2: A container of another program cannot have its node send overlay packets."""
    near, far = world.members
    pod, address = add_pod(far)
    container = make_netns()
    docker(near, container)
    with listening(pod, INNER) as arrived:
        forged = encapsulated(address, INNER, b"forged", to=far)
        send(container, forged, far.host)
        send(container, encapsulated(address, INNER, b"forged", to=near), "172.17.0.1")
        send(container, b"other", far.host, 9)  # the way itself is open
        send(near.netns, b"honest", address, INNER)
        assert arrived()[1] == b"honest", "the first that arrived is the test's own"


def docker(member: Member, container: Namespace) -> None:
    netns = member.netns
    netns.run("ip", "link", "add", "docker0", "type", "bridge")
    netns.run("ip", "addr", "add", "172.17.0.1/16", "dev", "docker0")
    netns.run("ip", "link", "add", "ve1", "type", "veth", "peer", "name", "eth0", "netns", container.name)
    netns.run("ip", "link", "set", "ve1", "master", "docker0", "up")
    netns.run("ip", "link", "set", "docker0", "up")
    container.run("ip", "addr", "add", "172.17.0.2/16", "dev", "eth0")
    container.run("ip", "link", "set", "eth0", "up")
    container.run("ip", "route", "add", "default", "via", "172.17.0.1")
    nft(
        member,
        "table ip docker { chain s { type nat hook postrouting priority 100; "
        'ip saddr 172.17.0.0/16 oifname != "docker0" masquerade; }; }',
    )


def test_a_node_without_peers_accepts_overlay_packets_from_nobody(
    make_node: Callable[[], Node], make_netns: Callable[[], Namespace], add_pod: AddPod
) -> None:
    """s3: A node that has no peer, or whose last one went Down, accepts overlay packets from nobody."""
    world = make_world(make_node, make_netns, 1)
    (alone,) = world.members
    pod, address = add_pod(alone)

    def first_to_arrive() -> bytes:
        with listening(pod, INNER) as arrived:
            send(world.link, encapsulated(address, INNER, b"forged", to=alone), alone.host)
            send(alone.netns, b"honest", address, INNER)
            return arrived()[1]

    assert first_to_arrive() == b"honest"
    configure(alone, OUTSIDER)
    assert first_to_arrive() == b"forged", "a peer's packets are taken"
    configure(alone)
    assert first_to_arrive() == b"honest"


def test_a_lost_database_shuts_no_peer_out(world: OverlayWorld, add_pod: AddPod) -> None:
    near, far = world.members
    pod, _ = add_pod(near)
    _, address = add_pod(far)
    far.node.kill()
    for path in (far.node.socket_dir / "state").glob("state.db*"):
        path.unlink()
    far.node.start()
    assert far.node.events("state_recovered_from_kernel")
    assert answered(pod, address)


def test_another_vni_on_the_port_passes(world: OverlayWorld) -> None:
    """t19: Another VXLAN of the host on the same port, with another VNI, gets its packets from anybody."""
    near, _ = world.members
    for netns, local, remote, inner in (
        (near.netns, near.host, OUTSIDER, "192.0.2.1/24"),
        (world.link, OUTSIDER, near.host, "192.0.2.2/24"),
    ):
        device = f"other5 type vxlan id 5 dstport 4789 local {local} remote {remote}"
        netns.run("ip", "link", "add", *device.split())
        netns.run("ip", "addr", "add", inner, "dev", "other5")
        netns.run("ip", "link", "set", "other5", "up")
    assert answered(near.netns, "192.0.2.2")


@pytest.mark.parametrize("rp_filter", [1, 2])
def test_a_host_process_is_answered_by_a_service_on_another_node(
    make_node: Callable[[], Node], make_netns: Callable[[], Namespace], add_pod: AddPod, rp_filter: int
) -> None:
    """t13: A host's process reaches a pod of another node by a Service; a pod of its own sees the host."""
    near, far = make_world(make_node, make_netns, 2, rp_filter).members
    own, own_address = add_pod(near)
    pod, address = add_pod(far)
    # kube-proxy without clusterCIDR: nothing is marked for masquerading.
    nft(
        near,
        "table ip services { chain o { type nat hook output priority -100; "
        f"ip daddr 10.96.0.10 udp dport 80 dnat to {address}:{INNER}; "
        f"ip daddr 10.96.0.11 udp dport 80 dnat to {own_address}:{INNER}; }}; }}",
    )
    assert echoed(near.netns, pod, "10.96.0.10") == near.vtep
    assert echoed(near.netns, own, "10.96.0.11") == near.host


ECHO_SERVER = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 7777))
print("ready", flush=True)
_, client = server.recvfrom(99)
server.sendto(client[0].encode(), client)
"""
ECHO_CLIENT = """
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(5)
client.sendto(b"x", (sys.argv[1], 80))
try:
    print(client.recv(99).decode())
except TimeoutError:
    print("no answer")
"""


def echoed(client: Namespace, server: Namespace, address: str) -> str:
    """Ask a server at a Service's address; it answers with the address that it saw."""
    command = ["ip", "netns", "exec", server.name, sys.executable, "-c", ECHO_SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "ready"
            return client.run(sys.executable, "-c", ECHO_CLIENT, address).strip()
        finally:
            process.kill()
