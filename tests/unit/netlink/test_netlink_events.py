"""One event waits per entry, the latest; too many become an overrun."""

from __future__ import annotations

import asyncio

from quilt_netlink import Change, FdbEntry, Link, MonitorLike, Neighbour, Nexthop, Overrun, Put, Route
from quilt_netlink.fake import FakeKernel

MAC = "02:00:00:00:02:00"


async def test_the_latest_state_of_an_entry_is_notified_once() -> None:
    queue = MonitorLike()
    for mac in (MAC, "02:00:00:00:02:01", "02:00:00:00:02:02"):
        queue.put(Change(True, Neighbour(1, "10.42.2.0", mac)))
    queue.put(Change(True, Nexthop(1, 1, "10.42.2.0")))
    queue.put(Change(False, Neighbour(1, "10.42.2.0", MAC)))
    assert await queue.take_all() == [
        Change(True, Nexthop(1, 1, "10.42.2.0")),
        Change(False, Neighbour(1, "10.42.2.0", MAC)),
    ]


async def test_entries_are_distinguished_as_the_kernel_does() -> None:
    queue = MonitorLike()
    changes = [
        Change(True, Route("10.42.2.0/24", 81)),
        Change(True, Route("10.42.2.0/24", 81, metric=5)),
        Change(True, Route("10.42.2.0/24", 81, table=9)),
        Change(True, FdbEntry(1, MAC, "198.18.0.2")),
        Change(True, FdbEntry(2, MAC, "198.18.0.2")),
        Change(True, FdbEntry(1, "00:00:00:00:00:00", "198.18.0.2")),
        Change(True, FdbEntry(1, "00:00:00:00:00:00", "198.18.0.3")),
        Change(True, Link("a", index=1)),
    ]
    for change in changes:
        queue.put(change)
    queue.put(Change(True, FdbEntry(1, MAC, "198.18.0.3")))
    assert await queue.take_all() == [
        *changes[:3],
        *changes[4:],
        Change(True, FdbEntry(1, MAC, "198.18.0.3")),
    ]


async def test_too_many_waiting_events_become_an_overrun() -> None:
    queue = MonitorLike(limit=10)
    for number in range(12):
        queue.put(Change(True, Nexthop(number + 1, 1)))
    assert await queue.take_all() == [Overrun(), Change(True, Nexthop(12, 1))]


async def test_a_waiting_consumer_wakes_and_ends() -> None:
    queue = MonitorLike()
    waiting = asyncio.create_task(queue.take_all())
    await asyncio.sleep(0)
    queue.put(Change(True, Nexthop(1, 1)))
    assert await waiting == [Change(True, Nexthop(1, 1))]
    queue.close()
    assert await queue.take_all() == []


async def test_the_kernel_in_memory_tells_its_changes_and_overruns() -> None:
    fake = FakeKernel()
    async with fake.monitor() as monitor:
        fake.run(Put(Link("lo", up=True)))
        assert [event.new for event in await monitor.take_all() if isinstance(event, Change)] == [True]
        fake.inject("overrun")
        fake.run(Put(Link("lo", up=False)))
        assert await monitor.take_all() == [Overrun()]
        assert not fake.pending_faults
