"""The broadcast buffer: the last events, and for each reader exactly how many of its kind it missed.

Publishing costs the same however many read and however slow they are. Beside each event the ring keeps how
many of each type came before it; the difference between two such counts is what a reader lost in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Set
from dataclasses import dataclass

from quilt_pim.core.events import EVENT_TYPES, Event, EventType, event_type


class Ring:
    """The last `size` events, oldest first, numbered without gaps."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._held: deque[tuple[tuple[int, ...], Event]] = deque(maxlen=size)
        self.next = 0
        self._counts = (0,) * len(EVENT_TYPES)

    @property
    def first(self) -> int:
        """Number of the oldest event that is still here."""
        return self.next - len(self._held)

    def publish(self, event: Event) -> None:
        """Append; the oldest makes room."""
        self._held.append((self._counts, event))
        self.next += 1
        at = EVENT_TYPES.index(event_type(event))
        self._counts = (*self._counts[:at], self._counts[at] + 1, *self._counts[at + 1 :])

    def at(self, number: int) -> Event:
        """An event by its number."""
        return self._held[number - self.first][1]

    def before(self, number: int, types: Set[EventType]) -> int:
        """How many events of these types came before the one with a number."""
        counts = self._held[number - self.first][0] if number < self.next else self._counts
        return sum(count for kind, count in zip(EVENT_TYPES, counts, strict=True) if kind in types)


@dataclass(frozen=True, slots=True)
class Missed:
    """So many events of a reader's types are gone before it read them."""

    count: int


class Cursor:
    """One reader's place, from now on, for some types."""

    def __init__(self, ring: Ring, types: Iterable[EventType]) -> None:
        self._types = frozenset(types)
        self._ring = ring
        self._next = ring.next
        self._passed = ring.before(ring.next, self._types)

    def read(self) -> Event | Missed | None:
        """The next event of its types, or what it missed, or None when there is nothing more yet."""
        ring = self._ring
        if self._next < ring.first:
            missed = ring.before(ring.first, self._types) - self._passed
            self._next = ring.first
            self._passed += missed
            if missed:
                return Missed(missed)
        while self._next < ring.next:
            event = ring.at(self._next)
            self._next += 1
            if event_type(event) in self._types:
                self._passed += 1
                return event
        return None
