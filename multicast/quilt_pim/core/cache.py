"""Answers of an RPF provider, kept for a while and never more than so many."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")

# Sources at once; the oldest answer makes room.
CAPACITY = 16384


class TtlCache(Generic[Value]):
    """Values by key for `ttl` seconds of the clock that callers pass; a ttl of 0 keeps nothing."""

    def __init__(self, ttl: float, capacity: int = CAPACITY) -> None:
        self._ttl = ttl
        self._capacity = capacity
        self._held: OrderedDict[str, tuple[float, Value | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: str, now: float) -> Value | None:
        """The value while it is fresh."""
        expires, value = self._held.get(key, (now, None))
        if expires > now:
            return value
        self._held.pop(key, None)
        return None

    def put(self, key: str, value: Value, now: float) -> None:
        """Keep a value from now on."""
        if self._ttl <= 0:
            return
        self._held.pop(key, None)
        self._held[key] = (now + self._ttl, value)
        # All live equally long, so the first is always the oldest.
        while self._held and (len(self._held) > self._capacity or next(iter(self._held.values()))[0] <= now):
            self._held.popitem(last=False)

    def clear(self) -> None:
        """Forget everything: what was asked may be answered otherwise now."""
        self._held.clear()
