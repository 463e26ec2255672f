"""Streams between pods of three nodes: who gets what, once, and who gets nothing."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

import pytest

from tests.support.multicast_streams import complete, flowing, members_known, stream
from tests.support.multicast_world import UNASKED, World, until

GROUP = "239.129.1.1"
# The same MAC, 01:00:5e:01:01:01.
ALIAS = "224.1.1.1"
IP_RECVTTL = 12  # Python 3.11 does not name it


async def test_row_27_members_get_every_packet_once_and_a_group_of_the_same_mac_none(world: World) -> None:
    one, two, three = world.nodes
    members = [one.pods[1].receiver(GROUP), two.pods[0].receiver(GROUP), two.pods[1].receiver(GROUP)]
    others = [two.pods[0].receiver(ALIAS, join=False), three.pods[0].receiver(GROUP, join=False)]
    alias = three.pods[1].receiver(ALIAS)
    await members_known(world, 1, GROUP, 1)
    await members_known(world, 1, ALIAS, 1)
    sender = one.pods[0].sender()
    await flowing(sender, GROUP, *members)
    for node in (two, three):
        node.count_crossing(GROUP)
    await stream(sender, GROUP, 200, *members, *others, alias)
    assert [await complete(member, 200) for member in members] == [True, True, True]
    assert [other.got for other in others] == [{}, {}]
    assert alias.got == {}
    # Node 3 has a member of the alias group: not one packet of the stream went there.
    assert (two.crossed(), three.crossed()) == ((200, 0), (0, 0))


async def test_link_local_groups_never_cross(world: World) -> None:
    one, two, _ = world.nodes
    near, far = one.pods[1].receiver("224.0.0.42"), two.pods[0].receiver("224.0.0.42")
    await stream(one.pods[0].sender(ttl=8), "224.0.0.42", 20, near, far)
    assert await complete(near, 20)
    assert far.got == {}
    assert one.metric("quilt_multicast_flows") == 0


async def test_row_27_who_joins_while_data_flows_gets_it(world: World) -> None:
    one, two, three = world.nodes
    sender = one.pods[0].sender(ttl=3)
    await stream(sender, GROUP, 20)
    assert one.copies() == set()
    late = two.pods[0].receiver(GROUP)
    await members_known(world, 1, GROUP, 1)
    await until("the copy is made", lambda: one.copies() == {(GROUP, "198.18.200.2")})
    await flowing(sender, GROUP, late)
    await stream(sender, GROUP, 50, late)
    assert await complete(late, 50)
    later = three.pods[0].receiver(GROUP)
    await members_known(world, 1, GROUP, 2)
    await flowing(sender, GROUP, later)
    await stream(sender, GROUP, 50, later)
    assert await complete(later, 50)


async def test_row_27_the_last_leave_ends_the_copies(world: World) -> None:
    one, two, _ = world.nodes
    first, second = two.pods[0].receiver(GROUP), two.pods[1].receiver(GROUP)
    await members_known(world, 1, GROUP, 1)
    assert two.service is not None
    await until("both are members", lambda: len(two.service.state.groups()[0].members) == 2)
    sender = one.pods[0].sender(ttl=3)
    await stream(sender, GROUP, 5)
    await until("the copy is made", lambda: one.copies() == {(GROUP, "198.18.200.2")})
    first.leave()
    await stream(sender, GROUP, 5)
    assert one.copies() == {(GROUP, "198.18.200.2")}
    second.leave()
    await until("the copies end", lambda: not one.copies(), UNASKED)
    two.count_crossing(GROUP)
    await stream(sender, GROUP, 50)
    assert two.crossed() == (0, 0)


async def test_a_source_of_no_subnet_is_dropped(world: World) -> None:
    one, two, three = world.nodes
    member = two.pods[0].receiver(GROUP)
    await members_known(world, 1, GROUP, 1)
    # A pod that lies about its address: one of another node's, and one of nobody's.
    namespace = one.pods[0]
    for forged in ("10.42.3.77", "192.0.2.9"):
        forger = namespace.path.rsplit("/", 1)[1]
        one.space.run("ip", "-n", forger, "addr", "add", f"{forged}/32", "dev", "eth0")
        sender = namespace.sender(ttl=8)
        sender.sock.bind((forged, 0))
        await stream(sender, GROUP, 20, member)
    assert member.got == {}
    assert one.copies() == set()
    assert three.metric("quilt_multicast_flows") == 0


@pytest.mark.parametrize("ttl", [1, 2, 64])
async def test_row_27_any_ttl_crosses_the_mesh(world: World, ttl: int) -> None:
    one, two, _ = world.nodes
    member = two.pods[0].receiver(GROUP)
    member.sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    await members_known(world, 1, GROUP, 1)
    one.pods[0].sender(ttl=ttl).send(GROUP, 3)
    found: list[int] = []

    def arrived() -> bool:
        with suppress(BlockingIOError):
            _, extra, _, _ = member.sock.recvmsg(100, 100)
            found.append(struct.unpack("=i", extra[0][2])[0])
        return bool(found)

    await until("the first packet arrives", arrived)
    assert found[0] == max(1, ttl - 2)


@pytest.mark.parametrize("strictness", ["0", "1"])
async def test_beside_routes_without_encapsulation(world: World, strictness: str) -> None:
    """Unicast uses the shared link, multicast the overlay: a source's route leads another way."""
    one, two, three = world.nodes
    for node in world.nodes:
        # The agent sets the device's to 2 (loose), whatever the host's own is.
        sysctls = f"net.ipv4.conf.all.rp_filter={strictness} net.ipv4.conf.vxlan100.rp_filter=2"
        routes = "".join(
            f"ip route replace 10.42.{other}.0/24 via 198.18.200.{other} dev eth0;"
            for other in (1, 2, 3)
            if other != node.number
        )
        node.space.run("sh", "-ec", f"sysctl -qw {sysctls};{routes}")
    members = [one.pods[1].receiver(GROUP), two.pods[0].receiver(GROUP), three.pods[0].receiver(GROUP)]
    await members_known(world, 1, GROUP, 2)
    sender = one.pods[0].sender()
    await flowing(sender, GROUP, *members)
    await stream(sender, GROUP, 50, *members)
    assert [await complete(member, 50) for member in members] == [True, True, True]
