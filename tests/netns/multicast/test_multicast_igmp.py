"""What pods say by IGMP: leaves at awkward moments, and joins of one source alone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.multicast_streams import complete, flowing, members_known, stream
from tests.support.multicast_world import UNASKED, PodSpace, World, add_pod, inside, until

GROUP = "239.11.0.1"
# Python does not name them.
IP_ADD_SOURCE_MEMBERSHIP, IP_DROP_SOURCE_MEMBERSHIP = 39, 40


def received(pod: PodSpace) -> int:
    """How many multicast packets a pod has received."""
    text = inside(pod.path, lambda: Path("/proc/thread-self/net/netstat").read_text())
    names, values = (line.split() for line in text.splitlines() if line.startswith("IpExt:"))
    return int(values[names.index("InMcastPkts")])


async def test_a_leave_between_the_first_query_and_its_answer_counts(
    make_netns: Callable[[], Any], world: World
) -> None:
    """A pod that joined before it was ever asked must not fall silent when it is."""
    one, two, _ = world.nodes
    querier = ("ip", "link", "set", "dev", "quilt0", "type", "bridge", "mcast_querier")
    two.space.run(*querier, "0")
    pod = add_pod(two, make_netns)
    member = pod.receiver(GROUP)
    await members_known(world, 1, GROUP, 1)
    await stream(one.pods[0].sender(), GROUP, 3)
    assert await complete(member, 3)
    assert one.copies() == {(GROUP, "198.18.200.2")}
    before = received(pod)
    two.space.run(*querier, "1")
    await until("the pod is asked", lambda: received(pod) > before)
    member.leave()
    await until("the copies end", lambda: not one.copies())


async def test_a_member_of_one_source_hears_that_source_alone(world: World) -> None:
    one, two, three = world.nodes
    near, far = one.pods[0], three.pods[0]
    member = two.pods[0].receiver(GROUP, join=False)
    request = socket.inet_aton(GROUP) + bytes(4) + socket.inet_aton(near.address)
    member.sock.setsockopt(socket.IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, request)
    await members_known(world, 1, GROUP, 1)
    await members_known(world, 3, GROUP, 1)
    await stream(far.sender(), GROUP, 20, member)
    assert member.got == {}
    sender = near.sender()
    await flowing(sender, GROUP, member)
    await stream(sender, GROUP, 20, member)
    assert await complete(member, 20)
    member.sock.setsockopt(socket.IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, request)
    await until("the copies end", lambda: not one.copies(), UNASKED)
