"""Events waiting to be taken, one per entry: what matters is how an entry is now, not how it came there.

A storm on one entry costs one event, and the queue is bounded by the number of entries, not of changes.
Beyond a limit it gives up and says so (Overrun), which the consumer must be able to handle anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from types import TracebackType
from typing import Self

from quilt_netlink.events import Change, Event, Overrun
from quilt_netlink.groups import BridgeGroup, GroupEntry, VxlanGroup, group_key
from quilt_netlink.state import (
    Address,
    BridgeFdbEntry,
    FdbEntry,
    Link,
    Neighbour,
    Nexthop,
    Observed,
    Route,
    Unreachable,
)

_OVERRUN = "overrun"
_NO_MAC = "00:00:00:00:00:00"


def key_of(entry: Observed | GroupEntry) -> Hashable:
    """Return what the kernel tells entries apart by; a later state replaces the one under its key."""
    match entry:
        case Link():
            return ("link", entry.index)
        case Address():
            return ("address", entry.ifindex, entry.address)
        case Neighbour():
            return ("neighbour", entry.ifindex, entry.address)
        case FdbEntry():  # only the all-zero MAC may have several destinations
            return ("fdb", entry.ifindex, entry.mac, entry.dst if entry.mac == _NO_MAC else "")
        case BridgeFdbEntry():
            return ("bridge", entry.master, entry.mac)
        case Nexthop():
            return ("nexthop", entry.id)
        case Route():
            return ("route", entry.table, entry.prefix, entry.metric)
        case Unreachable():
            return ("unreachable", entry.table, entry.prefix, entry.metric)
        case BridgeGroup() | VxlanGroup():
            return group_key(entry)


class EventQueue:
    """A coalescing queue with one asynchronous consumer; filled from the same event loop."""

    def __init__(self, limit: int = 100_000) -> None:
        self._pending: dict[Hashable, Event] = {}
        self._limit = limit
        self._filled = asyncio.Event()
        self._closed = False

    def put(self, change: Change) -> None:
        """Add a change; it takes the place of an untaken one of the same entry, at the end of the queue."""
        key = key_of(change.entry)
        self._pending.pop(key, None)
        self._pending[key] = change
        if len(self._pending) > self._limit:
            self.overrun()
        self._filled.set()

    def overrun(self) -> None:
        """Drop what is waiting and tell that it was dropped."""
        self._pending = {_OVERRUN: Overrun()}
        self._filled.set()

    def close(self) -> None:
        """End the consumer's iteration once it has taken what is waiting."""
        self._closed = True
        self._filled.set()

    async def take_all(self) -> list[Event]:
        """Wait for an event and return all that wait, oldest first; empty when the queue was closed."""
        await self._wait()
        taken = list(self._pending.values())
        self._pending = {}
        return taken

    async def take(self) -> Event | None:
        """Wait for the oldest event and return it; None when the queue was closed."""
        await self._wait()
        if not self._pending:
            return None
        return self._pending.pop(next(iter(self._pending)))

    async def _wait(self) -> None:
        while not self._pending and not self._closed:
            self._filled.clear()
            await self._filled.wait()


class EventStream:
    """What a consumer sees of a queue: `async for event in stream`, or `await stream.take_all()`."""

    def __init__(self) -> None:
        self._queue = EventQueue()

    def close(self) -> None:
        """Stop watching; an iteration ends after what it has not yet taken. Closing twice is allowed."""
        self._queue.close()

    async def take_all(self) -> list[Event]:
        """Wait for an event and return all that wait, oldest first; empty once the stream is closed."""
        return await self._queue.take_all()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._queue.take()
        if event is None:
            raise StopAsyncIteration
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
