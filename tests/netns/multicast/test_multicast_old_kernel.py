"""Before Linux 6.4: copies by the groups' MACs, which groups may share."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from quilt_crds.wire_network import MulticastSpec
from quilt_netlink import Failure, FdbEntry, MulticastKernel, Op, VxlanGroup
from tests.support.multicast_streams import complete, flowing, members_known, stream
from tests.support.multicast_world import Node, World, make_world, until

GROUP, ALIAS = "239.129.1.1", "224.1.1.1"
MAC = "01:00:5e:01:01:01"
TWO, THREE = "198.18.200.2", "198.18.200.3"


class OldKernel(MulticastKernel):
    """As it answers that has no group entries on VXLAN devices."""

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        if not any(isinstance(op.entry, VxlanGroup) for op in ops):
            return super().apply(ops)
        return [Failure(n, op, errno.EOPNOTSUPP, "Device is not a bridge") for n, op in enumerate(ops)]


@pytest.fixture
async def world(make_netns: Callable[[], Any], tmp_path: Path) -> AsyncIterator[World]:
    async with make_world(make_netns, tmp_path, OldKernel) as made:
        yield made


def copies(node: Node) -> set[tuple[str, str]]:
    with node.kernel() as kernel:
        device = kernel.link("vxlan100")
        assert device is not None
        return {(entry.mac, entry.dst) for entry in kernel.fdb(device.index) if entry.mac[:2] == "01"}


async def test_members_get_the_stream_once_and_other_nodes_none_of_it(world: World) -> None:
    one, two, three = world.nodes
    members = [one.pods[1].receiver(GROUP), two.pods[0].receiver(GROUP)]
    await members_known(world, 1, GROUP, 1)
    sender = one.pods[0].sender()
    await flowing(sender, GROUP, *members)
    for node in (two, three):
        node.count_crossing(GROUP)
    await stream(sender, GROUP, 100, *members)
    assert [await complete(member, 100) for member in members] == [True, True]
    assert copies(one) == {(MAC, TWO)}
    assert (two.crossed(), three.crossed()) == ((100, 0), (0, 0))


async def test_groups_of_one_mac_share_copies_and_nothing_else(world: World) -> None:
    one, two, three = world.nodes
    near, far = two.pods[0].receiver(GROUP), three.pods[0].receiver(ALIAS)
    await members_known(world, 1, GROUP, 1)
    await members_known(world, 1, ALIAS, 1)
    first, second = one.pods[0].sender(), one.pods[1].sender()
    await flowing(first, GROUP, near)
    await stream(first, GROUP, 20, near, far)
    assert copies(one) == {(MAC, TWO)}
    await flowing(second, ALIAS, far)
    await stream(second, ALIAS, 20, near, far)
    assert await complete(near, 20)
    assert await complete(far, 20)
    assert copies(one) == {(MAC, TWO), (MAC, THREE)}
    # With the other group's last member the shared copies stay that this one needs.
    far.leave()
    await until("its copy ends", lambda: copies(one) == {(MAC, TWO)})
    near.forget()
    first.sent = 0
    await stream(first, GROUP, 20, near)
    assert await complete(near, 20)
    near.leave()
    await until("no copy is left", lambda: not copies(one))


async def test_what_a_dead_agent_left_is_taken_over_or_swept(world: World) -> None:
    one, two, _ = world.nodes
    member, sender = two.pods[0].receiver(GROUP), one.pods[0].sender()
    await members_known(world, 1, GROUP, 1)
    await stream(sender, GROUP, 5, member)
    await until("the copy is made", lambda: copies(one) == {(MAC, TWO)})
    await one.stop()
    with one.kernel() as kernel:
        device = kernel.link("vxlan100")
        assert device is not None
        assert kernel.add_copies([FdbEntry(device.index, "01:00:5e:63:00:01", THREE)]) == []
    assert copies(one) == {(MAC, TWO), ("01:00:5e:63:00:01", THREE)}
    one.start()

    def arrives() -> bool:
        sender.send(GROUP)
        return len(member.drain()) > 5

    await until("the stream arrives again", arrives, 3)
    await until("nothing stale is left", lambda: copies(one) == {(MAC, TWO)})
    one.settings = MulticastSpec(enabled=False)
    assert one.service is not None
    one.service.changed()
    await until("nothing is left", lambda: not copies(one))
