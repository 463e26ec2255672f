"""Probes over a real VXLAN mesh: what is dropped one way is named in that way, and no more once repaired."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from quilt_crds.names import PROBES_PORT
from tests.support.multicast_world import inside, until
from tests.support.namespaces import Namespace
from tests.support.probe_mesh import Node, probe_mesh

# Seconds: of the issue, from the cut to its name and from the repair to its end.
PROMISED = 30.0
WELL = ("True", "Reachable", "")
LOST = ("False", "ProbesLost", "Probes through the overlay are lost: node-1 → node-2.")


@pytest.fixture
async def nodes(make_netns: Callable[[], Namespace]) -> AsyncIterator[dict[int, Node]]:
    async with probe_mesh(make_netns) as nodes:
        await until("all is well", lambda: all(node.condition == WELL for node in nodes.values()))
        yield nodes


async def test_what_is_dropped_one_way_is_named_by_both_ends_and_over_after_the_repair(
    nodes: dict[int, Node],
) -> None:
    nodes[2].cut(1)
    await until("node-1 names it", lambda: nodes[1].condition == LOST, PROMISED)
    await until("node-2 names it", lambda: nodes[2].condition == LOST, PROMISED)
    assert nodes[3].condition == WELL
    assert nodes[1].metric("quilt_probes_peers", state="failing") == 1
    for node in (nodes[1], nodes[2]):
        assert [(news.topic.reason, news.text) for news in node.news] == [("PathFailing", "node-1 → node-2")]
    assert not nodes[3].news
    nodes[2].repair()
    await until("all is well", lambda: all(node.condition == WELL for node in nodes.values()), PROMISED)


async def test_a_path_that_loses_full_size_is_named(nodes: dict[int, Node]) -> None:
    nodes[2].cut(1, "meta length > 1400")
    narrow = "Packets of full size are lost, smaller ones are not: node-1 → node-2."
    await until("it is named", lambda: nodes[1].condition == ("False", "PathMTUTooSmall", narrow), 75)
    assert nodes[1].metric("quilt_probes_narrow_peers") == 1
    nodes[2].repair()
    await until("all is well", lambda: nodes[1].condition == WELL, PROMISED)


async def test_an_agent_that_stops_and_starts_again_is_no_fault(nodes: dict[int, Node]) -> None:
    await nodes[3].stop()
    for _ in range(25):
        await asyncio.sleep(1)
        assert nodes[1].condition[0] == nodes[2].condition[0] == "True"
    assert nodes[1].metric("quilt_probes_peers", state="unknown") == 1
    nodes[3].start()
    for _ in range(15):
        await asyncio.sleep(1)
        assert "False" not in {node.condition[0] for node in nodes.values()}
    assert nodes[1].metric("quilt_probes_peers", state="ok") == 2


async def test_pods_reach_no_node_that_awaits_probes(
    nodes: dict[int, Node], make_netns: Callable[[], Namespace]
) -> None:
    """What a pod sends to the probes' port of its own node or another's is dropped on its node."""
    pod = make_netns()
    nodes[1].space.run(
        "sh", "-ec",
        f"ip link add quilt0 type veth peer name eth0 netns {pod.name};"
        "ip addr add 10.42.1.1/24 dev quilt0; ip link set quilt0 up; sysctl -qw net.ipv4.ip_forward=1",
    )  # fmt: skip
    pod.run(
        "sh", "-ec",
        "ip addr add 10.42.1.9/32 dev eth0; ip link set eth0 up; ip route add 10.42.1.1 dev eth0;"
        "ip route add default via 10.42.1.1",
    )  # fmt: skip
    sock = inside(pod.path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with sock:
        for _ in range(20):
            for target in ("10.42.1.0", "10.42.2.0"):
                sock.sendto(b"QP" + bytes(60), (target, PROBES_PORT))
        await asyncio.sleep(2.5)
    assert [nodes[number].metric("quilt_probes_refused_total") for number in (1, 2)] == [0, 0]
