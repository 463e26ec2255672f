"""Events waiting to be taken, one per entry: what matters is how an entry is now, not how it came there.

A storm on one entry costs one event, and the queue is bounded by the number of entries, not of changes.
Beyond a limit it gives up and says so (Overrun), which the consumer must be able to handle anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from operator import attrgetter
from types import TracebackType
from typing import Any, Self

from quilt_netlink.events import Change, Event, Overrun
from quilt_netlink.state import (
    Address,
    BridgeFdbEntry,
    BridgeGroup,
    BridgePort,
    FdbEntry,
    Link,
    Neighbour,
    Netconf,
    Nexthop,
    NftTable,
    Observed,
    Route,
    Unreachable,
    VxlanGroup,
    Watched,
)

_OVERRUN = "overrun"
_NO_MAC = "00:00:00:00:00:00"


def _fdb_key(entry: FdbEntry) -> Hashable:
    """Only the all-zero MAC may have several destinations."""
    return (entry.ifindex, entry.mac, entry.dst if entry.mac == _NO_MAC else "")


_KEYS: dict[Any, Callable[[Any], Hashable]] = {
    Link: attrgetter("index"),
    Address: attrgetter("ifindex", "address"),
    Neighbour: attrgetter("ifindex", "address"),
    FdbEntry: _fdb_key,
    BridgeFdbEntry: attrgetter("master", "mac"),
    Nexthop: attrgetter("id"),
    Route: attrgetter("table", "prefix", "metric"),
    Unreachable: attrgetter("table", "prefix", "metric"),
    BridgeGroup: attrgetter("bridge", "port", "group", "source"),
    VxlanGroup: attrgetter("ifindex", "group", "dst", "source"),
    BridgePort: attrgetter("ifindex"),
    Netconf: attrgetter("ifindex"),
    NftTable: attrgetter("family", "name"),
}


def key_of(entry: Observed | Watched) -> Hashable:
    """Return what the kernel tells entries apart by; a later state replaces the one under its key."""
    return (type(entry), _KEYS[type(entry)](entry))


class MonitorLike:
    """A coalescing queue with one consumer: `async for event in monitor`, or `await monitor.take_all()`.

    It is filled from the consumer's event loop.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._pending: dict[Hashable, Event] = {}
        self._limit = limit
        self._filled = asyncio.Event()
        self._closed = False

    def put(self, change: Change) -> None:
        """Add a change; it replaces an untaken one of the same entry, at the end of the queue."""
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
        """End an iteration once it has taken what is waiting. Closing twice is allowed."""
        self._closed = True
        self._filled.set()

    async def take_all(self) -> list[Event]:
        """Wait for an event and return all that wait, oldest first; empty once the monitor is closed."""
        await self._wait()
        taken = list(self._pending.values())
        self._pending = {}
        return taken

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        await self._wait()
        if not self._pending:
            raise StopAsyncIteration
        return self._pending.pop(next(iter(self._pending)))

    async def _wait(self) -> None:
        while not self._pending and not self._closed:
            self._filled.clear()
            await self._filled.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
