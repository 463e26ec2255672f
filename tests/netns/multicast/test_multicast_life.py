"""What happens to multicast when agents die, nodes go, others change the kernel, or limits are met."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from quilt_crds.wire_network import MulticastSpec
from quilt_multicast.mroute import MrouteError, MulticastTable
from quilt_netlink import VxlanGroup
from tests.support.multicast_world import Node, World, add_pod, inside, until

GROUP = "239.10.0.1"
COPY = (GROUP, "198.18.200.2")


async def streaming(world: World, *, to: int = 2) -> tuple[Any, Any]:
    """A stream from node 1 with one member on another node, known to carry."""
    one, other = world.nodes[0], world.nodes[to - 1]
    receiver = other.pods[0].receiver(GROUP)
    sender = one.pods[0].sender()

    def arrives() -> bool:
        sender.send(GROUP)
        return bool(receiver.drain())

    await until("the stream arrives", arrives)
    return sender, receiver


async def arrives_again(sender: Any, receiver: Any) -> float:
    receiver.forget()

    def arrives() -> bool:
        sender.send(GROUP)
        return bool(receiver.drain())

    return await until("the stream arrives again", arrives)


@pytest.mark.parametrize("which", [1, 2])
async def test_row_27_a_killed_agent_recovers_and_nothing_stale_is_left(world: World, which: int) -> None:
    sender, receiver = await streaming(world)
    node = world.nodes[which - 1]
    await node.stop()
    # As a dead agent leaves it: its copies stand, and one that nobody needs.
    if which == 1:
        with node.kernel() as kernel:
            device = kernel.link("vxlan100")
            assert device is not None
            assert not kernel.add_copies([VxlanGroup(device.index, "239.99.0.1", "198.18.200.3")])
        assert node.copies() == {COPY, ("239.99.0.1", "198.18.200.3")}
    node.start()
    assert await arrives_again(sender, receiver) < 3
    await until("nothing stale is left", lambda: world.nodes[0].copies() == {COPY})


async def test_members_of_a_node_that_is_down_are_purged(world: World) -> None:
    await streaming(world)
    one = world.nodes[0]
    world.set_phase(2, "Down")
    assert await until("purged", lambda: not one.copies()) < 1
    world.set_phase(2, "Up")
    await until("back", lambda: one.copies() == {COPY})


async def test_row_27_members_of_a_node_that_is_gone_are_purged_everywhere(world: World) -> None:
    await streaming(world)
    world.set_phase(2, "")
    for node in (world.nodes[0], world.nodes[2]):
        assert node.service is not None
        await until("forgotten", lambda node=node: not node.service.state.groups())
    await until("no copy is left", lambda: not world.nodes[0].copies(), 1.0)


async def test_the_pod_that_dies_without_a_leave_is_forgotten(world: World) -> None:
    await streaming(world)
    two = world.nodes[1]
    two.space.run("ip", "link", "del", two.pods[0].port)
    assert await until("no copy is left", lambda: not world.nodes[0].copies()) < 1


@pytest.mark.parametrize("action", ["removed", "added"])
async def test_changed_copies_are_repaired(world: World, action: str) -> None:
    sender, receiver = await streaming(world)
    one = world.nodes[0]
    with one.kernel() as kernel:
        device = kernel.link("vxlan100")
        assert device is not None
        if action == "removed":
            assert not kernel.remove_copies([VxlanGroup(device.index, *COPY)])
        else:
            assert not kernel.add_copies([VxlanGroup(device.index, GROUP, "198.18.200.3")])
    await until("repaired", lambda: one.metric("quilt_multicast_drift_repairs_total", kind="copy") == 1)
    assert one.repaired == ["copy"]
    await until("as it was", lambda: one.copies() == {COPY})
    assert await arrives_again(sender, receiver) < 1


@pytest.mark.parametrize("device", ["quilt0", "vxlan100"])
async def test_a_device_that_was_down_forwards_again(world: World, device: str) -> None:
    sender, receiver = await streaming(world)
    one = world.nodes[0]
    one.space.run("ip", "link", "set", device, "down")
    one.space.run("sh", "-ec", f"ip link set {device} up")
    if device == "vxlan100":
        for other in (2, 3):
            mac = world.claims[f"10.42.{other}.0/24"].mac
            one.space.run("ip", "neigh", "replace", f"10.42.{other}.0", "lladdr", mac, "dev", device)
            one.space.run("ip", "route", "replace", f"10.42.{other}.0/24", "via", f"10.42.{other}.0",
                          "dev", device, "onlink")  # fmt: skip
    assert await arrives_again(sender, receiver) < 5


async def test_turned_off_it_leaves_nothing(world: World) -> None:
    await streaming(world)
    one = world.nodes[0]
    one.settings = MulticastSpec(enabled=False)
    assert one.service is not None
    one.service.changed()
    await until("swept", lambda: not one.copies())
    with one.kernel() as kernel:
        assert [rule for rule in kernel.multicast_rules() if rule.table == 8181] == []
    assert one.service.state.routes() == []


async def test_who_owns_the_table_is_reported(world: World) -> None:
    one = world.nodes[0]
    with pytest.raises(MrouteError, match="Another program owns the multicast routing table"):
        inside(one.space.path, MulticastTable.open)
    # The default table stays free for a multicast router of the administrator's.
    igmp = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
    with inside(one.space.path, lambda: socket.socket(*igmp)) as other:
        other.setsockopt(socket.IPPROTO_IP, 200, 1)  # MRT_INIT


async def test_limits_hold(make_netns: Callable[[], Any], world: World) -> None:
    one, two, _ = world.nodes
    two.settings = MulticastSpec(enabled=True, max_groups_per_pod=3, max_groups_per_node=4)
    assert two.service is not None
    two.service.changed()
    await asyncio.sleep(0.1)
    for number in range(5):
        two.pods[0].receiver(f"239.20.0.{number}")
    for number in range(5, 8):
        two.pods[1].receiver(f"239.20.0.{number}")
    assert one.service is not None
    await until("four of them are published", lambda: len(one.service.state.groups()) == 4)
    await until("the others are counted", lambda: two.metric("quilt_multicast_refused_members") == 4)
    await asyncio.sleep(0.1)
    assert len(one.service.state.groups()) == 4


async def test_the_key_is_asked_for(world: World) -> None:
    one = world.nodes[0]
    await one.stop()
    world.key.unlink()
    one.start()
    assert one.service is not None
    await until("reported", lambda: one.service.problems)
    assert "set network.multicast.enabled in the chart" in one.service.problems[0]
    world.key.write_bytes(b"0123456789abcdef0123456789abcdef")
    await until("started", lambda: not one.service.problems)


async def test_forged_datagrams_are_refused(world: World) -> None:
    """A pod speaks to the agents' port: its node does not let it, and with another key it would not help."""
    one, two, _ = world.nodes
    pod = two.pods[0]
    sock = inside(pod.path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    pod.sockets.append(sock)
    sock.sendto(b"QMC1" + bytes(80), ("10.42.1.0", 9474))
    host = inside(two.space.path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    pod.sockets.append(host)
    host.bind(("10.42.2.0", 0))
    host.sendto(b"QMC1" + bytes(80), ("10.42.1.0", 9474))
    await until("refused", lambda: one.metric("quilt_multicast_refused_datagrams_total", reason="key") == 1)
    assert one.metric("quilt_multicast_refused_datagrams_total", reason="stranger") == 0


async def test_events_tell_who_joined_and_what_is_routed(world: World) -> None:
    _, receiver = await streaming(world)
    one, two, _ = world.nodes
    receiver.leave()
    await until("published", lambda: (GROUP, False) in two.log.members)
    assert two.log.members == [(GROUP, True), (GROUP, False)]
    await until("the flow is published", lambda: len(one.log.flows) >= 2)
    assert {flow for flow, _ in one.log.flows} == {(one.pods[0].address, GROUP)}


async def test_a_new_pod_is_a_member_like_any_other(make_netns: Callable[[], Any], world: World) -> None:
    sender, _ = await streaming(world)
    three: Node = world.nodes[2]
    late = add_pod(three, make_netns).receiver(GROUP)
    assert await arrives_again(sender, late) < 1
