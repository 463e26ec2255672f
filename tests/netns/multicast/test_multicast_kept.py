"""The runtime keeps the routing table: streams between nodes go on while an agent is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from quilt_crds.wire_network import MulticastSpec
from quilt_multicast.keeper import Keeper
from quilt_multicast.mroute import MrouteError, MulticastTable
from quilt_runtime.keeper import SOCKET
from quilt_runtime.keeper import Keeper as RuntimeKeeper
from tests.support.multicast_streams import complete
from tests.support.multicast_world import (
    Node,
    Receiver,
    Sender,
    World,
    all_received,
    inside,
    make_world,
    until,
)

GROUP = "239.13.0.1"
COPIES = {2: (GROUP, "198.18.200.2"), 3: (GROUP, "198.18.200.3")}


@pytest.fixture
def runtimes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, RuntimeKeeper]:
    """What the runtimes of three nodes keep."""
    # They share a processor with all agents here: an answer may come late.
    monkeypatch.setattr("quilt_multicast.keeper._TIMEOUT", 10.0)
    made = {}
    for number in (1, 2, 3):
        folder = tmp_path / f"run-{number}"
        folder.mkdir()
        made[number] = RuntimeKeeper(folder)
        made[number].start()
    return made


@pytest.fixture
async def world(
    make_netns: Callable[[], Any], tmp_path: Path, runtimes: dict[int, RuntimeKeeper]
) -> AsyncIterator[World]:
    keepers = {number: Keeper(tmp_path / f"run-{number}" / SOCKET, "multicast") for number in (1, 2, 3)}
    async with make_world(make_netns, tmp_path, keepers=keepers) as made:
        yield made
    for runtime in runtimes.values():
        runtime.stop()


@asynccontextmanager
async def streaming(sender: Sender, *receivers: Receiver) -> AsyncIterator[None]:
    """A stream while the block runs, known to arrive before; what was sent before does not count."""

    def arrives() -> bool:
        sender.send(GROUP)
        for receiver in receivers:
            receiver.drain()
        return all(receiver.got for receiver in receivers)

    await until("the stream arrives", arrives)
    for receiver in receivers:
        receiver.forget()
    sender.sent = 0

    async def send() -> None:
        while True:
            sender.send(GROUP)
            await asyncio.sleep(0.005)

    task = asyncio.create_task(send())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def sent(sender: Sender, count: int) -> None:
    """Wait until so many more were sent."""
    enough = sender.sent + count
    await until(f"{count} more are sent", lambda: sender.sent >= enough)


async def exchanged(node: Node) -> None:
    await until("peers have exchanged members", lambda: all_received(node))


@pytest.mark.parametrize("which", [1, 2])
async def test_nothing_is_lost_while_an_agent_is_away_or_comes_back(world: World, which: int) -> None:
    node = world.nodes[which - 1]
    sender, member = world.nodes[0].pods[0].sender(), world.nodes[1].pods[0].receiver(GROUP)
    async with streaming(sender, member):
        await node.stop()
        await sent(sender, 60)
        assert world.nodes[0].copies() == {COPIES[2]}
        node.start()
        await exchanged(node)
        await sent(sender, 60)
    assert await complete(member, sender.sent)


async def test_what_changed_meanwhile_is_followed(world: World) -> None:
    one, two, three = world.nodes
    stays, leaves = two.pods[0].receiver(GROUP), three.pods[0].receiver(GROUP)
    joins = three.pods[1].receiver("239.13.0.2", join=False)
    other = one.pods[1].sender()
    other.send("239.13.0.2", 3)
    async with streaming(one.pods[0].sender(), stays, leaves):
        assert one.copies() == {COPIES[2], COPIES[3]}
        await one.stop()
        leaves.leave()
        joins.join()
        await asyncio.sleep(0.1)
        one.start()
        await until("nothing stale is left", lambda: COPIES[3] not in one.copies(), 3)
        assert COPIES[2] in one.copies()

        def arrives() -> bool:
            other.send("239.13.0.2")
            return bool(joins.drain())

        await until("who joined gets its group", arrives, 3)


async def test_without_every_peers_word_what_is_stale_ends_by_time(world: World) -> None:
    one, two, three = world.nodes
    stays, leaves = two.pods[0].receiver(GROUP), three.pods[0].receiver(GROUP)
    async with streaming(one.pods[0].sender(), stays, leaves):
        await one.stop()
        await three.stop()
        one.start()
        assert await until("it ends", lambda: one.copies() == {COPIES[2]}, 3) > 1


async def test_turned_off_nothing_is_kept(world: World) -> None:
    one, two, _ = world.nodes
    async with streaming(one.pods[0].sender(), two.pods[0].receiver(GROUP)):
        one.settings = MulticastSpec(enabled=False)
        assert one.service is not None
        one.service.changed()
        await until("swept", lambda: not one.copies())

    def free() -> bool:
        try:
            inside(one.space.path, MulticastTable.open).close()
        except MrouteError:
            return False
        return True

    await until("the table is free", free)


async def test_a_new_runtime_keeps_it_too(
    world: World, runtimes: dict[int, RuntimeKeeper], tmp_path: Path
) -> None:
    one, two, _ = world.nodes
    member = two.pods[0].receiver(GROUP)
    sender = one.pods[0].sender()
    async with streaming(sender, member):
        runtimes[1].stop()
        runtimes[1] = RuntimeKeeper(tmp_path / "run-1")
        runtimes[1].start()
        assert one.service is not None
        one.service.keep()
        await one.stop()
        await sent(sender, 40)
    await until("everything has arrived", lambda: len(member.drain()) == sender.sent)
