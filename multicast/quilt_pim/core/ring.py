"""The broadcast buffer: the last events, and for each reader exactly how many of its kind it missed.

Publishing costs the same however many read and however slow they are. Beside each event the ring keeps how
many of each type came before it; the difference between two such counts is what a reader lost in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from quilt_pim.core.events import EVENT_TYPES, Event, EventType, event_type

Counts = tuple[int, ...]


class Ring:
    """The last `size` events, oldest first, numbered without gaps."""

    def __init__(self, size: int) -> None:
        self._held: deque[tuple[Counts, Event]] = deque(maxlen=size)
        self.next = 0
        self.counts: Counts = (0,) * len(EVENT_TYPES)

    @property
    def first(self) -> int:
        """Number of the oldest event that is still here."""
        return self.next - len(self._held)

    @property
    def size(self) -> int:
        """How many events it can hold."""
        return self._held.maxlen or 0

    def publish(self, event: Event) -> None:
        """Append; the oldest makes room."""
        self._held.append((self.counts, event))
        self.next += 1
        at = EVENT_TYPES.index(event_type(event))
        self.counts = (*self.counts[:at], self.counts[at] + 1, *self.counts[at + 1 :])

    def at(self, number: int) -> tuple[Counts, Event]:
        """An event by its number, with the counts before it."""
        return self._held[number - self.first]


@dataclass(frozen=True, slots=True)
class Missed:
    """So many events of a reader's types are gone before it read them."""

    count: int


class Cursor:
    """One reader's place, from now on, for some types."""

    def __init__(self, ring: Ring, types: Iterable[EventType]) -> None:
        self.types = frozenset(types)
        self._ring = ring
        self._next = ring.next
        self._counts = ring.counts

    def read(self) -> Event | Missed | None:
        """The next event of its types, or what it missed, or None when there is nothing more yet."""
        ring = self._ring
        if self._next < ring.first:
            counts, _ = ring.at(ring.first)
            missed = self._between(self._counts, counts)
            self._next, self._counts = ring.first, counts
            if missed:
                return Missed(missed)
        while self._next < ring.next:
            _, event = ring.at(self._next)
            self._next += 1
            self._counts = ring.at(self._next)[0] if self._next < ring.next else ring.counts
            if event_type(event) in self.types:
                return event
        return None

    def _between(self, before: Counts, after: Counts) -> int:
        return sum(
            late - early
            for kind, early, late in zip(EVENT_TYPES, before, after, strict=True)
            if kind in self.types
        )
