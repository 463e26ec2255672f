"""A pod that makes up sources or sends to groups without end, beside pods that stream as they should."""

from __future__ import annotations

import socket
import struct
from typing import Any

from tests.support.multicast_streams import complete, flowing, members_known, stream
from tests.support.multicast_world import PORT, PodSpace, World, inside, until

GROUP, FLOOD = "239.14.0.1", "239.14.9.9"
MADE_UP = 9000


def forged(source: str, group: str) -> bytes:
    """A datagram to a group, with its IPv4 header; receivers take it to be older than what they count."""
    data = struct.pack("!HHHHId", PORT, PORT, 20, 0, 0, -1.0)
    addresses = socket.inet_aton(source) + socket.inet_aton(group)
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 1, 0, 8, 17, 0) + addresses + data


def raw(pod: PodSpace) -> socket.socket:
    """A socket by which a pod sends whatever it likes: NET_RAW is among a container's usual capabilities."""
    made = inside(pod.path, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(pod.address))
    pod.sockets.append(made)
    return made


async def test_made_up_sources_leave_others_streams_alone(world: World) -> None:
    """s6: A pod that sends from 9,000 made-up sources pays by its own budget; others' new streams come."""
    one, two, _ = world.nodes
    far = two.pods[0].receiver(GROUP)
    await members_known(world, 1, GROUP, 1)
    attacker = raw(one.pods[0])
    asked = one.metric("quilt_multicast_upcalls_total")
    for number in range(MADE_UP):
        attacker.sendto(forged(f"172.16.{number >> 8}.{number & 255}", FLOOD), (FLOOD, 0))
        if number % 50 == 49:
            done = asked + number * 0.9
            await until("asked about", lambda done=done: one.metric("quilt_multicast_upcalls_total") >= done)
    assert one.metric("quilt_multicast_flows") <= 2048
    sender = one.pods[1].sender()
    await flowing(sender, GROUP, far)
    await stream(sender, GROUP, 50, far)
    assert await complete(far, 50)


async def test_a_forged_source_does_not_block_the_real_one(world: World, make_netns: Any) -> None:
    """s6: A pod that forges another node's pod does not keep that one's stream from this node's members."""
    one, two, _ = world.nodes
    near, sender = one.pods[1].receiver(GROUP), two.pods[0].sender()
    await members_known(world, 2, GROUP, 1)
    raw(one.pods[0]).sendto(forged(two.pods[0].address, GROUP), (GROUP, 0))
    await flowing(sender, GROUP, near)
    await stream(sender, GROUP, 20, near)
    assert await complete(near, 20)
