"""Who receives which events: one ring for all, one task and one pace for each subscription.

A subscriber that reads slowly, or that events come too fast for, falls behind in the ring and is notified how
many it missed; publishing never waits for anybody.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from quilt_pim.core import events
from quilt_pim.core.events import Event, EventType
from quilt_pim.core.ring import Cursor, Missed, Ring
from quilt_pim.core.validate import ControlError
from quilt_pim.counters import Counters

MAX_PER_CONNECTION = 16

Send = Callable[[dict[str, Any]], Any]


class Broadcast:
    """The ring and those who wait at it."""

    def __init__(self, size: int, rate: int, counters: Counters) -> None:
        self.ring = Ring(size)
        self.rate = rate
        self.counters = counters
        self.waiting: set[asyncio.Event] = set()
        self.ids = itertools.count(1)

    def publish(self, *events: Event) -> None:
        """Tell all subscribers of their types of changes, in order; never waits."""
        for event in events:
            stamped = event if event.timestamp is not None else replace(event, timestamp=int(time.time()))
            self.ring.publish(stamped)
            self.counters["events_published"] += 1
            for wake in self.waiting:
                wake.set()


class Pace:
    """A token bucket: so many a second, and as many at once as fit into the ring."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._last = now

    def wait(self, now: float) -> float:
        """Take one token; seconds until it may be used."""
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._rate) - 1
        self._last = now
        return max(0.0, -self._tokens / self._rate)


class Subscription:
    """One subscription of one connection; `task` delivers it, None before its first notification may come."""

    def __init__(self, broadcast: Broadcast, types: Iterable[EventType]) -> None:
        self.id = next(broadcast.ids)
        self.types = tuple(types)
        self.task: asyncio.Task[None] | None = None
        self._broadcast = broadcast
        self._cursor = Cursor(broadcast.ring, self.types)

    def wire(self) -> dict[str, Any]:
        """As ListSubscriptions shows it."""
        return {"subscription_id": self.id, "events": list(self.types)}

    async def run(self, send: Send) -> None:
        """Deliver until cancelled; `send` writes a notification and waits for the client's pace."""
        wake = asyncio.Event()
        self._broadcast.waiting.add(wake)
        pace = Pace(self._broadcast.rate, self._broadcast.ring.size, time.monotonic())
        try:
            while True:
                wake.clear()
                while (item := self._cursor.read()) is not None:
                    if pause := pace.wait(time.monotonic()):
                        await asyncio.sleep(pause)
                    await send(self._notification(item))
                await wake.wait()
        finally:
            self._broadcast.waiting.discard(wake)

    def _notification(self, item: Event | Missed) -> dict[str, Any]:
        if isinstance(item, Event):
            self._broadcast.counters["events_delivered"] += 1
            return events.wire(item)
        self._broadcast.counters["events_missed"] += item.count
        now = int(time.time())
        return {"event": "Lagged", "subscription_id": self.id, "missed": item.count, "timestamp": now}


class Session:
    """The subscriptions of one connection; they end with it."""

    def __init__(self, broadcast: Broadcast, send: Send) -> None:
        self._broadcast = broadcast
        self._send = send
        self._held: dict[int, Subscription] = {}

    def subscribe(self, types: Iterable[EventType]) -> Subscription:
        """Make a subscription; it counts from now and is delivered once `deliver` is called."""
        if len(self._held) >= MAX_PER_CONNECTION:
            raise ControlError(f"This connection has {MAX_PER_CONNECTION} subscriptions already")
        made = Subscription(self._broadcast, types)
        self._held[made.id] = made
        return made

    def unsubscribe(self, number: int) -> None:
        """End a subscription of this connection."""
        ended = self._held.pop(number, None)
        if ended is None:
            raise ControlError(
                f"There is no subscription {number} on this connection; ListSubscriptions shows them"
            )
        if ended.task is not None:
            ended.task.cancel()

    def list(self) -> list[Subscription]:
        """Subscriptions by id: ids grow."""
        return list(self._held.values())

    def deliver(self) -> None:
        """Begin to deliver what is new: called when the reply to Subscribe is written, never before."""
        for held in self._held.values():
            held.task = held.task or asyncio.create_task(held.run(self._send))

    async def close(self) -> None:
        """End all of them."""
        tasks = [held.task for held in self._held.values() if held.task is not None]
        self._held.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
