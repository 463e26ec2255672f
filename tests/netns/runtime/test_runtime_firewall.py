"""Packets: masqueraded beyond the cluster, never inside it; no overlay packet from where none may come."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from quilt_proto import node_pb2
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node, eventually, ping

RECEIVE = """
import socket, sys
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
while True:
    _, source = receiver.recvfrom(99)
    print(*source, flush=True)
"""
REPAIRED = 'quilt_runtime_drift_repairs_total{kind="table"}'
PROBE = """table inet probe {}
delete table inet probe
table inet probe { chain input { type filter hook input priority 10; udp dport 4789 counter; }; }"""
# What is sent begins as a VXLAN packet of VNI 100 does.
SEND = (
    "import socket,sys; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); "
    "s.bind(('',int(sys.argv[3]))); "
    "s.sendto(bytes.fromhex('0800000000006400'),(sys.argv[1],int(sys.argv[2])))"
)


@dataclass
class World:
    """A node with a pod; a neighbour host outside, which has a second, cluster address too."""

    node: Node
    pod: Namespace
    outside: Namespace
    pod_address: str


@pytest.fixture
def world(ready_node: Node, make_netns: Callable[[], Namespace]) -> World:
    outside, pod = make_netns(), make_netns()
    netns = ready_node.netns
    netns.run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", outside.name)
    netns.run("ip", "addr", "add", "198.18.0.1/24", "dev", "up0")
    netns.run("ip", "link", "set", "up0", "up")
    for address in ("198.18.0.2/24", "198.18.0.3/24"):
        outside.run("ip", "addr", "add", address, "dev", "eth0")
    outside.run("ip", "link", "set", "eth0", "up")
    outside.run("ip", "addr", "add", "10.42.7.7/32", "dev", "lo")
    outside.run("ip", "route", "add", "10.42.1.0/24", "via", "198.18.0.1")
    netns.run("ip", "route", "add", "10.42.7.0/24", "via", "198.18.0.2")
    return World(ready_node, pod, outside, ready_node.add_pod(pod))


@contextlib.contextmanager
def listening(netns: Namespace, port: int) -> Iterator[Callable[[], str]]:
    """A UDP receiver; calling what it yields returns who the next packet came from."""
    command = ["ip", "netns", "exec", netns.name, sys.executable, "-c", RECEIVE, str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    out = process.stdout
    assert out.readline().strip() == "ready"
    try:
        yield lambda: out.readline().strip()
    finally:
        process.kill()
        process.wait()
        out.close()


def send(netns: Namespace, address: str, port: int, source_port: int = 0) -> None:
    netns.run(sys.executable, "-c", SEND, address, str(port), str(source_port))


@pytest.mark.kernel(short=True)
def test_beyond_the_cluster_pods_are_masqueraded(world: World) -> None:
    """FIELD-BUGS 9: masquerade picks the VXLAN source port."""
    with listening(world.outside, 9000) as received:
        send(world.pod, "198.18.0.2", 9000, source_port=4789)
        source, port = received().split()
    assert source == "198.18.0.1"
    assert 16384 <= int(port) <= 65535
    ping(world.pod, "198.18.0.2")


def test_without_masquerading_pods_keep_their_address_beyond_the_cluster(world: World) -> None:
    """The flag counts at each start, whatever the runtime had before."""
    # Another port each time: what the kernel tracks keeps the address that it had.
    runs = (("--no-masquerade", 7000, f"{world.pod_address} 7000"), ("--masquerade", 7001, "198.18.0.1 "))
    for flag, port, seen in runs:
        world.node.stop()
        world.node.start(flag)
        with listening(world.outside, 9000) as received:
            send(world.pod, "198.18.0.2", 9000, source_port=port)
            assert received().startswith(seen)


@pytest.mark.kernel
def test_inside_the_cluster_pods_keep_their_address(world: World) -> None:
    with listening(world.outside, 9000) as received:
        send(world.pod, "10.42.7.7", 9000, source_port=7000)
        assert received() == f"{world.pod_address} 7000"


def test_a_pod_cannot_send_overlay_packets_to_another_node(world: World) -> None:
    with listening(world.outside, 4789) as overlay, listening(world.outside, 4790) as other:
        send(world.pod, "198.18.0.2", 4789)
        send(world.pod, "198.18.0.2", 4790)
        assert other().startswith("198.18.0.1"), "what was sent later has arrived"
        send(world.outside, "127.0.0.1", 4789)
        assert overlay().startswith("127.0.0.1"), "the first that arrived is the test's own"


def accepts_overlay_from(world: World, sender: Namespace, target: str, source: str = "") -> bool:
    """Whether a packet to the node's overlay port passes our input chain: a later chain counts it."""
    netns = world.node.netns
    netns.run("nft", "-f", "-", stdin=PROBE)
    script = SEND.replace("s.bind(('',int(sys.argv[3])))", f"s.bind(('{source}',0))")
    sender.run(sys.executable, "-c", script, target, "4789", "0")
    ping(sender, target)  # what was sent before it has been dealt with
    counter = netns.run("nft", "list", "chain", "inet", "probe", "input").partition("packets ")[2]
    return int(counter.split()[0]) > 0


def configure(world: World, *sources: str) -> None:
    answer = world.node.config.Configure(node_pb2.ConfigureRequest(vxlan_port=4789, overlay_sources=sources))
    assert answer.success, answer.error


def change_sources(world: World, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
    request = node_pb2.ChangeOverlaySourcesRequest(add=add, remove=remove)
    answer = world.node.config.ChangeOverlaySources(request)
    assert answer.success, answer.error


@pytest.mark.kernel
def test_overlay_packets_are_taken_from_peers_alone(world: World) -> None:
    assert not accepts_overlay_from(world, world.outside, "198.18.0.1", "198.18.0.2"), "no peers known"
    configure(world, "198.18.0.2")
    assert accepts_overlay_from(world, world.outside, "198.18.0.1", "198.18.0.2")
    assert not accepts_overlay_from(world, world.outside, "198.18.0.1", "198.18.0.3")
    configure(world, "198.18.0.2", "198.18.0.3")
    assert accepts_overlay_from(world, world.outside, "198.18.0.1", "198.18.0.3")
    configure(world, "198.18.0.3")
    assert not accepts_overlay_from(world, world.outside, "198.18.0.1", "198.18.0.2")


def handle(world: World) -> str:
    """The number of our table in the kernel: another one once it is written again."""
    return (
        world.node.netns.run("nft", "-a", "list", "table", "inet", "quilt").partition("handle ")[2].split()[0]
    )


@pytest.mark.kernel
def test_peers_come_and_go_without_the_others_being_sent(world: World) -> None:
    configure(world, "198.18.0.3")
    change_sources(world, add=["198.18.0.2"])
    change_sources(world, add=["198.18.0.2"], remove=["198.18.0.9"])
    assert accepts_overlay_from(world, world.outside, "198.18.0.1", "198.18.0.2")
    change_sources(world, remove=["198.18.0.3"])
    assert not accepts_overlay_from(world, world.outside, "198.18.0.1", "198.18.0.3")
    refused = world.node.config.ChangeOverlaySources(node_pb2.ChangeOverlaySourcesRequest(add=["peer"]))
    assert not refused.success
    assert "'peer' is not an address" in refused.error
    world.node.kill()
    world.node.start()
    assert accepts_overlay_from(world, world.outside, "198.18.0.1", "198.18.0.2")
    assert not accepts_overlay_from(world, world.outside, "198.18.0.1", "198.18.0.3")


def test_a_peer_more_or_less_is_one_element_and_no_reason_to_look(world: World) -> None:
    many = [f"198.18.{n // 250}.{n % 250 + 1}" for n in range(2, 2000)]
    configure(world, *many)
    before = handle(world)
    configure(world, *many, "198.19.0.1")
    configure(world, *many[1:], "198.19.0.1")
    assert handle(world) == before
    listed = world.node.netns.run("nft", "list", "set", "inet", "quilt", "overlay_sources_v4")
    assert "198.19.0.1" in listed
    assert f"{many[0]}," not in listed
    # Somebody else's change is seen although our own are not looked at, and nothing else was taken for one.
    world.node.netns.run("nft", "delete", "element", "inet", "quilt", "overlay_sources_v4", "{ 198.19.0.1 }")
    eventually(lambda: world.node.metric(REPAIRED) == 1, "the element is repaired")
    assert "198.19.0.1" in world.node.netns.run("nft", "list", "set", "inet", "quilt", "overlay_sources_v4")


def test_a_change_in_the_way_of_a_peers_is_written_over(world: World) -> None:
    configure(world, "198.18.0.2", "198.18.0.3")
    world.node.netns.run("nft", "delete", "table", "inet", "quilt")
    configure(world, "198.18.0.2")
    assert not accepts_overlay_from(world, world.outside, "198.18.0.1", "198.18.0.3")


def test_a_pod_cannot_send_overlay_packets_to_its_own_node(world: World) -> None:
    configure(world, "198.18.0.2", world.pod_address)
    assert not accepts_overlay_from(world, world.pod, "198.18.0.1")
    assert not accepts_overlay_from(world, world.pod, "10.42.1.1")


def test_peers_and_port_outlive_a_restart(world: World) -> None:
    configure(world, "198.18.0.2")
    world.node.kill()
    world.node.start()
    assert accepts_overlay_from(world, world.outside, "198.18.0.1", "198.18.0.2")
    assert not accepts_overlay_from(world, world.outside, "198.18.0.1", "198.18.0.3")
