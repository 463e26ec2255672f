"""Streams for the tests of multicast."""

from __future__ import annotations

import asyncio

from tests.support.multicast_world import Receiver, Sender, World, until


async def stream(sender: Sender, group: str, count: int, *receivers: Receiver) -> None:
    """Send so many, a few at a time, and read at the receivers."""
    for _ in range(count):
        sender.send(group)
        await asyncio.sleep(0.002)
    await asyncio.sleep(0.05)
    for receiver in receivers:
        receiver.drain()


async def flowing(sender: Sender, group: str, *members: Receiver) -> None:
    """Send until every member hears it, and count from there.

    Of a new flow the kernel holds four packets while it asks, and a busy machine may take longer to answer.
    """

    def arrives() -> bool:
        sender.send(group)
        return all([member.drain() for member in members])  # noqa: C419 - every one is read

    await until("the stream arrives", arrives)
    for member in members:
        member.forget()
    sender.sent = 0


async def complete(receiver: Receiver, count: int) -> bool:
    """Whether every packet came, once; the last may still be on their way."""
    await until(f"{count} packets", lambda: len(receiver.drain()) >= count)
    return receiver.got == dict.fromkeys(range(count), 1)


async def members_known(world: World, number: int, group: str, nodes: int) -> None:
    """Wait until a node knows how many others have members of a group."""
    service = world.nodes[number - 1].service
    assert service is not None
    await until(
        f"{nodes} nodes with members of {group}",
        lambda: nodes == sum(len(view.nodes) for view in service.state.groups() if view.group == group),
    )
