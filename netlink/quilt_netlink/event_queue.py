"""Events waiting to be taken, one per entry: what matters is how an entry is now, not how it came there.

A storm on one entry costs one event, and the queue is bounded by the number of entries, not of changes.
Beyond a limit it gives up and says so (Overrun), which the consumer must be able to handle anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Self

from msgspec import Struct

from quilt_netlink.state import Observed, Watched, key_of

_OVERRUN = "overrun"


class Change(Struct, frozen=True):
    """An entry as the kernel has it now (`new`), or as it was when it went."""

    new: bool
    entry: Observed | Watched


class Overrun(Struct, frozen=True):
    """Events were lost: read the state again. Everything notified before this may be stale."""


Event = Change | Overrun


class MonitorLike:
    """A coalescing queue with one consumer: `await monitor.take_all()`.

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
        """Let nobody wait any longer, once what is waiting was taken. Closing twice is allowed."""
        self._closed = True
        self._filled.set()

    async def take_all(self) -> list[Event]:
        """Wait for an event and return all that wait, oldest first; empty once the monitor is closed."""
        while not self._pending and not self._closed:
            self._filled.clear()
            await self._filled.wait()
        taken, self._pending = self._pending, {}
        return list(taken.values())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
