"""Multicast for the pods of some namespaces: what others' pods send stays on their node, and so do they."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from quilt_crds.wire_network import MulticastSpec
from tests.support.multicast_streams import complete, flowing, members_known, stream
from tests.support.multicast_world import World, add_pod, until

GROUP = "239.12.0.1"


def choose(world: World, *namespaces: str) -> None:
    """Let every node follow the QuiltNetwork's list."""
    for node in world.nodes:
        node.settings = MulticastSpec(enabled=True, namespaces=tuple(namespaces))
        assert node.service is not None
        node.service.changed()


async def test_only_pods_of_chosen_namespaces_are_members(
    make_netns: Callable[[], Any], world: World
) -> None:
    one, two, three = world.nodes
    choose(world, "media")
    chosen = add_pod(two, make_netns, "media").receiver(GROUP)
    other = three.pods[0].receiver(GROUP)
    await members_known(world, 1, GROUP, 1)
    await until("the other is refused", lambda: three.metric("quilt_multicast_refused_members") == 1)
    sender = add_pod(one, make_netns, "media").sender()
    await flowing(sender, GROUP, chosen)
    await stream(sender, GROUP, 50, chosen, other)
    assert await complete(chosen, 50)
    assert other.got == {}
    assert one.copies() == {(GROUP, "198.18.200.2")}


async def test_only_pods_of_chosen_namespaces_send_to_other_nodes(
    make_netns: Callable[[], Any], world: World
) -> None:
    one, two, _ = world.nodes
    choose(world, "media")
    far, near = add_pod(two, make_netns, "media").receiver(GROUP), one.pods[1].receiver(GROUP)
    await members_known(world, 1, GROUP, 1)
    await until("the near one is refused", lambda: one.metric("quilt_multicast_refused_members") == 1)
    await stream(one.pods[0].sender(), GROUP, 20, far, near)
    assert await complete(near, 20)
    assert far.got == {}
    assert one.copies() == set()
    assert two.metric("quilt_multicast_flows") == 0


async def test_a_changed_list_counts_at_once(world: World) -> None:
    one, two, _ = world.nodes
    member, sender = two.pods[0].receiver(GROUP), one.pods[0].sender()
    await members_known(world, 1, GROUP, 1)
    await flowing(sender, GROUP, member)
    choose(world, "media")
    await until("the copies end", lambda: not one.copies())
    choose(world, "media", "default")
    await until("the copies are back", lambda: one.copies() == {(GROUP, "198.18.200.2")})
    choose(world)
    await asyncio.sleep(0.1)
    assert one.copies() == {(GROUP, "198.18.200.2")}


async def test_an_address_of_another_pod_does_not_inherit(
    make_netns: Callable[[], Any], world: World
) -> None:
    """The flow is in the kernel while a pod is deleted, and one of another namespace gets its address."""
    one, two, _ = world.nodes
    choose(world, "media")
    member = add_pod(two, make_netns, "media").receiver(GROUP)
    await members_known(world, 1, GROUP, 1)
    pod = add_pod(one, make_netns, "media")
    await flowing(pod.sender(), GROUP, member)
    one.space.run("ip", "link", "del", pod.port)
    one.pods.pop()
    again = add_pod(one, make_netns, "other")
    assert again.address == pod.address
    await until("the copies end", lambda: not one.copies())
    member.forget()
    await stream(again.sender(), GROUP, 20, member)
    assert member.got == {}
