"""Waiting between attempts: doubling, with jitter, so that thousands of clients do not come back at once."""

from __future__ import annotations

import random


class Backoff:
    """Delays in seconds from about `first` to about `most`, each up to twice the one before."""

    def __init__(self, first: float = 0.2, most: float = 10.0) -> None:
        self._first = first
        self._most = most
        self._next = first

    def delay(self) -> float:
        """Return the next delay: between half and the whole of the doubling value."""
        current = self._next
        self._next = min(self._most, current * 2)
        return random.uniform(current / 2, current)  # noqa: S311  spreading load, not hiding anything

    def reset(self) -> None:
        """Start again from the first delay, after a success."""
        self._next = self._first
